//! [`Query`]: which rows and columns to read.

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, RecordBatch};

use crate::CaptureError;
use crate::schema;

/// What to read: columns, and conditions of which all must hold. The default reads everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Only these columns, by name; all others come as `None` or zero, but for those that a condition needs.
    pub columns: Option<Vec<String>>,
    /// `ts` at or after this time, in microseconds since 1970.
    pub from_us: Option<i64>,
    /// `ts` before this time, in microseconds since 1970.
    pub to_us: Option<i64>,
    /// This `session_id`.
    pub session: Option<String>,
    /// This `server`.
    pub server: Option<String>,
    /// This `name` (tool, prompt or resource).
    pub name: Option<String>,
    /// This rule among `rule_ids`.
    pub rule: Option<String>,
    /// This `action`.
    pub action: Option<String>,
    /// This `direction`.
    pub direction: Option<String>,
    /// This `kind`.
    pub kind: Option<String>,
    /// This `leg`.
    pub leg: Option<String>,
    /// This `principal`.
    pub principal: Option<String>,
}

impl Query {
    /// Conditions on text columns.
    fn texts(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let conditions = [
            ("session_id", &self.session),
            ("server", &self.server),
            ("name", &self.name),
            ("action", &self.action),
            ("direction", &self.direction),
            ("kind", &self.kind),
            ("leg", &self.leg),
            ("principal", &self.principal),
        ];
        conditions.into_iter().filter_map(|(column, value)| Some((column, value.as_deref()?)))
    }

    /// The columns to read, conditions included; `None` for all.
    pub(crate) fn needed(&self) -> Result<Option<Vec<&'static str>>, CaptureError> {
        let Some(names) = &self.columns else {
            return Ok(None);
        };
        let mut needed: Vec<&'static str> = self.texts().map(|(column, _)| column).collect();
        if self.rule.is_some() {
            needed.push("rule_ids");
        }
        if self.from_us.or(self.to_us).is_some() {
            needed.push("ts");
        }
        for name in names {
            let known = schema::position(name);
            let at = known.ok_or_else(|| CaptureError::UnknownColumn { name: name.clone() })?;
            needed.push(schema::columns()[at].name);
            // a record has one body; the file keeps it in two columns
            if name == "body" {
                needed.push("body_raw");
            }
        }
        Ok(Some(needed))
    }

    /// The rows of a batch that meet every condition. The batch's types are checked before.
    pub(crate) fn rows(&self, batch: &RecordBatch) -> Vec<usize> {
        let mut keep = vec![true; batch.num_rows()];
        for (column, wanted) in self.texts() {
            let column = batch.column_by_name(column).map(|array| array.as_string::<i32>());
            narrow(&mut keep, |row| {
                column.is_some_and(|array| array.is_valid(row) && array.value(row) == wanted)
            });
        }
        if let Some(rule) = &self.rule {
            let column = batch.column_by_name("rule_ids").map(|array| array.as_list::<i32>());
            narrow(&mut keep, |row| {
                column.filter(|lists| lists.is_valid(row)).is_some_and(|lists| {
                    let list = lists.value(row);
                    list.as_string::<i32>().iter().flatten().any(|id| id == rule)
                })
            });
        }
        if self.from_us.or(self.to_us).is_some() {
            let (from, to) = (self.from_us.unwrap_or(i64::MIN), self.to_us.unwrap_or(i64::MAX));
            let column = batch.column_by_name("ts");
            let column = column.map(|array| array.as_primitive::<TimestampMicrosecondType>());
            narrow(&mut keep, |row| {
                let ts = column.filter(|array| array.is_valid(row)).map(|array| array.value(row));
                ts.is_some_and(|ts| ts >= from && (ts < to || self.to_us.is_none()))
            });
        }
        (0..keep.len()).filter(|row| keep[*row]).collect()
    }
}

fn narrow(keep: &mut [bool], matches: impl Fn(usize) -> bool) {
    for (row, keep) in keep.iter_mut().enumerate() {
        *keep = *keep && matches(row);
    }
}

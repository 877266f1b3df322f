//! Records to Arrow record batches and back.

use std::sync::Arc;

use arrow_array::builder::{
    BinaryBuilder, BooleanBuilder, Int32Builder, Int64Builder, ListBuilder, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, TimeUnit};
use bytes::Bytes;

use crate::CaptureError;
use crate::cells::{Cell, Value};
use crate::record::{Record, Str};
use crate::schema::{ColumnType, WIDTH, arrow_schema, columns, list_item};

/// The rows as one batch in the schema of [`arrow_schema()`].
pub fn to_batch(rows: &[Record]) -> Result<RecordBatch, CaptureError> {
    let mut builders: Vec<Builder> =
        columns().iter().map(|column| Builder::new(column.ty, rows.len())).collect();
    for row in rows {
        for (builder, value) in builders.iter_mut().zip(row.values()) {
            builder.push(value);
        }
    }
    let arrays = builders.into_iter().map(Builder::finish).collect();
    RecordBatch::try_new(arrow_schema(), arrays)
        .map_err(|error| CaptureError::Encode { detail: error.to_string() })
}

/// The rows of a batch. Columns are found by name; missing ones read as null, unknown ones are passed over.
pub fn from_batch(batch: &RecordBatch) -> Result<Vec<Record>, CaptureError> {
    let mut decoder = Decoder::new(batch)?;
    Ok((0..batch.num_rows()).map(|row| decoder.record(row)).collect())
}

enum Builder {
    Int32(Int32Builder),
    Int64(Int64Builder),
    Time(TimestampMicrosecondBuilder),
    Bool(BooleanBuilder),
    Text(StringBuilder),
    Binary(BinaryBuilder),
    List(ListBuilder<StringBuilder>),
}

impl Builder {
    fn new(ty: ColumnType, rows: usize) -> Builder {
        match ty {
            ColumnType::Int32 => Builder::Int32(Int32Builder::with_capacity(rows)),
            ColumnType::Int64 => Builder::Int64(Int64Builder::with_capacity(rows)),
            ColumnType::Timestamp => {
                Builder::Time(TimestampMicrosecondBuilder::with_capacity(rows).with_timezone("UTC"))
            }
            ColumnType::Bool => Builder::Bool(BooleanBuilder::with_capacity(rows)),
            ColumnType::Text => Builder::Text(StringBuilder::with_capacity(rows, 0)),
            ColumnType::Binary => Builder::Binary(BinaryBuilder::with_capacity(rows, 0)),
            ColumnType::TextList => {
                Builder::List(ListBuilder::new(StringBuilder::new()).with_field(list_item()))
            }
        }
    }

    /// Appends a value. One of another type than the column's becomes null; a test holds the two tables together.
    fn push(&mut self, value: Option<Value<'_>>) {
        match (self, value) {
            (Builder::Int32(builder), Some(Value::Int32(value))) => builder.append_value(value),
            (Builder::Int64(builder), Some(Value::Int64(value))) => builder.append_value(value),
            (Builder::Time(builder), Some(Value::Int64(value))) => builder.append_value(value),
            (Builder::Bool(builder), Some(Value::Bool(value))) => builder.append_value(value),
            (Builder::Text(builder), Some(Value::Text(value))) => builder.append_value(value),
            (Builder::Binary(builder), Some(Value::Bytes(value))) => builder.append_value(value),
            (Builder::List(builder), Some(Value::List(values))) => {
                values.iter().for_each(|value| builder.values().append_value(value));
                builder.append(true);
            }
            (Builder::Int32(builder), _) => builder.append_null(),
            (Builder::Int64(builder), _) => builder.append_null(),
            (Builder::Time(builder), _) => builder.append_null(),
            (Builder::Bool(builder), _) => builder.append_null(),
            (Builder::Text(builder), _) => builder.append_null(),
            (Builder::Binary(builder), _) => builder.append_null(),
            (Builder::List(builder), _) => builder.append(false),
        }
    }

    fn finish(self) -> ArrayRef {
        match self {
            Builder::Int32(mut builder) => Arc::new(builder.finish()),
            Builder::Int64(mut builder) => Arc::new(builder.finish()),
            Builder::Time(mut builder) => Arc::new(builder.finish()),
            Builder::Bool(mut builder) => Arc::new(builder.finish()),
            Builder::Text(mut builder) => Arc::new(builder.finish()),
            Builder::Binary(mut builder) => Arc::new(builder.finish()),
            Builder::List(mut builder) => Arc::new(builder.finish()),
        }
    }
}

/// Turns single rows of a batch into records.
pub(crate) struct Decoder<'a> {
    arrays: [Option<&'a ArrayRef>; WIDTH],
    /// The last text of each column: neighbours mostly repeat it, and share it then.
    last: [Option<Str>; WIDTH],
}

impl<'a> Decoder<'a> {
    /// Finds the columns and checks their types, so that reading rows cannot fail.
    pub(crate) fn new(batch: &'a RecordBatch) -> Result<Decoder<'a>, CaptureError> {
        let mut arrays = [None; WIDTH];
        for (slot, column) in arrays.iter_mut().zip(columns()) {
            *slot = batch.column_by_name(column.name);
            if let Some(array) = slot
                && !matches(column.ty, array.data_type())
            {
                return Err(CaptureError::ColumnType {
                    column: column.name,
                    found: array.data_type().to_string(),
                    expected: column.ty.as_str(),
                });
            }
        }
        Ok(Decoder { arrays, last: [const { None }; WIDTH] })
    }

    pub(crate) fn record(&mut self, row: usize) -> Record {
        let cells = std::array::from_fn(|at| match self.arrays[at] {
            Some(array) if array.is_valid(row) => match columns()[at].name {
                // the one text column that a record holds as bytes
                "body" => Cell::Bytes(Bytes::copy_from_slice(
                    array.as_string::<i32>().value(row).as_bytes(),
                )),
                _ => cell(columns()[at].ty, array, row, &mut self.last[at]),
            },
            _ => Cell::Null,
        });
        Record::from_cells(cells)
    }
}

fn cell(ty: ColumnType, array: &ArrayRef, row: usize, last: &mut Option<Str>) -> Cell {
    match ty {
        ColumnType::Int32 => Cell::Int(array.as_primitive::<Int32Type>().value(row).into()),
        ColumnType::Int64 => Cell::Int(array.as_primitive::<Int64Type>().value(row)),
        ColumnType::Timestamp => {
            Cell::Int(array.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        ColumnType::Bool => Cell::Bool(array.as_boolean().value(row)),
        ColumnType::Binary => {
            Cell::Bytes(Bytes::copy_from_slice(array.as_binary::<i32>().value(row)))
        }
        ColumnType::Text => Cell::Text(share(array.as_string::<i32>().value(row), last)),
        ColumnType::TextList => {
            let items = array.as_list::<i32>().value(row);
            let items = items.as_string::<i32>();
            Cell::List(items.iter().flatten().map(|item| share(item, last)).collect())
        }
    }
}

fn share(text: &str, last: &mut Option<Str>) -> Str {
    match last {
        Some(shared) if **shared == *text => shared.clone(),
        _ => last.insert(text.into()).clone(),
    }
}

fn matches(ty: ColumnType, found: &DataType) -> bool {
    match ty {
        ColumnType::Int32 => *found == DataType::Int32,
        ColumnType::Int64 => *found == DataType::Int64,
        ColumnType::Timestamp => matches!(found, DataType::Timestamp(TimeUnit::Microsecond, _)),
        ColumnType::Bool => *found == DataType::Boolean,
        ColumnType::Text => *found == DataType::Utf8,
        ColumnType::Binary => *found == DataType::Binary,
        ColumnType::TextList => {
            matches!(found, DataType::List(item) if *item.data_type() == DataType::Utf8)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use proptest::prelude::*;

    #[test]
    fn every_value_has_its_columns_type() {
        for row in [sample::full(1, b"{}"), sample::full(2, b"\xff\xfe")] {
            let values = row.values();
            let set = values.iter().flatten().count();
            assert_eq!(set, WIDTH - 1, "all columns but body or body_raw are set");
            for (column, value) in columns().iter().zip(values) {
                let fits = match value {
                    None => column.name.starts_with("body"),
                    Some(Value::Int32(_)) => column.ty == ColumnType::Int32,
                    Some(Value::Int64(_)) => {
                        matches!(column.ty, ColumnType::Int64 | ColumnType::Timestamp)
                    }
                    Some(Value::Bool(_)) => column.ty == ColumnType::Bool,
                    Some(Value::Text(_)) => column.ty == ColumnType::Text,
                    Some(Value::Bytes(_)) => column.ty == ColumnType::Binary,
                    Some(Value::List(_)) => column.ty == ColumnType::TextList,
                };
                assert!(fits, "{} holds {value:?}", column.name);
            }
        }
    }

    #[test]
    fn a_missing_column_reads_as_null() {
        let rows = vec![sample::full(1, b"{}")];
        let batch = to_batch(&rows).unwrap();
        let kept: Vec<usize> = (0..WIDTH).filter(|at| columns()[*at].name != "server").collect();
        let back = from_batch(&batch.project(&kept).unwrap()).unwrap();
        assert_eq!(back, vec![Record { server: None, ..rows[0].clone() }]);
    }

    #[test]
    fn a_foreign_type_is_refused() {
        use arrow_schema::{Field, Schema};
        let schema = Schema::new(vec![Field::new("server", DataType::Int32, true)]);
        let array = Arc::new(arrow_array::Int32Array::from(vec![1]));
        let batch = RecordBatch::try_new(Arc::new(schema), vec![array]).unwrap();
        assert!(matches!(
            from_batch(&batch),
            Err(CaptureError::ColumnType { column: "server", .. })
        ));
    }

    proptest! {
        #[test]
        fn batches_keep_records(rows in prop::collection::vec(sample::any_record(), 0..20)) {
            prop_assert_eq!(from_batch(&to_batch(&rows).unwrap()).unwrap(), rows);
        }
    }
}

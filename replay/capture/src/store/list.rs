//! Walking the finished files of a capture in an object store, one partition at a time, passing over those that cannot
//! hold the times asked for.

use std::collections::VecDeque;

use super::location::{Location, Place};
use super::object::Object;
use super::runtime;
use crate::CaptureError;
use crate::disk::FileName;
use crate::layout::is_finished;
use crate::query::Query;

const HOUR_US: i64 = 3_600_000_000;
/// Rows of a file may be this much younger than its hour: derived files hold up to a day.
const RUN: i64 = 25 * HOUR_US;
/// The same for the file of a recorder, which is finished within an hour.
const RECORDER_RUN: i64 = 2 * HOUR_US;
/// Rows come in the order of arrival; their own times may lie this much before the first one's.
const BACK: i64 = HOUR_US;

/// Finished files in (partition, name) order. Memory: the names of one hour.
#[derive(Debug)]
pub(crate) struct RemoteFiles {
    dates: VecDeque<Object>,
    hours: VecDeque<Object>,
    files: VecDeque<Object>,
    from_us: Option<i64>,
    to_us: Option<i64>,
}

impl RemoteFiles {
    pub(crate) fn of(object: Object, query: &Query) -> Result<RemoteFiles, CaptureError> {
        let empty = VecDeque::new;
        let (from_us, to_us) = (query.from_us, query.to_us);
        let mut all =
            RemoteFiles { dates: empty(), hours: empty(), files: empty(), from_us, to_us };
        // what is named is read, whatever its time
        let name = object.name();
        if name.ends_with(".parquet") {
            all.files.push_back(object);
        } else if name.starts_with("hour=") {
            all.hours.push_back(object);
        } else if name.starts_with("date=") {
            all.dates.push_back(object);
        } else {
            let (dates, _) = list(&object)?;
            let dates = dates.into_iter().filter(|date| date.name().starts_with("date="));
            all.dates = dates.filter(|date| all.may_hold(date, 24 * HOUR_US, RUN)).collect();
        }
        Ok(all)
    }

    fn refill(&mut self) -> Option<Result<(), CaptureError>> {
        let listed = if let Some(hour) = self.hours.pop_front() {
            let late = !self.may_hold(&hour, HOUR_US, RECORDER_RUN);
            list(&hour).map(|(_, files)| {
                let finished = files.into_iter().filter(|file| is_finished(file.name()));
                let wanted = finished.filter(|file| !late || !is_recorders(file.name()));
                self.files = wanted.collect();
            })
        } else {
            let date = self.dates.pop_front()?;
            list(&date).map(|(hours, _)| {
                let hours = hours.into_iter().filter(|hour| hour.name().starts_with("hour="));
                self.hours = hours.filter(|hour| self.may_hold(hour, HOUR_US, RUN)).collect();
            })
        };
        Some(listed)
    }

    /// Whether a partition of this length may hold rows of the times asked for. Unknown names may.
    fn may_hold(&self, partition: &Object, length: i64, run: i64) -> bool {
        let Some(start) = start_us(partition.key.as_ref()) else {
            return true;
        };
        let early = self.from_us.is_some_and(|from| start.saturating_add(length + run) <= from);
        let late = self.to_us.is_some_and(|to| start.saturating_sub(BACK) >= to);
        !early && !late
    }
}

impl Iterator for RemoteFiles {
    type Item = Result<Location, CaptureError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(file) = self.files.pop_front() {
                return Some(Ok(Location(Place::Remote(file))));
            }
            if let Err(error) = self.refill()? {
                return Some(Err(error));
            }
        }
    }
}

fn list(object: &Object) -> Result<(Vec<Object>, Vec<Object>), CaptureError> {
    let object = object.clone();
    runtime::wait(async move { object.list().await })
}

/// Whether a recorder wrote the file, by its name; others may hold rows of a longer time.
fn is_recorders(name: &str) -> bool {
    FileName::parse(name).is_some_and(|name| name.writer.starts_with('w'))
}

/// The beginning of the partition `…/date=YYYY-MM-DD[/hour=HH]`.
fn start_us(key: &str) -> Option<i64> {
    let mut parts = key.rsplit('/');
    let last = parts.next()?;
    let (date, hour) = match last.strip_prefix("hour=") {
        Some(hour) => (parts.next()?, hour.parse::<i8>().ok()?),
        None => (last, 0),
    };
    let date: jiff::civil::Date = date.strip_prefix("date=")?.parse().ok()?;
    let time = jiff::civil::Time::new(hour, 0, 0, 0).ok()?;
    let start = jiff::tz::Offset::UTC.to_timestamp(date.to_datetime(time)).ok()?;
    Some(start.as_microsecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_have_their_times() {
        assert_eq!(start_us("a/date=1970-01-01"), Some(0));
        assert_eq!(start_us("date=1970-01-02/hour=03"), Some(27 * HOUR_US));
        for bad in [
            "",
            "a",
            "hour=03",
            "date=x/hour=03",
            "date=1970-01-01/hour=24",
            "date=1970-01-01/hour=",
        ] {
            assert_eq!(start_us(bad), None, "{bad}");
        }
    }
}

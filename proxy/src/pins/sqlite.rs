//! Pins in a SQLite file. Several processes may have it open: the gateways of a machine, and the
//! command line while they run.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use inspect::pin::{Fingerprint, ItemKind};
use rusqlite::{Connection, OpenFlags, Row, TransactionBehavior, params};

use super::store::{Definitions, Kept, Pin, Sighting, Store, StoreError};

/// Marks the file as ours: `WGPN`.
const APPLICATION: i64 = 0x5747_504e;
/// The format written.
const FORMAT: i64 = 1;
/// The most pins that are read: those of twenty servers that are full.
const MOST: usize = 200_000;
/// How long another process may hold the file.
const PATIENCE: Duration = Duration::from_secs(2);

const SCHEMA: &str = "
CREATE TABLE pins (
    server TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    base TEXT NOT NULL,
    base_definition TEXT,
    changed TEXT,
    changed_definition TEXT,
    approved_at INTEGER,
    first_seen INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    PRIMARY KEY (server, kind, name)
) WITHOUT ROWID";

/// A sighting says what was seen; what it means is decided by what is there. Unqualified names
/// are those of the row that is there.
const SAVE: &str = "
INSERT INTO pins (server, kind, name, base, base_definition, first_seen, last_seen)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)
ON CONFLICT (server, kind, name) DO UPDATE SET
    last_seen = max(last_seen, excluded.last_seen),
    base_definition = CASE
        WHEN excluded.base = base THEN coalesce(excluded.base_definition, base_definition)
        ELSE base_definition END,
    changed_definition = CASE
        WHEN excluded.base = base THEN changed_definition
        WHEN excluded.base = changed THEN coalesce(excluded.base_definition, changed_definition)
        ELSE excluded.base_definition END,
    changed = CASE WHEN excluded.base = base THEN changed ELSE excluded.base END";

const APPROVE: &str = "
UPDATE pins SET
    base_definition = CASE WHEN changed IS NULL THEN base_definition ELSE changed_definition END,
    base = coalesce(changed, base),
    changed = NULL,
    changed_definition = NULL,
    approved_at = ?5
WHERE server = ?1 AND kind = ?2 AND name = ?3 AND coalesce(changed, base) = ?4";

const RESET: &str = "DELETE FROM pins WHERE server = ?1 AND kind = ?2 AND name = ?3";

/// A file of pins.
#[derive(Debug)]
pub struct Sqlite {
    file: Connection,
    limit: usize,
    most_bytes: u64,
}

/// Whether a file that is not there is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// It is made, with its folder; only its owner may read it.
    Create,
    /// It is an error.
    Refuse,
}

impl Sqlite {
    /// Opens a file.
    ///
    /// # Errors
    /// It cannot be opened, or is something else.
    pub fn open(path: &Path, missing: Missing) -> Result<Sqlite, StoreError> {
        match missing {
            Missing::Create => {
                if let Some(folder) = path.parent() {
                    std::fs::create_dir_all(folder)?;
                }
                OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
            }
            Missing::Refuse if !path.exists() => return Err(StoreError::Absent),
            Missing::Refuse => {}
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut file = Connection::open_with_flags(path, flags)?;
        file.busy_timeout(PATIENCE)?;
        settle(&mut file).map_err(|error| match error {
            StoreError::Sqlite(rusqlite::Error::SqliteFailure(inner, _))
                if inner.code == rusqlite::ErrorCode::NotADatabase =>
            {
                StoreError::Foreign
            }
            error => error,
        })?;
        Ok(Sqlite { file, limit: MOST, most_bytes: u64::MAX })
    }

    /// The same, in which no more definitions are kept once the file has so many bytes in use.
    pub fn keeping(self, most_bytes: u64) -> Sqlite {
        Sqlite { most_bytes, ..self }
    }

    /// Does the same to each of `pins`, all or nothing; returns how many rows it was done to.
    fn for_each(
        &mut self,
        sql: &str,
        pins: &[Pin],
        more: impl Fn(&Pin) -> Option<(String, i64)>,
    ) -> Result<usize, StoreError> {
        let all = self.file.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut count = 0;
        {
            let mut statement = all.prepare(sql)?;
            for pin in pins {
                let (server, kind, name) = (&*pin.server, pin.kind.as_str(), &pin.name);
                count += match more(pin) {
                    Some((latest, now)) => {
                        statement.execute(params![server, kind, name, latest, now])?
                    }
                    None => statement.execute(params![server, kind, name])?,
                };
            }
        }
        all.commit()?;
        Ok(count)
    }
}

/// Bytes of the file that are in use.
fn in_use(file: &Connection) -> Result<u64, StoreError> {
    let number = |name| file.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let pages = number("page_count")?.saturating_sub(number("freelist_count")?);
    Ok(u64::try_from(pages.saturating_mul(number("page_size")?)).unwrap_or(0))
}

/// Makes the table in a new file, and sees that an old one is ours.
fn settle(file: &mut Connection) -> Result<(), StoreError> {
    let ours = |file: &Connection| -> Result<bool, StoreError> {
        let number = |name| file.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        match (number("application_id")?, number("user_version")?) {
            (APPLICATION, FORMAT) => Ok(true),
            (APPLICATION, newer) => Err(StoreError::Newer(newer)),
            _ => Ok(false),
        }
    };
    if ours(file)? {
        return Ok(());
    }
    let tables = |file: &Connection| {
        file.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get::<_, i64>(0))
    };
    if tables(file)? > 0 {
        return Err(StoreError::Foreign);
    }
    // Readers and the writer do not wait for each other. It stays with the file.
    file.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    let all = file.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have been first.
    if !ours(&all)? {
        all.execute_batch(SCHEMA)?;
        all.pragma_update(None, "application_id", APPLICATION)?;
        all.pragma_update(None, "user_version", FORMAT)?;
    }
    Ok(all.commit()?)
}

impl Store for Sqlite {
    fn version(&mut self) -> Result<i64, StoreError> {
        // Commits of this connection do not count, those of all others do.
        Ok(self.file.pragma_query_value(None, "data_version", |row| row.get(0))?)
    }

    fn pins(&mut self, server: Option<&str>, with: Definitions) -> Result<Vec<Pin>, StoreError> {
        let definitions = match with {
            Definitions::With => "base_definition, changed_definition",
            Definitions::Without => "NULL, NULL",
        };
        let mut statement = self.file.prepare(&format!(
            "SELECT server, kind, name, base, changed, approved_at, first_seen, last_seen, {definitions}
             FROM pins WHERE ?1 IS NULL OR server = ?1 ORDER BY server, kind, name"
        ))?;
        let mut rows = statement.query([server])?;
        let mut pins = Vec::new();
        while let Some(row) = rows.next()? {
            if pins.len() == self.limit {
                return Err(StoreError::TooMany { limit: self.limit });
            }
            pins.push(pin(row)?);
        }
        Ok(pins)
    }

    fn save(&mut self, sightings: &[Sighting]) -> Result<(), StoreError> {
        let all = self.file.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut room = self.most_bytes.saturating_sub(in_use(&all)?);
        {
            let mut statement = all.prepare(SAVE)?;
            for seen in sightings {
                let fits = |text: &&str| text.len() as u64 <= room;
                let definition = seen.definition.as_deref().filter(fits);
                room -= definition.map_or(0, |text| text.len() as u64);
                statement.execute(params![
                    &*seen.server,
                    seen.kind.as_str(),
                    &*seen.name,
                    seen.fingerprint.to_string(),
                    definition,
                    seen.at,
                ])?;
            }
        }
        Ok(all.commit()?)
    }

    fn approve(&mut self, pins: &[Pin], now: i64) -> Result<usize, StoreError> {
        self.for_each(APPROVE, pins, |pin| Some((pin.latest().fingerprint.to_string(), now)))
    }

    fn reset(&mut self, pins: &[Pin]) -> Result<usize, StoreError> {
        self.for_each(RESET, pins, |_| None)
    }
}

/// Reads a row. What no version of ours wrote makes the store a foreign one.
fn pin(row: &Row<'_>) -> Result<Pin, StoreError> {
    let print = |text: String| Fingerprint::parse(&text).ok_or(StoreError::Foreign);
    let kind: String = row.get(1)?;
    let changed = row.get::<_, Option<String>>(4)?.map(print).transpose()?;
    let changed_definition = row.get(9)?;
    Ok(Pin {
        server: row.get::<_, String>(0)?.into(),
        kind: ItemKind::from_word(&kind).ok_or(StoreError::Foreign)?,
        name: row.get(2)?,
        base: Kept { fingerprint: print(row.get(3)?)?, definition: row.get(8)? },
        changed: changed.map(|fingerprint| Kept { fingerprint, definition: changed_definition }),
        approved_at: row.get(5)?,
        first_seen: row.get(6)?,
        last_seen: row.get(7)?,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::pins::State;

    fn seen(name: &str, text: &str, at: i64) -> Sighting {
        Sighting {
            server: "s".into(),
            kind: ItemKind::Tool,
            name: name.into(),
            fingerprint: Fingerprint::of(text),
            definition: Some(text.into()),
            at,
        }
    }

    fn only(store: &mut Sqlite) -> Pin {
        let mut pins = store.pins(Some("s"), Definitions::With).unwrap();
        assert_eq!(pins.len(), 1);
        pins.remove(0)
    }

    fn texts(pin: &Pin) -> (Option<&str>, Option<&str>) {
        let changed = pin.changed.as_ref().and_then(|kept| kept.definition.as_deref());
        (pin.base.definition.as_deref(), changed)
    }

    #[test]
    fn a_pin_is_new_then_approved_then_changed_then_approved_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/pins.sqlite");
        assert!(matches!(Sqlite::open(&path, Missing::Refuse), Err(StoreError::Absent)));
        let mut store = Sqlite::open(&path, Missing::Create).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);

        store.save(&[seen("a", "one", 10)]).unwrap();
        let pin = only(&mut store);
        assert_eq!((pin.state(), pin.first_seen, pin.last_seen), (State::Pending, 10, 10));
        assert_eq!(store.approve(&[pin], 20).unwrap(), 1);
        // Seen again, without its definition: the one that is there stays.
        store.save(&[Sighting { definition: None, ..seen("a", "one", 30) }]).unwrap();
        let pin = only(&mut store);
        assert_eq!((pin.state(), pin.last_seen), (State::Approved, 30));
        assert_eq!(texts(&pin), (Some("one"), None));

        store.save(&[seen("a", "two", 40), seen("a", "one", 50)]).unwrap();
        let pin = only(&mut store);
        assert_eq!((pin.state(), texts(&pin)), (State::Changed, (Some("one"), Some("two"))));
        // Seen otherwise since it was read: what was read is not what would be approved.
        store.save(&[seen("a", "three", 60)]).unwrap();
        assert_eq!(store.approve(&[pin], 70).unwrap(), 0);
        let pin = only(&mut store);
        assert_eq!(store.approve(&[pin], 70).unwrap(), 1);
        let pin = only(&mut store);
        assert_eq!((pin.state(), texts(&pin)), (State::Approved, (Some("three"), None)));
        assert_eq!((pin.first_seen, pin.approved_at), (10, Some(70)));

        assert_eq!(store.reset(&[pin]).unwrap(), 1);
        assert_eq!(store.pins(None, Definitions::Without).unwrap(), []);
    }

    #[test]
    fn one_process_sees_what_another_did() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pins.sqlite");
        let mut one = Sqlite::open(&path, Missing::Create).unwrap();
        let mut other = Sqlite::open(&path, Missing::Create).unwrap();
        let before = one.version().unwrap();
        one.save(&[seen("a", "one", 1)]).unwrap();
        assert_eq!(one.version().unwrap(), before, "its own doing is no news");
        let pin = only(&mut other);
        assert_eq!(other.approve(&[pin], 2).unwrap(), 1);
        assert_ne!(one.version().unwrap(), before);
        assert_eq!(only(&mut one).state(), State::Approved);
    }

    #[test]
    fn what_is_no_store_is_told_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        std::fs::write(file("text"), "not a database, and long enough to be read as one".repeat(9))
            .unwrap();
        assert!(matches!(Sqlite::open(&file("text"), Missing::Create), Err(StoreError::Foreign)));
        let other = Connection::open(file("other")).unwrap();
        other.execute_batch("CREATE TABLE pins (a)").unwrap();
        assert!(matches!(Sqlite::open(&file("other"), Missing::Create), Err(StoreError::Foreign)));
        let newer = Sqlite::open(&file("newer"), Missing::Create).unwrap();
        newer.file.pragma_update(None, "user_version", 2).unwrap();
        assert!(matches!(Sqlite::open(&file("newer"), Missing::Create), Err(StoreError::Newer(2))));
        let mut odd = Sqlite::open(&file("odd"), Missing::Create).unwrap();
        odd.save(&[seen("a", "one", 1)]).unwrap();
        odd.file.execute_batch("UPDATE pins SET kind = 'spoon'").unwrap();
        assert!(matches!(odd.pins(None, Definitions::With), Err(StoreError::Foreign)));
    }

    #[test]
    fn a_full_file_gets_fingerprints_only() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Sqlite::open(&folder.path().join("p"), Missing::Create).unwrap();
        let room = in_use(&store.file).unwrap() + 100_000;
        store = store.keeping(room);
        let long = "x".repeat(60_000);
        store.save(&[seen("a", &long, 1), seen("b", &long, 1)]).unwrap();
        store.save(&[seen("c", &long, 1), seen("d", "short", 1)]).unwrap();
        let pins = store.pins(None, Definitions::With).unwrap();
        let kept: Vec<bool> = pins.iter().map(|pin| pin.base.definition.is_some()).collect();
        assert_eq!(kept, [true, false, false, true]);
        // Room that comes free again is used.
        store.reset(&pins[..1]).unwrap();
        store.save(&[seen("c", &long, 2)]).unwrap();
        assert!(store.pins(None, Definitions::With).unwrap()[1].base.definition.is_some());
    }

    #[test]
    fn what_is_read_has_a_limit() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Sqlite::open(&folder.path().join("p"), Missing::Create).unwrap();
        store.limit = 2;
        let all = ["a", "b", "c"].map(|name| seen(name, "one", 1));
        store.save(&all[..2]).unwrap();
        assert_eq!(store.pins(None, Definitions::With).unwrap().len(), 2);
        store.save(&all).unwrap();
        assert!(matches!(
            store.pins(None, Definitions::With),
            Err(StoreError::TooMany { limit: 2 })
        ));
    }
}

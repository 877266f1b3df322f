//! The recorder's one thread: groups of rows into the journal, then into the Parquet file, then a finished file.
//!
//! Disk errors never stop it. A group that the journal refuses is lost and counted; a file that cannot be finished
//! stays in the journal and is tried again, since the journal holds all its rows.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::CaptureError;
use crate::config::{Journal, RecorderConfig};
use crate::disk::Home;
use crate::escrow::Sealer;
use crate::journal::Segment;
use crate::manifest::{Checkpoint, FileEntry, Lost, Manifest, What};
use crate::queue::{Health, Queue, Wake};
use crate::record::{Record, SCHEMA_VERSION, Str};
use crate::recover::{self, Recovered};
use crate::retain::Retention;
use crate::seal::{hex, sha256};
use crate::space::{OnDiskFull, Space};
use crate::store::Spool;
use crate::writer::FileWriter;

/// How long a file that could not be finished waits for its next try.
const RETRY: Duration = Duration::from_secs(1);

/// What the thread owns.
pub(crate) struct Worker {
    queue: Arc<Queue>,
    config: RecorderConfig,
    home: Home,
    writer_id: Str,
    next_seq: i64,
    open: Option<Open>,
    /// Rows lost to the disk that no gap row has told yet.
    lost: u64,
    /// Gap rows waiting for company: files removed to make room.
    notes: Vec<Record>,
    /// Of the last row taken; gap rows have no time of their own.
    last_ts_us: i64,
    /// The last file is being finished: nothing may follow it.
    closing: bool,
    retention: Retention,
    /// Where finished files are to be uploaded.
    spool: Option<Arc<Spool>>,
    space: Space,
    manifest: Manifest,
    sealer: Option<Sealer>,
    /// Messages left out that a finished file tells of.
    left_out: u64,
    /// When it last stated something.
    stated: Instant,
    /// Segments whose file failed are tried again then.
    retry_at: Option<Instant>,
    /// Bytes in such segments.
    stuck: u64,
}

/// The segment and the file in progress; they hold the same rows.
struct Open {
    segment: Option<Segment>,
    /// `None` once it failed.
    file: Option<FileWriter>,
    since: Instant,
    /// Rows of callers in it, and rows of our own.
    rows: u64,
    gaps: u64,
    bytes: u64,
    /// Rows whose tickets wait for the file, having no journal.
    unsettled: u64,
}

impl Worker {
    pub(crate) fn new(
        queue: Arc<Queue>,
        config: RecorderConfig,
        home: Home,
        spool: Option<Arc<Spool>>,
    ) -> Result<Worker, CaptureError> {
        let mut retention =
            Retention::new(&config.dir, config.max_dir_bytes, config.max_age, spool.clone());
        let space = Space::new(&config.dir, config.min_free_bytes, config.free_bytes);
        let mut manifest = Manifest::open(&config.dir, &home.writer, config.signer.clone())?;
        let removed = retention.enforce(None, &mut manifest);
        let recipients = config.recipients.clone();
        let sealer = recipients.map(|recipients| Sealer::new(recipients, &home.writer));
        let mut worker = Worker {
            queue,
            writer_id: home.writer.as_str().into(),
            home,
            next_seq: 1,
            open: None,
            lost: 0,
            notes: Vec::new(),
            last_ts_us: jiff::Timestamp::now().as_microsecond(),
            closing: false,
            retention,
            spool,
            space,
            manifest,
            sealer,
            left_out: 0,
            stated: Instant::now(),
            retry_at: None,
            stuck: 0,
            config,
        };
        worker.removed(removed);
        Ok(worker)
    }

    /// Runs until the queue closes; returns why the last file is unfinished, if it is.
    pub(crate) fn run(mut self) -> Option<String> {
        let linger = self.config.journal != Journal::Every;
        let mut group = Vec::new();
        loop {
            match self.queue.take(&mut group, self.deadline(), linger) {
                Wake::Rows(bytes) => self.commit(&mut group, bytes),
                Wake::Deadline => {}
                Wake::Closing => return self.finish(),
            }
            if self.open.as_ref().is_some_and(|open| self.due(open)) {
                self.rotate();
            }
            if self.retry_at.is_some_and(|at| at <= Instant::now()) {
                self.retry();
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let rotation = self.open.as_ref().map(|open| open.since + self.config.rotate_every);
        rotation.into_iter().chain(self.retry_at).min()
    }

    fn due(&self, open: &Open) -> bool {
        open.bytes >= self.config.rotate_bytes || open.since.elapsed() >= self.config.rotate_every
    }

    /// What is done about a disk that runs full: `Err` where the group can't be taken.
    fn make_room(&mut self, group: &mut [Record]) -> Result<(), CaptureError> {
        if !self.space.is_short() {
            return Ok(());
        }
        let full = || CaptureError::DiskFull { path: self.config.dir.clone() };
        match self.config.on_disk_full {
            OnDiskFull::Refuse => Err(full()),
            OnDiskFull::MetadataOnly => {
                group.iter_mut().for_each(withhold);
                self.health(Health::Degraded("the disk is full: bodies are left out".into()));
                Ok(())
            }
            OnDiskFull::DeleteOldest => {
                let removed = self.retention.free(&mut self.space, &mut self.manifest);
                self.removed(removed);
                if self.space.look() {
                    return Err(CaptureError::DiskFull { path: self.config.dir.clone() });
                }
                Ok(())
            }
        }
    }

    fn health(&self, health: Health) {
        let changed = self.queue.lock().stats.health != health;
        if changed {
            match &health {
                Health::Ok => tracing::info!("rows reach the capture again"),
                Health::Degraded(why) => tracing::warn!(why, "capture is degraded"),
                Health::Failing(why) => tracing::error!(why, "rows are lost to the capture"),
            }
            self.queue.update(|state| state.stats.health = health);
        }
    }

    /// One group: numbered, journalled, acknowledged, and on into the file.
    fn commit(&mut self, group: &mut Vec<Record>, bytes: u64) {
        let offered = group.len() as u64;
        let room = self.make_room(group);
        let untold = self.lost + group.iter().map(|row| row.dropped_before as u64).sum::<u64>();
        let notes = self.notes.clone();
        let rows = self.prepare(group);
        let gaps = rows.len() as u64 - offered;
        if let Err(error) = room.and_then(|()| self.store(&rows)) {
            let reason = error.to_string();
            self.complain(&error);
            self.health(Health::Failing(reason.clone()));
            // first the file in progress, so that tickets settle in order
            self.rotate();
            self.lost += untold + offered;
            self.notes.splice(0..0, notes);
            self.queue.settle(offered, bytes, false, |state| {
                state.durability.lose(offered, &reason);
            });
            return;
        }
        self.recovered_health();
        self.next_seq += rows.len() as i64;
        let durable = self.next_seq - 1;
        let journalled = self.config.journal != Journal::Off;
        let size = self.open.as_ref().and_then(|open| open.segment.as_ref().map(Segment::len));
        self.queue.settle(offered, bytes, true, |state| {
            state.stats.gaps += gaps;
            state.stats.journal_bytes = size.unwrap_or(0);
            if journalled {
                state.stats.durable_seq = durable;
                state.durability.keep(offered);
            }
        });
        self.fill(rows, offered, gaps, size.unwrap_or(bytes));
    }

    /// Rows were written: what is left to say is that bodies are missing, or that files wait.
    fn recovered_health(&mut self) {
        let withheld =
            self.config.on_disk_full == OnDiskFull::MetadataOnly && self.space.is_short();
        if withheld {
            return;
        }
        self.health(match self.retry_at {
            None => Health::Ok,
            Some(_) => Health::Degraded("finished files wait in the journal".into()),
        });
    }

    /// Fills in what only the writer knows, and puts gap rows where rows are missing.
    fn prepare(&mut self, group: &mut Vec<Record>) -> Vec<Record> {
        let mut rows = std::mem::take(&mut self.notes);
        for mut row in group.drain(..) {
            self.last_ts_us = row.ts_us;
            let refused = std::mem::take(&mut row.dropped_before);
            let lost = std::mem::take(&mut self.lost);
            self.gap("disk", lost, &mut rows);
            self.gap("overflow", refused.unsigned_abs(), &mut rows);
            rows.push(row);
        }
        for (row, seq) in rows.iter_mut().zip(self.next_seq..) {
            row.schema_version = SCHEMA_VERSION;
            row.writer_id = Some(self.writer_id.clone());
            row.seq = seq;
            let original = row.original.take();
            if let (Some(sealer), Some(original)) = (&mut self.sealer, original) {
                row.body_sealed = sealer.seal(seq, &original);
            }
            if let Some(body) = &row.body {
                row.body_len.get_or_insert(body.len() as i64);
                row.body_sha256.get_or_insert_with(|| hex(&sha256(body)).into());
            }
        }
        rows
    }

    fn gap(&self, reason: &str, lost: u64, rows: &mut Vec<Record>) {
        if lost > 0 {
            rows.push(Record {
                ts_us: self.last_ts_us,
                kind: Some("gap".into()),
                deny_reason: Some(reason.into()),
                dropped_before: i64::try_from(lost).unwrap_or(i64::MAX),
                ..Record::default()
            });
        }
    }

    /// Journals the rows, in a new segment if none is open.
    fn store(&mut self, rows: &[Record]) -> Result<(), CaptureError> {
        let Some(first) = rows.first() else {
            return Ok(());
        };
        if self.open.as_ref().is_some_and(Open::vanished) {
            self.complain(&CaptureError::io("write", &self.home.path)(
                std::io::ErrorKind::NotFound.into(),
            ));
            self.rotate();
        }
        let open = match &mut self.open {
            Some(open) => open,
            None => {
                let open = self.begin(first)?;
                self.open.insert(open)
            }
        };
        match &mut open.segment {
            None => Ok(()),
            Some(segment) => segment
                .append(rows)
                .map_err(|error| CaptureError::io("write", segment.path())(error)),
        }
    }

    fn begin(&mut self, first: &Record) -> Result<Open, CaptureError> {
        let limit = self.config.max_dir_bytes;
        if limit > 0 && self.stuck >= limit {
            return Err(CaptureError::JournalFull { limit });
        }
        if let Some(limit) = self.spool.as_ref().and_then(|spool| spool.refuses()) {
            return Err(CaptureError::SpoolFull { limit });
        }
        self.home.restore().map_err(CaptureError::io("restore", &self.home.path))?;
        let segment = if self.config.journal == Journal::Off {
            None
        } else {
            let created = Segment::create(&self.home.path, first.seq);
            Some(created.map_err(CaptureError::io("create a segment in", &self.home.path))?)
        };
        match FileWriter::create(&self.home.path, &self.writer_id, first, &self.config) {
            Ok(file) => Ok(Open {
                segment,
                file: Some(file),
                since: Instant::now(),
                rows: 0,
                gaps: 0,
                bytes: 0,
                unsettled: 0,
            }),
            Err(error) => {
                segment.into_iter().for_each(Segment::remove);
                Err(error)
            }
        }
    }

    /// The same rows into the Parquet file. If it fails, the journal still has them.
    fn fill(&mut self, rows: Vec<Record>, offered: u64, gaps: u64, bytes: u64) {
        // `store` has just put it there
        let Some(open) = &mut self.open else { return };
        open.rows += offered;
        open.gaps += gaps;
        match open.segment {
            Some(_) => open.bytes = bytes,
            None => {
                open.bytes += bytes;
                open.unsettled += offered;
            }
        }
        let Some(mut file) = open.file.take() else {
            return;
        };
        match rows.into_iter().try_for_each(|row| file.push(row)) {
            Ok(()) => {
                let checkpoint = self.checkpoint(&file);
                // `open` is still there: nothing above takes it
                if let Some(open) = &mut self.open {
                    open.file = Some(file);
                }
                checkpoint.into_iter().for_each(|what| self.state(what));
            }
            Err(error) => self.complain(&error),
        }
    }

    /// What there is to state between files, when it is time: only of rows that are in the journal.
    fn checkpoint(&self, file: &FileWriter) -> Option<What> {
        let due = self.stated.elapsed() >= self.config.checkpoint_every;
        let journalled = self.config.journal != Journal::Off;
        (due && journalled).then(|| {
            let stats = self.queue.lock().stats.clone();
            What::Checkpoint(Checkpoint {
                first_seq: file.first_seq(),
                last_seq: self.next_seq - 1,
                rows_head: file.rows_head(),
                enqueued: stats.enqueued,
                written: stats.written,
                dropped: stats.dropped,
            })
        })
    }

    /// An entry that is not about a file; it may come later where the disk refuses it now.
    fn state(&mut self, what: What) {
        self.stated = Instant::now();
        if let Err(error) = self.manifest.append_or_keep(what) {
            self.complain(&error);
        }
    }

    /// Finishes the file in progress: it appears, and its segment goes.
    fn rotate(&mut self) {
        self.sealer.iter_mut().for_each(Sealer::renew);
        let Some(Open { segment, file, rows, gaps, unsettled, .. }) = self.open.take() else {
            return;
        };
        // a file is finished when the manifest says so: until then its segment is kept
        let finished = match file {
            Some(_) if rows + gaps == 0 => Ok(None),
            Some(mut file) => {
                let all = self.queue.lock().stats.left_out;
                let new = all - std::mem::replace(&mut self.left_out, all);
                file.note("wiregate.left_out", new.to_string());
                file.finish(&self.config.dir, &self.manifest).map(Some)
            }
            None => Err(CaptureError::Encode { detail: "the file failed before".to_owned() }),
        };
        let finished = finished.and_then(|file| self.stated(file, segment.is_some()));
        match finished {
            Ok(file) => {
                segment.into_iter().for_each(Segment::remove);
                self.appeared(file, unsettled);
            }
            Err(error) => {
                self.complain(&error);
                if let Some(segment) = segment.filter(|segment| segment.path().exists()) {
                    self.stuck += segment.len();
                    self.retry_at = Some(Instant::now() + RETRY);
                } else {
                    let last_seq = self.next_seq - 1;
                    let first_seq = self.next_seq - (rows + gaps) as i64;
                    self.lose(rows, unsettled, &error);
                    if first_seq <= last_seq {
                        self.state(What::Lost(Lost { first_seq, last_seq }));
                    }
                }
            }
        }
        self.queue.update(|state| state.stats.journal_bytes = 0);
    }

    fn stated(
        &mut self,
        file: Option<FileEntry>,
        journalled: bool,
    ) -> Result<Option<PathBuf>, CaptureError> {
        let Some(file) = file else { return Ok(None) };
        self.stated = Instant::now();
        let path = self.config.dir.join(&file.path);
        if journalled {
            self.manifest.append(What::File(file))?;
        } else {
            self.state(What::File(file));
        }
        if let Some(head) = self.manifest.head() {
            tracing::info!(writer = head.writer, n = head.n, head = head.head, "capture file");
        }
        Ok(Some(path))
    }

    fn appeared(&mut self, file: Option<PathBuf>, unsettled: u64) {
        let Some(file) = file else { return };
        self.space.forget();
        let durable = self.next_seq - 1;
        self.queue.update(|state| {
            state.stats.files += 1;
            state.stats.durable_seq = durable;
            state.durability.keep(unsettled);
        });
        if let Some(spool) = &self.spool {
            spool.added(&file);
            spool.added(&spool.manifest());
        }
        // a note about a removal needs a file to stand in; while closing, the next recorder sees to it
        if !self.closing {
            let removed = self.retention.added(&file, &mut self.manifest);
            self.removed(removed);
        }
    }

    /// Rows counted as written are gone after all: the folder vanished, or there was no journal.
    fn lose(&mut self, rows: u64, unsettled: u64, error: &CaptureError) {
        self.lost += rows;
        self.queue.update(|state| {
            state.stats.written -= rows;
            state.stats.dropped += rows;
            state.durability.lose(unsettled, &error.to_string());
        });
    }

    fn removed(&mut self, removed: Result<Vec<Record>, CaptureError>) {
        match removed {
            Ok(notes) => {
                self.queue.update(|state| state.stats.removed_files += notes.len() as u64);
                self.notes.extend(notes);
            }
            Err(error) => self.complain(&error),
        }
    }

    /// Tries again to finish files that failed, from their segments.
    fn retry(&mut self) {
        let mut done = Recovered::default();
        let live = self.open.as_ref().and_then(|open| open.segment.as_ref());
        recover::writer(
            &self.home,
            &self.config,
            live.map(Segment::path),
            &mut self.manifest,
            &mut done,
        );
        if done.errors.is_empty() {
            (self.retry_at, self.stuck) = (None, 0);
        } else {
            self.retry_at = Some(Instant::now() + RETRY);
        }
        done.errors.iter().for_each(|error| self.complain(error));
        self.look();
        self.queue.update(|state| {
            state.stats.files += done.files;
            state.stats.recovered += done.rows;
        });
    }

    /// The last gap row, the last file, and the writer's folder.
    fn finish(mut self) -> Option<String> {
        self.closing = true;
        let (lost, mut last) = (std::mem::take(&mut self.lost), std::mem::take(&mut self.notes));
        self.gap("disk", lost, &mut last);
        let refused = self.queue.unreported();
        self.gap("overflow", refused, &mut last);
        self.notes = last;
        self.commit(&mut Vec::new(), 0);
        self.rotate();
        if self.retry_at.is_some() {
            self.retry();
        }
        if self.retry_at.is_none() {
            match self.manifest.end(false) {
                Ok(()) => {
                    self.look();
                    self.home.remove();
                    return None;
                }
                // the next start finds the folder, and ends the manifest
                Err(error) => self.complain(&error),
            }
        }
        let last = self.queue.lock().stats.last_error.clone();
        Some(last.unwrap_or_default())
    }

    /// Lets the uploads find what was not told to them: recovered files, the end of the manifest.
    fn look(&self) {
        if let Some(Err(error)) = self.spool.as_ref().map(|spool| spool.look()) {
            self.complain(&error);
        }
    }

    fn complain(&self, error: &CaptureError) {
        tracing::warn!(%error, "capture");
        self.queue.update(|state| {
            state.stats.errors += 1;
            state.stats.last_error = Some(error.to_string());
        });
    }
}

impl Open {
    fn vanished(&self) -> bool {
        self.segment.as_ref().is_some_and(Segment::vanished)
    }
}

/// Leaves the body out of a row, where there is no room for it.
fn withhold(row: &mut Record) {
    row.original = None;
    if let Some(body) = row.body.take() {
        row.body_len.get_or_insert(body.len() as i64);
        row.redaction_state = Some("withheld".into());
        row.redactions = None;
        row.scan_context = None;
    }
}

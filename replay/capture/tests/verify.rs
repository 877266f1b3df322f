//! Captures that somebody changed: each change is found, and by its name.

#![expect(clippy::unwrap_used, reason = "a test that fails here should stop here")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use capture::{
    BreakKind, Journal, Reader, Record, Recorder, RecorderConfig, Signer, VerifyOptions,
    VerifyReport, verify,
};
use proptest::prelude::*;

const SOON: Duration = Duration::from_secs(60);

fn row(number: i64) -> Record {
    Record {
        ts_us: 1_763_855_000_000_000 + number,
        kind: Some("request".into()),
        server: Some("files".into()),
        body: Some(Bytes::from(format!("{{\"id\":{number}}}"))),
        ..Record::default()
    }
}

fn signer(dir: &Path) -> Arc<Signer> {
    Arc::new(Signer::load_or_create(&dir.join("key")).unwrap())
}

/// A capture of three files of ten rows, and the folder it is in.
fn capture(signer: Option<Arc<Signer>>) -> (tempfile::TempDir, PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("capture");
    record(&dir, signer);
    (home, dir)
}

fn record(dir: &Path, signer: Option<Arc<Signer>>) {
    let config = RecorderConfig {
        signer,
        rotate_bytes: 1,
        commit_rows: 10,
        commit_every: SOON,
        checkpoint_every: Duration::ZERO,
        ..RecorderConfig::new(dir)
    };
    let recorder = Recorder::open(config).unwrap();
    for number in 0..30 {
        let _ = recorder.try_record(row(number)).unwrap();
    }
    let stats = recorder.close(SOON).unwrap();
    assert_eq!((stats.written, stats.files), (30, 3));
}

fn check(dir: &Path, options: &VerifyOptions) -> VerifyReport {
    verify(dir, options, &mut |_, _| {}).unwrap()
}

fn first(dir: &Path) -> (BreakKind, String) {
    let report = check(dir, &VerifyOptions::default());
    let first = report.breaks.first().unwrap_or_else(|| panic!("nothing found: {report:?}"));
    (first.kind, first.path.clone())
}

fn files(dir: &Path) -> Vec<PathBuf> {
    Reader::files(dir).unwrap().map(|file| file.unwrap().path().unwrap().to_owned()).collect()
}

fn name(dir: &Path, file: &Path) -> String {
    file.strip_prefix(dir).unwrap().to_str().unwrap().to_owned()
}

fn manifest(dir: &Path) -> PathBuf {
    fs::read_dir(dir.join("manifest")).unwrap().next().unwrap().unwrap().path()
}

#[test]
fn an_untouched_capture_holds() {
    for signed in [true, false] {
        let keys = tempfile::tempdir().unwrap();
        let signer = signed.then(|| signer(keys.path()));
        let (_home, dir) = capture(signer.clone());
        record(&dir, signer.clone());
        let report = check(&dir, &VerifyOptions::default());
        assert!(report.holds(), "{report:?}");
        assert_eq!((report.writers, report.files, report.rows), (2, 6, 60));
        assert_eq!(
            report.signed_by.contains_key(&signer.map_or(String::new(), |s| s.id())),
            signed
        );
        let heads = report.heads.iter().map(|head| head.head.clone()).collect();
        let options = VerifyOptions { heads, quick: true, ..VerifyOptions::default() };
        assert!(check(&dir, &options).holds());
    }
}

#[test]
fn a_removed_file_is_named() {
    let (_home, dir) = capture(None);
    let file = files(&dir).remove(1);
    fs::remove_file(&file).unwrap();
    assert_eq!(first(&dir), (BreakKind::RemovedFile, name(&dir, &file)));
}

#[test]
fn a_file_without_its_tail_is_named() {
    let (_home, dir) = capture(None);
    let file = files(&dir).remove(1);
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 10]).unwrap();
    assert_eq!(first(&dir), (BreakKind::CutFile, name(&dir, &file)));
}

#[test]
fn a_file_nobody_stated_is_named() {
    let (_home, dir) = capture(None);
    let file = files(&dir).remove(1);
    let copy = file.with_file_name("w0-000000000001-000000000010.parquet");
    fs::copy(&file, &copy).unwrap();
    assert_eq!(first(&dir), (BreakKind::SurplusFile, name(&dir, &copy)));
}

/// A file written anew with these rows, in the place of another.
fn rewrite(file: &Path, rows: &[Record]) {
    let other = tempfile::tempdir().unwrap();
    let config = RecorderConfig { journal: Journal::Off, ..RecorderConfig::new(other.path()) };
    let recorder = Recorder::open(config).unwrap();
    for row in rows {
        let _ = recorder.try_record(row.clone()).unwrap();
    }
    recorder.close(SOON).unwrap();
    fs::copy(files(other.path()).remove(0), file).unwrap();
}

#[test]
fn a_removed_row_is_named() {
    let (_home, dir) = capture(None);
    let file = files(&dir).remove(1);
    let mut rows: Vec<Record> = Reader::open(&file).unwrap().map(Result::unwrap).collect();
    rows.remove(4);
    rewrite(&file, &rows);
    assert_eq!(first(&dir), (BreakKind::RemovedRow, name(&dir, &file)));
}

#[test]
fn a_changed_body_is_named() {
    let (_home, dir) = capture(None);
    let file = files(&dir).remove(0);
    let mut rows: Vec<Record> = Reader::open(&file).unwrap().map(Result::unwrap).collect();
    // the digest that the row had stays with it
    rows[4].body = Some("{\"id\":666}".into());
    rewrite(&file, &rows);
    let report = check(&dir, &VerifyOptions::default());
    assert_eq!(report.breaks[0].kind, BreakKind::ChangedBody);
    assert_eq!(report.breaks[0].at, Some(5));
}

#[test]
fn a_manifest_without_its_tail_is_named() {
    let (_home, dir) = capture(None);
    let path = manifest(&dir);
    let text = fs::read_to_string(&path).unwrap();
    let all = check(&dir, &VerifyOptions::default());
    for keep in 1..text.lines().count() {
        let cut: String = text.lines().take(keep).map(|line| format!("{line}\n")).collect();
        fs::write(&path, cut).unwrap();
        assert_eq!(first(&dir), (BreakKind::CutTail, name(&dir, &path)), "{keep} lines are left");
    }
    // with the files that the tail stated, and with an end of its own, only a head kept elsewhere tells
    let options = VerifyOptions { heads: vec![all.heads[0].head.clone()], ..Default::default() };
    let found: Vec<_> = check(&dir, &options).breaks.iter().map(|found| found.kind).collect();
    assert!(found.contains(&BreakKind::MissingHead));
}

#[test]
fn a_manifest_that_is_gone_is_missed_by_the_next() {
    let (_home, dir) = capture(None);
    let path = manifest(&dir);
    record(&dir, None);
    files(&dir)
        .iter()
        .filter(|file| {
            let writer = path.file_stem().unwrap().to_str().unwrap();
            file.file_name().unwrap().to_str().unwrap().starts_with(writer)
        })
        .for_each(|file| fs::remove_file(file).unwrap());
    fs::remove_file(&path).unwrap();
    assert_eq!(first(&dir), (BreakKind::MissingManifest, name(&dir, &path)));
}

#[test]
fn another_key_is_named() {
    let keys = tempfile::tempdir().unwrap();
    let (ours, theirs) = (signer(keys.path()), signer(&keys.path().join("other")));
    let (_home, dir) = capture(Some(ours.clone()));
    // one file signed anew: its line comes from a capture that somebody else made of the same rows
    let (_other_home, other) = capture(Some(theirs.clone()));
    let (path, other_path) = (manifest(&dir), manifest(&other));
    let (text, foreign) =
        (fs::read_to_string(&path).unwrap(), fs::read_to_string(&other_path).unwrap());
    let mut lines: Vec<&str> = text.lines().collect();
    lines[2] = foreign.lines().nth(2).unwrap();
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    let kinds: Vec<_> =
        check(&dir, &VerifyOptions::default()).breaks.iter().map(|found| found.kind).collect();
    assert!(kinds.contains(&BreakKind::ForeignKey), "{kinds:?}");
    // all of it signed anew: only who knows the key can tell
    assert!(check(&other, &VerifyOptions::default()).holds());
    let pinned = VerifyOptions { keys: vec![ours.id()], ..VerifyOptions::default() };
    let found = check(&other, &pinned);
    assert_eq!(found.breaks[0].kind, BreakKind::ForeignKey);
    let (_third, unsigned) = capture(None);
    assert_eq!(check(&unsigned, &pinned).breaks[0].kind, BreakKind::Unsigned);
}

/// A manifest that nobody signed, put beside the signed ones: `what` besides a beginning and an end.
fn forge(dir: &Path, writer: &str, what: &str) {
    let mut text = String::new();
    let mut prev = "0".repeat(64);
    let begin = format!(r#""what":"begin","writer":"{writer}","version":"0","schema_version":1"#);
    for (n, what) in
        [&begin, what, r#""what":"end","last_seq":0,"recovered":false"#].into_iter().enumerate()
    {
        let line = format!(r#"{{"entry":{{"n":{n},"at":0,"prev":"{prev}",{what}}}}}"#);
        prev = sha256(&line);
        text += &format!("{line}\n");
    }
    fs::write(dir.join(format!("manifest/{writer}.jsonl")), text).unwrap();
}

fn sha256(text: &str) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn what_nobody_signed_excuses_nothing_that_was_signed() {
    for writer in ["w00000000", "wffffffff"] {
        let keys = tempfile::tempdir().unwrap();
        let (_home, dir) = capture(Some(signer(keys.path())));
        let file = files(&dir).remove(1);
        let path = name(&dir, &file);
        forge(&dir, writer, &format!(r#""what":"removed","path":"{path}","bytes":1,"reason":"x""#));
        let report = check(&dir, &VerifyOptions::default());
        assert!(report.holds() && report.notes.len() == 1, "{report:?}");
        fs::remove_file(&file).unwrap();
        assert_eq!(first(&dir), (BreakKind::RemovedFile, path));
    }
}

#[test]
fn a_file_outside_the_capture_is_not_looked_at() {
    let (home, dir) = capture(None);
    fs::write(home.path().join("x.parquet"), "").unwrap();
    let zeros = "0".repeat(64);
    let file = format!(
        r#""what":"file","path":"../x.parquet","first_seq":1,"last_seq":0,"rows":0,"gaps":0,"dropped":0,"bytes":0,"sha256":"{zeros}","rows_head":"{zeros}","bodies_root":"{zeros}""#
    );
    forge(&dir, "w0", &file);
    assert_eq!(first(&dir), (BreakKind::ChangedManifest, "manifest/w0.jsonl".to_owned()));
}

#[test]
fn a_later_writer_with_another_key_is_named() {
    let keys = tempfile::tempdir().unwrap();
    let (ours, theirs) = (signer(keys.path()), signer(&keys.path().join("other")));
    let (_home, dir) = capture(Some(ours.clone()));
    record(&dir, Some(theirs.clone()));
    let kinds = check(&dir, &VerifyOptions::default()).breaks;
    assert!(!kinds.is_empty() && kinds.iter().all(|found| found.kind == BreakKind::ForeignKey));
    let keys = vec![ours.id(), theirs.id()];
    assert!(check(&dir, &VerifyOptions { keys, ..VerifyOptions::default() }).holds());
}

#[test]
fn a_removed_entry_is_named() {
    let (_home, dir) = capture(None);
    let path = manifest(&dir);
    let text = fs::read_to_string(&path).unwrap();
    let kept: Vec<&str> =
        text.lines().enumerate().filter(|(at, _)| *at != 2).map(|(_, line)| line).collect();
    fs::write(&path, kept.join("\n") + "\n").unwrap();
    assert_eq!(first(&dir), (BreakKind::RemovedEntry, name(&dir, &path)));
}

#[test]
fn a_changed_rule_set_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::open(RecorderConfig::new(dir.path())).unwrap();
    let digest = sha256("rules: []");
    recorder.store_ruleset(&format!("sha256:{digest}"), "rules: []").unwrap();
    recorder.close(SOON).unwrap();
    assert!(check(dir.path(), &VerifyOptions::default()).holds());
    let file = format!("rulesets/sha256-{digest}.yaml");
    fs::write(dir.path().join(&file), "rules: {}").unwrap();
    assert_eq!(first(dir.path()), (BreakKind::ChangedSidecar, file));
}

#[test]
fn files_from_before_there_were_manifests_are_told_apart() {
    let (_home, dir) = capture(None);
    fs::remove_dir_all(dir.join("manifest")).unwrap();
    let report = check(&dir, &VerifyOptions::default());
    assert!(report.holds(), "{report:?}");
    assert_eq!((report.unstated, report.rows, report.notes.len()), (3, 30, 1));
    // the first manifest names them: those stay known, and no other can join them
    record(&dir, None);
    let report = check(&dir, &VerifyOptions::default());
    assert!(report.holds(), "{report:?}");
    assert_eq!((report.unstated, report.files, report.rows), (3, 6, 60));
    let old = files(&dir).remove(0);
    let other = old.with_file_name("w0-000000000001-000000000010.parquet");
    fs::rename(&old, &other).unwrap();
    let found: Vec<_> = check(&dir, &VerifyOptions::default()).breaks;
    let found: Vec<_> = found.iter().map(|found| (found.kind, found.path.clone())).collect();
    assert_eq!(
        found,
        [(BreakKind::SurplusFile, name(&dir, &other)), (BreakKind::RemovedFile, name(&dir, &old)),]
    );
    let keys = tempfile::tempdir().unwrap();
    let pinned = VerifyOptions { keys: vec![signer(keys.path()).id()], ..Default::default() };
    assert!(check(&dir, &pinned).breaks.iter().any(|found| found.kind == BreakKind::Unsigned));
}

/// Without a journal, rows that had a number can be lost: the manifest says which.
#[test]
fn rows_that_the_disk_lost_are_told_and_no_break() {
    let home = tempfile::tempdir().unwrap();
    let config = RecorderConfig {
        journal: Journal::Off,
        rotate_bytes: 1,
        ..RecorderConfig::new(home.path())
    };
    let recorder = Recorder::open(config).unwrap();
    recorder.try_record(row(1)).unwrap().wait(SOON).unwrap();
    let day = home.path().join("date=2025-11-23");
    fs::write(&day, "").unwrap();
    let tomorrow = Record { ts_us: row(0).ts_us + 86_400_000_000, ..row(2) };
    assert!(recorder.try_record(tomorrow).unwrap().wait(SOON).is_err());
    fs::remove_file(&day).unwrap();
    recorder.try_record(row(3)).unwrap().wait(SOON).unwrap();
    recorder.close(SOON).unwrap();
    let report = check(home.path(), &VerifyOptions::default());
    assert!(report.holds(), "{report:?}");
    assert_eq!((report.rows, report.dropped), (3, 1));
}

#[test]
fn removing_for_room_is_no_break() {
    let (_home, dir) = capture(None);
    let config = RecorderConfig { max_dir_bytes: 1, ..RecorderConfig::new(&dir) };
    let recorder = Recorder::open(config).unwrap();
    let _ = recorder.try_record(row(1)).unwrap();
    recorder.close(SOON).unwrap();
    let report = check(&dir, &VerifyOptions::default());
    assert!(report.holds(), "{report:?}");
    assert_eq!((report.removed, report.files), (3, 1));
}

#[test]
fn a_writer_at_work_is_passed_over() {
    let home = tempfile::tempdir().unwrap();
    let config = RecorderConfig { rotate_bytes: 1, ..RecorderConfig::new(home.path()) };
    let recorder = Recorder::open(config).unwrap();
    recorder.try_record(row(1)).unwrap().wait(SOON).unwrap();
    let report = check(home.path(), &VerifyOptions::default());
    assert!(report.holds(), "{report:?}");
    recorder.close(SOON).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    /// Whatever byte of whatever file is another: it is found.
    #[test]
    fn any_changed_byte_is_found(which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), flip in 1u8..) {
        static CAPTURE: std::sync::LazyLock<(tempfile::TempDir, PathBuf)> = std::sync::LazyLock::new(|| {
            let keys = tempfile::tempdir().unwrap();
            capture(Some(signer(keys.path())))
        });
        let dir = tempfile::tempdir().unwrap();
        copy(&CAPTURE.1, dir.path());
        let mut paths = files(dir.path());
        paths.push(manifest(dir.path()));
        let path = which.get(&paths);
        let mut bytes = fs::read(path).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        fs::write(path, bytes).unwrap();
        let report = check(dir.path(), &VerifyOptions::default());
        prop_assert!(!report.holds(), "byte {} of {}", at, path.display());
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}

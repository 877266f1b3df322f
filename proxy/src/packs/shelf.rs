//! The folder of installed packs: `NAME/VERSION.pack`, and `NAME/active`, which names the version
//! in use.
//!
//! Files appear whole: written beside, forced to disk, renamed. Every pack is verified again each
//! time it is read, so that one changed in the folder is noticed.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use inspect::Version;
use inspect::set::is_set_name;

use super::{Pack, PackError, PackFault, Trust};

/// Packs of one folder.
const MAX_PACKS: usize = 64;
/// Versions of one pack that are kept, the active one among them.
const MAX_VERSIONS: usize = 5;
/// Entries of a folder that are looked at: more are a mistake.
const MAX_ENTRIES: usize = 10_000;
/// The file that names the version in use.
const ACTIVE: &str = "active";
/// The longest version is shorter.
const MAX_ACTIVE: u64 = 64;

/// A folder of installed packs.
#[derive(Clone, Debug)]
pub struct Shelf {
    dir: PathBuf,
}

/// What is installed of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// The set's name.
    pub name: String,
    /// The versions kept, oldest first.
    pub versions: Vec<Version>,
    /// The one in use.
    pub active: Option<Version>,
}

/// The packs in use, and what is wrong with those that cannot be.
#[derive(Debug, Default)]
pub struct Active {
    /// The packs, by name.
    pub packs: Vec<Pack>,
    /// Why others are not among them.
    pub errors: Vec<PackError>,
}

/// While it lives, no other process changes the folder.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "closing the file ends the lock")] File);

impl Shelf {
    /// The packs of this folder, which need not exist.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// What is installed, by name.
    ///
    /// # Errors
    /// The folder cannot be read, or a note of an active version is none.
    pub fn installed(&self) -> Result<Vec<Installed>, PackError> {
        self.names()?.iter().map(|name| self.installed_of(name)).collect()
    }

    /// The names of packs, one more than there may be at most.
    fn names(&self) -> Result<Vec<String>, PackError> {
        let names = entries(&self.dir)?.into_iter().filter(|name| is_set_name(name));
        Ok(names.take(MAX_PACKS + 1).collect())
    }

    /// What is installed of one name; nothing when it is unknown.
    ///
    /// # Errors
    /// As of [`Shelf::installed`].
    pub fn installed_of(&self, name: &str) -> Result<Installed, PackError> {
        let files = entries(&self.dir.join(name))?;
        let mut versions: Vec<Version> =
            files.iter().filter_map(|file| file.strip_suffix(".pack")?.parse().ok()).collect();
        versions.sort();
        Ok(Installed { name: name.to_owned(), versions, active: self.active_of(name)? })
    }

    /// Reads an installed pack, and verifies that it is what it should be.
    ///
    /// # Errors
    /// It is not installed, or not what its path says, or not signed by a trusted key.
    pub fn open(&self, name: &str, version: &Version, trust: &Trust) -> Result<Pack, PackError> {
        let path = self.path(name, version);
        if !is_set_name(name) || !path.exists() {
            return Err(PackError::Missing(format!("{name}@{version}")));
        }
        let pack = Pack::open(&path, trust)?;
        let expected = format!("{name}@{version}");
        if pack.label() != expected {
            let fault = PackFault::Misplaced { found: pack.label(), expected };
            return Err(PackError::Bad { path, fault });
        }
        Ok(pack)
    }

    /// The packs in use, every one verified.
    pub fn active(&self, trust: &Trust) -> Active {
        let mut active = Active::default();
        let names = self.names().unwrap_or_else(|error| {
            active.errors.push(error);
            Vec::new()
        });
        if names.len() > MAX_PACKS {
            active.errors.push(PackError::Full { path: self.dir.clone(), limit: MAX_PACKS });
        }
        for name in names {
            let version = self.active_of(&name);
            match version.and_then(|version| {
                version.map(|version| self.open(&name, &version, trust)).transpose()
            }) {
                Ok(pack) => active.packs.extend(pack),
                Err(error) => active.errors.push(error),
            }
        }
        active
    }

    /// Keeps others from changing the folder meanwhile.
    ///
    /// # Errors
    /// Another process does that now, or the folder cannot be made.
    pub fn lock(&self) -> Result<Lock, PackError> {
        make(&self.dir)?;
        let path = self.dir.join(".lock");
        let failed = PackError::io(&path, "opened");
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
        let file = file.map_err(&failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Lock(file)),
            Err(TryLockError::WouldBlock) => Err(PackError::Busy(self.dir.clone())),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// Says why a pack may not become the next one of its name, if so. `Ok(true)` when it is in
    /// use already.
    ///
    /// # Errors
    /// An older version than the active one, another pack of the same version, or no more room.
    pub fn may_install(&self, pack: &Pack) -> Result<bool, PackError> {
        let (name, version) = (&pack.manifest.name, &pack.version);
        let installed = self.installed_of(name)?;
        if let Some(active) = installed.active.as_ref().filter(|active| *active > version) {
            return Err(PackError::Older {
                name: name.clone(),
                version: version.to_string(),
                active: active.to_string(),
            });
        }
        if installed.versions.contains(version) {
            // Signed anew, the same rules are the same pack.
            let same = Pack::open_unverified(&self.path(name, version))
                .is_ok_and(|kept| kept.manifest.digest == pack.manifest.digest);
            if !same {
                let (name, version) = (name.clone(), version.to_string());
                return Err(PackError::Twice { name, version });
            }
        }
        let is_new = installed.versions.is_empty();
        if is_new && self.names()?.len() >= MAX_PACKS {
            return Err(PackError::Full { path: self.dir.clone(), limit: MAX_PACKS });
        }
        Ok(installed.active.as_ref() == Some(version))
    }

    /// Puts a pack into the folder and makes it the one in use; the oldest versions beyond the
    /// limit go.
    ///
    /// # Errors
    /// The disk. What was in use stays so then.
    pub fn install(&self, _lock: &Lock, pack: &Pack) -> Result<(), PackError> {
        let name = &pack.manifest.name;
        make(&self.dir.join(name))?;
        write(&self.path(name, &pack.version), pack.bytes())?;
        self.note(name, &pack.version)?;
        // The new one is seldom the oldest: after a rollback it may be.
        let installed = self.installed_of(name)?;
        let surplus = installed.versions.len().saturating_sub(MAX_VERSIONS);
        for version in installed.versions.iter().filter(|v| **v != pack.version).take(surplus) {
            // What cannot be removed is kept: no harm.
            let _ = fs::remove_file(self.path(name, version));
        }
        Ok(())
    }

    /// Makes another installed version the one in use, or none.
    ///
    /// # Errors
    /// The disk.
    pub fn switch(&self, _lock: &Lock, name: &str, to: Option<&Version>) -> Result<(), PackError> {
        let Some(version) = to else {
            let path = self.dir.join(name).join(ACTIVE);
            fs::remove_file(&path).map_err(PackError::io(&path, "removed"))?;
            return force(&self.dir.join(name));
        };
        self.note(name, version)
    }

    fn note(&self, name: &str, version: &Version) -> Result<(), PackError> {
        write(&self.dir.join(name).join(ACTIVE), format!("{version}\n").as_bytes())
    }

    fn active_of(&self, name: &str) -> Result<Option<Version>, PackError> {
        let path = self.dir.join(name).join(ACTIVE);
        let mut text = String::new();
        let read =
            File::open(&path).and_then(|file| file.take(MAX_ACTIVE).read_to_string(&mut text));
        match read {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() != ErrorKind::InvalidData => {
                Err(PackError::io(&path, "read")(error))
            }
            _ => text.trim_end().parse().map(Some).map_err(|_| PackError::Active(path)),
        }
    }

    fn path(&self, name: &str, version: &Version) -> PathBuf {
        self.dir.join(name).join(format!("{version}.pack"))
    }
}

/// The names in a folder, sorted; none when there is no folder.
fn entries(dir: &Path) -> Result<BTreeSet<String>, PackError> {
    let failed = PackError::io(dir, "read");
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut names = BTreeSet::new();
    for entry in entries.take(MAX_ENTRIES) {
        // A name that is no text is none of ours.
        names.extend(entry.map_err(&failed)?.file_name().into_string());
    }
    Ok(names)
}

/// A folder, and those above it, for nobody else to see.
fn make(dir: &Path) -> Result<(), PackError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(PackError::io(dir, "made"))
}

/// A file that appears whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> Result<(), PackError> {
    let failed = PackError::io(path, "written");
    let folder = path.parent().unwrap_or(path);
    let tmp = folder.join(format!(".{}.tmp", std::process::id()));
    // Of a process long gone that had the same number.
    let _ = fs::remove_file(&tmp);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&tmp)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&tmp, path));
    if written.is_err() {
        let _ = fs::remove_file(&tmp);
    }
    written.map_err(&failed)?;
    force(folder)
}

/// Forces a folder's entries to disk.
fn force(folder: &Path) -> Result<(), PackError> {
    let forced = File::open(folder).and_then(|folder| folder.sync_all());
    forced.map_err(PackError::io(folder, "forced to disk"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::file::tests::{pack, signer};
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    fn versions(installed: &Installed) -> (Vec<String>, Option<String>) {
        let all = installed.versions.iter().map(Version::to_string).collect();
        (all, installed.active.as_ref().map(Version::to_string))
    }

    #[test]
    fn what_is_installed_is_in_use_and_the_last_five_are_kept() {
        let (folder, (key, trust)) = (tempfile::tempdir().unwrap(), signer());
        let shelf = Shelf::new(folder.path().join("rules"));
        assert_eq!(shelf.installed().unwrap(), []);
        let lock = shelf.lock().unwrap();
        for n in 1..=7 {
            let pack = pack("acme", &format!("1.{n}"), &key);
            assert!(!shelf.may_install(&pack).unwrap());
            shelf.install(&lock, &pack).unwrap();
            assert!(shelf.may_install(&pack).unwrap());
        }
        let [installed] = &shelf.installed().unwrap()[..] else { panic!("one") };
        let kept = ["1.3", "1.4", "1.5", "1.6", "1.7"].map(str::to_owned).to_vec();
        assert_eq!(versions(installed), (kept.clone(), Some("1.7".into())));
        let active = shelf.active(&trust);
        assert!(active.errors.is_empty(), "{:?}", active.errors);
        assert_eq!(active.packs[0].label(), "acme@1.7");

        shelf.switch(&lock, "acme", Some(&version("1.3"))).unwrap();
        assert_eq!(shelf.active(&trust).packs[0].label(), "acme@1.3");
        // After a rollback a version in between is an update, and the rules in use never go.
        shelf.install(&lock, &pack("acme", "1.3.1", &key)).unwrap();
        let installed = shelf.installed_of("acme").unwrap();
        assert_eq!(installed.versions.len(), 5);
        assert_eq!(installed.active, Some(version("1.3.1")));
        shelf.switch(&lock, "acme", None).unwrap();
        assert!(shelf.active(&trust).packs.is_empty());
        let mode = |path: &str| {
            fs::metadata(folder.path().join(path)).unwrap().permissions().mode() & 0o777
        };
        assert_eq!((mode("rules/acme"), mode("rules/acme/1.7.pack")), (0o700, 0o600));
    }

    #[test]
    fn an_older_version_and_a_second_of_one_number_are_refused() {
        let (folder, (key, _)) = (tempfile::tempdir().unwrap(), signer());
        let shelf = Shelf::new(folder.path());
        let lock = shelf.lock().unwrap();
        shelf.install(&lock, &pack("acme", "1.10", &key)).unwrap();
        let older = shelf.may_install(&pack("acme", "1.9", &key));
        assert!(matches!(older, Err(PackError::Older { .. })), "{older:?}");
        assert!(shelf.may_install(&pack("other", "1.9", &key)).is_ok());
        // The same rules under another key and date are the same set.
        let (again, _) = signer();
        assert!(shelf.may_install(&pack("acme", "1.10", &again)).unwrap());
        let text = pack("acme", "1.10", &key).rules().replace("A ticket's", "Another");
        let set = inspect::RuleSet::compile(&[inspect::RuleFile { name: "a", text: &text }]);
        let other = super::super::seal(&set.unwrap(), "2026-11-24T12:00:00Z", None, &key).unwrap();
        let twice = shelf.may_install(&other);
        assert!(matches!(twice, Err(PackError::Twice { .. })), "{twice:?}");
    }

    #[test]
    fn what_was_changed_in_the_folder_is_named() {
        let (folder, (key, trust)) = (tempfile::tempdir().unwrap(), signer());
        let shelf = Shelf::new(folder.path());
        let lock = shelf.lock().unwrap();
        for (name, version) in [("acme", "1"), ("acme", "2"), ("good", "1")] {
            shelf.install(&lock, &pack(name, version, &key)).unwrap();
        }
        let told = || {
            let active = shelf.active(&trust);
            assert_eq!(active.packs.last().unwrap().label(), "good@1");
            active.errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        };
        assert_eq!(told(), "");
        let path = |file: &str| folder.path().join("acme").join(file);
        let bytes = fs::read(path("2.pack")).unwrap();
        let text = String::from_utf8(bytes.clone()).unwrap();
        fs::write(path("2.pack"), text.replace("TICKET", "TOCKET")).unwrap();
        assert!(told().contains("acme/2.pack: the signature is wrong"), "{}", told());
        // An older pack that is signed, in the newer one's place.
        fs::copy(path("1.pack"), path("2.pack")).unwrap();
        assert!(told().contains("it is acme@1, and lies where acme@2 belongs"), "{}", told());
        fs::write(path("2.pack"), bytes).unwrap();
        assert_eq!(told(), "");
        for wrong in ["3", "", "../good/1", "\u{1b}[2J"] {
            fs::write(path(ACTIVE), wrong).unwrap();
            assert!(!shelf.active(&trust).errors.is_empty(), "{wrong:?}");
        }
    }

    #[test]
    fn one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(folder.path());
        let lock = shelf.lock().unwrap();
        assert!(matches!(shelf.lock(), Err(PackError::Busy(_))));
        drop(lock);
        assert!(shelf.lock().is_ok());
    }
}

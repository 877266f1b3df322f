//! What the verbs share that make captures out of captures: the files they read, and the summary they print.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::scan::Rows;
use ::scan::text::{Align, Table};
use capture::{Derived, DerivedSums, Location, Query, Reader, Record, Signer};
use clap::Args;
use serde::Serialize;

use crate::error::Error;
use crate::output::{Out, Progress};

/// The finished files that a path means, each with its partition; listed once, so that two passes see the same.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) root: PathBuf,
    files: Vec<(Option<PathBuf>, PathBuf)>,
}

impl Source {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        // says what is wrong with the path
        let location = Location::from(path);
        drop(Rows::open(&location, Query::default())?);
        let root = location.root();
        let root = root.path().unwrap_or(path).to_owned();
        if !path.is_dir() {
            return Ok(Self { root, files: vec![(None, path.to_owned())] });
        }
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let mut files = Vec::new();
        for file in Reader::files(&root)? {
            let file = file?;
            let Some(file) = file.path().filter(|file| file.starts_with(&absolute)) else {
                continue;
            };
            let folder = file.parent().and_then(|folder| folder.strip_prefix(&root).ok());
            files.push((folder.map(Path::to_owned), file.to_owned()));
        }
        Ok(Self { root, files })
    }

    /// Each row with the partition of its file. Whatever cannot be read ends it: half a capture is none.
    pub(crate) fn each(
        &self,
        query: &Query,
        progress: &Progress,
        mut take: impl FnMut(Option<&Path>, Record) -> Result<(), Error>,
    ) -> Result<u64, Error> {
        let mut rows = 0;
        for (partition, file) in &self.files {
            let reader = match Reader::open_with(file, query.clone()) {
                Ok(reader) => reader,
                // retention took it away
                Err(_) if !file.exists() => continue,
                Err(error) => return Err(error.into()),
            };
            for row in reader {
                rows += 1;
                progress.at(rows);
                take(partition.as_deref(), row?)?;
            }
        }
        Ok(rows)
    }

    pub(crate) fn size(&self) -> Size {
        let bytes = |file: &PathBuf| std::fs::metadata(file).map_or(0, |metadata| metadata.len());
        Size {
            rows: 0,
            files: self.files.len() as u64,
            bytes: self.files.iter().map(|(_, file)| bytes(file)).sum(),
        }
    }
}

/// Where a new capture goes.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// Where the new capture goes: a folder that is empty or does not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// Sign the new manifest with this key (PKCS#8, Ed25519)
    #[arg(long, value_name = "FILE")]
    sign: Option<PathBuf>,

    /// Print the summary as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl Target {
    /// Begins the capture.
    pub(crate) fn create(
        &self,
        made_by: &str,
        how: Option<String>,
        source: &Source,
    ) -> Result<Derived, Error> {
        let signer = self.sign.as_deref().map(Signer::load).transpose()?.map(Arc::new);
        Ok(Derived::create_with(&self.out, made_by, &[&source.root], how, signer)?)
    }
}

/// How much there is of a capture.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Size {
    pub(crate) rows: u64,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

/// What a verb has made of what.
#[derive(Debug, Serialize)]
pub(crate) struct Summary<T: Serialize> {
    pub(crate) before: Size,
    pub(crate) after: DerivedSums,
    #[serde(flatten)]
    pub(crate) more: T,
}

impl<T: Serialize> Summary<T> {
    pub(crate) fn print(&self, json: bool) -> Result<(), Error> {
        let mut out = Out::stdout();
        if json {
            out.json(self)?;
        } else {
            let right = Align::Right;
            let mut table = Table::new(&[("", Align::Left), ("before", right), ("after", right)]);
            for (name, before, after) in [
                ("rows", self.before.rows, self.after.rows),
                ("files", self.before.files, self.after.files),
                ("bytes", self.before.bytes, self.after.bytes),
            ] {
                table.push([name.to_owned(), before.to_string(), after.to_string()]);
            }
            out.write(&table.render(None))?;
        }
        out.finish()?;
        if self.after.missing_sidecars > 0 {
            eprintln!(
                "wiregate-replay: {} rule sets or configurations that rows name are not in the source",
                self.after.missing_sidecars
            );
        }
        Ok(())
    }
}

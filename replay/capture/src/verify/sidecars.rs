//! Rule sets and configurations: each is named by the digest of its text.

use std::path::Path;

use super::{Break, BreakKind};
use crate::layout::list;
use crate::seal::hash_file;
use crate::sidecar::{CONFIG, RULESET};
use crate::{CaptureError, manifest};

/// Those whose text does not have the digest in their name. Other names tell nothing.
pub(super) fn check(dir: &Path) -> Result<Vec<Break>, CaptureError> {
    let mut found = Vec::new();
    for (folder, extension) in [RULESET, CONFIG] {
        for path in list(&dir.join(folder), |_| true)? {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let digest = name
                .strip_prefix("sha256-")
                .and_then(|name| name.strip_suffix(extension)?.strip_suffix('.'))
                .filter(|digest| digest.len() == 64);
            let Some(digest) = digest.filter(|_| path.is_file()) else { continue };
            if hash_file(&path)?.1 != digest {
                found.push(Break {
                    path: manifest::below(dir, &path),
                    at: None,
                    kind: BreakKind::ChangedSidecar,
                    detail: "its text does not have the digest in its name".to_owned(),
                });
            }
        }
    }
    Ok(found)
}

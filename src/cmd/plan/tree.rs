//! Rendered files in a directory: `DIR/NODE/PATH`, and `DIR/_shared/PATH` for shared files.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use cfgsync::{ArtifactFile, Identifier, MaterializedArtifacts};
use cfgsync_support::bounded_file;
use serde::Serialize;

use super::PlanError;
use crate::cmd::diff::{SHARED, checksums, unified_bytes};

/// The largest file that is compared, in bytes: the largest sum of all files of a render.
const FILE_MAX_BYTES: u64 = 1 << 30;

/// A file that differs from the rendered one.
#[derive(Debug, Serialize)]
pub(super) struct Difference {
    /// `NODE/PATH`.
    pub(super) file: String,
    /// The unified diff.
    pub(super) diff: String,
}

/// Writes all files below `directory`. Other files there stay.
pub(super) fn write(directory: &Path, artifacts: &MaterializedArtifacts) -> Result<(), PlanError> {
    for (name, file) in layout(artifacts) {
        let path = directory.join(name);
        write_one(&path, file).map_err(|error| PlanError::Write { path, error })?;
    }
    Ok(())
}

fn write_one(path: &Path, file: &ArtifactFile) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    // A read-only file from an earlier run cannot be opened for writing, so it is removed first.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Private until it has its final mode.
    let mut options = fs::OpenOptions::new();
    let options = options.write(true).create_new(true).mode(0o600);
    options.open(path)?.write_all(&file.content.to_bytes())?;
    fs::set_permissions(path, fs::Permissions::from_mode(file.mode.bits()))
}

/// Compares the content of all files below `directory` with `artifacts`.
pub(super) fn compare(
    directory: &Path,
    artifacts: &MaterializedArtifacts,
) -> Result<Vec<Difference>, PlanError> {
    let rendered = layout(artifacts);
    let mut existing = BTreeSet::new();
    list(directory, &mut PathBuf::new(), &mut existing)?;
    let names = rendered.keys().cloned().chain(existing.iter().cloned());
    let names: BTreeSet<String> = names.collect();
    let mut differences = Vec::new();
    for name in names {
        let old = if existing.contains(&name) {
            let path = directory.join(&name);
            let read = bounded_file::read_regular(&path, FILE_MAX_BYTES);
            Some(read.map_err(|error| PlanError::Read {
                path,
                error: error.into(),
            })?)
        } else {
            None
        };
        let new = rendered.get(&name).map(|file| file.content.to_bytes());
        let old_name = directory.join(&name).display().to_string();
        let new_name = format!("rendered/{name}");
        let is_secret = match rendered.get(&name) {
            Some(file) => file.secret,
            // A file that is no longer rendered was secret if its mode says so.
            None => is_private(&directory.join(&name)),
        };
        let compare = if is_secret { checksums } else { unified_bytes };
        let diff = compare(&old_name, old.as_deref(), &new_name, new.as_deref());
        if !diff.is_empty() {
            differences.push(Difference { file: name, diff });
        }
    }
    Ok(differences)
}

fn is_private(path: &Path) -> bool {
    let stat = fs::metadata(path);
    stat.is_ok_and(|stat| (stat.permissions().mode() & 0o077).count_ones() == 0)
}

fn layout(artifacts: &MaterializedArtifacts) -> BTreeMap<String, &ArtifactFile> {
    let own = artifacts.nodes.iter().flat_map(|(identifier, files)| {
        files
            .files()
            .iter()
            .map(move |file| (Identifier::as_str(identifier), file))
    });
    let shared = artifacts.shared.files().iter().map(|file| (SHARED, file));
    own.chain(shared)
        .map(|(whose, file)| (format!("{whose}/{}", file.path.name()), file))
        .collect()
}

/// Adds all files below `root`/`below` to `found`, by their names relative to `root`.
fn list(root: &Path, below: &mut PathBuf, found: &mut BTreeSet<String>) -> Result<(), PlanError> {
    let directory = root.join(&*below);
    let failed = |error| PlanError::Read {
        path: directory.clone(),
        error,
    };
    for entry in fs::read_dir(&directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        below.push(entry.file_name());
        if entry.file_type().map_err(failed)?.is_dir() {
            list(root, below, found)?;
        } else {
            found.insert(below.to_string_lossy().into_owned());
        }
        below.pop();
    }
    Ok(())
}

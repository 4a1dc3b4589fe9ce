//! Finds a directory that cannot be written, before there is anything to write.

use std::{
    fs,
    io::{self, ErrorKind},
    path::Path,
};

use rustix::fs::{Access, access};

use super::DiskError;

/// Fails if no file can be written to `directory`, and it cannot be created either.
///
/// A directory with files passes: they may be right already, or be writable themselves. What this look at the disk does
/// not see, the transaction reports.
pub(crate) fn check_directory(directory: &Path) -> Result<(), DiskError> {
    let failed = |action, path: &Path, problem| DiskError::Io {
        action,
        path: path.to_owned(),
        problem,
    };
    // The path `file` has the parent ``.
    let directory = Path::new(".").join(directory);
    for ancestor in directory.ancestors() {
        match fs::metadata(ancestor) {
            Ok(metadata) if !metadata.is_dir() => {
                let problem = io::Error::from(ErrorKind::NotADirectory);
                return Err(failed("open the directory", ancestor, problem));
            }
            Ok(_) => {
                let exists = ancestor == directory;
                let action = if exists {
                    "write to"
                } else {
                    "create the directory"
                };
                let has_files =
                    || fs::read_dir(ancestor).is_ok_and(|mut entries| entries.next().is_some());
                return match access(ancestor, Access::WRITE_OK | Access::EXEC_OK) {
                    Err(_) if exists && has_files() => Ok(()),
                    Err(errno) => Err(failed(action, &directory, errno.into())),
                    Ok(()) => Ok(()),
                };
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) if error.kind() == ErrorKind::NotADirectory => {}
            // This process may not look there.
            Err(_) => return Ok(()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn finds_directories_that_cannot_be_written() {
        let root = tempfile::tempdir().unwrap();
        let below = |name: &str| root.path().join(name);
        fs::write(below("file"), "").unwrap();
        for good in ["", "new", "new/deep"] {
            check_directory(&below(good)).unwrap();
        }
        for bad in ["file", "file/new/deep"] {
            let message = check_directory(&below(bad)).unwrap_err().to_string();
            let file = below("file");
            let expected = format!(
                "cannot open the directory {}: not a directory",
                file.display()
            );
            assert_eq!(message, expected);
        }
        // Root may write everywhere.
        if rustix::process::geteuid().is_root() {
            return;
        }
        fs::create_dir(below("empty")).unwrap();
        fs::set_permissions(below("empty"), Permissions::from_mode(0o555)).unwrap();
        check_directory(&below("empty")).unwrap_err();
        check_directory(&below("empty/new")).unwrap_err();
    }
}

//! A new file beside the one whose place it will take.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use super::tree::staging_name;

/// Makes an empty file in the directory of `path`, under a name that nobody can guess and nothing had: where others may
/// write as well, what they put there beforehand is neither followed nor written to. The umask holds for `mode`.
///
/// # Errors
/// What the operating system says.
pub fn create_beside(path: &Path, mode: u32) -> io::Result<(PathBuf, File)> {
    path.file_name().ok_or(io::ErrorKind::IsADirectory)?;
    let staged = path.with_file_name(staging_name()?);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    let file = options.open(&staged)?;
    Ok((staged, file))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn each_is_another_new_file_in_the_same_directory() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("key");
        let names = [(); 2].map(|()| create_beside(&path, 0o600).unwrap().0);
        assert_ne!(names[0], names[1]);
        for name in &names {
            assert_eq!(name.parent(), Some(place.path()));
            let mode = fs::metadata(name).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        assert!(!path.exists());
        assert!(create_beside(Path::new("/"), 0o600).is_err());
    }
}

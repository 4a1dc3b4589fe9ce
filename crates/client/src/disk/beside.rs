//! Creates a temporary file in the directory of the file that it will replace.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use super::tree::staging_name;

/// Creates an empty file in the directory of `path`, with a random name and the given mode (limited by the umask).
/// Returns its path and the open file.
///
/// The file is always new. In a directory where other users may write, a file or symbolic link that they planted is
/// not opened.
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
    fn creates_a_new_file_in_the_same_directory_each_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let names = [(); 2].map(|()| create_beside(&path, 0o600).unwrap().0);
        assert_ne!(names[0], names[1]);
        for name in &names {
            assert_eq!(name.parent(), Some(directory.path()));
            let mode = fs::metadata(name).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        assert!(!path.exists());
        assert!(create_beside(Path::new("/"), 0o600).is_err());
    }
}

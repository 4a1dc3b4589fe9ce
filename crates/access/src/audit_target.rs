//! The destination of the audit log: opens and syncs its file, and finds an unfinished last line.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

/// The mode of a file that is created: only its owner reads it.
const FILE_MODE: u32 = 0o600;

/// The destination of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditTarget {
    /// The end of this file, which is created with mode 0600 if it does not exist.
    File(PathBuf),
    /// Standard output.
    Stdout,
}

/// A destination that is open.
pub(super) trait AuditOutput: Write + Send {
    /// Returns once a power failure cannot undo the writes, as far as this kind of output can promise it.
    fn sync(&self) -> io::Result<()>;
}

impl AuditTarget {
    /// Opens the target. If `lasting`, a file that is created survives a power failure.
    pub(super) fn open(&self, lasting: bool) -> io::Result<Box<dyn AuditOutput>> {
        match self {
            Self::Stdout => Ok(Box::new(io::stdout())),
            Self::File(path) => Ok(Box::new(open_file(path, lasting)?)),
        }
    }

    /// Returns whether the target ends without a line end, because another program, or an earlier server on a full
    /// disk, did not finish its line. If the end cannot be read, the answer is yes: an empty line is better than two
    /// lines in one. `None` if the target has no end to look at, as a pipe has none.
    pub(super) fn ends_mid_line(&self) -> Option<bool> {
        match self {
            // Opening a pipe for reading would block.
            Self::File(path) if path.is_file() => {
                let last = last_byte(path);
                Some(last.map_or(true, |last| last.is_some_and(|last| last != b'\n')))
            }
            Self::File(_) | Self::Stdout => None,
        }
    }
}

impl fmt::Display for AuditTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("stdout"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

impl AuditOutput for File {
    fn sync(&self) -> io::Result<()> {
        if self.metadata()?.is_file() {
            return self.sync_data();
        }
        // A pipe or a device stores nothing, so there is nothing to sync.
        Ok(())
    }
}

impl AuditOutput for io::Stdout {
    /// Storing the lines is the reader's task.
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

fn open_file(path: &Path, lasting: bool) -> io::Result<File> {
    let is_new = !path.exists();
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(FILE_MODE);
    // With O_NONBLOCK a pipe without a reader is an error. Without it, opening would hang the server.
    options.custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    let file = options.open(path)?;
    if is_new && lasting {
        let directory = path.parent().filter(|path| !path.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(file)
}

/// Returns the last byte of a file; `None` if the file is empty.
fn last_byte(path: &Path) -> io::Result<Option<u8>> {
    let mut file = File::open(path)?;
    if file.metadata()?.len() == 0 {
        return Ok(None);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(Some(last[0]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The server hung before it listened, and later on each change after the log had been reopened.
    #[test]
    fn pipe_without_reader_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
        assert!(AuditTarget::File(path).open(true).is_err());
    }

    #[test]
    fn unfinished_last_line_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit");
        let target = AuditTarget::File(path.clone());
        assert_eq!(target.ends_mid_line(), None);
        for (text, expected) in [("", false), ("{}\n", false), ("{}", true)] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(target.ends_mid_line(), Some(expected), "{text:?}");
        }
    }
}

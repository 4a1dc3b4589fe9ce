//! Reads whole files from untrusted places, up to a size limit.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileTypeExt as _,
    path::Path,
};

/// The reason why a file was not read. The text names no path: the caller knows it and adds it to its own message.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no such file.
    #[error("no such file")]
    Missing,
    /// The path leads to a directory.
    #[error("it is a directory")]
    Directory,
    /// The path leads to a pipe, a device or a socket where a regular file is required.
    #[error("it is not a regular file")]
    NotRegular,
    /// The path leads to a named pipe, which would have to wait for another process.
    #[error("it is a named pipe; use a file, or a pipe of the shell such as /dev/stdin")]
    NamedPipe,
    /// The file is larger than the caller allows.
    #[error("it is larger than {}", size_text(*.0))]
    TooLarge(u64),
    /// The file is not UTF-8 text; the number is the offset of the first wrong byte.
    #[error("it is not UTF-8 text (byte {0})")]
    NotText(usize),
    /// The operating system failed to open or read the file.
    #[error("{}", os_text(.0))]
    Io(io::Error),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            io::ErrorKind::IsADirectory => Self::Directory,
            _ => Self::Io(error),
        }
    }
}

/// For callers whose own errors hold an [`io::Error`]. The text stays the same.
impl From<ReadError> for io::Error {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Io(error) => error,
            error => Self::other(error),
        }
    }
}

/// Reads the file at `path`, which may be a pipe. Opening a named pipe waits for another process.
///
/// # Errors
/// See [`ReadError`]. A file of more than `max_bytes` is refused, and no more of it is read.
pub fn read(path: &Path, max_bytes: u64) -> Result<Vec<u8>, ReadError> {
    // Opening a directory succeeds. Without this check, the read would fail with an unclear error.
    if path.metadata()?.is_dir() {
        return Err(ReadError::Directory);
    }
    read_open(File::open(path)?, max_bytes)
}

/// Reads the file at `path`, which may be a pipe that is open already, such as `/dev/stdin` or the `/dev/fd/63` of a
/// shell. A named pipe is refused: opening it would wait until another process opens it.
///
/// # Errors
/// See [`ReadError`].
pub fn read_without_waiting(path: &Path, max_bytes: u64) -> Result<Vec<u8>, ReadError> {
    let is_open = ["/dev/", "/proc/"].iter().any(|at| path.starts_with(at));
    if !is_open && path.metadata()?.file_type().is_fifo() {
        return Err(ReadError::NamedPipe);
    }
    read(path, max_bytes)
}

/// Reads the text of the file at `path` as [`read_without_waiting`] does.
///
/// # Errors
/// Fails with a [`ReadError`].
pub fn read_text_without_waiting(path: &Path, max_bytes: u64) -> Result<String, ReadError> {
    text_of(read_without_waiting(path, max_bytes)?)
}

/// Reads the regular file at `path`.
///
/// # Errors
/// See [`ReadError`]. A pipe is refused without being opened, because opening a pipe waits for a writer.
pub fn read_regular(path: &Path, max_bytes: u64) -> Result<Vec<u8>, ReadError> {
    let facts = path.metadata()?;
    if facts.is_dir() {
        return Err(ReadError::Directory);
    }
    if !facts.is_file() {
        return Err(ReadError::NotRegular);
    }
    read_open(File::open(path)?, max_bytes)
}

/// Reads the text of the file at `path`, which may be a pipe.
///
/// # Errors
/// Fails with a [`ReadError`].
pub fn read_text(path: &Path, max_bytes: u64) -> Result<String, ReadError> {
    text_of(read(path, max_bytes)?)
}

/// Reads the text of an open file or of standard input.
///
/// # Errors
/// Fails with a [`ReadError`].
pub fn read_text_from(source: impl Read, max_bytes: u64) -> Result<String, ReadError> {
    text_of(read_open(source, max_bytes)?)
}

/// Returns the text of a file that was read.
///
/// # Errors
/// Fails with [`ReadError::NotText`].
pub fn text_of(bytes: Vec<u8>) -> Result<String, ReadError> {
    String::from_utf8(bytes).map_err(|error| ReadError::NotText(error.utf8_error().valid_up_to()))
}

fn read_open(source: impl Read, max_bytes: u64) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    source.take(max_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        return Err(ReadError::TooLarge(max_bytes));
    }
    Ok(bytes)
}

/// Returns a bound in the largest unit that divides it.
fn size_text(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let fits = |(each, _): &&(u64, &str)| bytes >= *each && bytes.is_multiple_of(*each);
    match UNITS.iter().find(fits) {
        Some((each, unit)) => format!("{} {unit}", bytes / each),
        None => format!("{bytes} bytes"),
    }
}

/// Returns the operating system's message without the error number.
fn os_text(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use super::*;

    #[test]
    fn reads_up_to_the_bound() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        assert_eq!(read_regular(&path, 5).unwrap(), b"12345");
        assert_eq!(read_text(&path, 5).unwrap(), "12345");
        let error = read(&path, 4).unwrap_err().to_string();
        assert_eq!(error, "it is larger than 4 bytes");
    }

    #[test]
    fn errors_say_why_a_file_was_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let told = |result: Result<String, ReadError>| result.unwrap_err().to_string();
        assert_eq!(told(read_text(&path, 1)), "no such file");
        assert_eq!(told(read_text(directory.path(), 1)), "it is a directory");
        std::fs::write(&path, b"ab\xff").unwrap();
        assert_eq!(told(read_text(&path, 9)), "it is not UTF-8 text (byte 2)");
        let zero = read_without_waiting(Path::new("/dev/zero"), 9).unwrap_err();
        assert_eq!(zero.to_string(), "it is larger than 9 bytes");
        let device = read_regular(Path::new("/dev/null"), 1).unwrap_err();
        assert_eq!(device.to_string(), "it is not a regular file");
        assert_eq!(size_text(16 << 20), "16 MiB");
        assert_eq!(size_text(65_536), "64 KiB");
    }
}

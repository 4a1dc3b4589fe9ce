//! The header of every file in a state directory: the kind of the file, its format, and the program that wrote it.
//!
//! ```text
//! format 2  "cfgsync log 2\n" "written by cfgsync 0.1.0\n" first frame  more frames in a log
//! format 1  "cfgsync log 1\n"                              first frame  more frames in a log
//! ```
//!
//! Later formats keep both lines, so that an older program can say which version can read the file. The body of the
//! first frame repeats the program version, so that its checksum covers the second line as well.

use std::path::PathBuf;

use super::{
    entry,
    error::DecodeError,
    frame::{self, FIXED_MARKER, FrameRead},
};
use crate::directory_error::DirectoryError;

/// The format that this program writes. It also reads older formats.
pub(crate) const FORMAT: u32 = 2;

/// The version of this program. In tests it is fixed, because they compare files byte by byte.
pub(crate) const PROGRAM_VERSION: &str = if cfg!(test) {
    "1.2.3"
} else {
    env!("CARGO_PKG_VERSION")
};

const WRITER_PREFIX: &str = "written by cfgsync ";

/// The maximum length of a line, in bytes.
const LINE_MAX_BYTES: usize = 80;

/// The kind of a file in a state directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileKind {
    Log,
    Snapshot,
    Generation,
    /// The mark of a clean stop.
    Clean,
    /// The record of the place of the log.
    Place,
    /// The history of events.
    Events,
    /// The mark of a copy to or from another store.
    Transfer,
}

impl FileKind {
    fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Snapshot => "snapshot",
            Self::Generation => "generation",
            Self::Clean => "clean",
            Self::Place => "place",
            Self::Events => "events",
            Self::Transfer => "transfer",
        }
    }
}

/// The header lines of a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Header<'a> {
    pub(crate) format: u32,
    /// The version of the program that wrote the file. Format 1 does not say.
    writer: Option<&'a str>,
    /// The length of the lines, in bytes.
    pub(crate) length: usize,
}

/// The reason why a file has no usable header.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HeaderError<'a> {
    /// A newer program wrote the file.
    NewerFormat {
        format: u32,
        writer: Option<&'a str>,
    },
    /// The lines are not those of a file of this kind.
    Invalid,
}

/// Returns the header lines of a file of the current format.
pub(crate) fn lines(kind: FileKind) -> String {
    format!(
        "cfgsync {} {FORMAT}\n{WRITER_PREFIX}{PROGRAM_VERSION}\n",
        kind.name()
    )
}

/// Reads the header lines.
pub(crate) fn read_lines(file: &[u8], kind: FileKind) -> Result<Header<'_>, HeaderError<'_>> {
    let first = line(file).ok_or(HeaderError::Invalid)?;
    let format = first
        .strip_prefix("cfgsync ")
        .and_then(|rest| rest.strip_prefix(kind.name()))
        .and_then(|rest| rest.strip_prefix(' '))
        .and_then(|format| format.parse().ok())
        .filter(|format| *format > 0)
        .ok_or(HeaderError::Invalid)?;
    let length = first.len() + 1;
    if format == 1 {
        return Ok(Header {
            format,
            writer: None,
            length,
        });
    }
    let second = line(&file[length..]);
    let writer = second.and_then(|second| second.strip_prefix(WRITER_PREFIX));
    match (format, second, writer) {
        (FORMAT, Some(second), Some(_)) => Ok(Header {
            format,
            writer,
            length: length + second.len() + 1,
        }),
        (FORMAT, ..) => Err(HeaderError::Invalid),
        _ => Err(HeaderError::NewerFormat { format, writer }),
    }
}

/// Returns the first line of `bytes`, without its line feed.
fn line(bytes: &[u8]) -> Option<&str> {
    let mut start = bytes.iter().take(LINE_MAX_BYTES);
    let length = start.position(|byte| *byte == b'\n')?;
    std::str::from_utf8(&bytes[..length]).ok()
}

/// Returns a file with one frame, whose body `write_body` appends.
pub(crate) fn new_file(kind: FileKind, write_body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut file = lines(kind).into_bytes();
    let start = frame::begin(&mut file, FIXED_MARKER);
    entry::write(&mut file, &PROGRAM_VERSION);
    write_body(&mut file);
    frame::finish(&mut file, start);
    file
}

/// The first frame of a file.
pub(crate) struct FirstFrame<'a> {
    pub(crate) format: u32,
    /// The body, without the program version.
    pub(crate) body: &'a [u8],
    /// The position in the file at which the frame ends.
    pub(crate) end: usize,
}

/// Reads the header and the first frame of `file`, and decodes the frame. `path` is for error messages.
pub(crate) fn read_file<'a, T>(
    file: &'a [u8],
    kind: FileKind,
    path: impl Fn() -> PathBuf,
    decode: impl FnOnce(FirstFrame<'a>) -> Result<T, DecodeError>,
) -> Result<T, DirectoryError> {
    let damaged = |offset: usize, what: String| DirectoryError::Damaged {
        file: path(),
        offset: offset as u64,
        what,
    };
    let header = read_lines(file, kind).map_err(|error| match error {
        HeaderError::NewerFormat { format, writer } => DirectoryError::NewerFormat {
            file: path(),
            version: format,
            writer_version: writer.map(str::to_owned),
            known: FORMAT,
            program: PROGRAM_VERSION,
        },
        HeaderError::Invalid => damaged(0, "the header is not one of cfgsync".to_owned()),
    })?;
    let start = header.length;
    let (body, end) = match frame::read(file, start, FIXED_MARKER) {
        FrameRead::Frame { body, end } => (body, end),
        FrameRead::End => return Err(damaged(start, "the file is empty".to_owned())),
        FrameRead::Invalid(what) => return Err(damaged(start, what.to_owned())),
    };
    let undecodable = |error: DecodeError| damaged(start, error.to_string());
    let body = match header.writer {
        None => body,
        Some(writer) => {
            let (repeated, rest): (&str, _) = entry::read(body).map_err(undecodable)?;
            if repeated != writer {
                let what = "the header names another program version than the first frame";
                return Err(damaged(0, what.to_owned()));
            }
            rest
        }
    };
    let frame = FirstFrame {
        format: header.format,
        body,
        end,
    };
    decode(frame).map_err(undecodable)
}

//! Bytes on disk: a first line that says what a file is, then frames, each with its length and checksum.
//!
//! ```text
//! file   "cfgsync log 2\n"  frame…  zeros (space that is reserved)
//! frame  marker (8)  length of the body (8, little endian)  CRC-32 of length and body (4)  body
//! ```
//!
//! A frame begins with a marker so that frames behind a bad one can be found. A log's marker is random and never
//! leaves its directory: nobody can send a node's metadata that look like a frame.

/// The version of what is written. Older ones are read.
pub(super) const VERSION: u32 = 2;

/// What begins a frame.
pub(super) type Marker = [u8; 8];

/// Begins the frames of files whose frames nobody searches for.
pub(super) const FIXED_MARKER: Marker = *b"cfgframe";

/// Length of what stands before a body.
pub(super) const HEAD_BYTES: usize = 20;

/// The longest first line, in bytes.
const LINE_MAX_BYTES: usize = 40;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Log,
    Snapshot,
    Generation,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Snapshot => "snapshot",
            Self::Generation => "generation",
        }
    }
}

/// A first line that is not the one expected.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum WrongLine {
    /// Of a later version.
    Version(u32),
    /// Of anything else.
    Other,
}

/// What stands at a place in a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// A whole frame, and where it ends.
    Frame { body: &'a [u8], end: usize },
    /// Zeros up to the end of the file, or the end itself.
    End,
    /// No frame, and why.
    Bad(&'static str),
}

/// The first line of a file.
pub(super) fn first_line(kind: Kind) -> String {
    format!("cfgsync {} {VERSION}\n", kind.word())
}

/// Reads the first line; answers the format version and where the frames begin.
pub(super) fn read_first_line(file: &[u8], kind: Kind) -> Result<(u32, usize), WrongLine> {
    let length = file
        .iter()
        .take(LINE_MAX_BYTES)
        .position(|byte| *byte == b'\n')
        .ok_or(WrongLine::Other)?;
    let line = std::str::from_utf8(&file[..length]).map_err(|_| WrongLine::Other)?;
    let version = line
        .strip_prefix("cfgsync ")
        .and_then(|rest| rest.strip_prefix(kind.word()))
        .and_then(|rest| rest.strip_prefix(' '))
        .and_then(|version| version.parse().ok())
        .ok_or(WrongLine::Other)?;
    match version {
        1..=VERSION => Ok((version, length + 1)),
        version => Err(WrongLine::Version(version)),
    }
}

/// Begins a frame at the end of `out`; its body is to be appended, and [`finish`] called with the answer.
pub(super) fn begin(out: &mut Vec<u8>, marker: Marker) -> usize {
    let start = out.len();
    out.extend_from_slice(&marker);
    out.resize(start + HEAD_BYTES, 0);
    start
}

/// Completes the frame that began at `start`: all that follows is its body.
pub(super) fn finish(out: &mut [u8], start: usize) {
    let (head, body) = out[start..].split_at_mut(HEAD_BYTES);
    let length = (body.len() as u64).to_le_bytes();
    head[8..16].copy_from_slice(&length);
    head[16..20].copy_from_slice(&checksum(length, body).to_le_bytes());
}

/// A file of one frame.
pub(super) fn whole_file(kind: Kind, body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut file = first_line(kind).into_bytes();
    let start = begin(&mut file, FIXED_MARKER);
    body(&mut file);
    finish(&mut file, start);
    file
}

/// Reads what stands at `at`.
pub(super) fn read(file: &[u8], at: usize, marker: Marker) -> Found<'_> {
    let rest = &file[at..];
    if rest.iter().take(HEAD_BYTES).all(|byte| *byte == 0) {
        return match without_zeros(rest).is_empty() {
            true => Found::End,
            false => Found::Bad("a frame is missing where more bytes follow"),
        };
    }
    let Some((head, rest)) = rest.split_at_checked(HEAD_BYTES) else {
        return Found::Bad("a frame is cut short");
    };
    if head[..8] != marker {
        return Found::Bad("no frame begins there");
    }
    let length: [u8; 8] = head[8..16].try_into().expect("eight bytes");
    let sum: [u8; 4] = head[16..20].try_into().expect("four bytes");
    let body = usize::try_from(u64::from_le_bytes(length))
        .ok()
        .and_then(|length| rest.get(..length));
    let Some(body) = body else {
        return Found::Bad("a frame is longer than the file");
    };
    if checksum(length, body) != u32::from_le_bytes(sum) {
        return Found::Bad("a frame's checksum does not match");
    }
    Found::Frame {
        body,
        end: at + HEAD_BYTES + body.len(),
    }
}

/// Where the first whole frame stands that begins after `at`.
pub(super) fn next_whole(file: &[u8], at: usize, marker: Marker) -> Option<usize> {
    let after = without_zeros(file.get(at + 1..)?);
    let places = after.windows(marker.len()).enumerate();
    places
        .filter(|(_, window)| **window == marker)
        .map(|(place, _)| at + 1 + place)
        .find(|place| matches!(read(file, *place, marker), Found::Frame { .. }))
}

/// `bytes` but for the zeros at their end.
fn without_zeros(mut bytes: &[u8]) -> &[u8] {
    const ZEROS: &[u8] = &[0; 4096];
    // Most of a log is space that is reserved: it is compared a page at a time.
    while let Some(rest) = bytes.strip_suffix(ZEROS) {
        bytes = rest;
    }
    let end = bytes.iter().rposition(|byte| *byte != 0);
    &bytes[..end.map_or(0, |last| last + 1)]
}

fn checksum(length: [u8; 8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(body);
    hasher.finalize()
}

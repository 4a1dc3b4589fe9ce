//! Frames: bodies with a length and a checksum, one after the other.
//!
//! ```text
//! frame  marker (8)  length of the body (8, little endian)  CRC-32 of length and body (4)  body
//! ```
//!
//! A log reserves space ahead, so zeros follow its last frame. Each frame begins with a marker so that intact frames
//! after a damaged one can be found. The marker of a log is random and never leaves its directory. Therefore no node
//! can send metadata that looks like a frame.

/// The bytes that begin a frame.
pub(crate) type Marker = [u8; 8];

/// The marker of the first frame of each file, which is never searched for.
pub(crate) const FIXED_MARKER: Marker = *b"cfgframe";

/// The length of a frame without its body.
pub(crate) const HEAD_BYTES: usize = 20;

/// The content of a file at one position.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FrameRead<'a> {
    /// An intact frame, which ends at `end`.
    Frame { body: &'a [u8], end: usize },
    /// The end of the file, or zeros up to it.
    End,
    /// Any other bytes. The value says why they are not a frame.
    Invalid(&'static str),
}

/// Begins a frame at the end of `out`. The caller appends the body and calls [`finish`] with the returned position.
pub(crate) fn begin(out: &mut Vec<u8>, marker: Marker) -> usize {
    let start = out.len();
    out.extend_from_slice(&marker);
    out.resize(start + HEAD_BYTES, 0);
    start
}

/// Completes the frame that begins at `start` and whose body is the rest of `out`.
pub(crate) fn finish(out: &mut [u8], start: usize) {
    let (head, body) = out[start..].split_at_mut(HEAD_BYTES);
    let length = (body.len() as u64).to_le_bytes();
    head[8..16].copy_from_slice(&length);
    head[16..20].copy_from_slice(&checksum(length, body).to_le_bytes());
}

/// Reads the content at position `at`.
pub(crate) fn read(file: &[u8], at: usize, marker: Marker) -> FrameRead<'_> {
    let rest = &file[at..];
    if rest.iter().take(HEAD_BYTES).all(|byte| *byte == 0) {
        return if trim_zeros(rest).is_empty() {
            FrameRead::End
        } else {
            FrameRead::Invalid("a frame is missing, and more bytes follow")
        };
    }
    let Some((head, rest)) = rest.split_at_checked(HEAD_BYTES) else {
        return FrameRead::Invalid("a frame is truncated");
    };
    if head[..8] != marker {
        return FrameRead::Invalid("no frame begins here");
    }
    let length: [u8; 8] = head[8..16].try_into().expect("eight bytes");
    let sum: [u8; 4] = head[16..20].try_into().expect("four bytes");
    let body = usize::try_from(u64::from_le_bytes(length))
        .ok()
        .and_then(|length| rest.get(..length));
    let Some(body) = body else {
        return FrameRead::Invalid("a frame is longer than the file");
    };
    if checksum(length, body) != u32::from_le_bytes(sum) {
        return FrameRead::Invalid("the checksum of a frame does not match");
    }
    FrameRead::Frame {
        body,
        end: at + HEAD_BYTES + body.len(),
    }
}

/// Returns the position of the first intact frame that begins after `at`.
pub(crate) fn find_frame_after(file: &[u8], at: usize, marker: Marker) -> Option<usize> {
    let after = trim_zeros(file.get(at + 1..)?);
    let windows = after.windows(marker.len()).enumerate();
    windows
        .filter(|(_, window)| **window == marker)
        .map(|(position, _)| at + 1 + position)
        .find(|position| matches!(read(file, *position, marker), FrameRead::Frame { .. }))
}

/// Returns `bytes` without the zeros at their end.
fn trim_zeros(mut bytes: &[u8]) -> &[u8] {
    const ZEROS: &[u8] = &[0; 4096];
    // Most of a log is reserved space, so compare a page at a time.
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

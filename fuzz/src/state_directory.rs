//! Builds a state directory with valid frames from arbitrary bytes, so that fuzzing reaches the code behind the
//! checksums.
//!
//! This is an independent implementation of the format in `src/store/journal/frame.rs`.

/// The bytes that start a piece of the input. The next byte is the kind of the piece.
const PIECE_START: &[u8] = b"\n=";
/// The marker at the start of a frame in files with one frame.
const FIXED_MARKER: &[u8; 8] = b"cfgframe";
/// Position, in the first body of a log, of the marker of its other frames.
const MARKER_AT: std::ops::Range<usize> = 16..24;
/// Length in bytes of the digest at the start of a generation's body.
const DIGEST_BYTES: usize = 32;

/// Returns names and contents of the files that the pieces of `data` describe. A piece is `\n=`, a letter, and a body:
///
/// ```text
/// h  the first frame of the log                s  the snapshot
/// b  a batch, the next frame of the log        g  a generation; the start of its body gives the file's name
/// t  bytes at the end of the log, without a frame
/// ```
pub(crate) fn files(data: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut log = None;
    let mut marker = *FIXED_MARKER;
    let mut files = Vec::new();
    for (letter, body) in pieces(data) {
        match letter {
            b'h' => {
                let own = body.get(MARKER_AT);
                marker = own.map_or(*FIXED_MARKER, |own| own.try_into().expect("eight bytes"));
                log = Some(whole_file("log", body));
            }
            b'b' => frame(log.get_or_insert_default(), marker, body),
            b't' => log.get_or_insert_default().extend_from_slice(body),
            b's' => files.push(("snapshot".to_owned(), whole_file("snapshot", body))),
            b'g' if !body.is_empty() => {
                let mut name = "generations/".to_owned();
                for byte in body.iter().take(DIGEST_BYTES) {
                    name.push_str(&format!("{byte:02x}"));
                }
                files.push((name, whole_file("generation", body)));
            }
            _ => {}
        }
    }
    files.extend(log.map(|log| ("log".to_owned(), log)));
    files
}

fn pieces(data: &[u8]) -> Vec<(u8, &[u8])> {
    let cuts = data.windows(PIECE_START.len()).enumerate();
    let cuts = cuts
        .filter(|(_, window)| *window == PIECE_START)
        .map(|(at, _)| at);
    let starts: Vec<usize> = cuts.collect();
    let ends = starts.iter().skip(1).copied().chain([data.len()]);
    let pieces = starts.iter().zip(ends);
    pieces
        .filter_map(|(start, end)| data[start + PIECE_START.len()..end].split_first())
        .map(|(letter, body)| (*letter, body))
        .collect()
}

fn whole_file(word: &str, body: &[u8]) -> Vec<u8> {
    let mut file = format!("cfgsync {word} 1\n").into_bytes();
    frame(&mut file, *FIXED_MARKER, body);
    file
}

fn frame(file: &mut Vec<u8>, marker: [u8; 8], body: &[u8]) {
    let length = (body.len() as u64).to_le_bytes();
    let mut sum = crc32fast::Hasher::new();
    sum.update(&length);
    sum.update(body);
    file.extend_from_slice(&marker);
    file.extend_from_slice(&length);
    file.extend_from_slice(&sum.finalize().to_le_bytes());
    file.extend_from_slice(body);
}

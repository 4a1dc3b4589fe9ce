//! Builds a state directory from arbitrary bytes, with intact frames, so that a fuzzer reaches the code behind the
//! checksums. This is an independent implementation of `crates/store/src/encoding/{header,frame}.rs`.

/// The bytes that begin a piece of the input. The byte after them is the kind of the piece.
const CUT: &[u8] = b"\n=";
/// The marker of the first frame of a file.
const FIXED_MARKER: &[u8; 8] = b"cfgframe";
/// Where the first body of a log has the marker of its other frames.
const MARKER_AT: std::ops::Range<usize> = 16..24;
/// The length of the digest at the start of the body of a generation.
const DIGEST_BYTES: usize = 32;
/// The program version in files of format 2.
const WRITER: &str = "1.2.3";

/// The files that the pieces of `data` make, by name. A piece is `\n=`, a letter, and a body. Capital letters make files
/// of format 2, and small ones of format 1:
///
/// ```text
/// h H  the first frame of the log      s S  the snapshot
/// b    the next frame of the log       g G  a generation, in a file with the name at the start of the body
/// t    bytes at the end of the log, without a frame
/// ```
pub(crate) fn files(data: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut log = None;
    let mut marker = *FIXED_MARKER;
    let mut files = Vec::new();
    for (letter, body) in pieces(data) {
        let format = if letter.is_ascii_uppercase() { 2 } else { 1 };
        match letter.to_ascii_lowercase() {
            b'h' => {
                let own = body.get(MARKER_AT);
                marker = own.map_or(*FIXED_MARKER, |own| own.try_into().expect("eight bytes"));
                log = Some(new_file("log", format, body));
            }
            b'b' => frame(log.get_or_insert_default(), marker, body),
            b't' => log.get_or_insert_default().extend_from_slice(body),
            b's' => files.push(("snapshot".to_owned(), new_file("snapshot", format, body))),
            b'g' if !body.is_empty() => {
                let mut name = "generations/".to_owned();
                for byte in body.iter().take(DIGEST_BYTES) {
                    name.push_str(&format!("{byte:02x}"));
                }
                files.push((name, new_file("generation", format, body)));
            }
            _ => {}
        }
    }
    files.extend(log.map(|log| ("log".to_owned(), log)));
    files
}

fn pieces(data: &[u8]) -> Vec<(u8, &[u8])> {
    let cuts = data.windows(CUT.len()).enumerate();
    let cuts = cuts.filter(|(_, window)| *window == CUT).map(|(at, _)| at);
    let starts: Vec<usize> = cuts.collect();
    let ends = starts.iter().skip(1).copied().chain([data.len()]);
    let pieces = starts.iter().zip(ends);
    pieces
        .filter_map(|(start, end)| data[start + CUT.len()..end].split_first())
        .map(|(letter, body)| (*letter, body))
        .collect()
}

fn new_file(kind: &str, format: u32, body: &[u8]) -> Vec<u8> {
    let mut file = format!("cfgsync {kind} {format}\n").into_bytes();
    if format == 1 {
        frame(&mut file, *FIXED_MARKER, body);
        return file;
    }
    file.extend(format!("written by cfgsync {WRITER}\n").into_bytes());
    let length = u8::try_from(WRITER.len()).expect("a short version");
    let body = [&[length], WRITER.as_bytes(), body].concat();
    frame(&mut file, *FIXED_MARKER, &body);
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

//! Server-Sent Events: encodes one event as one frame, and reads a stream of frames.

use std::fmt::Write as _;

use bytes::Bytes;
use serde::Serialize;

/// The media type of an event stream.
pub const EVENT_STREAM: &str = "text/event-stream";

/// Returns the frame of one event. JSON has no raw line breaks, so the data are one line, whatever is in them. `id` and
/// `event` are names that the server made.
pub fn event_frame(id: Option<&str>, event: &str, data: &impl Serialize) -> Bytes {
    let mut frame = String::new();
    if let Some(id) = id {
        let _ = writeln!(frame, "id: {id}");
    }
    let _ = write!(frame, "event: {event}\ndata: ");
    let mut frame = frame.into_bytes();
    serde_json::to_writer(&mut frame, data).expect("the bodies have string keys only");
    frame.extend_from_slice(b"\n\n");
    frame.into()
}

/// One event of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamedEvent {
    /// The newest id of the stream, up to this event. Empty if there was none.
    pub id: String,
    /// The name of the event. `message` if the stream gives none.
    pub event: String,
    /// The data. Several lines are joined by line breaks.
    pub data: String,
}

/// A stream that cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidStream {
    /// An event is longer than the limit.
    #[error("an event is longer than {max_bytes} bytes")]
    TooLong {
        /// The limit.
        max_bytes: usize,
    },
    /// A line is not text.
    #[error("the stream is not UTF-8 text")]
    NotText,
}

/// Reads an event stream piece by piece, as the HTML standard demands. It holds at most one event.
#[derive(Debug)]
pub struct EventStreamReader {
    max_bytes: usize,
    /// The begun line.
    line: Vec<u8>,
    /// Whether the last byte was a carriage return, so that a line feed after it ends no other line.
    after_return: bool,
    is_first_line: bool,
    id: String,
    event: String,
    data: String,
}

impl EventStreamReader {
    /// Creates a reader that accepts events of at most `max_bytes`.
    pub fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            line: Vec::new(),
            after_return: false,
            is_first_line: true,
            id: String::new(),
            event: String::new(),
            data: String::new(),
        }
    }

    /// Returns the newest id of the stream. It may be newer than that of the last event.
    pub fn last_id(&self) -> &str {
        &self.id
    }

    /// Reads the next piece of the stream, and adds the events that it completes to `events`.
    ///
    /// # Errors
    /// Fails if an event is too long, or if the stream is not text. The stream cannot be read on then.
    pub fn read(
        &mut self,
        mut piece: &[u8],
        events: &mut Vec<StreamedEvent>,
    ) -> Result<(), InvalidStream> {
        if std::mem::take(&mut self.after_return) && piece.first() == Some(&b'\n') {
            piece = &piece[1..];
        }
        while let Some(end) = piece.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            self.extend_line(&piece[..end])?;
            self.finish_line(events)?;
            let is_return = piece[end] == b'\r';
            piece = &piece[end + 1..];
            if is_return {
                match piece.first() {
                    Some(b'\n') => piece = &piece[1..],
                    Some(_) => {}
                    None => self.after_return = true,
                }
            }
        }
        self.extend_line(piece)
    }

    fn extend_line(&mut self, bytes: &[u8]) -> Result<(), InvalidStream> {
        let max_bytes = self.max_bytes;
        if self.line.len() + bytes.len() + self.data.len() > max_bytes {
            return Err(InvalidStream::TooLong { max_bytes });
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn finish_line(&mut self, events: &mut Vec<StreamedEvent>) -> Result<(), InvalidStream> {
        let bytes = std::mem::take(&mut self.line);
        let line = std::str::from_utf8(&bytes).map_err(|_| InvalidStream::NotText)?;
        let line = if std::mem::take(&mut self.is_first_line) {
            line.strip_prefix('\u{feff}').unwrap_or(line)
        } else {
            line
        };
        if line.is_empty() {
            self.dispatch(events);
            return Ok(());
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event),
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            "id" if !value.contains('\0') => value.clone_into(&mut self.id),
            // A comment, an unknown field, or the pause before a reconnect: the client has a backoff of its own.
            _ => {}
        }
        Ok(())
    }

    fn dispatch(&mut self, events: &mut Vec<StreamedEvent>) {
        let event = std::mem::take(&mut self.event);
        let mut data = std::mem::take(&mut self.data);
        if data.pop().is_none() {
            return;
        }
        events.push(StreamedEvent {
            id: self.id.clone(),
            event: if event.is_empty() {
                "message".to_owned()
            } else {
                event
            },
            data,
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const MAX_BYTES: usize = 1 << 20;

    fn read(pieces: &[&[u8]]) -> (Vec<StreamedEvent>, EventStreamReader) {
        let mut reader = EventStreamReader::new(MAX_BYTES);
        let mut events = Vec::new();
        for piece in pieces {
            reader.read(piece, &mut events).unwrap();
        }
        (events, reader)
    }

    proptest! {
        /// Framing holds for any text in the data, wherever the stream is cut.
        #[test]
        fn frames_are_read_back(
            texts in proptest::collection::vec(any::<String>(), 1..5),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let frames: Vec<Bytes> = (0..)
                .zip(&texts)
                .map(|(n, text)| event_frame(Some(&format!("i-{n}")), "set", &json!({"value": text, text.as_str(): 1})))
                .collect();
            for frame in &frames {
                // `id`, `event`, `data`, and the empty line.
                prop_assert_eq!(frame.split(|byte| *byte == b'\n').count(), 5);
                prop_assert!(!frame.contains(&b'\r') && !frame.contains(&0));
            }
            let stream = frames.concat();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|two| &stream[two[0]..two[1]]).collect();
            let (events, _) = read(&pieces);
            prop_assert_eq!(events.len(), texts.len());
            for ((n, text), event) in (0..).zip(&texts).zip(events) {
                let data: serde_json::Value = serde_json::from_str(&event.data).unwrap();
                prop_assert_eq!(data, json!({"value": text, text.as_str(): 1}));
                prop_assert_eq!((event.id, event.event), (format!("i-{n}"), "set".to_owned()));
            }
        }

        #[test]
        fn any_stream_is_read(bytes: Vec<u8>) {
            let mut reader = EventStreamReader::new(16);
            let _ = reader.read(&bytes, &mut vec![]);
        }
    }

    #[test]
    fn lines_of_all_kinds_are_read_as_the_standard_demands() {
        let stream = "\u{feff}retry: 5000\n\n: connected\n\nid: a\n\nid: b\revent: x\r\ndata:1\ndata:  2\r\n\r\n\
                      data\n\nevent: y\n\nid\ndata: 3\n\nunknown: 4\ndata: 5\n\ndata: never finished\n";
        let (events, reader) = read(&[stream.as_bytes()]);
        let event = |id: &str, event: &str, data: &str| StreamedEvent {
            id: id.to_owned(),
            event: event.to_owned(),
            data: data.to_owned(),
        };
        let expected = [
            event("b", "x", "1\n 2"),
            event("b", "message", ""),
            event("", "message", "3"),
            event("", "message", "5"),
        ];
        assert_eq!(events, expected);
        assert_eq!(reader.last_id(), "");
        let (events, reader) = read(&[b"id: a\r", b"\n\r", b"\ndata: 1\r", b"\r\n: x"]);
        assert_eq!(events, [event("a", "message", "1")]);
        assert_eq!(reader.last_id(), "a");
    }

    #[test]
    fn long_events_are_refused() {
        for stream in ["data: 0123456789", "data: 01234\ndata: 5678901"] {
            let mut reader = EventStreamReader::new(12);
            let read = reader.read(stream.as_bytes(), &mut vec![]);
            assert_eq!(
                read,
                Err(InvalidStream::TooLong { max_bytes: 12 }),
                "{stream}"
            );
        }
        let mut reader = EventStreamReader::new(12);
        let many = "data: 012345\n\n".repeat(100);
        let mut events = vec![];
        reader.read(many.as_bytes(), &mut events).unwrap();
        assert_eq!(events.len(), 100);
    }
}

//! Fragments: texts rendered once and included by many files, as shared chunks where they stand alone.
//!
//! A fragment is an ordinary text value, so filters, captures and macros see its bytes. The printer knows it
//! again by the address of its text. Whether the output is being captured at that moment the engine does not
//! tell; so the printer announces the fragment and writes nothing at all: an empty write reaches the sink
//! only where nothing captures the output. The sink then takes the shared chunk. Everywhere else the announcement is
//! withdrawn and the text is written as it is.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use minijinja::{Error, Output, State, Value};

use super::{
    engine::OUTPUT_MAX_BYTES,
    error::{fault, undefined},
    names::did_you_mean,
    printing::text,
    scene::{ROOT, Root},
};
use crate::model::{Chunk, Content};

/// Shorter fragments are inlined: a chunk of their own would cost more than it saves.
const CHUNK_MIN_BYTES: usize = 256;

/// The fragments of one generation.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    by_name: BTreeMap<String, Value>,
    by_address: BTreeMap<usize, Arc<Chunk>>,
}

impl Fragments {
    pub(super) fn new(chunks: BTreeMap<String, Arc<Chunk>>) -> Self {
        let mut fragments = Self::default();
        for (name, chunk) in chunks {
            // Rendered from templates, so they are UTF-8.
            let value = Value::from(Arc::<str>::from(String::from_utf8_lossy(chunk.bytes())));
            if let Some(text) = value.as_str().filter(|text| text.len() >= CHUNK_MIN_BYTES) {
                fragments.by_address.insert(text.as_ptr().addr(), chunk);
            }
            fragments.by_name.insert(name, value);
        }
        fragments
    }

    /// What `fragment(name)` gives.
    pub(super) fn get(&self, name: &str) -> Result<Value, Error> {
        self.by_name.get(name).cloned().ok_or_else(|| {
            undefined(
                "there is no fragment of this name",
                did_you_mean(name, self.by_name.keys().map(String::as_str)),
            )
        })
    }

    fn chunk_at(&self, address: usize) -> Option<&Arc<Chunk>> {
        self.by_address.get(&address)
    }
}

/// A fragment that the printer wants to hand to the sink, by its address; 0 for none.
#[derive(Debug, Default)]
pub(super) struct Announcement(AtomicUsize);

impl Announcement {
    // One thread renders; the atomic only makes the value shareable as the engine asks it to be.
    fn make(&self, address: usize) {
        self.0.store(address, Ordering::Relaxed);
    }

    fn take(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
}

/// Prints `value`: the engine's formatter.
pub(super) fn print(
    out: &mut Output<'_>,
    state: &mut State<'_, '_>,
    value: &Value,
) -> Result<(), Error> {
    if value.is_undefined() {
        // Only an `if` without `else` gets here: the engine refuses all others before.
        return Ok(());
    }
    let Some(string) = value.as_str() else {
        return Ok(out.write_str(&text(value)?)?);
    };
    if string.len() >= CHUNK_MIN_BYTES && announce(out, state, string)? {
        return Ok(());
    }
    Ok(out.write_str(string)?)
}

/// Prints `value` into a path: the formatter of path templates.
pub(super) fn print_path_part(
    out: &mut Output<'_>,
    _: &mut State<'_, '_>,
    value: &Value,
) -> Result<(), Error> {
    if value.is_undefined() {
        return Ok(());
    }
    let part = text(value)?;
    if part.contains('/') || part.contains(char::is_control) {
        return Err(fault(
            "what is printed into a path must not hold `/` or control characters",
        ));
    }
    if !part.is_empty() && part.bytes().all(|b| b == b'.') {
        return Err(fault("what is printed into a path must not be `.` or `..`"));
    }
    Ok(out.write_str(&part)?)
}

/// Whether the sink took `string` as a shared chunk.
fn announce(out: &mut Output<'_>, state: &State<'_, '_>, string: &str) -> Result<bool, Error> {
    let Some(root) = state.lookup(ROOT) else {
        return Ok(false);
    };
    let Some(root) = root.downcast_object_ref::<Root>() else {
        return Ok(false);
    };
    let address = string.as_ptr().addr();
    let is_fragment = root
        .fragments()
        .and_then(|fragments| fragments.chunk_at(address))
        .is_some_and(|chunk| chunk.bytes().len() == string.len());
    if !is_fragment {
        return Ok(false);
    }
    root.announcement().make(address);
    out.write_str("")?;
    Ok(root.announcement().take() == 0)
}

/// Where a template's output ends up: text and shared chunks, in order and bounded.
pub(super) struct Sink<'a> {
    root: &'a Root,
    text: Vec<u8>,
    chunks: Vec<Arc<Chunk>>,
    length_bytes: usize,
}

impl<'a> Sink<'a> {
    pub(super) fn new(root: &'a Root) -> Self {
        Self {
            root,
            text: Vec::new(),
            chunks: Vec::new(),
            length_bytes: 0,
        }
    }

    pub(super) fn into_content(mut self) -> Content {
        if self.chunks.is_empty() {
            return Content::whole(self.text.into_boxed_slice());
        }
        self.end_text();
        Content::from_chunks(self.chunks)
    }

    fn end_text(&mut self) {
        if !self.text.is_empty() {
            let text = std::mem::take(&mut self.text).into_boxed_slice();
            self.chunks.push(Chunk::new(text));
        }
    }

    fn grow(&mut self, length_bytes: usize) -> io::Result<()> {
        self.length_bytes += length_bytes;
        if self.length_bytes > OUTPUT_MAX_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(())
    }
}

impl io::Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !bytes.is_empty() {
            self.grow(bytes.len())?;
            self.text.extend_from_slice(bytes);
            return Ok(());
        }
        let announced = self.root.announcement().take();
        let Some(chunk) = self
            .root
            .fragments()
            .and_then(|f| f.chunk_at(announced))
            .cloned()
        else {
            return Ok(());
        };
        self.grow(chunk.bytes().len())?;
        self.end_text();
        self.chunks.push(chunk);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

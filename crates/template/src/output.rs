//! Where what is printed ends up: the formatters, and the sink that takes fragments as shared chunks.

use std::{io, sync::Arc};

use minijinja::{Error, Output, State, Value};

use super::{
    bounds::OUTPUT_MAX_BYTES,
    context::{ROOT, Root},
    error::fault,
    fragment::CHUNK_MIN_BYTES,
    printing::text,
};
use cfgsync_model::{Chunk, Content};

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
pub(super) struct OutputWriter<'a> {
    root: &'a Root,
    text: Vec<u8>,
    chunks: Vec<Arc<Chunk>>,
    length_bytes: usize,
}

impl<'a> OutputWriter<'a> {
    /// A writer for about `expected_bytes` of text.
    pub(super) fn new(root: &'a Root, expected_bytes: usize) -> Self {
        Self {
            root,
            text: Vec::with_capacity(expected_bytes),
            chunks: Vec::new(),
            length_bytes: 0,
        }
    }

    /// How many bytes were written.
    pub(super) fn length_bytes(&self) -> usize {
        self.length_bytes
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

impl io::Write for OutputWriter<'_> {
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

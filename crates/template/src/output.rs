//! The output of templates: formatters that print values, and the writer that collects text and shared chunks.

use std::{cell::Cell, io, sync::Arc};

use minijinja::{Error, Output, State, Value};

use super::{
    engine_error::invalid_operation,
    formatter::{output_too_long, to_text},
    fragment::CHUNK_MIN_BYTES,
    limits::{OUTPUT_MAX_BYTES, PRINTED_MAX_BYTES},
    variables::{SELF_KEY, Variables},
};
use cfgsync_model::{Chunk, Content};

/// Prints `value`. It is the engine's formatter for file templates.
pub(super) fn print(
    out: &mut Output<'_>,
    state: &mut State<'_, '_>,
    value: &Value,
) -> Result<(), Error> {
    if value.is_undefined() {
        // The engine refuses every undefined value except the result of an `if` without `else`.
        return Ok(());
    }
    let Some(string) = value.as_str() else {
        let text = to_text(value)?;
        count_printed(text.len())?;
        return Ok(out.write_str(&text)?);
    };
    count_printed(string.len())?;
    if string.len() >= CHUNK_MIN_BYTES && write_as_chunk(out, state, string)? {
        return Ok(());
    }
    Ok(out.write_str(string)?)
}

thread_local! {
    /// The number of bytes that `{{ }}` has printed in this evaluation, also within macros.
    static PRINTED_BYTES: Cell<usize> = const { Cell::new(0) };
}

/// Begins to count the printed bytes of an evaluation.
pub(super) fn forget_printed() {
    PRINTED_BYTES.set(0);
}

/// Fails if an evaluation prints more than [`PRINTED_MAX_BYTES`]. The engine keeps the output of a macro as a value, to
/// which the limit of the output does not apply.
fn count_printed(length_bytes: usize) -> Result<(), Error> {
    let printed = PRINTED_BYTES.get().saturating_add(length_bytes);
    PRINTED_BYTES.set(printed);
    if printed > PRINTED_MAX_BYTES {
        return Err(output_too_long());
    }
    Ok(())
}

/// Prints `value` into a path. It is the engine's formatter for path templates.
pub(super) fn print_path_part(
    out: &mut Output<'_>,
    _: &mut State<'_, '_>,
    value: &Value,
) -> Result<(), Error> {
    if value.is_undefined() {
        return Ok(());
    }
    let part = to_text(value)?;
    if part.contains('/') || part.contains(char::is_control) {
        return Err(invalid_operation(
            "a value that is printed into a path must not contain `/` or control characters",
        ));
    }
    if !part.is_empty() && part.bytes().all(|b| b == b'.') {
        return Err(invalid_operation(
            "a value that is printed into a path must not be `.` or `..`",
        ));
    }
    Ok(out.write_str(&part)?)
}

/// Appends `string` as a shared chunk and returns true, if it is a fragment and nothing captures the output. The
/// module `fragment` explains how.
fn write_as_chunk(
    out: &mut Output<'_>,
    state: &State<'_, '_>,
    string: &str,
) -> Result<bool, Error> {
    let Some(variables) = state.lookup(SELF_KEY) else {
        return Ok(false);
    };
    let Some(variables) = variables.downcast_object_ref::<Variables>() else {
        return Ok(false);
    };
    let address = string.as_ptr().addr();
    let is_fragment = variables
        .fragments()
        .and_then(|fragments| fragments.chunk_at(address))
        .is_some_and(|chunk| chunk.bytes().len() == string.len());
    if !is_fragment {
        return Ok(false);
    }
    variables.pending_fragment().set(address);
    out.write_str("")?;
    Ok(variables.pending_fragment().take() == 0)
}

/// Collects the output of one template as chunks, up to [`OUTPUT_MAX_BYTES`].
pub(super) struct OutputWriter<'a> {
    variables: &'a Variables,
    /// The text since the last shared chunk.
    text: Vec<u8>,
    chunks: Vec<Arc<Chunk>>,
    length_bytes: usize,
}

impl<'a> OutputWriter<'a> {
    /// Returns a writer with a buffer for `expected_bytes` of text.
    pub(super) fn new(variables: &'a Variables, expected_bytes: usize) -> Self {
        Self {
            variables,
            text: Vec::with_capacity(expected_bytes),
            chunks: Vec::new(),
            length_bytes: 0,
        }
    }

    /// Returns the number of bytes written so far.
    pub(super) fn length_bytes(&self) -> usize {
        self.length_bytes
    }

    pub(super) fn into_content(mut self) -> Content {
        if self.chunks.is_empty() {
            return Content::whole(self.text.into_boxed_slice());
        }
        self.flush_text();
        Content::from_chunks(self.chunks)
    }

    fn flush_text(&mut self) {
        if !self.text.is_empty() {
            let text = std::mem::take(&mut self.text).into_boxed_slice();
            self.chunks.push(Chunk::new(text));
        }
    }

    fn add_length(&mut self, length_bytes: usize) -> io::Result<()> {
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
            self.add_length(bytes.len())?;
            self.text.extend_from_slice(bytes);
            return Ok(());
        }
        let address = self.variables.pending_fragment().take();
        let Some(chunk) = self
            .variables
            .fragments()
            .and_then(|fragments| fragments.chunk_at(address))
            .cloned()
        else {
            return Ok(());
        };
        self.add_length(chunk.bytes().len())?;
        self.flush_text();
        self.chunks.push(chunk);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

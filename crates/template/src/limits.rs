//! Limits of one evaluation.

/// Maximum number of instructions in one evaluation. A loop over 10,000 nodes takes about 300,000; an endless loop is
/// stopped after about a second.
pub(super) const STEPS_MAX: u64 = 50_000_000;

/// Maximum length of the text that one template or filter gives, in bytes.
pub(super) const OUTPUT_MAX_BYTES: usize = 64 << 20;

/// Maximum length of everything that one evaluation prints, in bytes. A text that macros within macros print counts at each
/// level.
pub(super) const PRINTED_MAX_BYTES: usize = 8 * OUTPUT_MAX_BYTES;

/// Maximum indentation that a filter accepts, in spaces.
pub(super) const INDENT_MAX: usize = 1000;

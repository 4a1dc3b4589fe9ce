//! How much one text may take and give.

/// Most instructions that one render or evaluation may take: a loop over 10,000 peers takes some 300,000, an
/// endless loop is stopped in about a second.
pub const STEPS_MAX: u64 = 50_000_000;

/// Longest text that one template may give, in bytes.
pub const OUTPUT_MAX_BYTES: usize = 64 << 20;

/// Widest indentation that may be asked for, in spaces.
pub(super) const INDENT_MAX: usize = 1000;

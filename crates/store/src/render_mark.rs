//! The mark of a render that a server has begun and not ended.

/// A render that a server has begun. If the server ends without clearing the mark, others find it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderMark {
    /// The text that names the inputs of the render. It is the same on all servers.
    pub render: String,
    /// The number of servers that have begun it and not ended it, this one included.
    pub starts: u32,
}

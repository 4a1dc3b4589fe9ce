//! Small parts that several crates share and that belong to no stage of the data's route.
//!
//! Each file has one job, and its name says which. Nothing here knows a noun of cfgsync: this crate imports no other
//! crate of the workspace, and every other crate may import it.

pub mod bounded_file;
pub mod clock;
pub mod duration;
pub mod escape;
pub mod nearest;
pub mod parallel;
pub mod replace_file;

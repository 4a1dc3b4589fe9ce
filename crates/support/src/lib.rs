//! Small parts that several crates share and that belong to no stage of the data's route.

pub mod clock;
pub mod parallel;

//! The route of data in one place: registration → snapshot → readiness → materialize → seal → payload.

mod answer;
mod skeleton;

pub use answer::{Answer, Refusal};
pub use skeleton::Coordinator;

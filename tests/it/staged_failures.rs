//! Failures as a user meets them: the real program, its command line, and all that it prints.
//!
//! Each text must give the cause and the way out to a reader who knows nothing else. The texts are kept in
//! `tests/staged-failures/NAME.txt`. `CFGSYNC_BLESS=1` rewrites them.

mod stage;
mod connections;
mod trust;
mod registration;
mod renders;
mod specs;
mod starts;
mod programs;

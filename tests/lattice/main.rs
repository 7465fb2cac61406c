//! The lattice in real directories: what others do to the files, what a crash leaves, what writers race for.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test stops at the first surprise and says which"
)]

mod bed;
mod clock;
mod dating;
mod edits;
mod files;
mod marker;
mod packs;
mod recovery;
mod versions;
mod waiting;
mod watching;
mod writes;

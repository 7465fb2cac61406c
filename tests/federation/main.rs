//! Instances that exchange with each other: real applications, real sockets, real files.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that cannot go on should stop where it stands"
)]

mod bed;
mod clocks;
mod deletions;
mod engine;
mod filtered;
mod forgotten;
mod keys;
mod lan;
mod machine;
mod named;
mod odd_neighbours;
mod originals;
mod pools;
mod reconcile;
mod restores;
mod rounds;
mod selective;
mod too_large;
mod unavailable;

#[path = "../support/ip.rs"]
mod ip;
#[path = "../support/python.rs"]
mod python;
#[path = "../support/originals.rs"]
mod stand_ins;

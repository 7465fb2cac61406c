//! Directories and HTTP exchanges of earlier releases, recorded by `record.py`: this release takes the directories over without loss and
//! interoperates with those releases. Each folder beside this file that has a `recording.json` is one release.
//!
//! Signatures, tombstones and registrations in a recording expire, so the services run at the time of the recording (libfaketime).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that cannot go on should stop where it stands"
)]
#![cfg(target_os = "linux")]

mod answers;
mod compare;
#[path = "../support/faketime.rs"]
mod faketime;
mod pair;
mod positions;
#[path = "../support/redis_server.rs"]
mod redis_server;
mod requests;
#[path = "../support/service.rs"]
mod service;
mod session;
#[path = "../support/signing.rs"]
mod signing;
mod taken_over;

//! Peers that mean harm: real listeners with real keys, against real instances.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that cannot go on should stop where it stands"
)]

mod among;
#[allow(dead_code, reason = "each test binary uses its own part of it")]
#[path = "../federation/bed.rs"]
mod bed;
mod journals;
mod misdeeds;
mod pushers;
mod server;
#[path = "../support/service.rs"]
mod service;

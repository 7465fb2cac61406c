//! Exchanges that must end in one way, whoever is on the other side.
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

mod attacks;
#[path = "../support/certificates.rs"]
mod certificates;
#[path = "../support/faketime.rs"]
mod faketime;
#[path = "../support/redis_server.rs"]
mod redis_server;
#[allow(dead_code, reason = "each test binary uses its own part of it")]
#[path = "../hostile/server.rs"]
mod server;
#[path = "../support/service.rs"]
mod service;
#[path = "../support/signing.rs"]
mod signing;

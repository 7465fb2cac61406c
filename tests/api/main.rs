//! The service as its clients see it: the real application on port 0, real files, real sockets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that cannot go on should stop where it stands"
)]

mod accept;
mod app;
mod bad_input;
mod clock;
mod conflicts;
mod cors;
mod deletions;
mod events;
mod federation;
mod hostile;
mod limits;
mod local_access;
mod manifests;
mod nodes;
mod overload;
mod proxies;
mod raw_http;
mod seed;
mod seed_wire;
mod service;
mod sync;
mod tls;
mod versions;

#[path = "../support/certificates.rs"]
mod certificates;

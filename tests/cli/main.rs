//! The commands as people and scripts run them: the real binary, real directories, real sockets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that cannot go on should stop where it stands"
)]

mod accepts;
mod adopts;
mod bed;
mod conflicts;
mod default_trust;
mod demo;
mod doctor;
mod edits;
mod exports;
mod federation;
mod health;
mod identity;
mod imports;
mod inbound;
mod inits;
mod keys;
mod local_access;
mod mistakes;
mod networks;
mod next_steps;
mod nodes;
mod pairing;
mod pull_originals;
mod pulls;
mod seed_recipes;
mod serving;
mod settings;
mod settings_peers;
mod shapes;
mod shells;
mod statements;
mod states;
mod stops;
mod terminals;
mod times;
mod tls;

#[path = "../support/certificates.rs"]
mod certificates;
#[path = "../support/faketime.rs"]
mod faketime;
#[path = "../support/ip.rs"]
mod ip;
#[path = "../support/python.rs"]
mod python;
#[path = "../support/originals.rs"]
mod stand_ins;

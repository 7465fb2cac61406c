//! ark-lattice keeps directories of JSON documents in step between machines.
//!
//! **In:** [`api`] routes → `api::extract` (size limit, strict JSON) → [`manifest::verify`] → [`manifest::Verified`] →
//! [`trust`] (may this key speak for this id, is it fresh) → [`ops::register`] → [`registry`].
//!
//! **Out:** data directory → [`lattice`] watcher → index and journal → [`ops::sync`] → [`api`] → peer.
//!
//! Which room may import which is written in `ARCHITECTURE.md` and enforced by `tests/architecture.rs`.

pub mod api;
pub mod cli;
pub mod federation;
pub mod guard;
pub mod identity;
pub mod json;
pub mod lattice;
pub mod manifest;
pub mod ops;
pub mod registry;
pub mod settings;
pub mod shutdown;
pub mod startup;
pub mod telemetry;
pub mod tls;
pub mod trust;
pub mod types;

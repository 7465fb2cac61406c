//! ark-lattice keeps directories of JSON documents in step between machines.
//!
//! **In:** `api` routes → `api::extract` (size limit, strict JSON) → [`manifest::verify`] → [`manifest::Verified`] →
//! [`trust`] (may this key speak for this id, is it fresh) → `ops` → [`registry`].
//!
//! **Out:** data directory → [`lattice`] watcher → index and journal → `ops` delta → `api` → peer.
//!
//! Which room may import which is written in `ARCHITECTURE.md` and enforced by `tests/architecture.rs`.

pub mod identity;
pub mod json;
pub mod lattice;
pub mod manifest;
pub mod registry;
pub mod settings;
pub mod trust;
pub mod types;

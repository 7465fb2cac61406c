//! One file per resource.

pub(super) mod accept;
pub(super) mod conflicts;
pub(super) mod control;
pub(super) mod deletions;
pub(super) mod discover;
pub(super) mod documents;
pub(super) mod events;
pub(super) mod health;
pub(super) mod introductions;
pub(super) mod invites;
pub(super) mod keys;
pub(super) mod lattice;
pub(super) mod manifest;
pub(super) mod nodes;
pub(super) mod pending;
pub(super) mod rounds;
pub(super) mod seed_wire;
pub(super) mod sync;
pub(super) mod trust;
pub(super) mod versions;

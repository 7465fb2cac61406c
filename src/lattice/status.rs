//! How the lattice is, as it is told.

use crate::manifest::{Epoch, Lineage};
use std::{sync::Arc, time::Duration};

/// A file of the data directory that is not a node, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokenFile {
    /// The file's name in the directory (not a path).
    pub file: String,
    /// One line for people.
    pub reason: String,
}

/// How the lattice is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LatticeStatus {
    /// The index is built; before that every other call answers [`LatticeError::Loading`](super::LatticeError::Loading).
    pub ready: bool,
    /// Live nodes.
    pub nodes: usize,
    /// Tombstones that are kept.
    pub tombstones: u64,
    /// How many files are broken.
    pub broken_total: usize,
    /// The first hundred of them, by name.
    pub broken: Vec<BrokenFile>,
    /// How long the last full build of the index took.
    pub index_build: Option<Duration>,
    /// How many files that build had to hash.
    pub hashed_files: u64,
    /// There is a `manifest.json` that is not ours: none is written.
    pub foreign_manifest: bool,
    /// Random, 32 hex digits; new after any reset of the journal.
    pub index_id: String,
    /// The journal's newest position.
    pub seq: u64,
    /// Whether the last write or scan failed for want of space, permission or the like; one line for people.
    pub fault: Option<String>,
    /// That fault is a full disk.
    pub full: bool,
    /// That fault is only that the directory cannot be watched: edits are seen late, by the full scan.
    pub unwatched: bool,
}

/// The unbroken stretches of the journal (DESIGN 4.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epochs {
    /// Those that began so far.
    pub lineage: Arc<Lineage>,
    /// The one that the next write begins; `None`: it continues the newest one.
    pub next: Option<Epoch>,
}

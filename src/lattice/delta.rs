//! What differs between a snapshot and a caller's list. (signatures are final, bodies are being written)

use super::{Entry, index::Snapshot};
use crate::types::NodeId;
use std::{collections::HashMap, sync::Arc};

/// A hash as a caller sent it.
#[derive(Debug, Clone, Copy)]
pub struct CallerHash(());

impl CallerHash {
    /// Reads a caller's hash; a text that is no hash equals none of ours.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let _ = text;
        Self(())
    }
}

/// A comparison.
#[derive(Debug)]
pub struct Delta {
    snapshot: Arc<Snapshot>,
}

impl Delta {
    /// Compares nothing yet.
    #[must_use]
    pub fn new(snapshot: Arc<Snapshot>, caller: HashMap<NodeId, CallerHash>) -> Self {
        let _ = caller;
        Self { snapshot }
    }

    /// The nodes that the caller lacks or holds with another hash, after the node `after`.
    pub fn entries(&self, after: Option<&NodeId>) -> impl Iterator<Item = &Arc<Entry>> + '_ {
        self.snapshot.iter_after(after)
    }

    /// The ids that the caller has and we lack, sorted.
    #[must_use]
    pub fn wanted(&self) -> Vec<&NodeId> {
        Vec::new()
    }
}

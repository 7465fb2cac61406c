//! What the service acknowledged to one client, and so must have: each id is written by one client alone.

use std::collections::BTreeMap;

/// What may be under an id: the last acknowledged version, or one that was sent later and not answered.
#[derive(Debug, Default, Clone)]
pub(crate) struct Versions {
    acknowledged: Option<u64>,
    unanswered: Vec<u64>,
}

impl Versions {
    /// A version is on its way.
    pub(crate) fn sent(&mut self, version: u64) {
        self.unanswered.push(version);
    }

    /// The version sent last was taken.
    pub(crate) fn taken(&mut self, version: u64) {
        self.acknowledged = Some(version);
        self.unanswered.clear();
    }

    pub(crate) fn any_acknowledged(&self) -> bool {
        self.acknowledged.is_some()
    }

    pub(crate) fn settled(&self) -> bool {
        self.unanswered.is_empty()
    }

    /// May this be what the service holds?
    pub(crate) fn fits(&self, found: Option<u64>) -> bool {
        found == self.acknowledged || found.is_some_and(|version| self.unanswered.contains(&version))
    }
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) peer: String,
    pub(crate) key: u64,
    pub(crate) statements: Versions,
    pub(crate) nodes: BTreeMap<String, Versions>,
}

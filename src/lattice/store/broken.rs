//! Files of the directory that are no nodes: reported by name, and the nodes that stand in them under names that are not their own.

use super::{Store, fingerprint};
use crate::{lattice::reader::FileStamp, types::NodeId};
use std::time::Instant;

/// The longest reason that is kept for a broken file, characters.
const REASON_CHARS: usize = 200;

/// A file that is no node.
#[derive(Debug)]
pub(in crate::lattice) struct Broken {
    pub(in crate::lattice) reason: Box<str>,
    /// It is this node under a name that is not its own.
    pub(in crate::lattice) claims: Option<NodeId>,
    pub(in crate::lattice) fingerprint: Option<u64>,
    pub(in crate::lattice) generation: u32,
}

/// Files that hold a node under names that are not its own.
#[derive(Debug)]
pub(super) struct Claim {
    files: usize,
    /// When the newest of them was found, by the process's own clock.
    since: Instant,
    /// The node's own file was not there then: it was renamed, not copied.
    is_renamed: bool,
}

impl Store {
    /// Reports a file that is no node. `claims`: it is this node under a name that is not its own.
    pub(in crate::lattice) fn mark_broken(
        &mut self,
        name: &str,
        reason: &str,
        stamp: Option<&FileStamp>,
        claims: Option<NodeId>,
    ) {
        let reason: String = reason.chars().map(|c| if c.is_control() { ' ' } else { c }).take(REASON_CHARS).collect();
        let broken = Broken {
            reason: reason.as_str().into(),
            claims: claims.clone(),
            fingerprint: stamp.map(fingerprint),
            generation: self.generation,
        };
        let before = self.shared.report().broken.insert(name.to_owned(), broken);
        let (same_reason, before_claims) = before.map_or((false, None), |it| (*it.reason == *reason, it.claims));
        self.unclaim(before_claims.clone());
        if let Some(id) = claims {
            let is_renamed = self.shared.directory.join(self.name_for(&id)).symlink_metadata().is_err();
            let mut report = self.shared.report();
            let claim = report.claimed.entry(id).or_insert(Claim { files: 0, since: Instant::now(), is_renamed });
            claim.files += 1;
            claim.is_renamed |= is_renamed;
            if before_claims.is_none() {
                claim.since = Instant::now();
            }
        }
        if !same_reason {
            tracing::warn!(lattice.file = name, reason, "a file of the data directory is not a node");
        }
    }

    pub(in crate::lattice) fn unmark_broken(&mut self, names: &[String]) {
        for name in names {
            let before = self.shared.report().broken.remove(name);
            self.unclaim(before.and_then(|broken| broken.claims));
        }
    }

    /// A file does not stand for this node any more: whether the node is deleted is to be looked at.
    fn unclaim(&mut self, id: Option<NodeId>) {
        let Some(id) = id else { return };
        {
            let claimed = &mut self.shared.report().claimed;
            match claimed.get_mut(&id) {
                Some(claim) if claim.files > 1 => claim.files -= 1,
                _ => drop(claimed.remove(&id)),
            }
        }
        if self.known.get(id.as_str()).is_some_and(|known| !known.live) {
            self.look_again.push(self.name_for(&id));
        }
    }

    /// Was the file of this node, which is not there, given a name that is not its own? A copy that was made long before does not count.
    pub(in crate::lattice) fn is_renamed(&self, id: &NodeId) -> bool {
        let report = self.shared.report();
        let missing_since = self.missing.get(id).map_or_else(Instant::now, |away| away.since);
        let is_young = |claim: &Claim| missing_since.saturating_duration_since(claim.since) <= self.vanish_grace;
        report.claimed.get(id).is_some_and(|claim| claim.is_renamed || is_young(claim))
    }
}

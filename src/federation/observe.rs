//! Tells of what changes in the lattice, whoever changed it: somebody here, or another instance.

use super::events::{EventKind, Events};
use crate::{
    lattice::{Change, Conflict, Lattice, LatticeError, Version},
    types::Timestamp,
};
use serde_json::{Number, Value, json};
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;

/// Changes that come one after the other go in one event.
const GATHER: Duration = Duration::from_millis(50);
/// While more changes than an event names, events come only so often: a hundred thousand changes are not a thousand events.
const BUSY: Duration = Duration::from_secs(1);
/// Nodes that one event names, and how many bytes their ids may have together.
const NAMED: usize = 100;
const NAMED_BYTES: usize = 8 << 10;
/// Conflicts that are told of together; the last of them says how many more there are.
const CONFLICTS: usize = 100;

/// Tells for as long as the lattice is open.
pub async fn observe(lattice: Arc<dyn Lattice>, events: Arc<Events>) {
    let mut positions = lattice.positions();
    let seq = *positions.borrow_and_update();
    let mut observer = Observer { conflict: lattice.last_conflict().unwrap_or_default(), lattice, seq };
    while positions.changed().await.is_ok() {
        sleep(GATHER).await;
        loop {
            let seq = *positions.borrow_and_update();
            match observer.tell(&events, seq) {
                Ok(true) => sleep(BUSY).await,
                Ok(false) => {}
                // The index is being built, or the disk fails: they are told of afterwards.
                Err(error) => {
                    tracing::debug!(%error, "changes cannot be told of yet");
                    sleep(BUSY).await;
                    continue;
                }
            }
            break;
        }
    }
}

/// Up to where everything was told.
#[derive(Debug)]
struct Observer {
    lattice: Arc<dyn Lattice>,
    seq: u64,
    conflict: u64,
}

impl Observer {
    /// Tells of everything up to `seq`. Answers whether there was more than events name.
    fn tell(&mut self, events: &Events, seq: u64) -> Result<bool, LatticeError> {
        let changes = if seq > self.seq { self.lattice.changes(self.seq, NAMED)? } else { Vec::new() };
        let conflicts = self.lattice.conflicts(self.conflict, CONFLICTS)?;
        let newest = match conflicts.last() {
            Some(last) if conflicts.len() < CONFLICTS => last.number,
            Some(_) => self.lattice.last_conflict()?,
            None => self.conflict,
        };
        let (data, mut more) = changes_data(self.seq, seq, &changes);
        if seq > self.seq {
            events.tell(EventKind::NodeChanged, data);
        }
        for (left, conflict) in (0..conflicts.len()).rev().zip(&conflicts) {
            let unnamed = if left == 0 { newest.saturating_sub(conflict.number) } else { 0 };
            more = more.saturating_add(unnamed);
            events.tell(EventKind::ConflictResolved, conflict_data(conflict, unnamed));
        }
        (self.seq, self.conflict) = (seq, newest);
        Ok(more > 0)
    }
}

/// What is said of the changes after `since` up to `seq`, and how many of them are not named.
fn changes_data(since: u64, seq: u64, changes: &[Change]) -> (Value, u64) {
    let (mut nodes, mut bytes, mut named) = (Vec::new(), 0_usize, since);
    for change in changes {
        let (id, at, deleted) = match change {
            Change::Put { id, seq, .. } => (id, *seq, false),
            Change::Deleted(tombstone, _) => (&tombstone.id, tombstone.seq, true),
        };
        bytes = bytes.saturating_add(id.as_str().len());
        if at > seq || bytes > NAMED_BYTES {
            break;
        }
        named = at;
        nodes.push(json!({ "id": id.as_str(), "seq": at, "deleted": deleted }));
    }
    // Positions without a node are those of changes that others of the same nodes followed.
    let all = nodes.len() == changes.len() && changes.len() < NAMED;
    let later = changes.len() > nodes.len() && nodes.len() < NAMED && bytes <= NAMED_BYTES;
    let more = if all || later { 0 } else { seq.saturating_sub(named) };
    (json!({ "since": since, "seq": seq, "nodes": nodes, "more": more }), more)
}

fn conflict_data(conflict: &Conflict, more: u64) -> Value {
    let Conflict { number, id, from, lost, won, noticed_at, .. } = conflict;
    let version = |version: &Version| json!({ "updatedAt": seconds(version.at), "hash": version.content });
    json!({
        "nodeId": id.as_str(), "number": number, "winner": from, "won": version(won), "lost": version(lost),
        "noticedAt": seconds(*noticed_at), "more": more,
    })
}

fn seconds(at: Timestamp) -> Option<Number> {
    serde_json::from_str(&at.to_seconds_text()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        lattice::{Ancestry, Tombstone},
        types::{ContentHash, NodeId},
    };

    fn deleted(id: &str, seq: u64) -> Change {
        let content_hash = ContentHash::parse(&format!("sha256:{}", "0".repeat(64))).unwrap();
        let id = NodeId::parse(id).unwrap();
        Change::Deleted(Tombstone { id, deleted_at: Timestamp::EPOCH, content_hash, seq }, Ancestry::default())
    }

    fn named(changes: &[Change], since: u64, seq: u64) -> (usize, u64) {
        let (data, more) = changes_data(since, seq, changes);
        assert_eq!(data["more"], more);
        (data["nodes"].as_array().unwrap().len(), more)
    }

    #[test]
    fn an_event_names_so_many_nodes_and_says_how_many_more() {
        // 5 and 6 were changed again at 9.
        assert_eq!(named(&[deleted("a", 7), deleted("b", 9)], 4, 9), (2, 0));
        assert_eq!(named(&[deleted("a", 7), deleted("later", 12)], 4, 9), (1, 0), "the next event names it");
        assert_eq!(named(&[deleted("later", 12)], 4, 9), (0, 0));
        let many: Vec<Change> = (1..=100).map(|seq| deleted(&format!("n{seq}"), seq)).collect();
        assert_eq!(named(&many, 0, 100), (100, 0));
        assert_eq!(named(&many, 0, 100_000), (100, 99_900));
        let long: Vec<Change> = (1..=100).map(|seq| deleted(&format!("{seq:0200}"), seq)).collect();
        assert_eq!(named(&long, 0, 100_000), (40, 99_960), "long ids are fewer");
        let data = changes_data(0, 100_000, &long).0.to_string();
        assert!(data.len() < 16 << 10, "{}", data.len());
    }
}

//! Giving a Node.js original what it lacks.

use super::{Given, Original, Receiver, Seen};
use crate::{
    federation::run::{RoundError, RoundReport},
    lattice::{Entry, StoredNode},
};
use std::{hash::BuildHasher, sync::Arc};

/// What one request carries: originals bound their bodies, often to 100 KiB. A larger node goes alone.
const BODY_BYTES: u64 = 64 << 10;
const MOST_NODES: usize = 1000;
/// Versions that are remembered as given; beyond it they go again, which costs bytes only.
const REMEMBERED: usize = 1_000_000;

impl Given {
    fn hash(&self, entry: &Entry) -> u64 {
        self.hasher.hash_one((entry.id.as_str(), &entry.content_hash))
    }

    fn note(&mut self, entry: &Entry) {
        if self.versions.len() < REMEMBERED {
            self.versions.insert(self.hash(entry));
        }
    }

    /// Is it sent? Not where the original holds the same, nor where it was given it and kept another one.
    fn lacks(&self, entry: &Entry, seen: &Seen) -> bool {
        match seen.get(&entry.id) {
            None => true,
            Some(theirs) => *theirs != entry.content_hash && !self.versions.contains(&self.hash(entry)),
        }
    }
}

/// Sends every node of which the original holds no version, or another one. It keeps the later one by its own rule.
pub(super) async fn give(
    original: &Original<'_>,
    receiver: &Receiver<'_>,
    (seen, given): (&Seen, &mut Given),
    report: &mut RoundReport,
) -> Result<(), RoundError> {
    let held = receiver.lattice.snapshot()?;
    let (mut batch, mut bytes) = (Vec::<Arc<Entry>>::new(), 0_u64);
    for entry in held.iter_after(None) {
        if !given.lacks(entry, seen) {
            continue;
        }
        if !batch.is_empty() && (bytes.saturating_add(entry.size_bytes) > BODY_BYTES || batch.len() >= MOST_NODES) {
            send(original, receiver, std::mem::take(&mut batch), given, report).await?;
            bytes = 0;
        }
        bytes = bytes.saturating_add(entry.size_bytes);
        batch.push(Arc::clone(entry));
    }
    if !batch.is_empty() {
        send(original, receiver, batch, given, report).await?;
    }
    Ok(())
}

async fn send(
    original: &Original<'_>,
    receiver: &Receiver<'_>,
    batch: Vec<Arc<Entry>>,
    given: &mut Given,
    report: &mut RoundReport,
) -> Result<(), RoundError> {
    let nodes = receiver.lattice.read_many(batch).await?;
    let mut body =
        Vec::from(format!("{{\"instanceId\":{},\"nodes\":[", serde_json::Value::from(original.node_id.as_str())));
    for (place, StoredNode { bytes, .. }) in nodes.iter().enumerate() {
        if place > 0 {
            body.push(b',');
        }
        body.extend_from_slice(bytes.trim_ascii());
    }
    body.extend_from_slice(b"]}");
    let text = String::from_utf8(body).map_err(|error| original.client.wrong(&error.to_string()))?;
    report.requests = report.requests.saturating_add(1);
    report.bytes_out = report.bytes_out.saturating_add(u64::try_from(text.len()).unwrap_or(u64::MAX));
    let received = original.client.give_original(text).await?;
    report.sent = report.sent.saturating_add(nodes.len());
    // One that says nothing took what it was sent.
    report.sent_taken = report.sent_taken.saturating_add(received.unwrap_or(nodes.len()).min(nodes.len()));
    for node in &nodes {
        given.note(&node.entry);
    }
    Ok(())
}

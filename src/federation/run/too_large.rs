//! What a round knows of nodes that are larger than this instance or the peer takes: they are left out there, named and recorded, and the
//! rest is exchanged. They go once the receiver takes more.

use super::{Held, RoundError, Run};
use crate::{
    federation::{
        client::ClientError,
        feed::{self, TooLargeNode},
        lines::{Lines, NextLine},
        remote::ReceiverBounds,
        round::{
            Outcome, Positions, Round,
            unavailable::{LeftOutContent, UnavailableNodes},
        },
        wire::{Line, WireContent, WireError, longest_line, read_beginning, read_line},
    },
    lattice::Change,
    types::{NodeId, PeerId, Timestamp},
};
use bytes::Bytes;
use std::{
    collections::{BTreeSet, HashSet},
    time::Duration,
};

/// So many nodes of a round are named one by one.
const NAMED: u64 = 10;
/// After so long a node goes again that a request was refused for, where the receiver does not state that it takes less.
const TRY_AGAIN: Duration = Duration::from_secs(60 * 60);
/// How an instance of before says that a node is too large for it: it refuses the whole request.
const NAMES_THE_LIMIT: &str = "limits.node_bytes";

/// Whose limit a node of ours exceeds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Limit {
    Peer,
    /// What refused it is no instance.
    Proxy,
}

impl Limit {
    fn of(refusal: &RoundError) -> Self {
        match refusal {
            RoundError::Client(ClientError::Refused { status: 413, code, detail, .. })
                if code.is_empty() || detail.contains(SAYS_PROXY) =>
            {
                Self::Proxy
            }
            _ => Self::Peer,
        }
    }
}

/// What the proxies of `deploy/` say in the form of our errors.
const SAYS_PROXY: &str = "larger than this proxy takes";

/// Nodes that are too large for one side.
#[derive(Debug, Default)]
pub(super) struct TooLarge {
    /// Of ours, for the peer.
    there: UnavailableNodes,
    /// More of them than are recorded: they go again.
    unrecorded: BTreeSet<NodeId>,
    /// Those of them that were left out since this was cleared.
    again: BTreeSet<NodeId>,
    /// They were offered in this round.
    are_offered: bool,
    /// What the peer states that it takes.
    bounds: ReceiverBounds,
    /// The largest body that it seems to take.
    most_body: Option<usize>,
    /// How many were left out anew in this round.
    new: u64,
}

impl TooLarge {
    /// As it was recorded.
    pub(super) fn new(there: UnavailableNodes) -> Self {
        Self { there, ..Self::default() }
    }

    /// What is to be recorded.
    pub(super) fn recorded(&self) -> &UnavailableNodes {
        &self.there
    }

    /// Nodes of ours that are too large for the peer.
    pub(super) fn there(&self) -> impl Iterator<Item = &NodeId> {
        self.there.iter().map(|(id, _)| id).chain(&self.unrecorded)
    }

    /// What the peer states that it takes.
    pub(super) fn bounds(&self) -> ReceiverBounds {
        self.bounds
    }

    /// Notes what the peer states that it takes.
    pub(super) fn learn(&mut self, stated: ReceiverBounds) {
        let ReceiverBounds { node_bytes, body_bytes } = stated;
        self.bounds.node_bytes = node_bytes.or(self.bounds.node_bytes);
        self.bounds.body_bytes = body_bytes.or(self.bounds.body_bytes);
    }

    /// The largest body that is sent, if there is a bound.
    pub(super) fn most_body(&self) -> Option<usize> {
        self.most_body.into_iter().chain(self.bounds.body_bytes).min()
    }

    /// Does the peer state that it takes no body of so many bytes?
    pub(super) fn exceeds_body(&self, bytes: usize) -> bool {
        self.bounds.body_bytes.is_some_and(|most| bytes > most)
    }

    /// A body of so many bytes was refused.
    pub(super) fn halve_body(&mut self, bytes: usize) {
        self.most_body = Some(bytes / 2);
    }

    /// By what the peer states, may this content go?
    fn fits(&self, content: &LeftOutContent) -> bool {
        let bytes = content.too_large.map_or(0, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        self.bounds.node_bytes.is_none_or(|most| bytes <= most) && !self.exceeds_body(bytes)
    }

    /// Names a node of the peer in the log.
    pub(super) fn name_here(&mut self, peer: &PeerId, id: &NodeId, bytes: u64) {
        self.new = self.new.saturating_add(1);
        if self.new <= NAMED {
            tracing::warn!(
                peer.id = peer.as_str(),
                node.id = id.as_str(),
                node.bytes = bytes,
                "a node of the peer is too large for this instance and is left out here; to take it, raise limits.node_bytes here"
            );
        }
    }

    fn name_there(&mut self, peer: &PeerId, node: &TooLargeNode, limit: Limit) {
        self.new = self.new.saturating_add(1);
        if self.new > NAMED {
            return;
        }
        let (peer, id, bytes) = (peer.as_str(), node.id.as_str(), node.bytes);
        match limit {
            Limit::Peer => tracing::warn!(
                peer.id = peer,
                node.id = id,
                node.bytes = bytes,
                "a node is too large for the peer and is left out there; to send it, raise limits.node_bytes on that machine, and \
                 limits.sync_bytes where that is smaller"
            ),
            Limit::Proxy => tracing::warn!(
                peer.id = peer,
                node.id = id,
                node.bytes = bytes,
                "a node is too large for the proxy before the peer and is left out there; to send it, let that proxy pass larger bodies \
                 (nginx: client_max_body_size 33m;)"
            ),
        }
    }

    /// Says how many were not named.
    pub(super) fn name_rest(&mut self, peer: &PeerId) {
        if let Some(more) = std::mem::take(&mut self.new).checked_sub(NAMED).filter(|more| *more > 0) {
            tracing::warn!(peer.id = peer.as_str(), nodes = more, "more nodes are too large and are left out");
        }
    }
}

impl<N: FnMut(&Positions) + Send> Run<'_, N> {
    /// The next line of an answer, and its bytes. A version whose content is too large comes without it.
    pub(super) async fn next_line(&self, lines: &mut Lines) -> Result<(Line, usize), RoundError> {
        let limits = &self.parties.limits;
        match lines.next_or_skip(|beginning| longest_line(beginning, limits)).await? {
            None => Err(self.cut_off()),
            Some(NextLine::Whole(line)) => {
                let size = line.len();
                Ok((read_line(line, limits)?, size))
            }
            Some(NextLine::TooLong { beginning, bytes }) => {
                let size = usize::try_from(bytes).unwrap_or(usize::MAX);
                Ok((read_beginning(&beginning, bytes, limits)?, size))
            }
        }
    }

    /// Records a node of ours that is too large for the peer. `refused`: when a request with it alone was refused, and by whom.
    pub(super) fn leave_out_there(&mut self, node: &TooLargeNode, refused: Option<(Timestamp, Limit)>) {
        let (refused_at, limit) = refused.unzip();
        let bytes = u64::try_from(node.bytes).unwrap_or(u64::MAX);
        let content = LeftOutContent { refused_at, ..LeftOutContent::too_large(node.content_hash, bytes) };
        let known = self.too_large.there.get(&node.id).map(|known| known.content_hash);
        if known != Some(node.content_hash) {
            self.too_large.name_there(&self.peer, node, limit.unwrap_or(Limit::Peer));
        }
        self.too_large.again.insert(node.id.clone());
        if !self.too_large.there.insert(&node.id, content) {
            Held::before(&mut self.held.pushed, node.seq);
            self.too_large.unrecorded.insert(node.id.clone());
        }
    }

    /// Leaves the node of one line out. `refusal`: a request with this line alone was refused.
    pub(super) fn leave_out_line(&mut self, line: &[u8], refusal: Option<RoundError>) -> Result<(), RoundError> {
        let Some(node) = self.node_of_line(line) else {
            let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
            return Err(refusal.unwrap_or(RoundError::Wire(WireError::TooLong(length))));
        };
        let refused = refusal.map(|refusal| (self.parties.clock.now(), Limit::of(&refusal)));
        self.leave_out_there(&node, refused);
        Ok(())
    }

    /// Leaves those nodes of a body out that the peer did not take. Answers how many they are.
    pub(super) fn leave_out_lines(&mut self, body: &[u8], ids: Vec<NodeId>) -> Result<usize, RoundError> {
        if ids.is_empty() {
            return Ok(0);
        }
        let mut ids: HashSet<NodeId> = ids.into_iter().collect();
        let mut count = 0_usize;
        for line in body.split(|byte| *byte == b'\n') {
            if let Some(node) = self.node_of_line(line).filter(|node| ids.remove(&node.id)) {
                self.leave_out_there(&node, None);
                count = count.saturating_add(1);
            }
        }
        if ids.is_empty() { Ok(count) } else { Err(RoundError::OtherFeed("it leaves out nodes that were not sent")) }
    }

    /// The node that a line of ours brings.
    fn node_of_line(&self, line: &[u8]) -> Option<TooLargeNode> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        let Ok(Line::Change(change)) = read_beginning(line, length, &self.parties.limits) else { return None };
        let WireContent::Unavailable { content_hash, too_large: Some(bytes), .. } = change.content else { return None };
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        Some(TooLargeNode { seq: change.seq, id: change.id, content_hash, bytes })
    }

    /// Offers once a round what was too large for the peer, and sends what it takes now. Answers whether anything went.
    pub(super) async fn offer_too_large(&mut self, round: &mut Round, outcome: Outcome) -> Result<bool, RoundError> {
        if outcome == Outcome::InStep {
            self.too_large.there = UnavailableNodes::default();
        }
        if std::mem::replace(&mut self.too_large.are_offered, true) || !round.directions.push {
            return Ok(false);
        }
        let mut changes = self.still_left_out()?;
        if changes.is_empty() {
            return Ok(false);
        }
        let waiting = self.waiting_here()?;
        self.retain_wanted(round, &mut changes, &waiting);
        let offered: Vec<NodeId> = changes.iter().map(|change| id_of(change).clone()).collect();
        let wanted = self.offer(round, changes).await?;
        let ids: HashSet<&NodeId> = wanted.iter().map(id_of).collect();
        for id in offered.iter().filter(|id| !ids.contains(id)) {
            self.too_large.there.remove(id);
        }
        let goes: Vec<Change> = wanted.iter().filter(|change| self.may_go(id_of(change))).cloned().collect();
        let sent: Vec<NodeId> = goes.iter().map(|change| id_of(change).clone()).collect();
        self.too_large.again.clear();
        self.send_contents(round, goes).await?;
        let (gone, left): (Vec<_>, Vec<_>) = sent.into_iter().partition(|id| !self.too_large.again.contains(id));
        gone.iter().for_each(|id| self.too_large.there.remove(id));
        round.stale |= !gone.is_empty();
        tracing::debug!(
            gone = gone.len(),
            left = left.len(),
            "nodes that were too large for the peer were offered again"
        );
        self.tell(&round.positions);
        Ok(!gone.is_empty())
    }

    /// The recorded nodes that have not changed since; the others are forgotten, they stand further behind in the journal.
    fn still_left_out(&mut self) -> Result<Vec<Change>, RoundError> {
        let lattice = &**self.parties.lattice;
        let recorded: Vec<(NodeId, LeftOutContent)> =
            self.too_large.there.iter().map(|(id, content)| (id.clone(), *content)).collect();
        let mut changes = Vec::with_capacity(recorded.len());
        for (id, content) in recorded {
            match lattice.entry(&id)?.filter(|entry| entry.content_hash == content.content_hash) {
                Some(entry) => changes.push(feed::put_of(lattice, &entry)?),
                None => self.too_large.there.remove(&id),
            }
        }
        Ok(changes)
    }

    /// May this recorded node go, as far as is known now?
    fn may_go(&mut self, id: &NodeId) -> bool {
        let Some(content) = self.too_large.there.get(id).copied() else { return false };
        if !self.too_large.fits(&content) {
            // The refusal is explained: once more is taken, it goes at once.
            self.too_large.there.insert(id, LeftOutContent { refused_at: None, ..content });
            return false;
        }
        let now = self.parties.clock.now();
        content.refused_at.is_none_or(|at| now.since(at) >= TRY_AGAIN)
    }
}

fn id_of(change: &Change) -> &NodeId {
    match change {
        Change::Put { id, .. } => id,
        Change::Deleted(tombstone, _) => &tombstone.id,
    }
}

/// Did the peer refuse a request for its size, or for that of a node in it?
pub(super) fn is_size_refusal(error: &RoundError) -> bool {
    match error {
        RoundError::Client(ClientError::Refused { status: 413, .. }) => true,
        RoundError::Client(ClientError::Refused { status: 400, detail, .. }) => detail.contains(NAMES_THE_LIMIT),
        _ => false,
    }
}

/// The first whole lines of a text, of at most so many bytes together; one line at least.
pub(super) fn first_lines(text: &Bytes, most: Option<usize>) -> Bytes {
    let Some(most) = most.filter(|most| *most < text.len()) else { return text.clone() };
    let within = text.get(..most).and_then(|part| memchr::memrchr(b'\n', part));
    let end = within.or_else(|| memchr::memchr(b'\n', text)).map_or(text.len(), |at| at.saturating_add(1));
    text.slice(..end)
}

/// How many lines a text has.
pub(super) fn count_lines(text: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', text).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_lines() {
        let text = Bytes::from_static(b"one\nthree\nfive\n");
        for (most, expected) in
            [(None, 15), (Some(15), 15), (Some(14), 10), (Some(10), 10), (Some(9), 4), (Some(4), 4), (Some(1), 4)]
        {
            assert_eq!(first_lines(&text, most).len(), expected, "{most:?}");
        }
        assert_eq!(count_lines(&text), 3);
    }

    #[test]
    fn only_a_refusal_for_the_size_makes_smaller_requests() {
        let refused = |status: u16, detail: &str| {
            let (code, detail) = ("invalid_change".to_owned(), detail.to_owned());
            is_size_refusal(&ClientError::Refused { status, code, detail, retry_after: None }.into())
        };
        assert!(refused(413, "") && refused(400, "the node \"a\" has 9 bytes, more than limits.node_bytes here"));
        assert!(!refused(400, "a line is not JSON") && !refused(403, "limits.node_bytes"));
    }
}

//! Why a round did not come to its end.

use super::LONGEST_ROUND;
use crate::{
    federation::{
        client::ClientError, feed::FeedError, reconcile::message::MessageError, twins::ANOTHER_IDENTITY,
        wire::WireError,
    },
    lattice::LatticeError,
    types::{NodeId, PeerId, PublicKey, Timestamp},
};

/// Why a round did not come to its end. What was exchanged before stays; the next round goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum RoundError {
    /// The other side did not do it.
    #[error("{}", .0.without_address())]
    Client(#[from] ClientError),
    /// Our own lattice failed.
    #[error("the lattice here: {0}")]
    Lattice(#[from] LatticeError),
    /// The other side speaks with another key than before.
    #[error("{peer} now signs with another key, {found}")]
    OtherKey {
        /// Who it says it is.
        peer: PeerId,
        /// Its key.
        found: PublicKey,
    },
    /// The other side's key was revoked by its owner.
    #[error("its owner revoked its key")]
    Revoked,
    /// Our own key is revoked.
    #[error("the key of this instance is revoked")]
    OwnKeyRevoked,
    /// The registry, which knows the keys, does not answer.
    #[error("which key it has cannot be looked up: {0}")]
    Keys(String),
    /// The other side is another instance than before.
    #[error("the instance there is now {found}, and was {known}")]
    OtherInstance {
        /// Who it was.
        known: String,
        /// Who it says it is.
        found: PeerId,
    },
    /// It is this very instance.
    #[error("the address leads back to this instance")]
    Self_,
    /// The head has expired, or is dated ahead.
    #[error("its head is dated {issued}, and it is {now} here: a clock is wrong, or an old head is shown", issued = .0.to_rfc3339(), now = .1.to_rfc3339())]
    Stale(Timestamp, Timestamp),
    /// Another instance has the id of this one.
    #[error("another instance, with another key, has the id of this one: {0}")]
    SameId(PeerId),
    /// It is a peer already, at another address.
    #[error("it is {peer}, which is the peer {url} already")]
    SameInstance {
        /// Its id.
        peer: PeerId,
        /// The address at which it is a peer.
        url: String,
    },
    /// A line is not what the protocol says.
    #[error("what it sends: {0}")]
    Wire(#[from] WireError),
    /// It sends positions that do not ascend, more than it signed for, or a feed of another journal.
    #[error("what it sends is not the feed that was asked for: {0}")]
    OtherFeed(&'static str),
    /// A message of the set reconciliation is none.
    #[error("what it sends: {0}")]
    Message(#[from] MessageError),
    /// Its head says what no lattice can be.
    #[error("its head cannot be true: {0}")]
    Impossible(&'static str),
    /// It has more than fits here.
    #[error("it has {count} nodes, and this instance takes {most}: limits.lattice_nodes")]
    TooManyNodes {
        /// How many it has.
        count: u64,
        /// How many may be here.
        most: usize,
    },
    /// Everything was exchanged, and yet it is not what was signed.
    #[error("after everything was exchanged the two sets still differ: {}", why_sets_differ(*ahead, own_ahead))]
    Differs {
        /// Versions of the peer that were refused for their date.
        ahead: usize,
        /// Nodes here that are dated so far ahead that no peer with the right time takes them.
        own_ahead: OwnAhead,
    },
    /// It was given all the time that a round has, and still sends what was asked for.
    #[error("it still sends after {} s; what came is here, and the next round goes on", LONGEST_ROUND.as_secs())]
    TooLong,
    /// Its positions did not hold from one round to the next.
    #[error("its journal begins anew again and again; nobody can keep in step with that")]
    Unsteady,
    /// What came is not what was signed.
    #[error(
        "what it sends does not lead to the set that it signed: something between mixes old and new, or it left something out; \
         nothing of it was taken"
    )]
    Mixed,
    /// Two instances have one identity; everything was exchanged all the same.
    #[error(
        "two instances have the identity of {0}: its journal goes on in two ways that alternate. Give one of them its own: {ANOTHER_IDENTITY}"
    )]
    Cloned(PeerId),
    /// Another instance has our identity; everything was exchanged all the same.
    #[error(
        "another instance runs with the identity of this one, {0}: the peer takes changes from both in turn. Give one of them its own: \
         {ANOTHER_IDENTITY}"
    )]
    OwnTwin(PeerId),
    /// This process ends.
    #[error("this instance stops")]
    Stopped,
}

/// Nodes here that are dated so far ahead that peers refuse them.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct OwnAhead {
    /// How many.
    pub count: usize,
    /// The ids of the first of them.
    pub first: Vec<String>,
}

impl OwnAhead {
    /// Ids that are named.
    const SHOWN: usize = 3;

    /// These nodes.
    pub fn of<'a>(ids: impl Iterator<Item = &'a NodeId>) -> Self {
        ids.fold(Self::default(), |mut ahead, id| {
            ahead.count = ahead.count.saturating_add(1);
            if ahead.first.len() < Self::SHOWN {
                ahead.first.push(id.to_string());
            }
            ahead
        })
    }

    fn names(&self) -> String {
        let more = if self.count > self.first.len() { ", …" } else { "" };
        format!("{}{more}", self.first.join(", "))
    }
}

fn why_sets_differ(ahead: usize, own_ahead: &OwnAhead) -> String {
    match (ahead, own_ahead.count) {
        (0, 0) => "it left something out of what it signed, or a version was not taken".to_owned(),
        (0, own) => format!(
            "{own} nodes here are dated more than 5 minutes ahead, and no peer takes them before ({}). On this machine: ark-lattice node accept ID",
            own_ahead.names()
        ),
        (ahead, _) => format!(
            "{ahead} of its versions are dated more than 5 minutes ahead of the clock here, and are not taken before; there: ark-lattice \
             doctor"
        ),
    }
}

impl RoundError {
    /// Did an answer begin and not come to its end?
    #[must_use]
    pub fn is_cut(&self) -> bool {
        matches!(self, Self::TooLong | Self::Client(ClientError::Unreachable(..)))
    }
}

impl From<FeedError> for RoundError {
    fn from(error: FeedError) -> Self {
        match error {
            FeedError::Lattice(error) => Self::Lattice(error),
            FeedError::Line { error, .. } => Self::Wire(error),
            FeedError::Message(error) => Self::Message(error),
            FeedError::NoContent(_) => Self::Wire(WireError::Member("node")),
            FeedError::NoKey
            | FeedError::Revoked
            | FeedError::OtherIndex { .. }
            | FeedError::OtherHistory(_)
            | FeedError::BelowFloor { .. } => Self::OtherFeed("it is not there any more"),
        }
    }
}

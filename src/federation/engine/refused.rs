//! Rounds that were refused here, for the audit log: of peers that are not who they were, do not keep to the protocol, or lead where
//! nobody is to be asked. A peer that is away or asks to be left alone is none of them.

use super::{PeerState, RoundError, RunEnd, Shared};
use crate::{
    federation::{client::ClientError, trusting::ROUND},
    guard::OutOfReach,
    lattice::LatticeError,
    trust::Refusal,
};
use serde_json::Map;

/// The code that the log has for it.
fn code(error: &RoundError) -> Option<&'static str> {
    match error {
        RoundError::Client(ClientError::OutOfReach(_, OutOfReach::PlainHttp(..))) => Some("plain_http"),
        RoundError::Client(ClientError::Address(..) | ClientError::OutOfReach(..)) => Some("out_of_reach"),
        RoundError::Client(ClientError::Protocol(..) | ClientError::Redirected(..) | ClientError::OtherNetwork(_))
        | RoundError::Wire(_)
        | RoundError::OtherFeed(_)
        | RoundError::Message(_)
        | RoundError::Impossible(_)
        | RoundError::TooLong
        | RoundError::Unsteady => Some("protocol"),
        RoundError::OtherKey { .. } => Some("key_mismatch"),
        RoundError::OtherInstance { .. } => Some("other_instance"),
        RoundError::SameId(_) => Some("same_id"),
        RoundError::Revoked => Some("peer_revoked"),
        RoundError::TooManyNodes { .. } => Some("too_many_nodes"),
        // What was made here under a wrong clock is no fault of the peer.
        RoundError::Differs { own_ahead, .. } if own_ahead.count > 0 => None,
        RoundError::Differs { .. } => Some("differs"),
        RoundError::Mixed => Some("mixed"),
        RoundError::Cloned(_) => Some("cloned"),
        RoundError::Lattice(LatticeError::Contested { .. } | LatticeError::HistoryFull { .. }) => {
            Some("conflicts_full")
        }
        RoundError::Lattice(LatticeError::WaitingFull { .. }) => Some("mass_delete"),
        RoundError::Lattice(LatticeError::BoundReached { .. }) => Some("lattice_full"),
        // Whoever distrusts and whoever is stale was told of where that was found.
        RoundError::Client(
            ClientError::Distrusted { .. }
            | ClientError::Authorities(_)
            | ClientError::Unreachable(..)
            | ClientError::Refused { .. }
            | ClientError::Server { .. },
        )
        | RoundError::Lattice(_)
        | RoundError::OwnKeyRevoked
        | RoundError::OwnTwin(_)
        | RoundError::Keys(_)
        | RoundError::Self_
        | RoundError::SameInstance { .. }
        | RoundError::Stale(..)
        | RoundError::Stopped => None,
    }
}

impl Shared {
    /// Notes the round for the audit log, if it ended so.
    pub(super) fn audit(&self, peer: &PeerState, end: &RunEnd) {
        let Some(code) = end.error.as_ref().and_then(code) else { return };
        let mut detail = Map::from_iter([("peer".to_owned(), peer.url.as_str().into())]);
        if let Some((_, key)) = &end.peer {
            detail.insert("public_key".to_owned(), key.to_base64().into());
        }
        // Who it was before is who it is for us; whoever is there now is in the detail.
        let subject = peer.node_id.clone().or_else(|| end.peer.as_ref().map(|(id, _)| id.to_string()));
        let account = Some(peer.url.clone());
        self.options.trust.refused(Refusal { code, door: ROUND, subject, account, detail });
    }
}

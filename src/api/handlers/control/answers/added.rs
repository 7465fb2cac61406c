//! A peer that was added, and what answers at its address.

use super::{PeerSetAnswer, failure::FailureAnswer};
use crate::{
    api::schemas::PublicKeyText,
    ops::{self, Added, AddedPeer, Probed, RoundError},
};
use serde::Serialize;
use utoipa::ToSchema;

/// What answers at the address of a peer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = FederationProbe)]
pub(crate) struct ProbeAnswer {
    /// An instance answers.
    answers: bool,
    /// How it is exchanged with: `ark-lattice`, or `original` for a system that this program replaces; null: it does not answer.
    #[schema(required = true, example = "ark-lattice")]
    protocol: Option<&'static str>,
    /// Its id.
    #[schema(required = true)]
    node_id: Option<String>,
    /// Its key, base64.
    #[schema(value_type = Option<PublicKeyText>, required = true)]
    public_key: Option<String>,
    /// Why it does not answer; null: it does.
    #[schema(required = true)]
    error: Option<String>,
    #[serde(flatten)]
    failure: FailureAnswer,
}

impl ProbeAnswer {
    fn new(context: &ops::Context, url: &str, probed: &Probed) -> Self {
        let (node_id, public_key) = match probed {
            Probed::Instance { peer, key, .. } => (Some(peer.to_string()), Some(key.to_base64())),
            Probed::Original | Probed::Failed(_) => (None, None),
        };
        let protocol = match probed {
            Probed::Instance { .. } => Some("ark-lattice"),
            Probed::Original => Some("original"),
            Probed::Failed(_) => None,
        };
        let failed = match probed {
            Probed::Failed(error) => Some(error),
            Probed::Instance { .. } | Probed::Original => None,
        };
        let (error, kind) = (failed.map(ToString::to_string), failed.map(RoundError::kind));
        let failure = FailureAnswer::new(context, url, kind, error.as_deref());
        Self { answers: failed.is_none(), protocol, node_id, public_key, error, failure }
    }
}

/// A peer was added or changed.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = FederationPeerAdded)]
pub(crate) struct AddedAnswer {
    #[serde(flatten)]
    set: PeerSetAnswer,
    /// Changes are exchanged automatically; otherwise only when asked to. 0.1.0 does not have this member.
    #[schema(required = false)]
    auto_sync: bool,
    /// What answers at the address; not there where it was not asked. 0.1.0 does not have this member.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    probe: Option<ProbeAnswer>,
}

impl AddedAnswer {
    pub(crate) fn new(context: &ops::Context, peer: AddedPeer, total_peers: usize) -> Self {
        let status = match peer.added {
            Added::New => "added",
            Added::Changed => "changed",
            Added::Same => "unchanged",
            Added::Moved => "moved",
            Added::Replaced => "replaced",
        };
        let probe = peer.probed.as_ref().map(|probed| ProbeAnswer::new(context, &peer.url, probed));
        let set = PeerSetAnswer { status, peer_url: peer.url, total_peers };
        Self { set, auto_sync: peer.is_automatic, probe }
    }
}

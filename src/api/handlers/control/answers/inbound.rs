//! Instances that connect to this one.

use super::LagAnswer;
use crate::{
    api::{handlers::nodes::seconds, schemas::PublicKeyText},
    ops::{Direction, InboundPeer, InboundPeerView},
};
use serde::Serialize;
use serde_json::Number;
use utoipa::ToSchema;

/// An instance that connects to this one.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = FederationInbound)]
pub(crate) struct InboundAnswer {
    /// Its id.
    #[schema(example = "laptop")]
    node_id: String,
    /// The key that signs for it, base64.
    #[schema(value_type = PublicKeyText)]
    public_key: String,
    /// What is decided of that key: `verified`, `pending`, `revoked` or `unknown`.
    #[schema(example = "verified")]
    trust: &'static str,
    /// It came as lately as it says that it comes.
    active: bool,
    /// The address that it came from last, as far as it is known.
    #[schema(required = true, example = "192.0.2.7")]
    address: Option<String>,
    /// Which ways changes go, as it sees it: `both`, `pull` (only to it) or `push` (only from it); null: it did not say.
    #[schema(required = true)]
    direction: Option<&'static str>,
    /// A filter selects them.
    filtered: bool,
    /// How its last round ended; null: it did not say.
    #[schema(required = true, example = "in_step")]
    outcome: Option<String>,
    /// When it first came, epoch seconds.
    #[schema(value_type = f64)]
    first_contact: Number,
    /// When it last came, epoch seconds.
    #[schema(value_type = f64)]
    last_contact: Number,
    /// How far the two were from each other then, as this instance sees it.
    lag: LagAnswer,
    /// Nodes and deletions that came and counted here.
    nodes_received: u64,
}

impl From<InboundPeerView> for InboundAnswer {
    fn from(view: InboundPeerView) -> Self {
        let InboundPeerView { peer, key, level, is_connected, to_send, to_receive, inbound } = view;
        let InboundPeer { address, direction, filtered, outcome, first, last, received, .. } = inbound;
        Self {
            node_id: peer.to_string(),
            public_key: key.to_base64(),
            trust: level.as_str(),
            active: is_connected,
            address: address.map(|address| address.to_string()),
            direction: direction.map(|direction: Direction| super::direction(direction)),
            filtered,
            outcome,
            first_contact: seconds(first),
            last_contact: seconds(last),
            lag: LagAnswer { to_send, to_receive },
            nodes_received: received,
        }
    }
}

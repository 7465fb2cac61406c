//! What `/v1/trust/…` and `/v1/nodes` answer.

use crate::{
    api::schemas::{Id, PublicKeyText, TrustLevel},
    ops::{Neighbour, Relationship, TrustMethod},
    types::Timestamp,
};
use serde::Serialize;
use utoipa::ToSchema;

/// Whole seconds, as these clients write instants.
fn instant(at: Timestamp) -> String {
    Timestamp::from_seconds(at.seconds()).to_rfc3339()
}

/// The trust in one key.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TrustRelationship)]
pub(crate) struct RelationshipAnswer {
    /// The instance.
    #[schema(value_type = Id)]
    peer_id: String,
    /// Its key.
    #[schema(value_type = PublicKeyText)]
    public_key: String,
    /// What the key may do.
    #[schema(value_type = TrustLevel)]
    trust_level: &'static str,
    /// Since when.
    #[schema(example = "2025-10-03T20:00:00Z")]
    established_at: String,
    /// Who decided it: `operator`, `signature`, `certificate`, `statement`, …
    by: String,
    /// Why.
    reason: String,
    /// Its holder contradicted himself: nothing is taken from him until the key is verified again.
    quarantined: bool,
    /// The key that took its place.
    #[schema(value_type = Option<PublicKeyText>, required = true)]
    successor: Option<String>,
    /// The peer's signature with which it proved its key, base64.
    #[schema(required = true)]
    signature: Option<String>,
    /// What both operators compare; only where one peer was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    words: Option<String>,
}

impl From<Relationship> for RelationshipAnswer {
    fn from(relationship: Relationship) -> Self {
        let Relationship { record, level, quarantined, words } = relationship;
        Self {
            peer_id: record.node_id.to_string(),
            public_key: record.public_key.to_base64(),
            trust_level: level.as_str(),
            established_at: instant(record.changed_at),
            by: record.by,
            reason: record.reason,
            quarantined,
            successor: record.successor.map(|key| key.to_base64()),
            signature: record.proof,
            words,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TrustRelationships)]
pub(crate) struct RelationshipsAnswer {
    /// The newest decision first.
    relationships: Vec<RelationshipAnswer>,
    /// How many.
    count: usize,
}

impl From<Vec<Relationship>> for RelationshipsAnswer {
    fn from(found: Vec<Relationship>) -> Self {
        Self { count: found.len(), relationships: found.into_iter().map(Into::into).collect() }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TrustEstablished)]
pub(crate) struct EstablishedAnswer {
    /// `established` where the key is verified, otherwise `pending`.
    status: &'static str,
    /// Where it answered.
    peer_address: String,
    /// How it proved who it is.
    verification_method: &'static str,
    /// The trust in its key.
    #[serde(flatten)]
    relationship: RelationshipAnswer,
}

impl EstablishedAnswer {
    pub(super) fn new(peer_address: String, method: TrustMethod, relationship: Relationship) -> Self {
        let relationship = RelationshipAnswer::from(relationship);
        let status = if relationship.trust_level == "verified" { "established" } else { "pending" };
        Self { status, peer_address, verification_method: method.as_str(), relationship }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TrustVouched)]
pub(crate) struct VouchedAnswer {
    /// Always `vouched`.
    pub(super) status: &'static str,
    /// For whom.
    #[schema(value_type = Id)]
    pub(super) peer_id: String,
    /// How many peers took it.
    pub(super) told: usize,
}

/// An instance.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KnownInstance)]
pub(crate) struct KnownNode {
    /// Its id, where it is known.
    #[schema(required = true)]
    id: Option<String>,
    /// Where it answers, where it says so.
    #[schema(required = true)]
    address: Option<String>,
    /// `connected`, `disconnected`, `stale` (what it last said has expired), `quarantined` or `revoked`.
    #[schema(example = "connected")]
    status: &'static str,
    /// What is thought of its key.
    #[schema(value_type = TrustLevel)]
    trust_level: &'static str,
    /// Its key.
    #[schema(value_type = Option<PublicKeyText>, required = true)]
    public_key: Option<String>,
    /// When it was last heard of.
    #[schema(required = true, example = "2025-10-03T21:58:30Z")]
    last_seen: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KnownInstances)]
pub(crate) struct KnownNodesAnswer {
    /// How it was looked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    discovery_method: Option<&'static str>,
    /// Peers first.
    nodes: Vec<KnownNode>,
    /// How many.
    count: usize,
}

impl KnownNodesAnswer {
    pub(super) fn new(discovery_method: Option<&'static str>, found: Vec<Neighbour>) -> Self {
        let node = |it: Neighbour| KnownNode {
            id: it.id,
            address: it.address,
            status: it.standing.as_str(),
            trust_level: it.level.as_str(),
            public_key: it.public_key.map(|key| key.to_base64()),
            last_seen: it.last_seen.map(instant),
        };
        Self { discovery_method, count: found.len(), nodes: found.into_iter().map(node).collect() }
    }
}

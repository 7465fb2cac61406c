//! Inbound peers: records their contacts and lists them.

use super::{Context, RequestError, SignedRequest, Speaker, requests};
use crate::{
    federation::{
        events::EventKind,
        history::Past,
        inbound::{Contact, ContactEffect, ContactKind, InboundPeer, RoundTransfer},
        round::{Outcome, unavailable::LeftOut},
    },
    trust::TrustLevel,
    types::{PeerId, PublicKey},
};
use serde_json::json;

pub use crate::federation::inbound::PeerRoundStatus;

/// The current state of an inbound peer.
#[derive(Debug, Clone)]
pub struct InboundPeerView {
    /// Its id.
    pub peer: PeerId,
    /// Its key.
    pub key: PublicKey,
    /// Trust level of its key.
    pub level: TrustLevel,
    /// See [`InboundPeer::is_connected`]; a revoked key is not.
    pub is_connected: bool,
    /// Changes here that the peer does not have.
    pub to_send: Option<u64>,
    /// Changes of the peer that are not here.
    pub to_receive: Option<u64>,
    /// Its last reports, and what was received.
    pub inbound: InboundPeer,
}

/// All inbound peers, newest contact first.
#[must_use]
pub fn inbound_peers(context: &Context) -> Vec<InboundPeerView> {
    let (lineage, seq) = (context.lattice.epochs().lineage, context.lattice.status().seq);
    let now = context.clock.now();
    let seen = |(peer, key, inbound): (PeerId, PublicKey, InboundPeer)| {
        let level = context.trust.level(&peer, key);
        InboundPeerView {
            level,
            is_connected: level != TrustLevel::Revoked && inbound.is_connected(now),
            to_send: inbound.to_send(&lineage, seq),
            to_receive: inbound.to_receive(),
            peer,
            key,
            inbound,
        }
    };
    context.inbound_peers.list().into_iter().map(seen).collect()
}

/// Records the reported status of a peer's round with this instance.
///
/// # Errors
/// [`RequestError`].
pub async fn record_round_status(
    context: &Context,
    request: SignedRequest<'_>,
    status: PeerRoundStatus,
) -> Result<(), RequestError> {
    let speaker = requests::reader(context, request).await?;
    let outcome = status.outcome;
    record_contact(context, &speaker, ContactKind::Round(status), outcome);
    Ok(())
}

/// Records a push, of which `taken` changes were applied.
pub(super) fn record_push(context: &Context, speaker: &Speaker, taken: usize) {
    let taken = u64::try_from(taken).unwrap_or(u64::MAX);
    record_contact(context, speaker, ContactKind::Push { taken }, None);
}

fn record_contact(context: &Context, speaker: &Speaker, kind: ContactKind, outcome: Option<Outcome>) {
    let (peer, key) = (speaker.peer(), speaker.public_key());
    let known = requests::is_known(context, speaker);
    let voucher = context.trust.answerable_for(peer, key).filter(|answerable| answerable != peer);
    let contact = Contact { peer: peer.clone(), key, address: speaker.address(), known, voucher };
    let ContactEffect { is_back, round } =
        context.inbound_peers.record(contact, kind, context.clock.now(), context.clock.elapsed());
    let Some(engine) = &context.engine else { return };
    engine.contacted(peer, key);
    // What strangers do is listed, and pushes nothing else out of the events and the history.
    if is_back && known {
        let address = speaker.address().map(|address| address.to_string());
        let data = json!({ "peer": null, "nodeId": peer.as_str(), "inbound": true, "address": address });
        engine.events().tell(EventKind::PeerOnline, data);
    }
    if let Some(transfer) = round {
        let outcome = outcome.unwrap_or(Outcome::Exchanged).as_str();
        let past = past(context, peer, transfer, outcome);
        let data = json!({
            "peer": null, "nodeId": peer.as_str(), "inbound": true, "outcome": outcome, "error": null,
            "nodesReceived": transfer.received, "nodesSent": 0, "durationMs": past.duration_ms,
        });
        engine.events().tell(EventKind::SyncComplete, data);
        engine.history().add(past);
    }
}

fn past(context: &Context, peer: &PeerId, transfer: RoundTransfer, outcome: &str) -> Past {
    let took = context.clock.now().since(transfer.since);
    Past {
        at: transfer.since,
        peer: peer.to_string(),
        inbound: true,
        duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        outcome: outcome.to_owned(),
        error: None,
        received: transfer.received,
        sent: 0,
        conflicts: 0,
        bytes: 0,
        waiting_here: 0,
        waiting_there: 0,
        unavailable: LeftOut::default(),
        too_large: LeftOut::default(),
    }
}

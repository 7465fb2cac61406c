//! Instances that connect to this one.

use super::{Context, RequestError, SignedRequest, Speaker, requests};
use crate::{
    federation::{
        events::EventKind,
        history::Past,
        inbound::{Came, Inbound, Noted, Visit, Visitor},
        round::{Outcome, unavailable::LeftOut},
    },
    trust::TrustLevel,
    types::{PeerId, PublicKey},
};
use serde_json::json;

pub use crate::federation::inbound::RoundNote;

/// An instance that connects to this one, as it stands now.
#[derive(Debug, Clone)]
pub struct Connecting {
    /// Its id.
    pub peer: PeerId,
    /// Its key.
    pub key: PublicKey,
    /// What is thought of its key.
    pub level: TrustLevel,
    /// It came as lately as it says that it comes.
    pub is_connected: bool,
    /// Changes here that it does not have.
    pub to_send: Option<u64>,
    /// Changes there that are not here.
    pub to_receive: Option<u64>,
    /// What it said, and what came of it.
    pub inbound: Inbound,
}

/// All of them, the one that came last first.
#[must_use]
pub fn connecting(context: &Context) -> Vec<Connecting> {
    let (lineage, seq) = (context.lattice.epochs().lineage, context.lattice.status().seq);
    let now = context.clock.now();
    let seen = |(peer, key, inbound): (PeerId, PublicKey, Inbound)| Connecting {
        level: context.trust.level(&peer, key),
        is_connected: inbound.is_connected(now),
        to_send: inbound.to_send(&lineage, seq),
        to_receive: inbound.to_receive(),
        peer,
        key,
        inbound,
    };
    context.visitors.list().into_iter().map(seen).collect()
}

/// Takes what an instance says of its round with this one.
///
/// # Errors
/// [`RequestError`].
pub async fn hear_of_round(context: &Context, request: SignedRequest<'_>, note: RoundNote) -> Result<(), RequestError> {
    let speaker = requests::reader(context, request).await?;
    let outcome = note.outcome;
    note_visit(context, &speaker, Visit::Round(note), outcome);
    Ok(())
}

/// Notes that an instance sent changes, of which so many counted.
pub(super) fn note_push(context: &Context, speaker: &Speaker, taken: usize) {
    let taken = u64::try_from(taken).unwrap_or(u64::MAX);
    note_visit(context, speaker, Visit::Push { taken }, None);
}

fn note_visit(context: &Context, speaker: &Speaker, visit: Visit, outcome: Option<Outcome>) {
    let (peer, key) = (speaker.peer(), speaker.public_key());
    let known = requests::is_known(context, speaker);
    let visitor = Visitor { peer: peer.clone(), key, address: speaker.address(), known };
    let Noted { is_back, round } = context.visitors.note(visitor, visit, context.clock.now(), context.clock.elapsed());
    let Some(engine) = &context.engine else { return };
    // What strangers do is listed, and pushes nothing else out of the events and the history.
    if is_back && known {
        let address = speaker.address().map(|address| address.to_string());
        let data = json!({ "peer": null, "nodeId": peer.as_str(), "inbound": true, "address": address });
        engine.events().tell(EventKind::PeerOnline, data);
    }
    if let Some(came) = round {
        let outcome = outcome.unwrap_or(Outcome::Exchanged).as_str();
        let past = past(context, peer, came, outcome);
        let data = json!({
            "peer": null, "nodeId": peer.as_str(), "inbound": true, "outcome": outcome, "error": null,
            "nodesReceived": came.received, "nodesSent": 0, "durationMs": past.duration_ms,
        });
        engine.events().tell(EventKind::SyncComplete, data);
        engine.history().add(past);
    }
}

fn past(context: &Context, peer: &PeerId, came: Came, outcome: &str) -> Past {
    let took = context.clock.now().since(came.since);
    Past {
        at: came.since,
        peer: peer.to_string(),
        inbound: true,
        duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        outcome: outcome.to_owned(),
        error: None,
        received: came.received,
        sent: 0,
        conflicts: 0,
        bytes: 0,
        waiting_here: 0,
        waiting_there: 0,
        unavailable: LeftOut::default(),
        too_large: LeftOut::default(),
    }
}

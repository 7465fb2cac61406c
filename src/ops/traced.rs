//! Requests that say which trace they belong to.

use super::{Context, requests::trusted};
use crate::{identity::trace_proof, types::PeerId};

/// The peer that proves with `header` that this trace is its own; `None`: nobody does who may write here. It proves nothing else, and
/// may be sent again within its time: all it is good for is to have our spans beside those of its sender.
pub async fn trace_owner(context: &Context, header: &str, trace_id: &[u8; 16]) -> Option<PeerId> {
    let owner = trace_proof::check(header, trace_id, context.clock.now()).ok()?;
    if owner.audience != context.identity.node_id.as_str() {
        return None;
    }
    let peer = PeerId::parse(&owner.node_id).ok()?;
    trusted(context, &peer, owner.sender.public_key()).await.ok()?;
    Some(peer)
}

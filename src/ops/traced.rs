//! Requests that say which trace they belong to.

use super::{
    Context,
    requests::{named, trusted},
};
use crate::{identity::trace_proof, types::PeerId};

/// The peer that proves with `header` that this trace is its own; `None`: nobody does who may write here. It proves nothing else, and
/// may be sent again within its time: all it is good for is to have our spans beside those of its sender. `of_network`: the request shows that
/// its sender knows the network's key.
pub async fn trace_owner(context: &Context, header: &str, trace_id: &[u8; 16], of_network: bool) -> Option<PeerId> {
    let owner = trace_proof::check(header, trace_id, context.clock.now()).ok()?;
    if owner.audience != context.identity.node_id.as_str() {
        return None;
    }
    let peer = PeerId::parse(&owner.node_id).ok()?;
    let key = owner.sender.public_key();
    trusted(context, &peer, key, named(context, &peer, key, of_network)).await.ok()?;
    Some(peer)
}

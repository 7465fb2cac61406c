//! What is said of keys: our own, and that of others.

use super::{Context, known_key::pinned_key};
use crate::{
    guard::Caller,
    identity::{KeyLog, StatementError},
    json::Object,
    registry::{FollowError, Start, follow_key},
    trust::{KeyEvents, KeyLine, KeyLineError, StatementSource, TrustStore},
    types::PeerId,
};
use std::sync::Arc;

fn events(context: &Context) -> Arc<dyn KeyEvents> {
    Arc::<TrustStore>::clone(&context.trust)
}

/// Takes statements about a peer's key; what holds then.
///
/// # Errors
/// [`FollowError`]; nothing was changed.
pub async fn follow_statements(
    context: &Context,
    caller: Caller,
    body: Option<Object<'_>>,
) -> Result<(PeerId, KeyLine), FollowError> {
    let body = body.ok_or(KeyLineError::Statement(StatementError::List("the body is not an object")))?;
    let log = KeyLog::read(body).map_err(KeyLineError::from)?;
    let peer = log.tip().map(|tip| tip.node_id.clone()).ok_or(KeyLineError::Empty)?;
    let now = context.clock.latest();
    let address = caller.payer().map(|payer| payer.to_string());
    let source = StatementSource::Other(address.as_deref());
    let start = Start { first: None, pinned: pinned_key(context, &peer) };
    let line = follow_key(&*context.registry, events(context), &peer, start, log, source, now).await?;
    Ok((peer, line))
}

/// Binds our id here too to what is said of our own key: one of ours that was replaced or revoked is refused at our own door as at
/// any other. Answers whether that is done.
pub async fn follow_own_statements(context: &Context, log: &KeyLog) -> bool {
    let Some(first) = log.statements().first().map(|first| first.statement().public_key) else { return true };
    let (registry, events, peer) = (&*context.registry, events(context), &context.identity.node_id);
    let now = context.clock.latest();
    let start = Start { first: Some(first), pinned: None };
    match follow_key(registry, events, peer, start, log.clone(), StatementSource::Own, now).await {
        Err(FollowError::Registry(_)) => false,
        Err(FollowError::Line(error)) => {
            tracing::warn!(%error, "our own id is bound here to a key that our statements do not lead from");
            true
        }
        Ok(_) | Err(FollowError::Unknown | FollowError::Distrust(_) | FollowError::TooMany(_)) => true,
    }
}

/// What is said of our own key: JSON text.
#[must_use]
pub fn own_statements(context: &Context) -> String {
    let none = || KeyLog::default().to_json();
    context.signer.as_ref().map_or_else(none, |signer| signer.held().log.to_json())
}

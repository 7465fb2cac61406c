//! What is said of keys: our own, and that of others.

use super::Context;
use crate::{
    identity::{KeyLog, StatementError},
    json::Object,
    registry::{FollowError, follow_key},
    trust::{KeyLine, KeyLineError},
    types::PeerId,
};

/// Takes statements about a peer's key; what holds then.
///
/// # Errors
/// [`FollowError`]; nothing was changed.
pub async fn follow_statements(context: &Context, body: Option<Object<'_>>) -> Result<(PeerId, KeyLine), FollowError> {
    let body = body.ok_or(KeyLineError::Statement(StatementError::List("the body is not an object")))?;
    let log = KeyLog::read(body).map_err(KeyLineError::from)?;
    let peer = log.tip().map(|tip| tip.node_id.clone()).ok_or(KeyLineError::Empty)?;
    let now = context.clock.latest();
    let line = follow_key(&*context.registry, &*context.key_events, &peer, None, log, now).await?;
    Ok((peer, line))
}

/// What is said of our own key: JSON text.
#[must_use]
pub fn own_statements(context: &Context) -> String {
    let none = || KeyLog::default().to_json();
    context.signer.as_ref().map_or_else(none, |signer| signer.held().log.to_json())
}

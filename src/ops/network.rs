//! Whether a request comes from our network.

use super::Context;
use crate::{
    guard::{Asked, Member},
    identity::message::WINDOW,
    trust::Stamp,
    types::PublicKey,
};
use std::sync::PoisonError;

/// Whose first questions are noted as seen: they are of no key that could be known.
const NOBODY: PublicKey = PublicKey::from_bytes([0; 32]);

/// Who asks with this header, where he belongs to our network. First questions name no instance, so each counts once: who hears one
/// must not ask with it again.
#[must_use]
pub fn member(context: &Context, header: &str, asked: Asked<'_>) -> Option<Member> {
    let network = context.network.as_ref()?;
    let member = network.check(header, asked, &context.identity.node_id, context.clock.now())?;
    if member.first {
        let (elapsed, keep) = (context.clock.elapsed(), WINDOW.saturating_mul(2));
        // Dated now: the answer has no code that could ask a member whose clock is behind for another date. What is answered to a
        // question of before a restart is that there is a member here.
        let created = context.clock.now();
        let stamp = Stamp { key: NOBODY, nonce: member.nonce, created, address: None, known: true };
        let mut nonces = context.nonces.lock().unwrap_or_else(PoisonError::into_inner);
        nonces.take(stamp, elapsed, keep).ok()?;
    }
    Some(member)
}

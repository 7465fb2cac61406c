//! On whose account the memory goes that a request takes.

use super::signed::signed_request;
use crate::{
    api::{
        codes::Code,
        error::{ApiError, refuse},
        origin::{RequestOrigin, caller},
        state::ApiState,
    },
    guard::{Holder, Payer, PoolPart},
    ops,
};
use actix_web::{HttpMessage, HttpRequest};
use std::rc::Rc;

/// A place among those who listen, for as long as it is kept.
///
/// # Errors
/// 503 `too_many_listeners`: as many clients of this address listen as may.
pub fn listener(request: &HttpRequest, state: &ApiState) -> Result<PoolPart, ApiError> {
    let holder = caller(request).payer().map_or(Holder::Local, Holder::Address);
    state.listeners.take(holder, 1).map_err(|_| {
        let detail = "as many clients of your address listen as may (limits.listeners_per_address)";
        refuse(Code::TooManyListeners, detail)
    })
}

/// The holder of what a request takes: known where it carries the operator's token, or a signature over its headers by a known peer;
/// otherwise its client's address, also that of this machine's own programs. `Ark-Node-Id` alone proves nothing. Of a signed body that has
/// not arrived only the digest in its header is covered: a replayed head may use the reserve until then.
pub(crate) fn holder_of(request: &HttpRequest, state: &ApiState) -> Holder {
    if state.admin_access.is_shown(request.headers()) {
        return Holder::Known;
    }
    let digest = request.headers().get("content-digest").and_then(|value| value.to_str().ok());
    if let Some(digest) = digest {
        let signed = signed_request(request, request.match_info().as_str(), &[]);
        if ops::is_known_head(&state.context, signed, digest) {
            return Holder::Known;
        }
    }
    let client = request.extensions().get::<Rc<RequestOrigin>>().and_then(|origin| origin.client);
    Holder::Address(client.map_or(Payer::Rest, Payer::of))
}

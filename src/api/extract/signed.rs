//! Requests that another instance signed.

use super::declared;
use crate::{
    api::{
        codes::Code,
        error::{ApiError, refuse},
        state::ApiState,
    },
    ops::{self, SignedRequest, Speaker},
};
use actix_web::HttpRequest;

/// Checks who sent this request, and that it may change nodes here. `route` is the one that was matched.
///
/// # Errors
/// 401 `request_signature`, 403 `not_trusted`, 403 `read_only`, 409 `replayed`, 503 where the keys cannot be looked up.
pub async fn speaker(
    request: &HttpRequest,
    state: &ApiState,
    route: &'static str,
    body: &[u8],
) -> Result<Speaker, ApiError> {
    writable(state)?;
    // A header that is there twice is none: which of the two counts would be open.
    let text = |name: &str| {
        let mut values = request.headers().get_all(name);
        let first = values.next().and_then(|value| value.to_str().ok());
        if values.next().is_some() { None } else { first }
    };
    let signed = SignedRequest {
        method: request.method().as_str(),
        route,
        query: request.query_string(),
        body,
        node_id: text("ark-node-id"),
        audience: text("ark-audience"),
        signature_input: text("signature-input"),
        signature: text("signature"),
    };
    Ok(ops::speaker(&state.context, signed).await?)
}

/// Who pushes nodes the seed's way: a speaker; in `open` mode also anybody, as the seed had it.
///
/// # Errors
/// As [`speaker`], and 415 where an unsigned body is not declared as JSON.
pub async fn pusher(
    request: &HttpRequest,
    state: &ApiState,
    route: &'static str,
    body: &[u8],
) -> Result<Option<Speaker>, ApiError> {
    let signed = ["signature", "signature-input"].iter().any(|name| request.headers().contains_key(*name));
    if signed || !ops::takes_from_anybody(&state.context) {
        return speaker(request, state, route, body).await.map(Some);
    }
    writable(state)?;
    declared(request)?;
    Ok(None)
}

/// Is anything written here but what peers have?
///
/// # Errors
/// 403 `read_only`.
pub fn writable(state: &ApiState) -> Result<(), ApiError> {
    if state.context.read_only {
        let detail = "This instance is a mirror (federation.read_only): change the node where it comes from.";
        return Err(refuse(Code::ReadOnly, detail));
    }
    Ok(())
}

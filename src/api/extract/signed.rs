//! Requests that another instance signed.

use super::{audit, body, declared};
use crate::{
    api::{
        codes::Code,
        error::{ApiError, refuse},
        origin::{NetworkDigest, RequestOrigin, caller, is_forwarded},
        state::ApiState,
    },
    ops::{self, PairingError, RequestError, SignedRequest, Speaker, TrustOpError},
};
use actix_web::{FromRequest, HttpMessage, HttpRequest, dev::Payload};
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use std::{net::IpAddr, rc::Rc};

/// The longest body of a proof: two ids in escapes, keys and nonces.
const SIGNED_BYTES: usize = 16 << 10;

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
    let signed = signed_request(request, route, body);
    match ops::speaker(&state.context, signed).await {
        Ok(speaker) => Ok(speaker),
        Err(error) => {
            let claimed = error.speaker();
            let error = ApiError::from(error);
            audit(state, &error, route, claimed, request);
            Err(error)
        }
    }
}

/// Address of the client, where it is known.
pub fn client_address(request: &HttpRequest) -> Option<IpAddr> {
    request.extensions().get::<Rc<RequestOrigin>>().and_then(|origin| origin.client)
}

/// The headers of a signed request, beside its body.
pub(super) fn signed_request<'a>(request: &'a HttpRequest, route: &'a str, body: &'a [u8]) -> SignedRequest<'a> {
    // A header that is there twice is none: which of the two counts would be open.
    let text = |name: &str| {
        let mut values = request.headers().get_all(name);
        let first = values.next().and_then(|value| value.to_str().ok());
        if values.next().is_some() { None } else { first }
    };
    SignedRequest {
        caller: caller(request),
        address: client_address(request),
        is_forwarded: is_forwarded(request.headers()),
        method: request.method().as_str(),
        route,
        query: request.query_string(),
        body,
        node_id: text("ark-node-id"),
        audience: text("ark-audience"),
        signature_input: text("signature-input"),
        signature: text("signature"),
        of_network: request.extensions().contains::<NetworkDigest>(),
    }
}

/// A short JSON body that another instance signed.
#[derive(Debug)]
pub struct SignedBody(Bytes);

impl SignedBody {
    /// Its bytes.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// As it was signed.
    #[must_use]
    pub fn signed<'a>(&'a self, request: &'a HttpRequest, route: &'a str) -> SignedRequest<'a> {
        signed_request(request, route, &self.0)
    }
}

impl FromRequest for SignedBody {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move {
            let read = body::read_json(&request, payload, SIGNED_BYTES, body::COST_OF_A_DOCUMENT);
            read.await.map(|(bytes, _share)| Self(bytes))
        })
    }
}

/// Writes the refusal of a proof into the audit log.
pub fn audit_trust(state: &ApiState, error: TrustOpError, door: &'static str, request: &HttpRequest) -> ApiError {
    let claimed = error.speaker();
    let error = ApiError::from(error);
    audit(state, &error, door, claimed, request);
    error
}

/// Writes the refusal of what an instance says of its round into the audit log.
pub fn audit_round(state: &ApiState, error: RequestError, request: &HttpRequest) -> ApiError {
    let claimed = error.speaker();
    let error = ApiError::from(error);
    audit(state, &error, "/lattice/round", claimed, request);
    error
}

/// Writes the refusal of an instance that wants to join into the audit log.
pub fn audit_join(state: &ApiState, error: PairingError, request: &HttpRequest) -> ApiError {
    let claimed = error.speaker();
    let error = ApiError::from(error);
    audit(state, &error, "/lattice/trust/join", claimed, request);
    error
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

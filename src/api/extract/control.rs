//! Administrative requests with a JSON body, and those of the federation's controls.

use super::{body, budget::BodyShare};
use crate::{
    api::{
        codes::Code,
        error::{ApiError, refuse},
        state::ApiState,
    },
    json::{Document, Object},
};
use actix_web::{FromRequest, HttpRequest, dev::Payload, http::header::CONTENT_TYPE};
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use std::future::{Ready, ready};

/// Levels of nesting around a node in a [`BulkControlRequest`].
const BULK_DEPTH: usize = 4;
/// The longest body: a filter at its bounds, every character escaped.
const CONTROL_BYTES: usize = 1 << 20;

/// Proof that the request has admin rights: only this file makes one.
#[derive(Debug)]
pub struct Controls(());

impl Controls {
    fn check(request: &HttpRequest, state: &ApiState) -> Result<Self, ApiError> {
        state.admin_access.check(request, &state.edge).map(|_admin| Self(()))
    }
}

impl FromRequest for Controls {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(body::state(request).and_then(|state| Self::check(request, &state)))
    }
}

/// What the operator asks for, an object; no body, or null, is an empty one. One extractor, because actix gives no order between several:
/// who asks is checked before a byte of the body is looked at.
#[derive(Debug)]
pub struct ControlRequest(Document);

impl ControlRequest {
    /// The object, if it has none but these members. A name that is written wrong would leave out what it means: all peers in
    /// place of one.
    ///
    /// # Errors
    /// 400 `invalid_federation_request`.
    pub fn members(&self, known: &[&str]) -> Result<Object<'_>, ApiError> {
        let shape = |detail: String| refuse(Code::InvalidFederationRequest, detail);
        let object = self.0.root().as_object().ok_or_else(|| shape("the body is not a JSON object".to_owned()))?;
        match object.iter().find(|(key, _)| !known.contains(&key.as_ref())) {
            None => Ok(object),
            Some((key, _)) if known.is_empty() => {
                Err(shape(format!("the body has {key:?}; nothing is expected in it")))
            }
            Some((key, _)) => Err(shape(format!("the body has {key:?}; it may have {}", known.join(", ")))),
        }
    }
}

impl FromRequest for ControlRequest {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move { Ok(Self(read(&request, payload, CONTROL_BYTES, 0).await?.0)) })
    }
}

async fn read(
    request: &HttpRequest,
    mut payload: Payload,
    limit: usize,
    depth: usize,
) -> Result<(Document, BodyShare), ApiError> {
    let state = body::state(request)?;
    if let Err(error) = Controls::check(request, &state) {
        body::drain(request, &mut payload, state.body_timeout).await;
        return Err(error);
    }
    let (bytes, share) = body::read_json(request, payload, limit, body::COST_OF_A_DOCUMENT).await?;
    if !bytes.trim_ascii().is_empty() {
        declared(request)?;
    }
    let nothing = matches!(bytes.trim_ascii(), b"" | b"null");
    let bytes = if nothing { Bytes::from_static(b"{}") } else { bytes };
    Ok((Document::parse(bytes, state.context.limits.json_depth.saturating_add(depth))?, share))
}

/// A [`ControlRequest`] that brings nodes: as large as what instances send each other.
#[derive(Debug)]
pub struct BulkControlRequest(
    ControlRequest,
    #[expect(dead_code, reason = "held for as long as the nodes are, not read")] BodyShare,
);

impl BulkControlRequest {
    /// As [`ControlRequest::members`], with the text that the object is in.
    ///
    /// # Errors
    /// 400 `invalid_federation_request`.
    pub fn members(&self, known: &[&str]) -> Result<(Object<'_>, &Document), ApiError> {
        Ok((self.0.members(known)?, &self.0.0))
    }
}

impl FromRequest for BulkControlRequest {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move {
            let limit = body::state(&request)?.context.limits.sync_bytes;
            let (document, share) = read(&request, payload, limit, BULK_DEPTH).await?;
            Ok(Self(ControlRequest(document), share))
        })
    }
}

/// Is the body declared as anything? Then it is JSON, or was refused before. A web page may send a body without a declaration to
/// any address, but one that is declared as JSON only after it has asked.
///
/// # Errors
/// 415 `unsupported_media_type`.
pub fn declared(request: &HttpRequest) -> Result<(), ApiError> {
    if request.headers().contains_key(CONTENT_TYPE) {
        return Ok(());
    }
    Err(refuse(Code::UnsupportedMediaType, "declare the body with Content-Type: application/json"))
}

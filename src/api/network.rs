//! The door of a network with a key: who does not show that he belongs to it finds nothing here, as on any path that does not exist.

use super::{
    codes::Code,
    error::{ApiError, nothing_here},
    extract::{drain, refused},
    origin::NetworkDigest,
    prefix,
    state::ApiState,
};
use crate::{
    guard::{Asked, NETWORK_HEADER, is_open_path},
    ops,
};
use actix_web::{
    Error, HttpMessage, ResponseError,
    body::{EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{
        Method,
        header::{HeaderName, HeaderValue},
    },
    middleware::Next,
    web,
};
use std::time::Duration;

static HEADER: HeaderName = HeaderName::from_static(NETWORK_HEADER);
static CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
const DRAIN: Duration = Duration::from_secs(2);

/// A header that is there once.
fn text<'a>(request: &'a ServiceRequest, name: &HeaderName) -> Option<&'a str> {
    let mut values = request.headers().get_all(name);
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// What to show in the answer to a member; `None`: he is none.
fn admit(request: &ServiceRequest, state: &ApiState) -> Option<String> {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let digest = text(request, &CONTENT_DIGEST).filter(|_| !reads);
    let asked = Asked {
        method: request.method().as_str(),
        path: request.path(),
        query: request.query_string(),
        digest: digest.unwrap_or_default(),
    };
    let member = ops::member(&state.context, text(request, &HEADER)?, asked)?;
    if !reads {
        // What comes must be what the tag is over: `extract/body.rs` sees to it.
        request.extensions_mut().insert(NetworkDigest(digest?.to_owned()));
    }
    Some(member.answer)
}

/// Lets members, the operator and probes through. Everybody else is told what is told of any path that nothing is at.
///
/// # Errors
/// What the inner service answers with.
pub async fn network<B: MessageBody>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let state = request.app_data::<web::Data<ApiState>>().cloned();
    let Some(state) = state.filter(|state| state.context.network.is_some() && !is_open_path(request.path())) else {
        return Ok(next.call(request).await?.map_into_left_body());
    };
    if let Some(answer) = admit(&request, &state) {
        let mut response = next.call(request).await?.map_into_left_body();
        let value = HeaderValue::try_from(answer).map_err(|error| ApiError::Internal(error.to_string()))?;
        response.headers_mut().insert(HEADER.clone(), value);
        return Ok(response);
    }
    if state.admin_access.is_shown(request.headers()) {
        return Ok(next.call(request).await?.map_into_left_body());
    }
    refused(&state, Code::NotFound, "network", None, request.request());
    let mut payload = request.take_payload();
    let response = nothing_here(&prefix::seen_by(&request), request.path()).error_response();
    let answer = request.into_response(response).map_into_right_body();
    drain(answer.request(), &mut payload, DRAIN).await;
    Ok(answer)
}

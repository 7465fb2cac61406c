//! The routes for instances, where they ask for a client's certificate (mutual TLS). The handshake has checked what was shown.

use super::{
    codes::Code,
    error::refuse,
    extract::{drain, refused},
    routes::is_for_peers,
    state::ApiState,
};
use crate::guard::Certified;
use actix_web::{
    Error, HttpMessage, ResponseError,
    body::{EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    middleware::Next,
    web,
};
use std::time::Duration;

const DRAIN: Duration = Duration::from_secs(2);

/// Answers 403 `client_certificate` where one is asked for and none was shown.
///
/// # Errors
/// What the inner service answers with.
pub async fn certified<B: MessageBody>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let state = request.app_data::<web::Data<ApiState>>().filter(|state| state.client_certificates).cloned();
    let is_shown = request.conn_data::<Certified>().is_some();
    // As it is routed: a letter of it may have come percent-encoded.
    let path = request.match_info().as_str();
    let Some(state) = state.filter(|_| !is_shown && is_for_peers(request.method(), path)) else {
        return Ok(next.call(request).await?.map_into_left_body());
    };
    refused(&state, Code::ClientCertificate, "certificate", None, request.request());
    let mut payload = request.take_payload();
    let detail = "this route is for instances with a certificate of an authority that the operator named";
    let response = refuse(Code::ClientCertificate, detail).error_response();
    let answer = request.into_response(response).map_into_right_body();
    drain(answer.request(), &mut payload, DRAIN).await;
    Ok(answer)
}

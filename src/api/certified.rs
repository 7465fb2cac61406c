//! The routes for instances, where they ask for a client's certificate (mutual TLS). The handshake has checked what was shown.

use super::{codes::Code, error::refuse, extract::drain, routes::is_for_peers, state::ApiState};
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
    let asks = request.app_data::<web::Data<ApiState>>().is_some_and(|state| state.client_certificates);
    let is_shown = request.conn_data::<Certified>().is_some();
    // As it is routed: a letter of it may have come percent-encoded.
    let path = request.match_info().as_str();
    if !asks || is_shown || !is_for_peers(request.method(), path) {
        return Ok(next.call(request).await?.map_into_left_body());
    }
    let mut payload = request.take_payload();
    let detail = "this route is for instances with a certificate of an authority that the operator named";
    let response = refuse(Code::ClientCertificate, detail).error_response();
    let refused = request.into_response(response).map_into_right_body();
    drain(refused.request(), &mut payload, DRAIN).await;
    Ok(refused)
}

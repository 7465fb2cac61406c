//! The door that other instances come through: closed while the operator has stopped the federation.

use super::body;
use crate::{
    api::{error::ApiError, state::ApiState},
    ops::{self, FederationError},
};
use actix_web::{
    Error, HttpMessage, ResponseError,
    body::{EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    middleware::Next,
    web,
};

/// Lets a peer in, or answers 503 `federation_stopped`.
///
/// # Errors
/// What the inner service answers with.
pub async fn peers_door<B: MessageBody>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let state = request.app_data::<web::Data<ApiState>>().cloned();
    let Some(state) = state.filter(|state| ops::is_stopped(&state.context)) else {
        return Ok(next.call(request).await?.map_into_left_body());
    };
    let mut payload = request.take_payload();
    let response = ApiError::Federation(FederationError::Stopped).error_response();
    let refused = request.into_response(response).map_into_right_body();
    // So that a peer which sends first and reads later gets its answer.
    body::drain(refused.request(), &mut payload, state.body_timeout).await;
    Ok(refused)
}

//! Around every request: an id, the metrics, and an answer even when a handler panics.

use super::{
    error::{ApiError, REQUEST_ID},
    state::ApiState,
};
use actix_web::{
    Error, ResponseError,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    error::InternalError,
    http::{
        Method,
        header::{HeaderName, HeaderValue},
    },
    middleware::Next,
    web,
};
use futures_util::FutureExt;
use std::{panic::AssertUnwindSafe, time::Instant};

static REQUEST_ID_HEADER: HeaderName = HeaderName::from_static("x-request-id");

fn new_request_id() -> String {
    let mut bytes = [0_u8; 12];
    // An id that repeats is a nuisance in the log and nothing more, so the request goes on.
    if getrandom::fill(&mut bytes).is_err() {
        return "no-randomness".to_owned();
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Label values must stay few, so methods that no route takes share one.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// Gives the request an id, answers with it, counts and times the answer, and writes one line to the log.
///
/// # Errors
/// What the inner service answers with.
pub async fn observe(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let started = Instant::now();
    let id = new_request_id();
    let method = method_label(request.method());
    let state = request.app_data::<web::Data<ApiState>>().cloned();
    let mut response = match REQUEST_ID.scope(id.clone(), next.call(request)).await {
        Ok(response) => response,
        Err(error) => {
            let status = error.as_response_error().status_code().as_u16();
            if let Some(state) = state {
                state.metrics.request(method, "none", status, started.elapsed());
            }
            return Err(error);
        }
    };
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID_HEADER.clone(), value);
    }
    let route = response.request().match_pattern().unwrap_or_else(|| "none".to_owned());
    let status = response.status().as_u16();
    let took = started.elapsed();
    if let Some(state) = state {
        state.metrics.request(method, &route, status, took);
    }
    tracing::debug!(request.id = id, http.method = method, http.route = route, http.status = status, duration_ms = %took.as_millis(), "request");
    Ok(response)
}

/// Turns a panic of a handler into a 500 problem, so that the connection is never dropped without an answer.
///
/// # Errors
/// What the inner service answers with.
pub async fn answer_panics(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    match AssertUnwindSafe(next.call(request)).catch_unwind().await {
        Ok(answer) => answer,
        Err(_) => {
            // The request went down with the handler, so the answer travels as an error that brings its own response.
            let mut response = ApiError::Internal("a handler panicked".to_owned()).error_response();
            if let Ok(value) = HeaderValue::from_str(&REQUEST_ID.try_with(Clone::clone).unwrap_or_default()) {
                response.headers_mut().insert(REQUEST_ID_HEADER.clone(), value);
            }
            Err(InternalError::from_response("a handler panicked", response).into())
        }
    }
}

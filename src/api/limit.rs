//! Counts every request on its sender's account, and says what is left (draft-ietf-httpapi-ratelimit-headers).

use super::{
    codes::Code,
    error::{
        ApiError,
        limited::{RATE_LIMIT, RATE_LIMIT_POLICY, policy, whole_seconds},
    },
    extract::{drain, refused},
    origin::{RequestOrigin, is_forwarded},
    state::ApiState,
};
use crate::ops::{self, Allowance, Caller, Class};
use actix_web::{
    Error, HttpMessage, ResponseError,
    body::{EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{Method, StatusCode, header::HeaderValue},
    middleware::Next,
    web,
};
use std::{rc::Rc, time::Duration};

/// A flood must not keep us busy with what it sends: for so long a refused body is read, so that its sender comes to reading.
const DRAIN: Duration = Duration::from_secs(2);

/// Routes on which signatures are checked.
const SIGNED: &[&str] =
    &["/manifest", "/lattice/round", "/lattice/offer", "/lattice/changes", "/federation/sync", "/v1/trust/rotate"];
/// What such routes of conversations begin with.
const PROVED: &str = "/lattice/trust/";

fn class_of(method: &Method, path: &str) -> Class {
    match *method {
        Method::GET | Method::HEAD | Method::OPTIONS => Class::Read,
        Method::POST if SIGNED.contains(&path) || path.starts_with(PROVED) => Class::Signed,
        _ => Class::Body,
    }
}

/// The operator is not counted. A program of this machine is not, unless the settings say so. A proxy on this machine that nobody named is: behind it is
/// everybody.
fn caller_of(request: &ServiceRequest, state: &ApiState) -> Caller {
    let client = request.extensions().get::<Rc<RequestOrigin>>().and_then(|origin| origin.client);
    match client {
        // He could stop the service as well.
        _ if state.admin_access.is_shown(request.headers()) => Caller::local(),
        Some(address) if !address.is_loopback() || state.count_loopback || is_forwarded(request.headers()) => {
            Caller::counted(address)
        }
        _ => Caller::local(),
    }
}

/// Lets a request through while its sender has something left, or answers 429 `rate_limited`.
///
/// # Errors
/// What the inner service answers with.
pub async fn limit<B: MessageBody>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let Some(state) = request.app_data::<web::Data<ApiState>>().cloned() else {
        return Ok(next.call(request).await?.map_into_left_body());
    };
    let caller = caller_of(&request, &state);
    request.extensions_mut().insert(caller);
    let class = class_of(request.method(), request.match_info().as_str());
    match ops::spend(&state.context, class, caller.payer()).await {
        Ok(allowance) => {
            let mut response = next.call(request).await?.map_into_left_body();
            if let Some((mut allowance, payer)) = allowance.zip(caller.payer()) {
                if class == Class::Signed && response.status() == StatusCode::UNAUTHORIZED {
                    allowance = ops::charge_wrong_signature(&state.context, payer, allowance);
                }
                let headers = response.headers_mut();
                headers.append(RATE_LIMIT_POLICY.clone(), value(policy(allowance.class, allowance.most)));
                headers.append(RATE_LIMIT.clone(), value(left(&allowance)));
            }
            Ok(response)
        }
        Err(limited) => {
            state.metrics.limited(limited.class.name());
            refused(&state, Code::RateLimited, limited.class.name(), None, request.request());
            let mut payload = request.take_payload();
            let response = ApiError::from(limited).error_response();
            let answer = request.into_response(response).map_into_right_body();
            drain(answer.request(), &mut payload, DRAIN).await;
            Ok(answer)
        }
    }
}

fn value(text: String) -> HeaderValue {
    // Names of ours and numbers: always a value.
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn left(allowance: &Allowance) -> String {
    format!("\"{}\";r={};t={}", allowance.class.name(), allowance.left, whole_seconds(allowance.full_in))
}

//! Who may read our answers from a web page of another origin (CORS, in the Fetch standard). Nobody, unless the settings say so.
//!
//! Of our own, because what a route takes stands in its `Allow` and nowhere else; and a preflight from an origin that is not listed
//! is answered like any other request, without a grant: the browser refuses by itself.

use super::state::{ApiState, Cors};
use crate::types::WebOrigins;
use actix_web::{
    Error, HttpResponse,
    body::{EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{
        Method, StatusCode,
        header::{
            ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
            ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ALLOW, HeaderMap,
            HeaderValue, ORIGIN, VARY,
        },
    },
    middleware::Next,
    web,
};

/// What a page may send beyond what every page may.
const SENT: &str = "Authorization, Content-Type, If-Match, If-None-Match";
/// What a page may read beyond what every page may.
const READ: &str = "Allow, Ark-Cursor, Ark-Delta-Count, Ark-Lines, Ark-Manifest-Hash, ETag, RateLimit, RateLimit-Policy, \
     Retry-After, WWW-Authenticate, X-Request-Id";

impl Cors {
    /// The value of `Access-Control-Allow-Origin`, where there is a grant. Credentials (cookies) are never part of one: we have none.
    fn grant(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        match &self.origins {
            // Whoever asks: an answer that does not depend on who asks may be kept for all.
            WebOrigins::Any => Some(HeaderValue::from_static("*")),
            WebOrigins::Listed(_) => {
                let origin = headers.get(ORIGIN)?;
                origin.to_str().is_ok_and(|origin| self.origins.contains(origin)).then(|| origin.clone())
            }
        }
    }

    fn preflight(&self, methods: HeaderValue) -> HttpResponse {
        HttpResponse::NoContent()
            .insert_header((ACCESS_CONTROL_ALLOW_METHODS, methods))
            .insert_header((ACCESS_CONTROL_ALLOW_HEADERS, SENT))
            .insert_header((ACCESS_CONTROL_MAX_AGE, self.max_age.as_secs().to_string()))
            .finish()
    }
}

/// Answers preflights and adds the grants.
///
/// # Errors
/// What the inner service answers with.
pub async fn share<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let state = request.app_data::<web::Data<ApiState>>().cloned();
    let Some(cors) = state.as_ref().map(|state| &state.cors).filter(|cors| !cors.origins.is_nobody()) else {
        return Ok(next.call(request).await?.map_into_left_body());
    };
    let grant = cors.grant(request.headers());
    let asks = request.method() == Method::OPTIONS
        && request.headers().contains_key(ORIGIN)
        && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = next.call(request).await?.map_into_left_body();
    if let Some(grant) = grant {
        // No route takes OPTIONS: each refuses it, and says what it takes.
        let refused = asks && response.status() == StatusCode::METHOD_NOT_ALLOWED;
        if let Some(methods) = response.headers().get(ALLOW).filter(|_| refused).cloned() {
            let answer = cors.preflight(methods);
            response = response.into_response(answer).map_into_right_body();
        } else {
            response.headers_mut().insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(READ));
        }
        response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, grant);
    }
    if cors.origins != WebOrigins::Any {
        response.headers_mut().append(VARY, HeaderValue::from_static("Origin"));
    }
    Ok(response)
}

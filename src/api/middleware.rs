//! Around every request: an id, the metrics, and an answer even when a handler panics.

use super::{
    error::{ApiError, REQUEST_ID, RequestId},
    extract::audit_answer,
    origin::RequestOrigin,
    routes,
    state::ApiState,
    trace::{Answered, Traced},
};
use actix_web::{
    Error, HttpMessage, HttpRequest, ResponseError,
    body::{BodySize, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    error::InternalError,
    http::{
        ConnectionType, Method, StatusCode, Version,
        header::{
            ACCEPT_ENCODING, AcceptEncoding, Encoding, Header, HeaderName, HeaderValue, STRICT_TRANSPORT_SECURITY,
        },
    },
    middleware::Next,
    web,
};
use futures_util::FutureExt;
use std::{borrow::Cow, collections::HashSet, panic::AssertUnwindSafe, rc::Rc, sync::LazyLock, time::Instant};

static REQUEST_ID_HEADER: HeaderName = HeaderName::from_static("x-request-id");

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

/// The paths without any part that a client chooses.
static FIXED: LazyLock<HashSet<&'static str>> =
    LazyLock::new(|| routes::ROUTES.iter().map(|route| route.path).filter(|path| !path.contains('{')).collect());

/// The pattern of the route that answered; `none` where none did. Matching a path anew costs more than all else here.
fn route_of(request: &HttpRequest, status: u16) -> Cow<'static, str> {
    match FIXED.get(request.path()).copied().filter(|_| status != StatusCode::NOT_FOUND.as_u16()) {
        Some(path) => path.into(),
        None => request.match_pattern().map_or(Cow::Borrowed("none"), Cow::Owned),
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
    let id = RequestId::new();
    let method = method_label(request.method());
    let state = request.app_data::<web::Data<ApiState>>().cloned();
    let origin = state.as_ref().map(|state| Rc::new(RequestOrigin::of(request.head(), &state.edge)));
    if let Some(origin) = &origin {
        request.extensions_mut().insert(Rc::clone(origin));
    }
    let traced = state.as_ref().and_then(|state| Traced::of(&request, state));
    let mut response = match REQUEST_ID.scope(id, next.call(request)).await {
        Ok(response) => response,
        Err(error) => {
            let status = error.as_response_error().status_code().as_u16();
            if let Some(state) = state {
                state.metrics.request(method, "none".into(), status, started.elapsed());
            }
            return Err(error);
        }
    };
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert(REQUEST_ID_HEADER.clone(), value);
    }
    if state.as_ref().is_some_and(|state| state.context.closing.is_cancelled()) {
        // The next request of this client goes elsewhere, and meets no connection that is being closed.
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    let hsts = state.as_ref().zip(origin.as_ref()).and_then(|(state, origin)| origin.strict_transport(&state.edge));
    if let Some(value) = hsts.and_then(|text| HeaderValue::try_from(text).ok()) {
        response.headers_mut().insert(STRICT_TRANSPORT_SECURITY, value);
    }
    let status = response.status().as_u16();
    let route = route_of(response.request(), status);
    let took = started.elapsed();
    if let Some(state) = &state {
        state.metrics.request(method, route.clone(), status, took);
        audit_answer(state, response.response().error(), || routes::known(&route), response.request());
        if let Some(traced) = traced {
            let (route, client) = (route.clone(), origin.as_ref().and_then(|origin| origin.client));
            traced.end(state, Answered { id, method, route, status, client });
        }
    }
    tracing::debug!(
        request.id = %id,
        client.address = origin.as_ref().and_then(|origin| origin.client).map(tracing::field::display),
        http.scheme = origin.as_ref().map(|origin| origin.scheme.as_str()),
        http.host = origin.as_ref().and_then(|origin| origin.host.as_deref()),
        http.method = method,
        http.route = &*route,
        http.status = status,
        duration_ms = %took.as_millis(),
        "request"
    );
    Ok(response)
}

/// Goes around what the client cannot read: an `Accept-Encoding` that fits none of ours is left out of account, as RFC 9110
/// section 12.5.3 asks, where the compressor would answer 406 in its own words; and HTTP/1.0 knows no chunks (RFC 9112
/// section 6.1), so a streamed answer ends there with the connection.
///
/// # Errors
/// What the inner service answers with.
pub async fn suit_client(
    mut request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let ours = [Encoding::identity(), Encoding::brotli(), Encoding::gzip(), Encoding::zstd()];
    if request.headers().contains_key(ACCEPT_ENCODING)
        && AcceptEncoding::parse(&request).is_ok_and(|asked| asked.negotiate(ours.iter()).is_none())
    {
        request.headers_mut().remove(ACCEPT_ENCODING);
    }
    let old = request.version() < Version::HTTP_11;
    let mut response = next.call(request).await?;
    if old && response.response().body().size() == BodySize::Stream {
        let head = response.response_mut().head_mut();
        head.no_chunking(true);
        head.set_connection_type(ConnectionType::Close);
    }
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
    // Within the block, so that what runs before the first await point is guarded too.
    match AssertUnwindSafe(async move { next.call(request).await }).catch_unwind().await {
        Ok(answer) => answer,
        Err(_) => {
            // The request went down with the handler, so the answer travels as an error that brings its own response.
            let mut response = ApiError::Internal("a handler panicked".to_owned()).error_response();
            if let Ok(value) = HeaderValue::from_str(&REQUEST_ID.try_with(ToString::to_string).unwrap_or_default()) {
                response.headers_mut().insert(REQUEST_ID_HEADER.clone(), value);
            }
            Err(InternalError::from_response("a handler panicked", response).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::{App, HttpResponse, dev::Service, guard::fn_guard, http::StatusCode, middleware::from_fn, test};

    async fn fails() -> HttpResponse {
        panic!("on purpose");
    }

    /// Status, request id and body. The answer that the server makes of an error is the error's own.
    async fn read(answer: Result<ServiceResponse<impl MessageBody + 'static>, Error>) -> (StatusCode, String, String) {
        let response = match answer {
            Ok(response) => response.map_into_boxed_body().into_parts().1,
            Err(error) => error.error_response(),
        };
        let id = response.headers().get("x-request-id").unwrap().to_str().unwrap().to_owned();
        let status = response.status();
        let body = actix_web::body::to_bytes(response.into_body()).await.unwrap_or_default();
        (status, id, String::from_utf8_lossy(&body).into_owned())
    }

    #[actix_web::test]
    async fn a_panic_is_answered_and_the_worker_goes_on() {
        let app = App::new()
            .wrap(from_fn(answer_panics))
            .wrap(from_fn(observe))
            .route("/panic", web::get().to(fails))
            .route("/at-once", web::get().guard(fn_guard(|_| panic!("before the handler, on purpose"))).to(fails))
            .route("/fine", web::get().to(|| async { HttpResponse::Ok().body("fine") }));
        let app = test::init_service(app).await;
        for path in ["/panic", "/at-once", "/panic"] {
            let request = test::TestRequest::get().uri(path).to_request();
            let (status, id, body) = read(app.call(request).await).await;
            assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{path}");
            let problem: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert_eq!(problem["code"], "internal");
            assert_eq!(problem["request_id"], id);
            assert_eq!(id.len(), 24);
            assert!(!body.contains("on purpose"), "a client must not read what the machine said: {body}");
            let request = test::TestRequest::get().uri("/fine").to_request();
            let (status, _, body) = read(app.call(request).await).await;
            assert_eq!((status, body.as_str()), (StatusCode::OK, "fine"));
        }
    }
}

//! Bodies: declared as JSON, not compressed, within their limit and in time. What is inside is the strict gate's matter.

use crate::api::{
    codes::Code,
    error::{ApiError, refuse, too_slow},
    state::ApiState,
};
use actix_web::{
    FromRequest, HttpRequest,
    dev::Payload,
    http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap},
    web,
};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, future::LocalBoxFuture};

/// How much of a refused body is read and thrown away, so that a client which sends first and reads later gets its answer and
/// not a reset connection.
const DRAIN_BYTES: usize = 32 << 20;

fn header_text<'a>(
    headers: &'a HeaderMap,
    name: &actix_web::http::header::HeaderName,
) -> Result<Option<&'a str>, ApiError> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    value.to_str().map(Some).map_err(|_| refuse(Code::InvalidHeader, format!("{name} holds bytes that are not text")))
}

fn check_headers(headers: &HeaderMap) -> Result<(), ApiError> {
    if let Some(encoding) = header_text(headers, &CONTENT_ENCODING)?
        && !encoding.eq_ignore_ascii_case("identity")
    {
        return Err(refuse(Code::UnsupportedContentEncoding, format!("Content-Encoding {encoding:?} is not taken")));
    }
    // Without the header the recipient may assume (RFC 9110 section 8.3); the gate then says whether it was JSON.
    let Some(declared) = header_text(headers, &CONTENT_TYPE)? else { return Ok(()) };
    let mut parts = declared.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
    let json = essence == "application/json" || essence.starts_with("application/") && essence.ends_with("+json");
    let utf8 = parts.filter_map(|part| part.split_once('=')).all(|(name, value)| {
        !name.eq_ignore_ascii_case("charset") || value.trim_matches('"').eq_ignore_ascii_case("utf-8")
    });
    if json && utf8 {
        return Ok(());
    }
    Err(refuse(Code::UnsupportedMediaType, format!("send the body as application/json in UTF-8, not as {declared:?}")))
}

async fn drain(payload: &mut Payload) {
    let mut left = DRAIN_BYTES;
    while let Some(Ok(chunk)) = payload.next().await {
        match left.checked_sub(chunk.len()) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

async fn collect(payload: &mut Payload, limit: usize, declared: Option<usize>) -> Result<Bytes, ApiError> {
    let too_large = || refuse(Code::BodyTooLarge, format!("the body exceeds {limit} bytes"));
    if declared.is_some_and(|length| length > limit) {
        drain(payload).await;
        return Err(too_large());
    }
    let mut body = BytesMut::with_capacity(declared.unwrap_or(0).min(64 << 10));
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| refuse(Code::JsonSyntax, format!("the body broke off: {error}")))?;
        if body.len() + chunk.len() > limit {
            drain(payload).await;
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// Reads a body of at most `limit` bytes.
///
/// # Errors
/// 408, 413, 415, or 400 for headers that are no text and bodies that break off.
pub async fn read_json(request: &HttpRequest, mut payload: Payload, limit: usize) -> Result<Bytes, ApiError> {
    let timeout = state(request)?.body_timeout;
    let headers = request.headers();
    let declared = header_text(headers, &actix_web::http::header::CONTENT_LENGTH)?.and_then(|text| text.parse().ok());
    let read = async {
        if let Err(error) = check_headers(headers) {
            drain(&mut payload).await;
            return Err(error);
        }
        collect(&mut payload, limit, declared).await
    };
    tokio::time::timeout(timeout, read).await.unwrap_or_else(|_| Err(too_slow(timeout)))
}

pub(super) fn state(request: &HttpRequest) -> Result<web::Data<ApiState>, ApiError> {
    request
        .app_data::<web::Data<ApiState>>()
        .cloned()
        .ok_or_else(|| ApiError::Internal("the application has no state".to_owned()))
}

macro_rules! body {
    ($(#[doc = $doc:literal])* $name:ident $limit:ident) => {
        $(#[doc = $doc])*
        #[derive(Debug)]
        pub struct $name(pub Bytes);

        impl FromRequest for $name {
            type Error = ApiError;
            type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

            fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
                let (request, payload) = (request.clone(), payload.take());
                Box::pin(async move {
                    let limit = state(&request)?.context.limits.$limit;
                    read_json(&request, payload, limit).await.map(Self)
                })
            }
        }
    };
}

body! {
    /// The body of `POST /manifest`.
    ManifestBody manifest_bytes
}
body! {
    /// The body of `POST /sync`.
    SyncBody sync_bytes
}

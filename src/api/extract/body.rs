//! Bodies: declared as JSON, not compressed, within their limit and in time. What is inside is the strict gate's matter.

use super::{
    budget::{BodyBudget, BodyShare, FREE_BYTES},
    holder::holder_of,
};
use crate::{
    api::{
        codes::Code,
        error::{ApiError, below_rate, nothing_here, refuse, too_slow},
        origin::{NetworkDigest, prefix_seen_by},
        state::ApiState,
    },
    ops::FRAME_BYTES,
    types::content_digest,
};
use actix_web::{
    FromRequest, HttpMessage, HttpRequest,
    dev::Payload,
    http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName},
    web,
};
use bytes::Bytes;
use futures_util::{StreamExt, future::LocalBoxFuture};
use std::time::Duration;
use tokio::time::Instant;

/// How much of a refused body is read and thrown away, so that a client which sends first and reads later gets its answer and
/// not a reset connection.
const DRAIN_BYTES: usize = 64 << 20;

/// Bytes of memory that a byte of a document comes to at most: itself, four of the gate's tape (`[0,0,…]`), a canonical form.
pub(super) const COST_OF_A_DOCUMENT: usize = 7;

/// Of a sync request: itself, and either the tape and a set of the ids, where one pass does not do, or each id on its own, where all
/// of them are wanted back. There are many where ids are short.
const COST_OF_A_SYNC_REQUEST: usize = 8;

/// Of a message of a set reconciliation: itself, its ids, an answer as long as it may be.
const COST_OF_A_MESSAGE: usize = 3;

/// A client that pauses for so long does not send on before it has its answer.
const DRAIN_PAUSE: Duration = Duration::from_secs(2);

/// Of a header whose repetition would leave open which value counts.
fn header_text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, ApiError> {
    let mut values = headers.get_all(name);
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(refuse(Code::InvalidHeader, format!("{name} is there more than once")));
    }
    value.to_str().map(Some).map_err(|_| refuse(Code::InvalidHeader, format!("{name} holds bytes that are not text")))
}

/// What a body is declared as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Declared {
    /// `application/json`, or another type that ends in `+json`.
    Json,
    /// `application/x-ndjson`.
    Lines,
    /// `application/octet-stream`.
    Bytes,
}

fn check_headers(headers: &HeaderMap, wanted: Declared) -> Result<(), ApiError> {
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
    let (fits, name) = match wanted {
        Declared::Json => (json, "application/json in UTF-8"),
        Declared::Lines => (essence == "application/x-ndjson", "application/x-ndjson"),
        Declared::Bytes => (essence == "application/octet-stream", "application/octet-stream"),
    };
    let utf8 = parts.filter_map(|part| part.split_once('=')).all(|(name, value)| {
        !name.trim().eq_ignore_ascii_case("charset") || value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
    });
    if fits && utf8 {
        return Ok(());
    }
    Err(refuse(Code::UnsupportedMediaType, format!("send the body as {name}, not as {declared:?}")))
}

fn declared_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok())
}

/// Reads what is left of a refused body and throws it away, for as long as the client goes on sending within `timeout`.
pub(crate) async fn drain(request: &HttpRequest, payload: &mut Payload, timeout: Duration) {
    if declared_length(request.headers()).is_some_and(|length| length > DRAIN_BYTES) {
        return;
    }
    let read = async {
        let mut left = DRAIN_BYTES;
        while let Ok(Some(Ok(chunk))) = tokio::time::timeout(DRAIN_PAUSE, payload.next()).await {
            match left.checked_sub(chunk.len()) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // The refusal is answered either way.
    let _slow_clients_are_cut_off = tokio::time::timeout(timeout, read).await;
}

/// Why there is no body.
enum Unread {
    /// It is not taken; more of it may be under way.
    Refused(ApiError),
    /// No more of it will come, or not in time.
    BrokenOff(ApiError),
}

/// The rate at which a large body must come: over each window, whatever the client announced.
struct Pace {
    window: Duration,
    least: usize,
    ends: Instant,
    received: usize,
}

/// The window, where the whole body has at least three of them.
const WINDOW: Duration = Duration::from_secs(10);

impl Pace {
    /// 0: at any rate. `whole`: how long all of the body may take.
    fn new(least_a_second: usize, whole: Duration) -> Self {
        let window = WINDOW.min(whole / 3);
        let millis = usize::try_from(window.as_millis()).unwrap_or(usize::MAX);
        let least = least_a_second.saturating_mul(millis) / 1000;
        Self { window, least, ends: Instant::now() + window, received: 0 }
    }

    /// The next part, within the window and those after it. Nothing of it is bounded before the body is large (`is_held`).
    async fn next(&mut self, payload: &mut Payload, is_held: bool) -> Result<Option<Bytes>, Unread> {
        let broke_off = |error| Unread::BrokenOff(refuse(Code::JsonSyntax, format!("the body broke off: {error}")));
        loop {
            let next = match is_held && self.least > 0 {
                true => tokio::time::timeout_at(self.ends, payload.next()).await,
                false => Ok(payload.next().await),
            };
            let part = next.ok().map(|part| part.transpose().map_err(broke_off)).transpose()?;
            if let Some(part) = &part {
                self.received = self.received.saturating_add(part.as_ref().map_or(0, Bytes::len));
            }
            if self.ends <= Instant::now() {
                if is_held && self.received < self.least && !matches!(part, Some(None)) {
                    return Err(Unread::BrokenOff(below_rate(self.least, self.window)));
                }
                (self.ends, self.received) = (Instant::now() + self.window, 0);
            }
            if let Some(part) = part {
                return Ok(part);
            }
        }
    }

    /// So long nothing was read, for want of room here.
    fn pause(&mut self, waited: Duration) {
        self.ends += waited;
    }
}

async fn collect(
    request: &HttpRequest,
    state: &ApiState,
    payload: &mut Payload,
    (limit, factor): (usize, usize),
    declared_as: Declared,
) -> Result<(Bytes, BodyShare), Unread> {
    let (headers, budget): (_, &BodyBudget) = (request.headers(), &state.body_budget);
    check_headers(headers, declared_as).map_err(Unread::Refused)?;
    let too_large = || Unread::Refused(refuse(Code::BodyTooLarge, format!("the body exceeds {limit} bytes")));
    let declared = declared_length(headers).unwrap_or(0);
    if declared > limit {
        return Err(too_large());
    }
    let (mut share, mut pace) = (BodyShare::default(), Pace::new(state.body_bytes_per_second, state.body_timeout));
    let mut body = Vec::with_capacity(declared.min(FREE_BYTES));
    let mut holder = None;
    while let Some(chunk) = pace.next(payload, share.is_held()).await? {
        let length = body.len() + chunk.len();
        if length > limit {
            return Err(too_large());
        }
        // What has come is charged: what is announced and never sent costs nothing.
        if length > FREE_BYTES {
            let new = if share.is_held() { chunk.len() } else { length };
            let holder = *holder.get_or_insert_with(|| holder_of(request, state));
            let is_new = !share.is_held();
            let waited = budget.arrive(&mut share, holder, new).await.map_err(Unread::Refused)?;
            pace.pause(waited);
            if is_new {
                // Room that nothing is written to takes no memory.
                body = budget.buffers.take(declared, body);
            }
        }
        body.extend_from_slice(&chunk);
    }
    let Some(holder) = holder else { return Ok((body.into(), share)) };
    budget.begin_work(&mut share, holder, (body.len(), factor)).await.map_err(Unread::Refused)?;
    Ok((budget.buffers.seal(body), share))
}

/// Reads a body of at most `limit` bytes, each of which may come to cost `factor` bytes of memory. The share of the budget is to be
/// kept for as long as anything that was made of the body.
///
/// # Errors
/// 408, 413, 415, 503 where too many bodies are under way, or 400 for headers that are no text and bodies that break off.
pub async fn read_json(
    request: &HttpRequest,
    payload: Payload,
    limit: usize,
    factor: usize,
) -> Result<(Bytes, BodyShare), ApiError> {
    read(request, payload, limit, factor, Declared::Json).await
}

async fn read(
    request: &HttpRequest,
    mut payload: Payload,
    limit: usize,
    factor: usize,
    declared_as: Declared,
) -> Result<(Bytes, BodyShare), ApiError> {
    let state = state(request)?;
    let timeout = state.body_timeout;
    let collected = collect(request, &state, &mut payload, (limit, factor), declared_as);
    let read = tokio::time::timeout(timeout, collected).await;
    match read.unwrap_or_else(|_| Err(Unread::BrokenOff(too_slow(timeout)))) {
        Ok((body, share)) => {
            let told = request.extensions().get::<NetworkDigest>().is_none_or(|told| told.0 == content_digest(&body));
            // As without a tag: it is none for this.
            if told { Ok((body, share)) } else { Err(nothing_here(&prefix_seen_by(request), request.path())) }
        }
        Err(Unread::BrokenOff(error)) => Err(error),
        Err(Unread::Refused(error)) => {
            drain(request, &mut payload, timeout).await;
            Err(error)
        }
    }
}

pub(super) fn state(request: &HttpRequest) -> Result<web::Data<ApiState>, ApiError> {
    request
        .app_data::<web::Data<ApiState>>()
        .cloned()
        .ok_or_else(|| ApiError::Internal("the application has no state".to_owned()))
}

macro_rules! body {
    ($(#[doc = $doc:literal])* $name:ident $limit:ident $factor:ident $declared_as:ident) => {
        $(#[doc = $doc])*
        #[derive(Debug)]
        pub struct $name(pub Bytes, pub BodyShare);

        impl FromRequest for $name {
            type Error = ApiError;
            type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

            fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
                let (request, payload) = (request.clone(), payload.take());
                Box::pin(async move {
                    let limit = state(&request)?.context.limits.$limit;
                    let read = read(&request, payload, limit, $factor, Declared::$declared_as);
                    read.await.map(|(body, share)| Self(body, share))
                })
            }
        }
    };
}

body! {
    /// The body of `POST /manifest`.
    ManifestBody manifest_bytes COST_OF_A_DOCUMENT Json
}
body! {
    /// The body of `POST /sync`.
    SyncBody sync_bytes COST_OF_A_SYNC_REQUEST Json
}
body! {
    /// A body of one change a line.
    LinesBody sync_bytes COST_OF_A_SYNC_REQUEST Lines
}

/// A message of a set reconciliation.
#[derive(Debug)]
pub struct MessageBody(pub Bytes, pub BodyShare);

impl FromRequest for MessageBody {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move {
            let read = read(&request, payload, FRAME_BYTES, COST_OF_A_MESSAGE, Declared::Bytes);
            read.await.map(|(body, share)| Self(body, share))
        })
    }
}

//! `GET /events`: what happens, as it happens. The operator's.

use crate::{
    api::{
        codes::Code,
        error::{ApiError, refuse},
        extract::{Controls, StrictQuery, listener},
        state::ApiState,
    },
    ops::{self, Heard, Listening},
    types::EventKind,
};
use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        Method,
        header::{CACHE_CONTROL, CONTENT_ENCODING},
    },
    web::Data,
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{convert::Infallible, future::ready, time::Duration};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use utoipa::{IntoParams, ToSchema};

/// How often a listener hears something at least; one that is gone is noticed at the second time.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// The longest answer that is asked for with an end.
const MOST_SECONDS: u32 = 86_400;
/// The greatest id that every reader of JSON understands; those of events stay below it until the year 2255.
const MOST_ID: u64 = (1 << 53) - 1;
/// How soon a listener comes back when the connection breaks, milliseconds.
const RETRY_MILLIS: u32 = 2000;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct EventsQuery {
    /// Go on behind the event with this id; the header `Last-Event-ID`, which browsers send by themselves, comes before it.
    #[param(minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    last_event_id: Option<u64>,
    /// Only these events, separated by commas.
    #[param(
        example = "sync-complete,conflict-resolved",
        pattern = "^(peer-added|peer-removed|peer-online|peer-offline|peer-restored|sync-started|sync-complete|conflict-resolved|node-changed|deletions-waiting|peer-pending)(,(peer-added|peer-removed|peer-online|peer-offline|peer-restored|sync-started|sync-complete|conflict-resolved|node-changed|deletions-waiting|peer-pending))*$"
    )]
    types: Option<String>,
    /// End the answer after so many seconds; 0: with what is kept. Left out: it has no end.
    #[param(example = 0, minimum = 0, maximum = 86400)]
    seconds: Option<u32>,
}

/// One event of the stream.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Event)]
#[allow(dead_code, reason = "it is written by hand, as lines; this is its description")]
pub(crate) struct EventText {
    /// Grows by one with each event.
    #[schema(pattern = "^[0-9]+$", example = "1767225600000001")]
    id: String,
    /// What happened; `missed`: so many events are not kept any more.
    #[schema(
        pattern = "^(peer-added|peer-removed|peer-online|peer-offline|peer-restored|sync-started|sync-complete|conflict-resolved|node-changed|deletions-waiting|peer-pending|missed)$",
        example = "sync-complete"
    )]
    event: String,
    /// More about it: a JSON object.
    #[schema(
        content_media_type = "application/json",
        example = r#"{"at":1767225600,"peer":"http://192.168.1.100:9000"}"#
    )]
    data: String,
}

/// Event stream (operator)
///
/// Server-sent events, each with an `id`, its name as `event`, and JSON as `data`. The last thousand are kept: whoever comes back with
/// the last `id` that it saw misses none of them, and is told by the event `missed` where some are gone. Ids grow, also over restarts.
#[utoipa::path(
    get,
    path = "/events",
    operation_id = "listenToEvents",
    tag = "federation",
    security(("operator" = [])),
    params(
        EventsQuery,
        ("Last-Event-ID" = Option<u64>, Header, minimum = 0, maximum = 9_007_199_254_740_991_i64,
            description = "Go on behind the event with this id"),
    ),
    responses((status = 200, description = "What happens", body = EventText, content_type = "text/event-stream"))
)]
pub(crate) async fn listen(
    _operator: Controls,
    request: HttpRequest,
    state: Data<ApiState>,
    StrictQuery(query): StrictQuery<EventsQuery>,
) -> Result<HttpResponse, ApiError> {
    let kinds = query.types.as_deref().map_or(Ok(Vec::new()), read_kinds)?;
    at_most("seconds", query.seconds.map(u64::from), MOST_SECONDS.into())?;
    at_most("last_event_id", query.last_event_id, MOST_ID)?;
    let last = last_event_id(&request)?.or(query.last_event_id);
    let mut response = HttpResponse::Ok();
    // Compressed it would wait for more.
    response.insert_header((CACHE_CONTROL, "no-store")).insert_header((CONTENT_ENCODING, "identity"));
    response.insert_header(("X-Accel-Buffering", "no")).content_type("text/event-stream");
    if request.method() == Method::HEAD {
        return Ok(response.finish());
    }
    let place = listener(&request, &state)?;
    let listening = ops::listen(&state.context, last, kinds)?;
    let texts = texts(listening, query.seconds, state.context.closing.clone());
    Ok(response.streaming(texts.inspect(move |_| {
        let _held_as_long_as_it_listens = &place;
    })))
}

fn at_most(name: &str, number: Option<u64>, most: u64) -> Result<(), ApiError> {
    match number {
        Some(number) if number > most => {
            Err(refuse(Code::InvalidQuery, format!("{name} is a number from 0 to {most}")))
        }
        _ => Ok(()),
    }
}

fn read_kinds(names: &str) -> Result<Vec<EventKind>, ApiError> {
    let kinds: Result<Vec<EventKind>, _> = names.split(',').map(EventKind::parse).collect();
    kinds.map_err(|error| refuse(Code::InvalidQuery, format!("types: {error}")))
}

fn last_event_id(request: &HttpRequest) -> Result<Option<u64>, ApiError> {
    let Some(header) = request.headers().get("last-event-id") else { return Ok(None) };
    let id = header.to_str().ok().and_then(|text| text.parse().ok()).filter(|id| *id <= MOST_ID);
    let wrong = || refuse(Code::InvalidHeader, format!("Last-Event-ID is a number from 0 to {MOST_ID}"));
    id.map(Some).ok_or_else(wrong)
}

fn texts(
    listening: Listening,
    seconds: Option<u32>,
    closing: CancellationToken,
) -> impl Stream<Item = Result<Bytes, Infallible>> {
    // An id without data is no event: it says where a listener goes on that has seen none.
    let begin = Bytes::from(format!("retry: {RETRY_MILLIS}\nid: {}\n\n", listening.begins_after()));
    let end = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds.into()));
    let events = stream::unfold(listening, move |mut listening| async move {
        let left = end.map_or(KEEP_ALIVE, |end| end.saturating_duration_since(Instant::now()));
        let heard = match listening.kept() {
            Some(heard) => Some(heard),
            None if left.is_zero() => return None,
            None => match timeout(left.min(KEEP_ALIVE), listening.next()).await {
                Ok(None) => return None,
                Ok(heard) => heard,
                Err(_) => None,
            },
        };
        // A line that says nothing, so that proxies and the other side see that we are there.
        Some((heard.map_or_else(|| Bytes::from_static(b":\n\n"), |heard| text(&heard)), listening))
    });
    let events = events.take_until(closing.clone().cancelled_owned());
    stream::iter([begin]).chain(events).chain(farewell(closing)).map(Ok)
}

/// The last lines of a stream that ends because the service stops: when to come back.
pub(in crate::api) fn farewell(closing: CancellationToken) -> impl Stream<Item = Bytes> {
    let text = move || closing.is_cancelled().then(|| Bytes::from(format!(": stopping\nretry: {RETRY_MILLIS}\n\n")));
    stream::once(async move { text() }).filter_map(ready)
}

fn text(heard: &Heard) -> Bytes {
    Bytes::from(match heard {
        Heard::Event(event) => format!("id: {}\nevent: {}\ndata: {}\n\n", event.id, event.kind.as_str(), event.data),
        Heard::Missed { count, until } => {
            format!("id: {until}\nevent: missed\ndata: {}\n\n", json!({ "count": count }))
        }
    })
}

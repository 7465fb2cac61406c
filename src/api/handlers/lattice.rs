//! `/lattice/…`: where this lattice stands and what changed, for other instances.

use super::events::farewell;
use crate::{
    api::{
        codes::Code,
        error::{ApiError, refuse},
        extract::{HeadPath, LinesBody, MessageBody, StrictQuery, SyncBody, if_none_match, listener, speaker},
        state::ApiState,
    },
    json::{Document, Value},
    manifest::{EpochStart, Position},
    ops::{
        self, ANSWERS_HEADER, FeedOptions, Filter, INDEX_HEADER, ItemId, JournalStand, Knowing, POSITION_HEADER,
        PushAnswer, Received,
    },
    types::{Limits, NodeId, encode_hex},
};
use actix_web::{
    HttpRequest, HttpResponse,
    http::Method,
    http::header::{CACHE_CONTROL, CONTENT_ENCODING, ETAG},
    web,
};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use serde::{Deserialize, Serialize};
use std::{convert::Infallible, sync::Arc, time::Duration};

const LINES: &str = "application/x-ndjson";
/// How often a listener hears something at least. Peers take thirty seconds of silence for a dead connection, and each line wakes both.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// Most nodes that are fetched at once.
const MAX_FETCHED: usize = 10_000;

/// Where this lattice stands
///
/// One small signed answer: who has seen this position and this hash has everything.
pub(crate) async fn head(request: HttpRequest, state: web::Data<ApiState>) -> Result<HttpResponse, ApiError> {
    let (head, signed) = ops::head(&state.context)?;
    // Another signature says the same: the tag is that of what is said.
    let epoch = head.epoch.as_ref().and_then(|epoch| epoch.next.clone()).unwrap_or_else(|| head.current_epoch());
    let etag = format!("\"{}.{}.{}.{epoch}\"", head.index_id, head.seq, head.manifest_hash);
    if if_none_match(&request, &etag)? {
        return Ok(HttpResponse::NotModified().insert_header((ETAG, etag)).finish());
    }
    let mut response = HttpResponse::Ok();
    response.insert_header((ETAG, etag)).insert_header((CACHE_CONTROL, "no-cache"));
    Ok(response.content_type("application/json").body(signed))
}

/// The journal's epochs
///
/// The epochs of this journal with their first positions, oldest first: a position counts if its epoch is one of them and it lies before
/// the first position of the next. The signed head states the hash of it.
pub(crate) async fn lineage(state: web::Data<ApiState>) -> HttpResponse {
    let lineage = ops::lineage(&state.context);
    HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-cache")).content_type("application/json").body(lineage)
}

/// The newest head of another instance
///
/// The newest head of the instance with this id that was accepted here, as it was signed: so an instance that was resumed from a
/// snapshot learns that it was further once.
pub(crate) async fn head_of(state: web::Data<ApiState>, HeadPath(peer): HeadPath) -> Result<HttpResponse, ApiError> {
    let envelope = ops::head_of(&state.context, &peer);
    let envelope = envelope.ok_or_else(|| refuse(Code::PeerNotFound, format!("no head of {peer:?} is known here")))?;
    Ok(HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-cache")).content_type("application/json").body(envelope))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangesQuery {
    /// Whose positions `since` belongs to; refused (`other_index`) where the journal is another one.
    index_id: Option<String>,
    /// Changes after this position; 0 for everything.
    #[serde(default)]
    since: u64,
    /// Whether each node comes along.
    #[serde(default)]
    contents: bool,
    /// Only these nodes: a filter's JSON text.
    filter: Option<String>,
    /// Whether each line says its node's priority.
    #[serde(default)]
    priorities: bool,
    /// Whether a node whose file is broken has a line as well, with `"unavailable": true` and without its content.
    #[serde(default)]
    unavailable: bool,
    /// The largest content that the caller takes, bytes of JSON text without blanks: a node with a larger one comes as one whose file is
    /// broken, with its bytes in `too_large`.
    max_bytes: Option<usize>,
    /// The position of the head that is acted on, `EPOCH:SEQ`; refused (`other_index`) where the journal does not continue from it.
    seen: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SnapshotQuery {
    /// Whose positions `since` belongs to; refused (`other_index`) where the journal is another one.
    index_id: Option<String>,
    /// Where an answer was cut off: the last position that came.
    #[serde(default)]
    since: u64,
    /// Only these nodes: a filter's JSON text.
    filter: Option<String>,
}

/// Everything
///
/// Every node with its content, as lines of the changes feed; zstd for who asks for it. Cut off, it is resumed with `since`.
pub(crate) async fn snapshot(
    state: web::Data<ApiState>,
    query: StrictQuery<SnapshotQuery>,
) -> Result<HttpResponse, ApiError> {
    let SnapshotQuery { index_id, since, filter } = query.0;
    let matcher = read_filter(filter.as_deref())?.matcher();
    let options = FeedOptions { contents: true, matcher, ..FeedOptions::default() };
    let lines = ops::changes(&state.context, index_id.as_deref(), since, options, None)?;
    Ok(HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).content_type(LINES).streaming(lines))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SentQuery {
    /// The filter that the sender applied: a deletion counts for nodes that it lets through.
    filter: Option<String>,
    /// The position of the head that is acted on, `EPOCH:SEQ`; refused (`other_index`) where the journal does not continue from it.
    seen: Option<String>,
    /// The position of this journal up to which the sender has everything, `EPOCH:SEQ`.
    holds: Option<String>,
    /// Where the journal of the sender stands, `EPOCH:SEQ`.
    stands: Option<String>,
}

fn read_position(text: Option<&str>) -> Result<Option<Position>, ApiError> {
    let wrong =
        || refuse(Code::InvalidQuery, "a position is EPOCH:SEQ, with 16 or 32 hex digits and a number".to_owned());
    text.map(|text| Position::parse(text).ok_or_else(wrong)).transpose()
}

fn read_filter(text: Option<&str>) -> Result<Filter, ApiError> {
    let filter = text.map(Filter::parse).transpose();
    filter.map(Option::unwrap_or_default).map_err(|error| refuse(Code::InvalidQuery, error.to_string()))
}

/// What changed
///
/// Every node once, at its last change, in order; deletions too. One JSON object a line: first whose positions these are, then the
/// changes, last `{"end": position}`. An answer without its last line was cut off: go on from the last position that came.
pub(crate) async fn changes(
    state: web::Data<ApiState>,
    query: StrictQuery<ChangesQuery>,
) -> Result<HttpResponse, ApiError> {
    let ChangesQuery { index_id, since, contents, filter, priorities, unavailable, max_bytes, seen } = query.0;
    let seen = read_position(seen.as_deref())?;
    let matcher = read_filter(filter.as_deref())?.matcher();
    let options = FeedOptions { contents, matcher, priorities, unavailable, max_bytes };
    let lines = ops::changes(&state.context, index_id.as_deref(), since, options, seen.as_ref())?;
    Ok(HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).content_type(LINES).streaming(lines))
}

/// Hear of changes
///
/// Server-sent events: `data: {"seq": N}` whenever the journal moved, and once at the beginning. For whoever then asks for the
/// changes; what is missed while the connection is away comes with those all the same.
pub(crate) async fn notify(request: HttpRequest, state: web::Data<ApiState>) -> Result<HttpResponse, ApiError> {
    let place = listener(&request, &state)?;
    let positions = state.context.lattice.positions();
    let closing = state.context.closing.clone();
    let events = stream::unfold((positions, true), move |(mut positions, first)| async move {
        if !first {
            match tokio::time::timeout(KEEP_ALIVE, positions.changed()).await {
                Ok(Ok(())) => {}
                // The lattice is closed.
                Ok(Err(_)) => return None,
                // So that proxies and the other side see that we are there.
                Err(_) => return Some((Ok(Bytes::from_static(b":\n\n")), (positions, false))),
            }
        }
        let seq = *positions.borrow_and_update();
        Some((Ok::<_, Infallible>(Bytes::from(format!("data: {{\"seq\":{seq}}}\n\n"))), (positions, false)))
    });
    // Who listens hears by the end of it that the federation is stopped.
    let stopped = ops::stopped(Arc::clone(&state.context)).boxed();
    let events =
        events.boxed().take_until(futures_util::future::select(closing.clone().cancelled_owned().boxed(), stopped));
    let events = events.chain(farewell(closing).map(Ok));
    let events = events.inspect(move |_| {
        let _held_as_long_as_it_listens = &place;
    });
    let mut response = HttpResponse::Ok();
    // Compressed it would wait for more.
    response.insert_header((CACHE_CONTROL, "no-store")).insert_header((CONTENT_ENCODING, "identity"));
    response.insert_header(("X-Accel-Buffering", "no"));
    response.content_type("text/event-stream");
    Ok(if request.method() == Method::HEAD { response.finish() } else { response.streaming(events) })
}

/// Fetch nodes
///
/// The nodes with these ids, or these versions and deletions, as lines of the changes feed; those that are not here are left out.
/// Of a version that is not here any more comes what the node became. With `"unavailable": true` a node whose file is broken has a line
/// as well, with that member and without its content; with that member alone, all of these nodes are listed. With `"max_bytes"` the same
/// goes for nodes whose content is larger; their lines say so with `too_large`.
pub(crate) async fn nodes(state: web::Data<ApiState>, body: SyncBody) -> Result<HttpResponse, ApiError> {
    let lines = match read_wanted(body.0, &state.context.limits)? {
        Wanted::Nodes(ids, options) => ops::contents(&state.context, ids, options)?,
        Wanted::Versions(items, options) => ops::versions(&state.context, items, options).await?,
        Wanted::Unavailable => ops::unavailable(&state.context, MAX_FETCHED)?,
    };
    Ok(HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).content_type(LINES).streaming(lines))
}

enum Wanted {
    Nodes(Vec<NodeId>, FeedOptions),
    Versions(Vec<ItemId>, FeedOptions),
    /// Those whose files are broken.
    Unavailable,
}

fn read_wanted(body: Bytes, limits: &Limits) -> Result<Wanted, ApiError> {
    let wrong = || {
        let detail = format!(
            "send {{\"ids\": […]}} with at most {MAX_FETCHED} ids of nodes, or {{\"versions\": […], \"contents\": true}} with as many \
             versions in 64 hex digits"
        );
        refuse(Code::InvalidChange, detail)
    };
    let document = Document::parse(body, limits.json_depth)?;
    let object = document.root().as_object().ok_or_else(wrong)?;
    let list = |key: &str| object.get(key).map(|value| value.as_array().filter(|list| list.len() <= MAX_FETCHED));
    let unavailable = object.get("unavailable").map_or(Some(false), Value::as_bool).ok_or_else(wrong)?;
    let max_bytes = object.get("max_bytes").map(|value| value.as_number().and_then(|text| text.parse().ok()));
    let max_bytes = max_bytes.map(|bytes| bytes.ok_or_else(wrong)).transpose()?;
    let options = |contents| FeedOptions { contents, unavailable, max_bytes, ..FeedOptions::default() };
    match (list("ids"), list("versions"), object.get("contents").map(Value::as_bool)) {
        (Some(ids), None, None) => {
            let id = |value: Value<'_>| value.as_str().and_then(|text| NodeId::parse(&text).ok());
            let ids: Option<Vec<NodeId>> = ids.and_then(|ids| ids.iter().map(id).collect());
            ids.map(|ids| Wanted::Nodes(ids, options(true))).ok_or_else(wrong)
        }
        (None, Some(versions), None | Some(Some(_))) => {
            let item = |value: Value<'_>| value.as_str().and_then(|text| ItemId::parse(&text));
            let contents = object.get("contents").and_then(Value::as_bool).unwrap_or(false);
            let items: Option<Vec<ItemId>> = versions.and_then(|versions| versions.iter().map(item).collect());
            items.map(|items| Wanted::Versions(items, options(contents))).ok_or_else(wrong)
        }
        (None, None, None) if unavailable => Ok(Wanted::Unavailable),
        _ => Err(wrong()),
    }
}

/// Find what differs
///
/// A message of range-based set reconciliation (negentropy, version 1) over the versions that are here, and the next message as the
/// answer. Nothing is kept of it: each message says all that is needed. The answer's headers name the journal, the position up to
/// which it is complete, and the message that it answers.
pub(crate) async fn reconcile(
    state: web::Data<ApiState>,
    MessageBody(message, _held): MessageBody,
) -> Result<HttpResponse, ApiError> {
    let answer = ops::reconcile(&state.context, message).await?;
    let mut response = HttpResponse::Ok();
    response.insert_header((CACHE_CONTROL, "no-store")).insert_header((INDEX_HEADER, answer.index_id));
    response.insert_header((POSITION_HEADER, answer.seq)).insert_header((ANSWERS_HEADER, encode_hex(&answer.answers)));
    // Hashes do not shrink.
    response.insert_header((CONTENT_ENCODING, "identity"));
    Ok(response.content_type("application/octet-stream").body(answer.message))
}

/// What this instance takes of others.
#[derive(Debug, Serialize)]
pub(crate) struct TakesAnswer {
    /// The largest node, bytes of JSON text without blanks.
    node_bytes: usize,
    /// The largest body of a request.
    body_bytes: usize,
}

impl TakesAnswer {
    fn of(limits: &Limits) -> Self {
        Self { node_bytes: ops::most_node_bytes(limits), body_bytes: limits.sync_bytes }
    }
}

/// Which contents are wanted.
#[derive(Debug, Serialize)]
pub(crate) struct WantedAnswer {
    /// Ids of the nodes whose offered version would count here.
    wanted: Vec<String>,
    /// The newest epoch of the journal.
    epoch: String,
    /// Its first position.
    epoch_since: u64,
    /// The newest position.
    seq: u64,
    /// Larger contents are not taken, wanted or not.
    takes: TakesAnswer,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OfferQuery {
    /// The position of the head that is acted on, `EPOCH:SEQ`; refused (`other_index`) where the journal does not continue from it.
    seen: Option<String>,
}

/// Offer changes (another instance)
///
/// Lines of the changes feed without their nodes; the answer says which nodes are wanted. Where a deletion of the sender waits for the
/// admin and the sender offers the node, that deletion ends. Signed by the sender (RFC 9421).
pub(crate) async fn offer(
    request: HttpRequest,
    state: web::Data<ApiState>,
    query: StrictQuery<OfferQuery>,
    LinesBody(body, _held): LinesBody,
) -> Result<HttpResponse, ApiError> {
    let speaker = speaker(&request, &state, "/lattice/offer", &body).await?;
    let changes = ops::read_changes(&body, &state.context.limits)?;
    let seen = read_position(query.0.seen.as_deref())?;
    // The position first: what is not wanted is here up to it.
    let JournalStand { start: EpochStart { epoch, since }, seq } = ops::here(&state.context);
    let wanted = ops::wanted(&state.context, &speaker, seen.as_ref(), &changes).await?;
    let wanted = wanted.iter().map(ToString::to_string).collect();
    let (epoch, takes) = (epoch.to_string(), TakesAnswer::of(&state.context.limits));
    Ok(HttpResponse::Ok().json(WantedAnswer { wanted, epoch, epoch_since: since, seq, takes }))
}

/// What became of the changes.
#[derive(Debug, Serialize)]
pub(crate) struct ReceivedAnswer {
    /// Those that count now.
    taken: usize,
    /// Those that were here already.
    same: usize,
    /// Those that lost against what is here.
    kept: usize,
    /// Those that are dated too far ahead.
    ahead: usize,
    /// Versions that were made here and lost; they are kept as conflicts.
    conflicts: usize,
    /// The journal's position before.
    since: u64,
    /// And after; where it moved by `taken`, nothing else came between.
    seq: u64,
    /// The newest epoch of the journal.
    epoch: Option<String>,
    /// Its first position.
    epoch_since: Option<u64>,
    /// Deletions among them that wait for the admin. This and the next two: only where any deletion of the sender waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting: Option<usize>,
    /// All deletions of the sender that wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting_total: Option<u64>,
    /// The hash of the whole set as it would be without their nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting_without: Option<String>,
    /// Another instance sends changes here with the identity of the sender; only where that is so.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    twin: bool,
    /// Nodes that were left out because they are larger than this instance takes; only where any were.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    too_large: Vec<String>,
    /// What this instance takes.
    takes: TakesAnswer,
}

/// Send changes (another instance)
///
/// Lines of the changes feed with their nodes. Each is judged against what is here; what counts is durable when this answers. Deletions
/// of more than ten nodes and a quarter of them wait for the admin here; nodes that are larger than this instance takes are left out and
/// named; everything else is taken.
/// Signed by the sender (RFC 9421).
pub(crate) async fn receive(
    request: HttpRequest,
    state: web::Data<ApiState>,
    query: StrictQuery<SentQuery>,
    LinesBody(body, _held): LinesBody,
) -> Result<HttpResponse, ApiError> {
    let speaker = speaker(&request, &state, "/lattice/changes", &body).await?;
    let changes = ops::read_changes(&body, &state.context.limits)?;
    let filter = read_filter(query.0.filter.as_deref())?;
    let (seen, holds) = (read_position(query.0.seen.as_deref())?, read_position(query.0.holds.as_deref())?);
    let stands = read_position(query.0.stands.as_deref())?;
    let knowing = Knowing { seen: seen.as_ref(), holds: holds.as_ref(), stands: stands.as_ref() };
    let PushAnswer { received, moved, epoch, has_twin, too_large, .. } =
        ops::receive(&state.context, &speaker, knowing, &filter, changes).await?;
    let (epoch, epoch_since) = epoch.map(|it| (it.epoch.to_string(), it.since)).unzip();
    let Received { taken, same, kept, ahead, conflicts, waiting, there } = received;
    let answer = ReceivedAnswer {
        taken,
        same,
        kept,
        ahead,
        conflicts,
        since: moved.start,
        seq: moved.end,
        epoch,
        epoch_since,
        waiting: there.map(|_| waiting),
        waiting_total: there.map(|there| there.deletions),
        waiting_without: there.map(|there| there.set_hash.to_string()),
        twin: has_twin,
        too_large: too_large.iter().map(ToString::to_string).collect(),
        takes: TakesAnswer::of(&state.context.limits),
    };
    Ok(HttpResponse::Ok().json(answer))
}

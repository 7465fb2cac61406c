//! `/federation/…`: the wire of the first ARK instances, beside our own under `/lattice/`.

use super::{control::answers::InfoAnswer, nodes::seconds};
use crate::{
    api::{
        codes::Code,
        cursor,
        error::{ApiError, refuse},
        extract::{StrictQuery, SyncBody, client_address, page_limit, pusher},
        schemas::{Hash, Id, Node, NodeCursor, PeerCursor, PublicKeyText},
        state::ApiState,
    },
    ops::{self, LatticeError, LivePeer, Part, PartStream},
    types::{NodeId, Timestamp},
};
use actix_web::{HttpRequest, HttpResponse, http::header::CACHE_CONTROL, web};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::Number;
use utoipa::{IntoParams, ToSchema};

/// Epoch milliseconds up to the year 5138.
const MAX_SINCE: f64 = 99_999_999_999_999.0;
const MAX_NODES: usize = 100_000;
const MAX_PEERS: usize = 1000;

/// Who this instance is
///
/// Its peers are the operator's: for them, ask `GET /api/federation/status`.
#[utoipa::path(
    get,
    path = "/federation/info",
    operation_id = "getFederationInfo",
    tag = "federation",
    responses((status = 200, description = "Who this instance is", body = InfoAnswer))
)]
pub(crate) async fn info(state: web::Data<ApiState>) -> HttpResponse {
    HttpResponse::Ok().json(InfoAnswer::new(ops::federation_info(&state.context), Vec::new()))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SinceQuery {
    /// Only nodes changed at this instant or later: epoch milliseconds, or seconds (below 100000000000).
    #[param(value_type = Option<f64>, minimum = 0, maximum = 99_999_999_999_999_f64, example = 1_699_564_700)]
    since: Option<String>,
    /// Most nodes in one answer, 1 to 100000; all of them where it is left out, up to the operator's bound.
    #[param(example = 20, minimum = 1, maximum = 100_000)]
    limit: Option<usize>,
    /// From the answer before.
    #[param(value_type = Option<NodeCursor>, inline)]
    cursor: Option<String>,
}

struct Asked {
    since: Option<Timestamp>,
    limit: usize,
    after: Option<NodeId>,
}

impl SinceQuery {
    fn read(self, state: &ApiState) -> Result<Asked, ApiError> {
        let most = MAX_NODES.min(state.context.limits.page_items);
        let limit = page_limit(self.limit, most, most)?;
        let after = self.cursor.as_deref().map(cursor::node).transpose()?;
        Ok(Asked { since: self.since.as_deref().map(epoch).transpose()?, limit, after })
    }
}

fn epoch(text: &str) -> Result<Timestamp, ApiError> {
    let number: Option<Number> = serde_json::from_str(text).ok();
    let within = number.and_then(|number| number.as_f64()).is_some_and(|number| (0.0..=MAX_SINCE).contains(&number));
    let read = if within { Timestamp::from_epoch_text(text) } else { None };
    read.ok_or_else(|| {
        refuse(Code::InvalidQuery, "since is epoch milliseconds, or seconds: a number from 0 to 99999999999999")
    })
}

/// Some nodes.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FederationNodes)]
#[allow(dead_code, reason = "written as a stream; this is its description")]
pub(crate) struct NodesAnswer {
    /// The nodes, each with its own JSON, in order of id.
    nodes: Vec<Node>,
    /// How many nodes this answer holds.
    count: u64,
    /// There where there may be more: send it to go on.
    #[schema(value_type = NodeCursor, required = false)]
    cursor: String,
}

/// Get nodes
///
/// The documents themselves, streamed. `since` is compared with each node's own time: a node that came here late keeps the time of
/// its last edit. Instances of this service exchange over `/lattice/…`, which leaves nothing out and tells of deletions.
#[utoipa::path(
    get,
    path = "/federation/nodes",
    operation_id = "getFederationNodes",
    tag = "federation",
    params(SinceQuery),
    responses((status = 200, description = "Some nodes", body = NodesAnswer))
)]
pub(crate) async fn nodes(
    state: web::Data<ApiState>,
    StrictQuery(query): StrictQuery<SinceQuery>,
) -> Result<HttpResponse, ApiError> {
    let Asked { since, limit, after } = query.read(&state)?;
    let parts = ops::nodes_since(&state.context, since, after, limit).await?;
    Ok(streamed(&state, "{".to_owned(), parts))
}

/// Where an instance stands, and what it has.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = FederationStand)]
#[allow(dead_code, reason = "written as a stream; this is its description")]
pub(crate) struct StandAnswer {
    /// Its id.
    instance_id: String,
    /// How many nodes it has in all.
    node_count: u64,
    /// The hash of its whole set: two instances with the same one hold the same.
    #[schema(value_type = Hash)]
    manifest_hash: String,
    /// Its journal's newest position.
    seq: u64,
    /// With `since`: the nodes changed then or later. Without: none.
    nodes: Vec<Node>,
    /// How many nodes this answer holds.
    count: u64,
    /// There where there may be more: send it to go on.
    #[schema(value_type = NodeCursor, required = false)]
    cursor: String,
}

/// Where this instance stands
///
/// In step, one small answer; with `since`, what changed comes along.
#[utoipa::path(
    get,
    path = "/federation/sync",
    operation_id = "getFederationStand",
    tag = "federation",
    params(SinceQuery),
    responses((status = 200, description = "Where this instance stands", body = StandAnswer))
)]
pub(crate) async fn stand(
    state: web::Data<ApiState>,
    StrictQuery(query): StrictQuery<SinceQuery>,
) -> Result<HttpResponse, ApiError> {
    let Asked { since, limit, after } = query.read(&state)?;
    // Before the nodes: what is added meanwhile is then among them and not in the position, so that it comes again.
    let stand = ops::stand(&state.context)?;
    let hash = stand.set_hash.ok_or(LatticeError::Loading)?.to_string();
    let parts = match since {
        Some(_) => ops::nodes_since(&state.context, since, after, limit).await?,
        None => stream::iter([Ok(Part::End(None))]).boxed(),
    };
    let instance_id = state.context.identity.node_id.as_str();
    let head = format!(
        "{{\"instanceId\":{},\"nodeCount\":{},\"manifestHash\":\"{hash}\",\"seq\":{},",
        serde_json::Value::from(instance_id),
        stand.nodes,
        stand.seq
    );
    Ok(streamed(&state, head, parts))
}

/// An object: `head`, the nodes, and their number, which is right also when a node vanished meanwhile.
fn streamed(state: &web::Data<ApiState>, head: String, parts: PartStream) -> HttpResponse {
    let metrics = std::sync::Arc::clone(&state.metrics);
    let parts = parts.inspect(move |part| match part {
        Ok(Part::Nodes(batch)) => metrics.delta_sent(u64::try_from(batch.len()).unwrap_or(u64::MAX)),
        Ok(Part::End(_)) => {}
        Err(error) => tracing::warn!(%error, "an answer of /federation/ breaks off"),
    });
    let lines = ops::paced(&state.context, written(format!("{head}\"nodes\":["), parts).boxed());
    HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).content_type("application/json").streaming(lines)
}

fn written(
    head: String,
    parts: impl Stream<Item = Result<Part, LatticeError>>,
) -> impl Stream<Item = Result<Bytes, LatticeError>> {
    let mut sent = 0_usize;
    let parts = parts.map(move |part| match part? {
        Part::Nodes(batch) => {
            let mut out = Vec::with_capacity(batch.iter().map(|node| node.bytes.len() + 1).sum());
            for node in &batch {
                out.extend_from_slice(if sent == 0 { b"" } else { b"," });
                out.extend_from_slice(&node.bytes);
                sent += 1;
            }
            Ok(out.into())
        }
        Part::End(next) => {
            let cursor = next.map(|next| format!(",\"cursor\":\"{}\"", cursor::after_node(&next))).unwrap_or_default();
            Ok(format!("],\"count\":{sent}{cursor}}}").into())
        }
    });
    stream::once(async move { Ok(Bytes::from(head)) }).chain(parts)
}

/// Nodes that are sent here.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = FederationPush)]
#[allow(dead_code, reason = "read by hand, part by part; this is its description")]
pub(crate) struct PushRequest {
    /// The nodes: objects with an `id`; anything else is skipped. Without `updated_at` (or `timestamp`, epoch milliseconds) a node counts only where nothing is known of it yet.
    #[schema(value_type = Vec<serde_json::Value>)]
    nodes: Vec<Node>,
    /// Who sends them: noted with what they replace.
    #[schema(value_type = Option<Id>, required = false)]
    instance_id: Option<String>,
}

/// A node that was not taken.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FederationSkipped)]
pub(crate) struct SkippedAnswer {
    /// Its id, where it has one.
    #[schema(required = true)]
    id: Option<String>,
    /// Why.
    #[schema(example = "nodes[3]: the document has no string \"id\"")]
    reason: String,
}

/// What became of the nodes.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = FederationPushed)]
pub(crate) struct PushAnswer {
    /// Nodes that came.
    received: usize,
    /// Those that count now.
    accepted: usize,
    /// Those that were here already.
    unchanged: usize,
    /// Those that lost against what is here.
    kept: usize,
    /// Versions that were made here and lost; `GET /conflicts` has them.
    conflicts: usize,
    /// The first thousand of those that are no nodes, or are dated ahead.
    #[schema(max_items = 1000)]
    skipped: Vec<SkippedAnswer>,
    /// How many those are in all.
    skipped_total: usize,
}

/// Send nodes
///
/// Each is judged against what is here: the later one counts, on every instance alike. What counts is durable when this answers. One
/// that is broken is skipped and named; the others count. In `open` trust mode anybody may send; otherwise the request is signed as
/// between instances of this service (RFC 9421), by one that may write here: by default one that is verified or that the admin named.
#[utoipa::path(
    post,
    path = "/federation/sync",
    operation_id = "pushFederationNodes",
    tag = "federation",
    request_body(content = PushRequest, content_type = "application/json", description = "The nodes",
        example = json!({"nodes": [{"id": "my-first-node", "type": "template_node", "value": "Hello", "updated_at": 1_699_564_700}]})),
    responses((status = 200, description = "What became of them", body = PushAnswer))
)]
pub(crate) async fn push(
    request: HttpRequest,
    state: web::Data<ApiState>,
    SyncBody(body, _held): SyncBody,
) -> Result<HttpResponse, ApiError> {
    let speaker = pusher(&request, &state, "/federation/sync", &body).await?;
    let pushed = ops::push(&state.context, body, speaker.as_ref(), client_address(&request)).await?;
    let skipped = pushed.skipped.into_iter().map(|it| SkippedAnswer { id: it.id, reason: it.reason });
    Ok(HttpResponse::Ok().json(PushAnswer {
        received: pushed.came,
        accepted: pushed.received.taken,
        unchanged: pushed.received.same,
        kept: pushed.received.kept,
        conflicts: pushed.received.conflicts,
        skipped: skipped.collect(),
        skipped_total: pushed.skipped_total,
    }))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LiveQuery {
    /// Most peers in one answer, 1 to 1000.
    #[param(example = 20, minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// From the answer before.
    #[param(value_type = Option<PeerCursor>, inline)]
    cursor: Option<String>,
}

/// A live peer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = FederationLivePeer)]
pub(crate) struct LivePeerAnswer {
    /// Its id.
    instance_id: String,
    /// `ARK-`, its type and the first eight characters of its id.
    instance_name: String,
    /// `local`, `cloud` or `pi`, as it says.
    #[schema(required = true)]
    instance_type: Option<String>,
    /// Where it says that it is.
    #[schema(required = true)]
    peer_url: Option<String>,
    /// Its key, base64.
    #[schema(value_type = PublicKeyText)]
    public_key: String,
    /// When it last registered, epoch seconds.
    #[schema(value_type = f64)]
    last_seen: Number,
}

impl From<LivePeer> for LivePeerAnswer {
    fn from(peer: LivePeer) -> Self {
        Self {
            instance_name: ops::instance_name(peer.instance_type.as_deref().unwrap_or("unknown"), &peer.instance_id),
            instance_id: peer.instance_id,
            instance_type: peer.instance_type,
            peer_url: peer.address,
            public_key: peer.public_key.to_base64(),
            last_seen: seconds(peer.last_seen),
        }
    }
}

/// Live peers.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FederationLivePeers)]
pub(crate) struct LiveAnswer {
    /// The peers, in order of id within one answer.
    peers: Vec<LivePeerAnswer>,
    /// How many this answer holds.
    count: usize,
    /// Send it to go on; not there at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = PeerCursor, required = false)]
    cursor: Option<String>,
}

/// List live peers, in the format of the Node.js service
///
/// The instances that `GET /discover` lists, in fewer words.
#[utoipa::path(
    get,
    path = "/federation/discover",
    operation_id = "listLiveFederationPeers",
    tag = "federation",
    params(LiveQuery),
    responses((status = 200, description = "Live peers", body = LiveAnswer))
)]
pub(crate) async fn discover(
    state: web::Data<ApiState>,
    StrictQuery(query): StrictQuery<LiveQuery>,
) -> Result<HttpResponse, ApiError> {
    let limit = page_limit(query.limit, MAX_PEERS, MAX_PEERS.min(state.context.limits.page_items))?;
    let after = query.cursor.as_deref().map(cursor::peer).transpose()?;
    let (peers, next) = ops::live_peers(&state.context, after, limit).await?;
    let peers: Vec<LivePeerAnswer> = peers.into_iter().map(Into::into).collect();
    let cursor = next.as_ref().map(cursor::after_peer);
    Ok(HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(LiveAnswer {
        count: peers.len(),
        peers,
        cursor,
    }))
}

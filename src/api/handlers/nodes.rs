//! `/nodes`: the documents themselves.

use crate::{
    api::{
        codes::Code,
        cursor,
        error::{ApiError, refuse},
        extract::{
            NodePath, Operator, OperatorNode, StrictQuery, if_none_match, node_etag, page_limit, precondition, writable,
        },
        schemas::{EntityTags, Hash, Id, Instant, Node, NodeCursor, NodeTag, Star},
        state::ApiState,
    },
    ops::{self, Entry, Giver, NodeFilter, TrustLevel, Written},
    types::Timestamp,
};
use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{CACHE_CONTROL, ETAG},
    web,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 10_000;
/// The most bytes of one answer, about: it is made in memory.
const PAGE_BYTES: usize = 4 << 20;
/// What an entry takes beside its texts: member names, hash, time and size.
const ENTRY_BYTES: usize = 240;
/// Epoch seconds up to the year 33658: whoever sends more digits means milliseconds, and would get nothing without a word.
const MAX_SECONDS_DIGITS: usize = 12;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct NodesQuery {
    /// Only nodes of this `type`, such as `template_node`.
    #[serde(rename = "type")]
    #[param(rename = "type")]
    node_type: Option<String>,
    /// Only nodes updated at this instant or later: epoch seconds or RFC 3339, such as `2024-01-01T00:00:00Z`.
    #[param(value_type = Option<Instant>, inline)]
    updated_since: Option<String>,
    /// Most nodes in one answer, 1 to 10000; 100 where it is left out.
    #[param(example = 20, minimum = 1, maximum = 10000)]
    limit: Option<usize>,
    /// From the answer before.
    #[param(value_type = Option<NodeCursor>, inline)]
    cursor: Option<String>,
}

/// A node without its content.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NodeSummary {
    /// The node's id.
    #[schema(value_type = Id, example = "python_flask_basic")]
    id: String,
    /// Its `type`, where that is a string.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    #[schema(rename = "type", value_type = String, required = false, example = "framework_node")]
    node_type: Option<String>,
    /// SHA-256 of its canonical bytes.
    #[schema(value_type = Hash)]
    hash: String,
    /// When its version was made, epoch seconds. What the document itself says may differ.
    #[schema(value_type = f64, example = 1_699_564_700)]
    updated_at: serde_json::Number,
    /// Length of its JSON text, bytes.
    size: u64,
    /// The instance that gave this version; not there where it was made here.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = Id, example = "cloud-api-01")]
    given_by: Option<Box<str>>,
    /// What is decided of that instance: `revoked` marks what came from a revoked key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = crate::api::schemas::TrustLevel)]
    giver_trust: Option<&'static str>,
}

/// Some nodes.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NodeList)]
pub(crate) struct NodesAnswer {
    /// In order of id. May be fewer than `limit` (also none) although `cursor` is there.
    nodes: Vec<NodeSummary>,
    /// How many nodes this answer holds.
    count: usize,
    /// How many nodes there are in all, whatever the filters.
    total: usize,
    /// Send it as `cursor` to go on; not there at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = NodeCursor, required = false)]
    cursor: Option<String>,
}

/// A node that was written.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Written)]
pub(crate) struct WrittenAnswer {
    /// `created`, `replaced` or `unchanged`.
    #[schema(example = "created")]
    status: &'static str,
    /// The node's id.
    #[schema(value_type = Id, example = "my-first-node")]
    id: String,
    /// SHA-256 of its canonical bytes, as stored.
    #[schema(value_type = Hash)]
    hash: String,
    /// When this version counts as made, epoch seconds.
    #[schema(value_type = f64)]
    updated_at: serde_json::Number,
}

/// A node that was deleted.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Deleted)]
pub(crate) struct DeletedAnswer {
    /// Always `deleted`.
    #[schema(example = "deleted")]
    status: &'static str,
    /// The node's id.
    #[schema(value_type = Id, example = "my-first-node")]
    id: String,
    /// When, epoch seconds.
    #[schema(value_type = f64)]
    deleted_at: serde_json::Number,
}

pub(super) fn seconds(instant: Timestamp) -> serde_json::Number {
    serde_json::from_str(&instant.to_seconds_text()).unwrap_or_else(|_| instant.seconds().into())
}

fn summary(entry: &Entry, giver: Option<Giver>) -> NodeSummary {
    let (given_by, trust) = giver.map(|giver| (giver.peer, giver.level)).unzip();
    NodeSummary {
        id: entry.id.to_string(),
        node_type: entry.node_type.as_deref().map(str::to_owned),
        hash: entry.content_hash.to_string(),
        updated_at: seconds(entry.updated_at),
        size: entry.size_bytes,
        given_by,
        giver_trust: trust.map(TrustLevel::as_str),
    }
}

/// How many bytes a text takes as JSON.
fn json_bytes(text: &str) -> usize {
    let of = |byte: u8| match byte {
        b'"' | b'\\' => 2,
        0x00..=0x1f => 6,
        _ => 1,
    };
    text.bytes().map(of).sum()
}

/// The first entries that take so many bytes together, one at least.
fn fitting(bytes: usize, summaries: impl Iterator<Item = NodeSummary>) -> Vec<NodeSummary> {
    let (mut nodes, mut sum) = (Vec::new(), 0_usize);
    for summary in summaries {
        let texts = [Some(summary.id.as_str()), summary.node_type.as_deref(), summary.given_by.as_deref()];
        let texts: usize = texts.into_iter().flatten().map(json_bytes).sum();
        sum = sum.saturating_add(texts).saturating_add(ENTRY_BYTES);
        if sum > bytes && !nodes.is_empty() {
            break;
        }
        nodes.push(summary);
    }
    nodes
}

fn instant(text: &str) -> Result<Timestamp, ApiError> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let number = whole.len() <= MAX_SECONDS_DIGITS
        && [whole, fraction].iter().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    let read = if number { Timestamp::from_seconds_text(text) } else { Timestamp::from_rfc3339(text) };
    read.ok_or_else(|| {
        refuse(Code::InvalidQuery, "updated_since is epoch seconds or RFC 3339, such as 2024-01-01T00:00:00Z")
    })
}

/// List nodes
///
/// Ids, types, hashes and times, without contents, in order of id.
#[utoipa::path(
    get,
    path = "/nodes",
    operation_id = "listNodes",
    tag = "nodes",
    params(NodesQuery),
    responses((status = 200, description = "Some nodes", body = NodesAnswer))
)]
pub(crate) async fn list(
    state: web::Data<ApiState>,
    StrictQuery(query): StrictQuery<NodesQuery>,
) -> Result<HttpResponse, ApiError> {
    let limit = page_limit(query.limit, DEFAULT_LIMIT, MAX_LIMIT.min(state.context.limits.page_items))?;
    let after = query.cursor.as_deref().map(cursor::node).transpose()?;
    let updated_since = query.updated_since.as_deref().map(instant).transpose()?;
    let filter = NodeFilter { node_type: query.node_type, updated_since };
    let page = ops::list_nodes(&state.context, after.as_ref(), &filter, limit)?;
    let givers = ops::givers(&state.context, page.entries.iter().map(|entry| &entry.id)).await?;
    let summaries = page.entries.iter().zip(givers).map(|(entry, giver)| summary(entry, giver));
    let nodes = fitting(PAGE_BYTES, summaries);
    let last = page.entries.get(nodes.len()..).filter(|cut| !cut.is_empty()).and(nodes.last()).map(|node| &node.id);
    let last = last.and_then(|last| page.entries.iter().find(|entry| entry.id.as_str() == last)).map(|entry| &entry.id);
    let cursor = last.or(page.next.as_ref()).map(cursor::after_node);
    Ok(HttpResponse::Ok().json(NodesAnswer { count: nodes.len(), nodes, total: page.total, cursor }))
}

/// Get a node
///
/// The document's own JSON text. The entity tag is its content hash.
#[utoipa::path(
    get,
    path = "/nodes/{id}",
    operation_id = "getNode",
    tag = "nodes",
    params(
        ("id" = inline(Id), Path, description = "The node's id", example = "python_flask_basic"),
        ("If-None-Match" = inline(Option<EntityTags>), Header, description = "Entity tag of an earlier answer")
    ),
    responses(
        (status = 200, description = "The document", body = Node, headers(("ETag" = inline(NodeTag), description = "The content hash, quoted"))),
        (status = 304, description = "The document has this entity tag still", headers(("ETag" = inline(NodeTag), description = "The same")))
    )
)]
pub(crate) async fn show(
    request: HttpRequest,
    state: web::Data<ApiState>,
    NodePath(id): NodePath,
) -> Result<HttpResponse, ApiError> {
    let stored = ops::get_node(&state.context, &id).await?;
    let stored = stored.ok_or_else(|| refuse(Code::NodeNotFound, format!("there is no node {id:?}")))?;
    let etag = node_etag(stored.entry.content_hash);
    let unchanged = if_none_match(&request, &etag)?;
    let mut response = if unchanged { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response.insert_header((ETAG, etag)).insert_header((CACHE_CONTROL, "no-cache"));
    if unchanged {
        return Ok(response.finish());
    }
    Ok(response.content_type("application/json").body(stored.bytes))
}

/// Write a node (operator)
///
/// Creates or replaces a node with exactly what is sent; durable when answered. The version counts as made now, or at the document's own
/// `updated_at` where the edit changed that to a later time that is not in the future. `If-Match` guards against lost updates.
#[utoipa::path(
    put,
    path = "/nodes/{id}",
    operation_id = "putNode",
    tag = "nodes",
    security(("operator" = [])),
    params(
        ("id" = inline(Id), Path, description = "The node's id", example = "my-first-node"),
        ("If-Match" = inline(Option<EntityTags>), Header, description = "Write only if the node's entity tag is this one; `*`: only if it exists"),
        ("If-None-Match" = inline(Option<Star>), Header, description = "`*`: write only if there is no such node")
    ),
    request_body(content = Node, content_type = "application/json", description = "The document; its `id` is the one in the path",
        example = json!({"id": "my-first-node", "type": "template_node", "value": "Hello"})),
    responses(
        (status = 200, description = "Replaced or unchanged", body = WrittenAnswer, headers(("ETag" = inline(NodeTag), description = "The content hash, quoted"))),
        (status = 201, description = "Created", body = WrittenAnswer, headers(("ETag" = inline(NodeTag), description = "The content hash, quoted")))
    )
)]
pub(crate) async fn put(state: web::Data<ApiState>, sent: OperatorNode) -> Result<HttpResponse, ApiError> {
    writable(&state)?;
    let OperatorNode { node, precondition, share: _held_until_answered } = sent;
    let written = ops::put_node(&state.context, node, precondition).await?;
    let (mut response, status, entry) = match &written {
        Written::Created(entry) => (HttpResponse::Created(), "created", entry),
        Written::Replaced(entry) => (HttpResponse::Ok(), "replaced", entry),
        Written::Unchanged(entry) => (HttpResponse::Ok(), "unchanged", entry),
    };
    Ok(response.insert_header((ETAG, node_etag(entry.content_hash))).json(WrittenAnswer {
        status,
        id: entry.id.to_string(),
        hash: entry.content_hash.to_string(),
        updated_at: seconds(entry.updated_at),
    }))
}

/// Delete a node (operator)
///
/// Durable when answered. Leaves a tombstone, so that the deletion travels to other instances.
#[utoipa::path(
    delete,
    path = "/nodes/{id}",
    operation_id = "deleteNode",
    tag = "nodes",
    security(("operator" = [])),
    params(
        ("id" = inline(Id), Path, description = "The node's id", example = "my-first-node"),
        ("If-Match" = inline(Option<EntityTags>), Header, description = "Delete only if the node's entity tag is this one")
    ),
    responses((status = 200, description = "Deleted", body = DeletedAnswer))
)]
pub(crate) async fn delete(
    _operator: Operator,
    request: HttpRequest,
    state: web::Data<ApiState>,
    NodePath(id): NodePath,
) -> Result<HttpResponse, ApiError> {
    writable(&state)?;
    let deleted = ops::delete_node(&state.context, &id, precondition(&request)?).await?;
    let tombstone = deleted.ok_or_else(|| refuse(Code::NodeNotFound, format!("there is no node {id:?}")))?;
    let deleted_at = seconds(tombstone.deleted_at);
    Ok(HttpResponse::Ok().json(DeletedAnswer { status: "deleted", id: id.to_string(), deleted_at }))
}

//! `POST /sync`: exactly what differs, streamed.

use crate::{
    api::{
        cursor,
        error::ApiError,
        extract::SyncBody,
        schemas::{Hash, Id, Node, NodeCursor},
        state::ApiState,
    },
    json,
    ops::{self, Delta, LatticeError, NodeStream, StoredNode},
};
use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    http::header::{ACCEPT, CACHE_CONTROL, HeaderMap},
    web,
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// A node that the caller holds.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HeldNode {
    /// The node's id.
    #[schema(value_type = Id, example = "python_flask_basic")]
    id: String,
    /// The content hash, with or without `sha256:`, or the SHA-256 of the file's bytes.
    #[schema(example = "sha256:0000000000000000000000000000000000000000000000000000000000000000")]
    hash: String,
}

/// What the caller holds.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SyncRequest)]
pub(crate) struct SyncBodySchema {
    /// The caller's set hash: where it is ours too, the answer comes at once, with nothing in it. A hash of another make equals none.
    #[schema(required = false)]
    manifest_hash: Option<String>,
    /// Every node that the caller holds, each once.
    nodes: Vec<HeldNode>,
    /// From the answer before; the rest of the request is the same as there.
    #[schema(value_type = Option<NodeCursor>, required = false)]
    cursor: Option<String>,
    /// Most nodes in this answer.
    #[schema(required = false, minimum = 1, maximum = 100_000)]
    limit: Option<u64>,
    /// One line a version, with the time at which it was made, instead of one line a node. Only with `Accept: application/x-ndjson`.
    #[schema(required = false)]
    versions: Option<bool>,
}

/// What the caller lacks or holds otherwise.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SyncAnswer {
    /// Our set hash.
    #[schema(value_type = Hash)]
    manifest_hash: String,
    /// The nodes, each with its own JSON.
    nodes: Vec<Node>,
    /// How many nodes this answer holds.
    delta_count: u64,
    /// Ids that the caller has and we lack (and did not delete).
    #[schema(value_type = Vec<Id>)]
    wanted: Vec<String>,
    /// There where the limit cut the answer short: send it to go on.
    #[schema(value_type = NodeCursor, required = false)]
    cursor: String,
}

/// The weight that `Accept` gives to exactly this media type; `None` where it does not name it.
fn weight(headers: &HeaderMap, media_type: &str) -> Option<f32> {
    let ranges = headers.get_all(ACCEPT).filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(','));
    let mut found: Option<f32> = None;
    for range in ranges {
        let mut parts = range.split(';').map(str::trim);
        if !parts.next().unwrap_or_default().eq_ignore_ascii_case(media_type) {
            continue;
        }
        let q = parts.filter_map(|part| part.split_once('=')).find(|(name, _)| name.trim().eq_ignore_ascii_case("q"));
        let q = q.map_or(1.0, |(_, value)| value.trim().parse().unwrap_or(0.0));
        found = Some(found.map_or(q, |other| other.max(q)));
    }
    found
}

/// Lines for whoever names them and does not like one document better.
fn wants_lines(headers: &HeaderMap) -> bool {
    let lines = weight(headers, "application/x-ndjson").unwrap_or(0.0);
    lines > 0.0 && weight(headers, "application/json").is_none_or(|document| lines >= document)
}

/// Get exactly what differs
///
/// Send what you hold; the answer holds the nodes that you lack or hold with another hash. It is streamed. With
/// `Accept: application/x-ndjson` it is one node a line, with the rest in the headers `Ark-Manifest-Hash`, `Ark-Delta-Count` and
/// `Ark-Cursor`. With `versions` each line is `{"seq", "id", "at", "hash", "size", "type"?, "after", "node"}`, where `at` is when the version
/// was made, epoch seconds; the header `Ark-Lines: versions` says so.
#[utoipa::path(
    post,
    path = "/sync",
    operation_id = "syncNodes",
    tag = "nodes",
    request_body(content = SyncBodySchema, content_type = "application/json", description = "What the caller holds",
        example = json!({"manifest_hash": "abc123", "nodes": [{"id": "node-1", "hash": "def456"}]})),
    responses((status = 200, description = "The delta", content((SyncAnswer = "application/json"), (String = "application/x-ndjson"))))
)]
pub(crate) async fn sync(
    request: HttpRequest,
    state: web::Data<ApiState>,
    body: SyncBody,
) -> Result<HttpResponse, ApiError> {
    let decode = |text: &str| cursor::node(text).ok();
    let (delta, nodes) = ops::sync(&state.context, body.0, decode).await?;
    let counted = Arc::clone(&state.metrics);
    let nodes = nodes.inspect(move |batch| match batch {
        Ok(batch) => counted.delta_sent(u64::try_from(batch.len()).unwrap_or(u64::MAX)),
        Err(error) => tracing::warn!(%error, "an answer of /sync breaks off"),
    });
    // Nothing is left of the body: a client that reads slowly keeps no other's from being read.
    drop(body.1);
    let mut response = HttpResponse::Ok();
    response.insert_header((CACHE_CONTROL, "no-store"));
    if !wants_lines(request.headers()) {
        response.content_type("application/json");
        if delta.expected == 0 {
            // Known as a whole: one write, and its length with it.
            return Ok(response.body([head(&delta), tail(&delta, 0)].concat()));
        }
        return Ok(response.streaming(document(delta, nodes.boxed())));
    }
    Ok(answer_in_lines(response, &delta, nodes))
}

fn answer_in_lines(
    mut response: HttpResponseBuilder,
    delta: &Delta,
    nodes: impl Stream<Item = Result<Vec<StoredNode>, LatticeError>> + 'static,
) -> HttpResponse {
    response.insert_header(("Ark-Manifest-Hash", delta.set_hash.to_string()));
    response.insert_header(("Ark-Delta-Count", delta.expected.to_string()));
    if let Some(next) = &delta.next {
        response.insert_header(("Ark-Cursor", cursor::after_node(next)));
    }
    let versions = delta.versions;
    if versions {
        response.insert_header((ops::LINES_HEADER, ops::LINES_OF_VERSIONS));
    }
    let nodes = nodes.map(move |batch| batch.map(|batch| lines(&batch, versions)));
    response.content_type("application/x-ndjson").streaming(nodes)
}

/// What a batch takes with what goes between its nodes.
fn room(batch: &[StoredNode]) -> usize {
    batch.iter().map(|node| node.bytes.len() + 1).sum()
}

fn lines(batch: &[StoredNode], versions: bool) -> Bytes {
    let mut out = Vec::with_capacity(room(batch));
    for node in batch {
        if versions {
            ops::write_version(node, &mut out);
            continue;
        }
        json::write_compact(&node.bytes, &mut out);
        out.push(b'\n');
    }
    out.into()
}

/// The answer as one document: what is known before the nodes, the nodes, and then their number, which is right also when a node
/// vanished meanwhile.
fn document(delta: Delta, nodes: NodeStream) -> impl Stream<Item = Result<Bytes, LatticeError>> {
    let head = head(&delta);
    let head = stream::once(async move { Ok(head) });
    let parts = nodes.map(Some).chain(stream::once(async { None }));
    let mut sent = 0_usize;
    head.chain(parts.map(move |part| match part {
        None => Ok(tail(&delta, sent)),
        Some(Err(error)) => Err(error),
        Some(Ok(batch)) => {
            let mut out = Vec::with_capacity(room(&batch));
            for node in &batch {
                out.extend_from_slice(if sent == 0 { b"" } else { b"," });
                out.extend_from_slice(&node.bytes);
                sent += 1;
            }
            Ok(out.into())
        }
    }))
}

fn head(delta: &Delta) -> Bytes {
    Bytes::from(format!("{{\"manifest_hash\":\"{}\",\"nodes\":[", delta.set_hash))
}

fn tail(delta: &Delta, sent: usize) -> Bytes {
    let wanted = serde_json::to_string(&delta.wanted).unwrap_or_default();
    let mut out = format!("],\"delta_count\":{sent},\"wanted\":{wanted}");
    if let Some(next) = &delta.next {
        out.push_str(&format!(",\"cursor\":\"{}\"", cursor::after_node(next)));
    }
    out.push('}');
    out.into()
}

#[cfg(test)]
mod tests {
    use super::wants_lines;
    use actix_web::http::header::{ACCEPT, HeaderMap, HeaderValue};

    #[test]
    fn lines_are_for_whoever_asks_for_them() {
        for (accept, expected) in [
            ("application/x-ndjson", true),
            ("Application/X-NDJSON; q=0.5, */*;q=0.1", true),
            ("application/x-ndjson, application/json;q=0.9", true),
            ("application/x-ndjson;q=0", false),
            ("application/x-ndjson;q=none", false),
            ("application/json, application/x-ndjson;q=0.5", false),
            ("*/*", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(wants_lines(&headers), expected, "{accept}");
        }
    }
}

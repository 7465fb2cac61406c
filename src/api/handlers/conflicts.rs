//! `/conflicts`: versions that were overruled by those of other instances.

use super::nodes::seconds;
use crate::{
    api::{
        codes::Code,
        error::{ApiError, refuse},
        extract::{ConflictPath, Controls, StrictQuery, page_limit, writable},
        schemas::{Hash, Id, Node},
        state::ApiState,
    },
    ops::{self, Conflict, Dismissed, NodeState, OverruledKinds, Version, Written},
};
use actix_web::{HttpResponse, http::header::CACHE_CONTROL, web};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ConflictsQuery {
    /// Only conflicts with greater numbers: `next` of the answer before.
    #[param(minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    after: Option<u64>,
    /// Most conflicts in one answer, 1 to 1000; 100 where it is left out.
    #[param(example = 20, minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// Whether the contents that lost come along.
    contents: Option<bool>,
    /// Whether the history is listed too: versions that were overruled by instances that had been given them.
    history: Option<bool>,
}

/// A version of a node.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Version)]
pub(crate) struct VersionAnswer {
    /// When it was made, epoch seconds.
    #[schema(value_type = f64)]
    at: serde_json::Number,
    /// The hash of its content; not there: the node was deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Hash, required = false)]
    hash: Option<String>,
}

/// A version that was held here and was overruled by one of another instance.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Conflict)]
pub(crate) struct ConflictAnswer {
    /// Its number; grows.
    number: u64,
    /// `conflict`: made here, and the other instance had not been given it as far as this instance knows; kept until it is settled.
    /// `overruled`: history, of which the oldest go.
    #[schema(example = "conflict")]
    kind: &'static str,
    /// The node.
    #[schema(value_type = Id, example = "python_flask_basic")]
    id: String,
    /// When it lost, epoch seconds.
    #[schema(value_type = f64)]
    noticed_at: serde_json::Number,
    /// The instance that sent the version that won.
    from: String,
    /// The version that lost.
    lost: VersionAnswer,
    /// The version that won.
    won: VersionAnswer,
    /// Length of the content that lost, bytes.
    size: u64,
    /// The content that lost. To restore it: `POST /conflicts/{number}/restore`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Node, required = false)]
    node: Option<serde_json::Value>,
}

/// How a node stands.
#[derive(Debug, Serialize, ToSchema)]
#[allow(dead_code, reason = "written by hand, because of the content; this is its description")]
pub(crate) struct CurrentVersion {
    /// When it was made, epoch seconds; not there: the node was deleted so long ago that nobody knows when.
    #[schema(value_type = f64, required = false)]
    at: serde_json::Number,
    /// The hash of its content; not there: the node is deleted.
    #[schema(value_type = Hash, required = false)]
    hash: Option<String>,
    /// Its content; not there: the node is deleted.
    #[schema(value_type = Node, required = false)]
    node: Option<serde_json::Value>,
    /// There, and `true`: the node's file is broken, and what it holds cannot be read now. Nothing else is there then.
    #[schema(required = false)]
    unavailable: bool,
}

/// A conflict, with both contents.
#[derive(Debug, Serialize, ToSchema)]
#[allow(dead_code, reason = "written by hand, because of the contents; this is its description")]
pub(crate) struct ConflictDetail {
    #[serde(flatten)]
    conflict: ConflictAnswer,
    /// What the node holds now: the version that won, or one after it.
    current: CurrentVersion,
}

/// A conflict that was restored.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Restored)]
pub(crate) struct RestoredAnswer {
    /// `restored`, or `unchanged` where the node says the same already.
    #[schema(example = "restored")]
    status: &'static str,
    /// The conflict's number. It is not used again.
    number: u64,
    /// The node.
    #[schema(value_type = Id, example = "python_flask_basic")]
    id: String,
    /// SHA-256 of its canonical bytes, as stored.
    #[schema(value_type = Hash)]
    hash: String,
    /// When it was changed: now, epoch seconds.
    #[schema(value_type = f64)]
    updated_at: serde_json::Number,
    /// The number in the history of what the node held until then; not there: it held nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = u64, required = false)]
    kept: Option<u64>,
}

/// A conflict that was dismissed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Dismissed)]
pub(crate) struct DismissedAnswer {
    /// `dismissed`: a conflict is settled, and its version is in the history. `forgotten`: a version of the history is gone.
    #[schema(example = "dismissed")]
    status: &'static str,
    /// The conflict's number. It is not used again.
    number: u64,
}

/// Some conflicts.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ConflictList)]
#[allow(dead_code, reason = "written by hand, because of the contents; this is its description")]
pub(crate) struct ConflictsAnswer {
    /// In order of their numbers.
    conflicts: Vec<ConflictAnswer>,
    /// How many conflicts this answer holds.
    count: usize,
    /// How many there are in all.
    total: u64,
    /// Send it as `after` to go on; not there at the end.
    #[schema(required = false)]
    next: Option<u64>,
}

/// List conflicts
///
/// A version that was made here, and was overruled by one of an instance that had not been given it, is a conflict: kept with its content
/// until it is restored or dismissed. With `history=true` also those that were overruled by instances that had been given them: the
/// newest 10,000, 64 MiB of contents at most.
#[utoipa::path(
    get,
    path = "/conflicts",
    operation_id = "listConflicts",
    tag = "nodes",
    params(ConflictsQuery),
    responses((status = 200, description = "Some conflicts", body = ConflictsAnswer))
)]
pub(crate) async fn list(
    state: web::Data<ApiState>,
    StrictQuery(query): StrictQuery<ConflictsQuery>,
) -> Result<HttpResponse, ApiError> {
    let limit = page_limit(query.limit, DEFAULT_LIMIT, MAX_LIMIT)?;
    let (after, contents) = (query.after.unwrap_or(0), query.contents.unwrap_or(false));
    if after > ops::MAX_SEQ {
        return Err(refuse(Code::InvalidQuery, format!("after is a number from 0 to {}", ops::MAX_SEQ)));
    }
    let kinds = if query.history.unwrap_or(false) { OverruledKinds::All } else { OverruledKinds::Conflicts };
    let page = ops::list_conflicts(&state.context, kinds, (after, limit), contents)?;
    let entries = page.conflicts.iter().map(|(conflict, content)| entry(conflict, content.as_ref()));
    let entries = entries.collect::<Result<Vec<String>, _>>()?.join(",");
    let next = page.next.map(|next| format!(",\"next\":{next}")).unwrap_or_default();
    let (count, total) = (page.conflicts.len(), page.total);
    let body = format!("{{\"conflicts\":[{entries}],\"count\":{count},\"total\":{total}{next}}}");
    Ok(HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).content_type("application/json").body(body))
}

fn missing(number: u64) -> ApiError {
    let detail = format!("there is no conflict or overruled version {number}; GET /conflicts?history=true lists them");
    refuse(Code::ConflictNotFound, detail)
}

/// Get a conflict
///
/// Both contents: the one that lost, and what the node holds now.
#[utoipa::path(
    get,
    path = "/conflicts/{number}",
    operation_id = "getConflict",
    tag = "nodes",
    params(("number" = u64, Path, description = "The conflict's number", minimum = 1, maximum = 9_007_199_254_740_991_i64)),
    responses((status = 200, description = "The conflict", body = ConflictDetail))
)]
pub(crate) async fn show(
    state: web::Data<ApiState>,
    ConflictPath(number): ConflictPath,
) -> Result<HttpResponse, ApiError> {
    let found = ops::get_conflict(&state.context, number).await?.ok_or_else(|| missing(number))?;
    let current = match &found.current {
        NodeState::Held(node) => {
            let text = String::from_utf8_lossy(&node.bytes);
            let (at, hash) = (seconds(node.entry.updated_at), node.entry.content_hash);
            format!("{{\"at\":{at},\"hash\":\"{hash}\",\"node\":{text}}}")
        }
        NodeState::Deleted(tombstone) => format!("{{\"at\":{}}}", seconds(tombstone.deleted_at)),
        NodeState::Gone => "{}".to_owned(),
        NodeState::Unavailable => "{\"unavailable\":true}".to_owned(),
    };
    let text = entry(&found.conflict, Some(&found.lost))?;
    let head = text.strip_suffix('}').unwrap_or(&text);
    let body = format!("{head},\"current\":{current}}}");
    Ok(HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).content_type("application/json").body(body))
}

/// Restore the version that lost (operator)
///
/// Writes it as an edit made now, and settles the conflict in the same step. What the node held until then goes to the history, so that
/// this can be taken back.
#[utoipa::path(
    post,
    path = "/conflicts/{number}/restore",
    operation_id = "restoreConflict",
    tag = "nodes",
    security(("operator" = [])),
    params(("number" = u64, Path, description = "The conflict's number", minimum = 1, maximum = 9_007_199_254_740_991_i64)),
    responses((status = 200, description = "Restored, durably", body = RestoredAnswer))
)]
pub(crate) async fn restore(
    _operator: Controls,
    state: web::Data<ApiState>,
    ConflictPath(number): ConflictPath,
) -> Result<HttpResponse, ApiError> {
    writable(&state)?;
    let restored = ops::restore_conflict(&state.context, number).await?.ok_or_else(|| missing(number))?;
    let status = if matches!(restored.written, Written::Unchanged(_)) { "unchanged" } else { "restored" };
    let entry = restored.written.entry();
    Ok(HttpResponse::Ok().json(RestoredAnswer {
        status,
        number,
        id: entry.id.to_string(),
        hash: entry.content_hash.to_string(),
        updated_at: seconds(entry.updated_at),
        kept: restored.kept,
    }))
}

/// Dismiss a conflict (operator)
///
/// Settles it: the version that won stays, and the one that lost goes to the history, under the same number. A version of the history is
/// forgotten, with its content.
#[utoipa::path(
    delete,
    path = "/conflicts/{number}",
    operation_id = "dismissConflict",
    tag = "nodes",
    security(("operator" = [])),
    params(("number" = u64, Path, description = "The conflict's number", minimum = 1, maximum = 9_007_199_254_740_991_i64)),
    responses((status = 200, description = "Dismissed, durably", body = DismissedAnswer))
)]
pub(crate) async fn dismiss(
    _operator: Controls,
    state: web::Data<ApiState>,
    ConflictPath(number): ConflictPath,
) -> Result<HttpResponse, ApiError> {
    let status = match ops::dismiss_conflict(&state.context, number).await? {
        Some(Dismissed::Conflict) => "dismissed",
        Some(Dismissed::Overruled) => "forgotten",
        None => return Err(missing(number)),
    };
    Ok(HttpResponse::Ok().json(DismissedAnswer { status, number }))
}

/// The content goes in as it is kept: to read and write it again would round its numbers.
fn entry(conflict: &Conflict, content: Option<&Bytes>) -> Result<String, ApiError> {
    let answer = ConflictAnswer {
        number: conflict.number,
        kind: if conflict.is_conflict { "conflict" } else { "overruled" },
        id: conflict.id.to_string(),
        noticed_at: seconds(conflict.noticed_at),
        from: conflict.from.to_string(),
        lost: version(&conflict.lost),
        won: version(&conflict.won),
        size: conflict.size_bytes,
        node: None,
    };
    let text = serde_json::to_string(&answer).map_err(|error| ApiError::Internal(error.to_string()))?;
    Ok(match (content, text.strip_suffix('}')) {
        (Some(content), Some(head)) => format!("{head},\"node\":{}}}", String::from_utf8_lossy(content)),
        _ => text,
    })
}

fn version(version: &Version) -> VersionAnswer {
    VersionAnswer { at: seconds(version.at), hash: version.content.map(|hash| hash.to_string()) }
}

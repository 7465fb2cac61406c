//! `POST /nodes/versions`: versions that were made elsewhere are judged and taken.

use super::control::{flag, shape, text};
use crate::{
    api::{
        error::ApiError,
        extract::BulkControlRequest,
        schemas::{Id, Node},
        state::ApiState,
    },
    json::{Document, Value},
    ops::{self, Ancestry, NodeDocument, Offered, TakeOptions},
    types::{PeerId, Timestamp},
};
use actix_web::{HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

/// The times that are read end here on both sides, epoch seconds: far beyond every clock.
const MOST_SECONDS: i64 = 100_000_000_000;

/// A version that was made elsewhere.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = OfferedVersion)]
#[allow(dead_code, reason = "read by hand, behind the gate; this is its description")]
pub(crate) struct OfferedVersion {
    /// When it was made, epoch seconds; null: nothing says so, and it replaces nothing.
    #[schema(required = false, minimum = -100_000_000_000_i64, maximum = 100_000_000_000_i64)]
    at: Option<f64>,
    /// The contents that it came from, as the changes feed has them.
    #[schema(required = false)]
    after: Vec<AncestorText>,
    /// The node as it was then.
    node: Node,
}

/// The first 16 hex digits of a content hash.
#[derive(Debug, Serialize, ToSchema)]
#[schema(pattern = "^[0-9a-f]{16}$")]
#[allow(dead_code, reason = "no value is made of it; it is a description")]
pub(crate) struct AncestorText(String);

/// Versions that were made elsewhere.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = VersionsRequest)]
#[allow(dead_code, reason = "read by hand, behind the gate; this is its description")]
pub(crate) struct VersionsRequest {
    /// Where they come from, an instance or a file: kept beside what they replace.
    #[schema(value_type = Id)]
    from: String,
    /// They are judged only: nothing is written.
    #[schema(required = false)]
    dry_run: Option<bool>,
    /// The versions.
    versions: Vec<OfferedVersion>,
}

/// What became of a version.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = VersionOutcome)]
#[allow(dead_code, reason = "the operation's own answer is sent; this is its description")]
pub(crate) struct OutcomeAnswer {
    /// `added`, `replaced`, `unchanged`, `kept` (the version here is later), `kept_deleted` (it was deleted here later) or `refused`.
    #[schema(example = "kept_deleted")]
    outcome: String,
    /// Why it was refused.
    #[schema(required = false)]
    reason: String,
}

/// What became of the versions.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = VersionsTaken)]
#[allow(dead_code, reason = "the operation's own answer is sent; this is its description")]
pub(crate) struct VersionsAnswer {
    /// One a version, in their order.
    fates: Vec<OutcomeAnswer>,
    /// The numbers under which the history keeps replaced versions.
    overruled: Vec<u64>,
}

/// Take versions that were made elsewhere (operator)
///
/// Judges each as a round with a peer would: the later version counts, and a deletion is one too. What counts is written, durably, with its
/// own time; what it replaces is kept (`GET /conflicts`). A node that cannot be written is refused by itself. For `ark-lattice pull` and
/// `ark-lattice import --exact` beside a running service.
#[utoipa::path(
    post,
    path = "/nodes/versions",
    operation_id = "takeVersions",
    tag = "nodes",
    security(("operator" = [])),
    request_body(content = VersionsRequest, content_type = "application/json", description = "The versions",
        example = json!({"from": "ark-1", "dryRun": true, "versions": [{"at": 1763696494.25, "node": {"id": "a"}}]})),
    responses((status = 200, description = "Judged, and written where they count", body = VersionsAnswer))
)]
pub(crate) async fn take(request: BulkControlRequest, state: web::Data<ApiState>) -> Result<HttpResponse, ApiError> {
    let (object, document) = request.members(&["from", "dryRun", "versions"])?;
    let from = text(object, "from")?.ok_or_else(|| shape("from is missing: where the versions come from"))?;
    let from = PeerId::parse(&from).map_err(|error| shape(format!("from: {error}")))?;
    let versions = object.get("versions").and_then(Value::as_array);
    let versions = versions.ok_or_else(|| shape("versions is missing: a list of versions"))?;
    let depth = state.context.limits.json_depth;
    let offered = versions.iter().map(|version| read(version, document, depth)).collect::<Result<Vec<_>, _>>()?;
    let (now, limits) = (state.context.clock.now(), state.context.limits);
    let options = TakeOptions { from: from.as_str(), now, limits, dry: flag(object, "dryRun")? };
    Ok(HttpResponse::Ok().json(ops::take_versions(&*state.context.lattice, offered, options).await?))
}

fn read(version: Value<'_>, document: &Document, depth: usize) -> Result<Offered, ApiError> {
    let object = version.as_object().ok_or_else(|| shape("a version is not an object"))?;
    if let Some((key, _)) = object.iter().find(|(key, _)| !matches!(key.as_ref(), "at" | "after" | "node")) {
        return Err(shape(format!("a version has {key:?}; it may have at, after, node")));
    }
    let at = match object.get("at").filter(|at| !at.is_null()) {
        None => None,
        Some(at) => {
            let at = at.as_number().and_then(Timestamp::from_seconds_text);
            let at = at.filter(|at| {
                *at >= Timestamp::from_seconds(-MOST_SECONDS) && *at <= Timestamp::from_seconds(MOST_SECONDS)
            });
            Some(at.ok_or_else(|| shape("a version's at is not a time in epoch seconds"))?)
        }
    };
    let texts: Option<Vec<_>> = match object.get("after") {
        None => Some(Vec::new()),
        Some(after) => after.as_array().and_then(|list| list.iter().map(Value::as_str).collect()),
    };
    let ancestry = texts.and_then(|texts| Ancestry::parse(texts.iter().map(AsRef::as_ref)));
    let ancestry = ancestry.ok_or_else(|| shape("a version's after is no list of contents"))?;
    let node = object.get("node").ok_or_else(|| shape("a version has no node"))?;
    let node = NodeDocument::parse(document.source().slice(node.span()), depth)
        .map_err(|error| shape(format!("a version's node is none: {error}")))?;
    Ok(Offered { node, at, ancestry })
}

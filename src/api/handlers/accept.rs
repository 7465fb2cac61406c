//! `POST /nodes/accept`: the versions of nodes are dated now.

use super::control::shape;
use crate::{
    api::{
        error::ApiError,
        extract::{ControlRequest, writable},
        schemas::Id,
        state::ApiState,
    },
    json::Value,
    ops,
    types::NodeId,
};
use actix_web::{HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

/// Most nodes in one request.
const MAX_IDS: usize = 1000;

/// The nodes whose versions are to be dated now.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NodesAccept)]
#[allow(dead_code, reason = "read by hand, behind the gate; this is its description")]
pub(crate) struct AcceptRequest {
    /// Their ids.
    #[schema(value_type = Vec<Id>, max_items = 1000)]
    ids: Vec<String>,
}

/// What was dated.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NodesAccepted)]
pub(crate) struct AcceptAnswer {
    /// The nodes whose versions are dated now.
    #[schema(value_type = Vec<Id>)]
    accepted: Vec<String>,
    /// Ids of which there is no node here, or whose files are broken.
    #[schema(value_type = Vec<Id>)]
    missing: Vec<String>,
    /// Nodes whose files another instance's version replaced already: they are left as they are. `POST /conflicts/{number}/restore` brings
    /// back what was replaced.
    replaced: Vec<ReplacedAnswer>,
}

/// A node whose file was replaced.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReplacedNode)]
pub(crate) struct ReplacedAnswer {
    /// The node.
    #[schema(value_type = Id)]
    id: String,
    /// The number under which the replaced content is kept.
    number: u64,
    /// The instance whose version replaced it.
    #[schema(value_type = Id)]
    from: String,
}

impl From<ops::Conflict> for ReplacedAnswer {
    fn from(kept: ops::Conflict) -> Self {
        Self { id: kept.id.to_string(), number: kept.number, from: kept.from.into() }
    }
}

fn read_id(value: Value<'_>) -> Result<NodeId, ApiError> {
    let text = value.as_str().ok_or_else(|| shape("ids is a list of strings"))?;
    NodeId::parse(&text).map_err(|error| shape(format!("ids: {error}")))
}

/// Accept files as edited now (operator)
///
/// Dates the versions of these nodes now, with the contents that they have: after files were restored from a backup on purpose, they count
/// over newer versions of peers. Durable when answered. A node whose file was replaced by a peer's version meanwhile is left as it is.
#[utoipa::path(
    post,
    path = "/nodes/accept",
    operation_id = "acceptNodes",
    tag = "nodes",
    security(("operator" = [])),
    request_body(content = AcceptRequest, content_type = "application/json", description = "Which nodes",
        example = json!({"ids": ["python_flask_basic"]})),
    responses((status = 200, description = "Dated now, durably", body = AcceptAnswer))
)]
pub(crate) async fn accept(request: ControlRequest, state: web::Data<ApiState>) -> Result<HttpResponse, ApiError> {
    writable(&state)?;
    let ids = request.members(&["ids"])?.get("ids").ok_or_else(|| shape("ids is missing: a list of the nodes' ids"))?;
    let ids = ids.as_array().ok_or_else(|| shape("ids is not a list"))?;
    if ids.len() > MAX_IDS {
        return Err(shape(format!("ids has {} entries; at most {MAX_IDS} fit into one request", ids.len())));
    }
    let ids = ids.iter().map(read_id).collect::<Result<Vec<NodeId>, ApiError>>()?;
    let done = ops::accept_nodes(&*state.context.lattice, ids).await?;
    let texts = |ids: Vec<NodeId>| ids.iter().map(ToString::to_string).collect();
    let replaced = done.replaced.into_iter().map(Into::into).collect();
    Ok(HttpResponse::Ok().json(AcceptAnswer { accepted: texts(done.accepted), missing: texts(done.missing), replaced }))
}

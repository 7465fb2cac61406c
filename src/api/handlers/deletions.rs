//! `/api/federation/deletions…`: deletions of other instances that wait for the admin.

use super::{
    control::{answer, shape, text},
    nodes::seconds,
};
use crate::{
    api::{
        codes::Code,
        error::{ApiError, refuse},
        extract::{ControlRequest, Controls, StrictQuery, page_limit},
        schemas::Id,
        state::ApiState,
    },
    ops::{self, MOST_WAITING, WaitingDeletion, WaitingPage, WaitingSender},
    types::{NodeId, PeerId},
};
use actix_web::{HttpResponse, web::Data};
use serde::{Deserialize, Serialize};
use serde_json::Number;
use utoipa::{IntoParams, ToSchema};

const DEFAULT_LIMIT: usize = 100;

/// The sender of the deletions.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = FederationDeletions)]
#[allow(dead_code, reason = "read by hand, behind the gate; this is its description")]
pub(crate) struct SenderRequest {
    /// The instance's id.
    #[schema(value_type = Id, example = "ark-1")]
    from: String,
}

/// The deletions were confirmed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FederationDeletionsConfirmed)]
pub(crate) struct ConfirmedAnswer {
    /// Always `confirmed`.
    #[schema(example = "confirmed")]
    status: &'static str,
    /// The instance's id.
    #[schema(value_type = Id, example = "ark-1")]
    from: String,
    /// Nodes that were deleted by it.
    deleted: u64,
}

/// The deletions were refused.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FederationDeletionsRefused)]
pub(crate) struct RefusedAnswer {
    /// Always `refused`.
    #[schema(example = "refused")]
    status: &'static str,
    /// The instance's id.
    #[schema(value_type = Id, example = "ark-1")]
    from: String,
    /// Nodes that stay. They go back to that instance with the next round that carries changes to it.
    kept: u64,
}

/// What waits of one instance.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FederationDeletionsSender)]
pub(crate) struct SenderAnswer {
    /// The instance's id.
    #[schema(value_type = Id, example = "ark-1")]
    from: String,
    /// How many of its deletions wait.
    deletions: u64,
    /// Since when, epoch seconds.
    #[schema(value_type = f64)]
    since: Number,
}

impl From<WaitingSender> for SenderAnswer {
    fn from(sender: WaitingSender) -> Self {
        Self { from: sender.from.into(), deletions: sender.deletions, since: seconds(sender.since) }
    }
}

/// A deletion that waits.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = FederationWaitingDeletion)]
pub(crate) struct DeletionAnswer {
    /// The node; it is still here.
    #[schema(value_type = Id, example = "python_flask_basic")]
    id: String,
    /// The instance that sent the deletion.
    #[schema(value_type = Id, example = "ark-1")]
    from: String,
    /// When it was deleted there, epoch seconds.
    #[schema(value_type = f64)]
    deleted_at: Number,
    /// When the deletion came here, epoch seconds.
    #[schema(value_type = f64)]
    since: Number,
}

impl From<WaitingDeletion> for DeletionAnswer {
    fn from(deletion: WaitingDeletion) -> Self {
        Self {
            id: deletion.id.to_string(),
            from: deletion.from.into(),
            deleted_at: seconds(deletion.at),
            since: seconds(deletion.since),
        }
    }
}

/// Deletions that wait for the admin.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FederationWaitingDeletions)]
pub(crate) struct DeletionsAnswer {
    /// In order of node, then sender.
    deletions: Vec<DeletionAnswer>,
    /// How many this answer holds.
    count: usize,
    /// How many wait in all.
    total: u64,
    /// Every instance of which any wait.
    senders: Vec<SenderAnswer>,
    /// `after` of the next page; null at the end.
    #[schema(value_type = Option<Id>, required = true)]
    next: Option<String>,
}

impl From<WaitingPage> for DeletionsAnswer {
    fn from(page: WaitingPage) -> Self {
        let deletions: Vec<DeletionAnswer> = page.deletions.into_iter().map(Into::into).collect();
        Self {
            count: deletions.len(),
            deletions,
            total: page.senders.iter().map(|sender| sender.deletions).sum(),
            senders: page.senders.into_iter().map(Into::into).collect(),
            next: page.next.map(|id| id.to_string()),
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeletionsQuery {
    /// Only deletions of this instance.
    #[param(value_type = Option<Id>)]
    from: Option<String>,
    /// Only nodes behind this one: `next` of the answer before.
    #[param(value_type = Option<Id>)]
    after: Option<String>,
    /// Most deletions in one answer, 1 to 1000; 100 where it is left out. A node with several senders is not cut.
    #[param(example = 20, minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// List deletions that wait (operator)
///
/// An instance that deletes more than ten nodes and more than a quarter of those here does not delete them at once: they wait until the
/// admin confirms or refuses them, or until the node gets a later version. Everything else of it is taken.
#[utoipa::path(
    get,
    path = "/api/federation/deletions",
    operation_id = "listFederationDeletions",
    tag = "federation",
    security(("operator" = [])),
    params(DeletionsQuery),
    responses((status = 200, description = "Deletions that wait", body = DeletionsAnswer))
)]
pub(crate) async fn list(
    _operator: Controls,
    state: Data<ApiState>,
    StrictQuery(query): StrictQuery<DeletionsQuery>,
) -> Result<HttpResponse, ApiError> {
    let wrong =
        |name: &str, error: &dyn std::fmt::Display| refuse(Code::InvalidQuery, format!("{name} is no id: {error}"));
    let from = query.from.map(|from| PeerId::parse(&from).map_err(|error| wrong("from", &error))).transpose()?;
    let after = query.after.map(|id| NodeId::parse(&id).map_err(|error| wrong("after", &error))).transpose()?;
    let limit = page_limit(query.limit, DEFAULT_LIMIT, MOST_WAITING)?;
    let page = ops::waiting_deletions(&state.context, from.as_ref(), after.as_ref(), limit)?;
    Ok(answer(DeletionsAnswer::from(page)))
}

fn sender(request: &ControlRequest) -> Result<PeerId, ApiError> {
    let object = request.members(&["from"])?;
    let from = text(object, "from")?.ok_or_else(|| shape("from is missing: the id of the instance that deletes"))?;
    PeerId::parse(&from).map_err(|error| shape(format!("from is no id: {error}")))
}

/// Confirm what an instance deletes (operator)
///
/// What waits of it is carried out, each deletion judged again. As many again are carried out within ten minutes, for a wave that comes in
/// several batches. Where nothing of it waits, nothing is changed: 404 `no_deletions_wait`.
#[utoipa::path(
    post,
    path = "/api/federation/deletions/confirm",
    operation_id = "confirmFederationDeletions",
    tag = "federation",
    security(("operator" = [])),
    request_body(content = SenderRequest, content_type = "application/json", description = "Whose",
        example = json!({"from": "ark-1"})),
    responses((status = 200, description = "They were carried out", body = ConfirmedAnswer))
)]
pub(crate) async fn confirm(request: ControlRequest, state: Data<ApiState>) -> Result<HttpResponse, ApiError> {
    let from = sender(&request)?;
    let deleted = ops::confirm_deletions(&state.context, &from).await?;
    Ok(answer(ConfirmedAnswer { status: "confirmed", from: from.to_string(), deleted }))
}

/// Refuse what an instance deletes (operator)
///
/// Where nothing of it waits: 404 `no_deletions_wait`. The nodes whose deletion waits stay. Each gets a later time and goes back to that instance, and to every other one.
#[utoipa::path(
    post,
    path = "/api/federation/deletions/refuse",
    operation_id = "refuseFederationDeletions",
    tag = "federation",
    security(("operator" = [])),
    request_body(content = SenderRequest, content_type = "application/json", description = "Whose",
        example = json!({"from": "ark-1"})),
    responses((status = 200, description = "They were refused", body = RefusedAnswer))
)]
pub(crate) async fn refuse_all(request: ControlRequest, state: Data<ApiState>) -> Result<HttpResponse, ApiError> {
    let from = sender(&request)?;
    let kept = ops::refuse_deletions(&state.context, &from).await?;
    Ok(answer(RefusedAnswer { status: "refused", from: from.to_string(), kept }))
}

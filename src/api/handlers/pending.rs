//! `/api/federation/pending…`: unknown instances that ask to write. The admin's.

use super::{
    control::answer,
    nodes::seconds,
    trust::{answers::RelationshipAnswer, key, reason},
};
use crate::{
    api::{
        error::ApiError,
        extract::{ControlRequest, Controls, PendingPath},
        schemas::{Id, PublicKeyText},
        state::ApiState,
    },
    ops::{self, Pending},
};
use actix_web::{HttpResponse, web::Data};
use serde::Serialize;
use serde_json::Number;
use utoipa::ToSchema;

/// An instance that asks to write.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PendingInstance)]
pub(crate) struct PendingAnswer {
    /// The id that it states.
    #[schema(value_type = Id, example = "ark-2")]
    node_id: String,
    /// The key that it signs with, base64: compare it before it is accepted.
    #[schema(value_type = PublicKeyText)]
    public_key: String,
    /// The address that it asked from last.
    #[schema(required = true, example = "192.168.1.101")]
    address: Option<String>,
    /// It is a peer of this instance, by this key; or its id is listed in the settings or verified under another key.
    known: bool,
    /// When it asked first, epoch seconds.
    #[schema(value_type = f64)]
    first_seen: Number,
    /// When it asked last, epoch seconds.
    #[schema(value_type = f64)]
    last_seen: Number,
    /// How often it asked.
    count: u64,
}

impl From<Pending> for PendingAnswer {
    fn from(pending: Pending) -> Self {
        Self {
            node_id: pending.asking.peer.to_string(),
            public_key: pending.asking.key.to_base64(),
            address: pending.asking.address.map(|address| address.to_string()),
            known: pending.asking.known,
            first_seen: seconds(pending.first),
            last_seen: seconds(pending.last),
            count: pending.count,
        }
    }
}

/// The instances that ask to write.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PendingInstances)]
pub(crate) struct PendingListAnswer {
    /// The last that asked first; at most 1,000.
    pending: Vec<PendingAnswer>,
    /// How many.
    count: usize,
}

/// Which key is meant.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = PendingAccept)]
#[allow(dead_code, reason = "read by hand, behind the gate; this is its description")]
pub(crate) struct AcceptRequest {
    /// The key; left out: the only one with which the id asked.
    #[schema(value_type = PublicKeyText, required = false)]
    public_key: Option<String>,
    /// Why, for the audit log.
    #[schema(value_type = String, required = false, max_length = 300, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    reason: Option<String>,
}

/// Which key is meant.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = PendingRefuse)]
#[allow(dead_code, reason = "read by hand, behind the gate; this is its description")]
pub(crate) struct RefuseRequest {
    /// The key; left out: every key with which the id asked.
    #[schema(value_type = PublicKeyText, required = false)]
    public_key: Option<String>,
}

/// The instance is not listed any more.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PendingRefused)]
pub(crate) struct RefusedAnswer {
    /// Always `refused`.
    #[schema(example = "refused")]
    status: &'static str,
    /// The id.
    #[schema(value_type = Id, example = "ark-2")]
    node_id: String,
    /// How many of its keys were listed.
    keys: usize,
}

/// List instances that ask to write (operator)
///
/// They sent changes that this instance did not take, for want of trust. The list is in memory: after a restart it fills again as they ask.
#[utoipa::path(
    get,
    path = "/api/federation/pending",
    operation_id = "listPendingInstances",
    tag = "federation",
    security(("operator" = [])),
    responses((status = 200, description = "The instances", body = PendingListAnswer))
)]
pub(crate) async fn list(_operator: Controls, state: Data<ApiState>) -> Result<HttpResponse, ApiError> {
    let pending: Vec<PendingAnswer> = ops::pending(&state.context).into_iter().map(Into::into).collect();
    Ok(answer(PendingListAnswer { count: pending.len(), pending }))
}

/// Accept an instance that asks to write (operator)
///
/// Its key is verified from then on. Where several keys asked under one id, `publicKey` says which one.
#[utoipa::path(
    post,
    path = "/api/federation/pending/{peer_id}/accept",
    operation_id = "acceptPendingInstance",
    tag = "federation",
    security(("operator" = [])),
    params(("peer_id" = inline(Id), Path, description = "The instance's id", example = "ark-example")),
    request_body(content = Option<AcceptRequest>, content_type = "application/json", description = "Which key",
        example = json!({"publicKey": "3h5UkJuYA1FQsaG5HcLKSs6HgmZK63YF6C29LblJ7+8="})),
    responses((status = 200, description = "It is verified", body = RelationshipAnswer))
)]
pub(crate) async fn accept(
    request: ControlRequest,
    PendingPath(peer): PendingPath,
    state: Data<ApiState>,
) -> Result<HttpResponse, ApiError> {
    let object = request.members(&["publicKey", "reason"])?;
    let reason = reason(object)?;
    let relationship = ops::accept_pending(&state.context, peer, key(object, "publicKey")?, reason).await?;
    Ok(answer(RelationshipAnswer::from(relationship)))
}

/// Refuse an instance that asks to write (operator)
///
/// It is not listed again for a week, or until the next start. Its key is not revoked: `POST /v1/trust/revoke` does that.
#[utoipa::path(
    post,
    path = "/api/federation/pending/{peer_id}/refuse",
    operation_id = "refusePendingInstance",
    tag = "federation",
    security(("operator" = [])),
    params(("peer_id" = inline(Id), Path, description = "The instance's id", example = "ark-example")),
    request_body(content = Option<RefuseRequest>, content_type = "application/json", description = "Which key", example = json!({})),
    responses((status = 200, description = "It is not listed any more", body = RefusedAnswer))
)]
pub(crate) async fn forget(
    request: ControlRequest,
    PendingPath(peer): PendingPath,
    state: Data<ApiState>,
) -> Result<HttpResponse, ApiError> {
    let key = key(request.members(&["publicKey"])?, "publicKey")?;
    let refused = ops::refuse_pending(&state.context, peer.clone(), key).await?;
    Ok(answer(RefusedAnswer { status: "refused", node_id: peer.to_string(), keys: refused.len() }))
}

//! `/api/federation/invites…` and `/api/federation/join`: pairing by an invite. The admin's.

use super::{
    control::{answer, shape, text},
    nodes::seconds,
};
use crate::{
    api::{
        error::ApiError,
        extract::{ControlRequest, Controls, InvitePath},
        schemas::{Address, Id, PublicKeyText},
        state::ApiState,
    },
    json::Object,
    ops::{self, Invite, InviteState, InviteUse, InviteWish, Invited, Joined},
    types::Timestamp,
};
use actix_web::{HttpResponse, web::Data};
use serde::Serialize;
use serde_json::Number;
use std::time::Duration;
use utoipa::ToSchema;

const DEFAULT_EXPIRY: Duration = Duration::from_secs(24 * 3600);

/// An invite to be made.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = InviteRequest)]
#[allow(dead_code, reason = "read by hand, behind the gate; this is its description")]
pub(crate) struct InviteRequest {
    /// Addresses of this instance; left out: that of the settings, else those of its interfaces.
    #[schema(required = false, max_items = 8, value_type = Option<Vec<Address>>, example = json!(["http://192.168.1.100:9001"]))]
    addresses: Option<Vec<String>>,
    /// How long the invite can be used, seconds; left out: a day.
    #[schema(required = false, minimum = 60, maximum = 2_592_000, example = 86_400)]
    expires_seconds: Option<u64>,
}

/// An invite with its line.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = InviteMade)]
pub(crate) struct InvitedAnswer {
    /// Always `invited`.
    #[schema(example = "invited")]
    status: &'static str,
    /// The line for the other machine. It holds the secret, and is shown this once.
    #[schema(example = "ark-invite:v1:…")]
    line: String,
    /// The invite's id.
    #[schema(example = "0123456789abcdef")]
    id: String,
    /// This instance.
    #[schema(value_type = Id, example = "ark-1")]
    node_id: String,
    /// Its key, base64.
    #[schema(value_type = PublicKeyText)]
    public_key: String,
    /// Its addresses in the line.
    addresses: Vec<String>,
    /// The addresses are reached from this machine only.
    loopback_only: bool,
    /// When the invite expires, epoch seconds.
    #[schema(value_type = f64)]
    expires_at: Number,
}

impl InvitedAnswer {
    fn new(node_id: String, invited: Invited) -> Self {
        Self {
            status: "invited",
            line: invited.line,
            id: invited.invite.id.to_string(),
            node_id,
            public_key: invited.public_key.to_base64(),
            addresses: invited.invite.addresses,
            loopback_only: invited.loopback_only,
            expires_at: seconds(invited.invite.expires_at),
        }
    }
}

/// The instance that used an invite.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = InviteUse)]
pub(crate) struct UseAnswer {
    /// Its id.
    #[schema(value_type = Id, example = "ark-2")]
    node_id: String,
    /// Its key, base64.
    #[schema(value_type = PublicKeyText)]
    public_key: String,
    /// When, epoch seconds.
    #[schema(value_type = f64)]
    at: Number,
}

impl From<InviteUse> for UseAnswer {
    fn from(used: InviteUse) -> Self {
        Self { node_id: used.peer, public_key: used.public_key, at: seconds(used.at) }
    }
}

/// An invite, without its secret.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Invite)]
pub(crate) struct InviteAnswer {
    /// Its id.
    #[schema(example = "0123456789abcdef")]
    id: String,
    /// `open`, `used`, `revoked` or `expired`.
    #[schema(example = "open")]
    state: &'static str,
    /// The addresses in its line.
    addresses: Vec<String>,
    /// When it was made, epoch seconds.
    #[schema(value_type = f64)]
    created_at: Number,
    /// When it expires, epoch seconds.
    #[schema(value_type = f64)]
    expires_at: Number,
    /// The instance that used it.
    #[schema(required = true)]
    used_by: Option<UseAnswer>,
}

impl InviteAnswer {
    fn new(invite: Invite, now: Timestamp) -> Self {
        let state: InviteState = invite.state(now);
        Self {
            id: invite.id.to_string(),
            state: state.as_str(),
            addresses: invite.addresses,
            created_at: seconds(invite.created_at),
            expires_at: seconds(invite.expires_at),
            used_by: invite.used.map(Into::into),
        }
    }
}

/// The invites of this instance.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Invites)]
pub(crate) struct InvitesAnswer {
    /// The newest first; ended ones are kept for a week.
    invites: Vec<InviteAnswer>,
    /// How many.
    count: usize,
}

/// An invite was revoked.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = InviteRevoked)]
pub(crate) struct RevokedAnswer {
    /// Always `revoked`.
    #[schema(example = "revoked")]
    status: &'static str,
    /// The invite's id.
    #[schema(example = "0123456789abcdef")]
    id: String,
}

/// Invite another instance (operator)
///
/// The line is for one instance, once: `ark-lattice join LINE` there, or `POST /api/federation/join`. Both are verified to each other then
/// and exchange automatically. Durable when answered.
#[utoipa::path(
    post,
    path = "/api/federation/invites",
    operation_id = "createInvite",
    tag = "federation",
    security(("operator" = [])),
    request_body(content = Option<InviteRequest>, content_type = "application/json", description = "How; nothing: as the settings say",
        example = json!({})),
    responses((status = 200, description = "The invite, with its line", body = InvitedAnswer))
)]
pub(crate) async fn invite(request: ControlRequest, state: Data<ApiState>) -> Result<HttpResponse, ApiError> {
    let wish = read_wish(request.members(&["addresses", "expiresSeconds"])?)?;
    let invited = ops::invite(&state.context, wish).await?;
    Ok(answer(InvitedAnswer::new(state.context.identity.node_id.to_string(), invited)))
}

fn read_wish(object: Object<'_>) -> Result<InviteWish, ApiError> {
    let given = |key: &str| object.get(key).filter(|value| !value.is_null());
    let expires_in = match given("expiresSeconds") {
        None => DEFAULT_EXPIRY,
        Some(value) => {
            Duration::from_secs(value.as_unsigned().ok_or_else(|| shape("expiresSeconds is not a whole number"))?)
        }
    };
    let wrong = || shape("addresses is not a list of texts");
    let addresses = match given("addresses") {
        None => Vec::new(),
        Some(value) => {
            let list = value.as_array().ok_or_else(wrong)?;
            let texts = list.iter().map(|it| it.as_str().map(std::borrow::Cow::into_owned).ok_or_else(wrong));
            texts.collect::<Result<_, _>>()?
        }
    };
    Ok(InviteWish { addresses, expires_in })
}

/// List invites (operator)
///
/// Without their secrets, which this instance does not keep.
#[utoipa::path(
    get,
    path = "/api/federation/invites",
    operation_id = "listInvites",
    tag = "federation",
    security(("operator" = [])),
    responses((status = 200, description = "The invites", body = InvitesAnswer))
)]
pub(crate) async fn list(_operator: Controls, state: Data<ApiState>) -> Result<HttpResponse, ApiError> {
    let now = state.context.clock.now();
    let invites = ops::invites(&state.context).into_iter().map(|invite| InviteAnswer::new(invite, now));
    let invites: Vec<InviteAnswer> = invites.collect();
    Ok(answer(InvitesAnswer { count: invites.len(), invites }))
}

/// Revoke an invite (operator)
///
/// Nothing joins with it from the next moment on. An invite that was used is not revoked: revoke the key of the instance that used it.
#[utoipa::path(
    delete,
    path = "/api/federation/invites/{id}",
    operation_id = "revokeInvite",
    tag = "federation",
    security(("operator" = [])),
    params(("id" = String, Path, description = "The invite's id", pattern = "^[0-9a-f]{16}$", example = "0123456789abcdef")),
    responses((status = 200, description = "It is revoked", body = RevokedAnswer))
)]
pub(crate) async fn revoke(
    _operator: Controls,
    InvitePath(id): InvitePath,
    state: Data<ApiState>,
) -> Result<HttpResponse, ApiError> {
    let invite = ops::revoke_invite(&state.context, id).await?;
    Ok(answer(RevokedAnswer { status: "revoked", id: invite.id.to_string() }))
}

/// What to join with.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = JoinRequest)]
#[allow(dead_code, reason = "read by hand, behind the gate; this is its description")]
pub(crate) struct JoinRequest {
    /// The line of the invite; white space in it is skipped.
    #[schema(example = "ark-invite:v1:…")]
    line: String,
    /// Where the other instance reaches this one; left out: the address of the settings, else those of its interfaces.
    #[schema(required = false, pattern = "^https?://", format = "peer-url", example = "http://192.168.1.101:9001")]
    address: Option<String>,
}

/// This instance and another one are paired.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Joined)]
pub(crate) struct JoinedAnswer {
    /// Always `joined`.
    #[schema(example = "joined")]
    status: &'static str,
    /// The other instance.
    #[schema(value_type = Id, example = "ark-1")]
    node_id: String,
    /// Its key, base64; it is verified here.
    #[schema(value_type = PublicKeyText)]
    public_key: String,
    /// Its address, a peer of this instance.
    #[schema(example = "http://192.168.1.100:9001")]
    peer_url: String,
    /// The address at which it reaches this instance; null: only this instance connects.
    #[schema(required = true)]
    reached_at: Option<String>,
    /// The id of this instance.
    #[schema(value_type = Id, example = "ark-2")]
    own_id: String,
    /// The key of this instance, base64; it is verified there.
    #[schema(value_type = Option<PublicKeyText>, required = true)]
    own_key: Option<String>,
}

impl JoinedAnswer {
    fn new(state: &ApiState, joined: Joined) -> Self {
        Self {
            status: "joined",
            node_id: joined.peer.to_string(),
            public_key: joined.public_key.to_base64(),
            peer_url: joined.url,
            reached_at: joined.reached_at,
            own_id: state.context.identity.node_id.to_string(),
            own_key: state.context.public_key().map(|key| key.to_base64()),
        }
    }
}

/// Join another instance with its invite (operator)
///
/// This instance connects to the first address of the line at which the right key answers, and both prove their keys and the secret, which
/// does not travel. Both are verified to each other afterwards, and exchange automatically.
#[utoipa::path(
    post,
    path = "/api/federation/join",
    operation_id = "joinByInvite",
    tag = "federation",
    security(("operator" = [])),
    request_body(content = JoinRequest, content_type = "application/json", description = "The line"),
    responses((status = 200, description = "Both are paired", body = JoinedAnswer))
)]
pub(crate) async fn join(request: ControlRequest, state: Data<ApiState>) -> Result<HttpResponse, ApiError> {
    let object = request.members(&["line", "address"])?;
    let line = text(object, "line")?.ok_or_else(|| shape("line is missing: what ark-lattice invite printed"))?;
    let joined = ops::join(&state.context, &line, text(object, "address")?).await?;
    Ok(answer(JoinedAnswer::new(&state, joined)))
}

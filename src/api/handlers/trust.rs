//! `/v1/trust/…` and `/v1/nodes`: who is trusted, and by whose word. The operator's.

pub(crate) mod answers;

use super::control::shape;
use crate::{
    api::{
        error::ApiError,
        extract::{ControlRequest, Controls, StrictQuery, TrustPath, page_limit},
        state::ApiState,
    },
    json::Object,
    ops::{self, Compared, Establish, Look, TrustMethod},
    types::{PeerId, PublicKey},
};
use actix_web::{HttpResponse, http::header::CACHE_CONTROL, web::Data};
use answers::{EstablishedAnswer, KnownNodesAnswer, RelationshipAnswer, RelationshipsAnswer, VouchedAnswer};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

const DEFAULT_NODES: usize = 500;
const MAX_REASON_CHARS: usize = 300;

fn text(object: Object<'_>, key: &str) -> Result<Option<String>, ApiError> {
    let read = |value: crate::json::Value<'_>| value.as_str().map(std::borrow::Cow::into_owned);
    object.get(key).map(|value| read(value).ok_or_else(|| shape(format!("{key} is not a string")))).transpose()
}

fn peer(object: Object<'_>) -> Result<Option<PeerId>, ApiError> {
    let id = text(object, "peer_id")?;
    id.map(|id| PeerId::parse(&id).map_err(|error| shape(format!("peer_id: {error}")))).transpose()
}

fn the_peer(object: Object<'_>) -> Result<PeerId, ApiError> {
    peer(object)?.ok_or_else(|| shape("peer_id is missing: the id of the instance"))
}

pub(super) fn key(object: Object<'_>, name: &str) -> Result<Option<PublicKey>, ApiError> {
    let key = text(object, name)?;
    key.map(|key| PublicKey::parse(&key).map_err(|error| shape(format!("{name}: {error}")))).transpose()
}

pub(super) fn reason(object: Object<'_>) -> Result<String, ApiError> {
    let reason = text(object, "reason")?.unwrap_or_default();
    if reason.chars().count() > MAX_REASON_CHARS || reason.chars().any(char::is_control) {
        return Err(shape(format!(
            "reason has at most {MAX_REASON_CHARS} characters, none of them a control character"
        )));
    }
    Ok(reason)
}

fn answer(body: impl Serialize) -> HttpResponse {
    HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(body)
}

/// How a peer proves who it is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = TrustMethod)]
#[allow(dead_code, reason = "no value is made of it; it is a description")]
pub(crate) enum MethodText {
    /// By its key.
    Signature,
    /// By a certificate that names it, and by its key.
    Certificate,
}

/// Whom to trust.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TrustEstablish)]
#[allow(dead_code, reason = "read by hand, behind the gate; this is its description")]
pub(crate) struct EstablishRequest {
    /// The instance; left out: whichever answers there.
    #[schema(value_type = crate::api::schemas::Id, required = false, example = "logline-id://node/peer-beta")]
    peer_id: Option<String>,
    /// Where it answers.
    #[schema(pattern = "^https?://", format = "peer-url", example = "http://127.0.0.1:9")]
    peer_address: String,
    /// How it proves who it is; left out: by its signature.
    #[schema(value_type = MethodText, required = false)]
    verification_method: Option<MethodText>,
    /// Its key, where it is known.
    #[schema(value_type = crate::api::schemas::PublicKeyText, required = false)]
    public_key: Option<String>,
}

/// Establish trust in a peer (operator)
///
/// The peer and this instance prove their keys to each other. `verified` where that came over HTTPS and `peer_id` says who is meant, or
/// where it is the key that was named; otherwise `pending`: compare the words with the operator there, and verify. With `certificate`, one of the authorities in
/// `trust.ca_file` must have issued the peer's certificate, and the certificate must name its id.
#[utoipa::path(
    post,
    path = "/v1/trust/establish",
    operation_id = "establishTrust",
    tag = "trust",
    security(("operator" = [])),
    request_body(content = EstablishRequest, content_type = "application/json", description = "Whom"),
    responses((status = 200, description = "It proved who it is", body = EstablishedAnswer))
)]
pub(crate) async fn establish(request: ControlRequest, state: Data<ApiState>) -> Result<HttpResponse, ApiError> {
    let object = request.members(&["peer_id", "peer_address", "verification_method", "public_key"])?;
    let address = text(object, "peer_address")?;
    let address = address.ok_or_else(|| shape("peer_address is missing: where the instance answers"))?;
    let method = match text(object, "verification_method")?.as_deref() {
        None | Some("signature") => TrustMethod::Signature,
        Some("certificate") => TrustMethod::Certificate,
        Some(_) => return Err(shape("verification_method is signature or certificate")),
    };
    let wish =
        Establish { peer: peer(object)?, address: address.clone(), method, public_key: key(object, "public_key")? };
    let relationship = ops::establish(&state.context, wish).await?;
    Ok(answer(EstablishedAnswer::new(address, method, relationship)))
}

/// List trust relationships (operator)
///
/// Every key that something was decided of, the newest decision first.
#[utoipa::path(
    get,
    path = "/v1/trust/relationships",
    operation_id = "listTrustRelationships",
    tag = "trust",
    security(("operator" = [])),
    responses((status = 200, description = "All of them", body = RelationshipsAnswer))
)]
pub(crate) async fn relationships(_operator: Controls, state: Data<ApiState>) -> Result<HttpResponse, ApiError> {
    Ok(answer(RelationshipsAnswer::from(ops::relationships(&state.context))))
}

/// Get the trust in one peer (operator)
///
/// With the words that both operators compare.
#[utoipa::path(
    get,
    path = "/v1/trust/relationships/{peer_id}",
    operation_id = "getTrustRelationship",
    tag = "trust",
    security(("operator" = [])),
    params(("peer_id" = inline(crate::api::schemas::Id), Path, description = "The instance's id", example = "ark-example")),
    responses((status = 200, description = "What was decided of its keys", body = RelationshipsAnswer))
)]
pub(crate) async fn show(
    _operator: Controls,
    TrustPath(peer): TrustPath,
    state: Data<ApiState>,
) -> Result<HttpResponse, ApiError> {
    Ok(answer(RelationshipsAnswer::from(ops::trust_in(&state.context, &peer).await?)))
}

/// What was compared.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TrustVerify)]
#[allow(dead_code, reason = "read by hand, behind the gate; this is its description")]
pub(crate) struct VerifyRequest {
    /// The instance.
    #[schema(value_type = crate::api::schemas::Id, example = "ark-example")]
    peer_id: String,
    /// The words as the other admin reads them on the other instance. These or the key.
    #[schema(value_type = String, required = false)]
    words: Option<String>,
    /// Its key, as the other operator says it.
    #[schema(value_type = crate::api::schemas::PublicKeyText, required = false)]
    public_key: Option<String>,
    /// Why, for the audit log.
    #[schema(value_type = String, required = false, max_length = 300, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    reason: Option<String>,
}

/// Verify a peer's key (operator)
///
/// After both operators compared words or keys. It also ends a quarantine, and lets an instance begin anew that was restored from a
/// copy.
#[utoipa::path(
    post,
    path = "/v1/trust/verify",
    operation_id = "verifyTrust",
    tag = "trust",
    security(("operator" = [])),
    request_body(content = VerifyRequest, content_type = "application/json", description = "Whose key",
        example = json!({"peer_id": "ark-example", "public_key": "3h5UkJuYA1FQsaG5HcLKSs6HgmZK63YF6C29LblJ7+8="})),
    responses((status = 200, description = "It is verified", body = RelationshipAnswer))
)]
pub(crate) async fn verify(request: ControlRequest, state: Data<ApiState>) -> Result<HttpResponse, ApiError> {
    let object = request.members(&["peer_id", "words", "public_key", "reason"])?;
    let compared = match (key(object, "public_key")?, text(object, "words")?) {
        (Some(key), None) => Compared::Key(key),
        (None, Some(words)) => Compared::Words(words),
        _ => return Err(shape("either words or public_key says what was compared")),
    };
    let relationship = ops::verify_peer(&state.context, the_peer(object)?, compared, reason(object)?).await?;
    Ok(answer(RelationshipAnswer::from(relationship)))
}

/// Whose key to revoke.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TrustRevoke)]
#[allow(dead_code, reason = "read by hand, behind the gate; this is its description")]
pub(crate) struct RevokeRequest {
    /// The instance.
    #[schema(value_type = crate::api::schemas::Id, example = "ark-example")]
    peer_id: String,
    /// The key; left out: every key that is known of the instance.
    #[schema(value_type = crate::api::schemas::PublicKeyText, required = false)]
    public_key: Option<String>,
    /// Why, for the audit log.
    #[schema(value_type = String, required = false, max_length = 300, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    reason: Option<String>,
}

/// Revoke a peer's key (operator)
///
/// Nothing that it signs is taken any more, from the next moment on. What came from it stays.
#[utoipa::path(
    post,
    path = "/v1/trust/revoke",
    operation_id = "revokeTrust",
    tag = "trust",
    security(("operator" = [])),
    request_body(content = RevokeRequest, content_type = "application/json", description = "Whose",
        example = json!({"peer_id": "ark-example", "public_key": "3h5UkJuYA1FQsaG5HcLKSs6HgmZK63YF6C29LblJ7+8="})),
    responses((status = 200, description = "It is revoked", body = RelationshipsAnswer))
)]
pub(crate) async fn revoke(request: ControlRequest, state: Data<ApiState>) -> Result<HttpResponse, ApiError> {
    let object = request.members(&["peer_id", "public_key", "reason"])?;
    let revoked =
        ops::revoke_peer(&state.context, the_peer(object)?, key(object, "public_key")?, reason(object)?).await?;
    Ok(answer(RelationshipsAnswer::from(revoked)))
}

/// For whom.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TrustVouch)]
#[allow(dead_code, reason = "read by hand, behind the gate; this is its description")]
pub(crate) struct VouchRequest {
    /// An instance whose key is verified here.
    #[schema(value_type = crate::api::schemas::Id, example = "ark-example")]
    peer_id: String,
}

/// Vouch for a peer (operator)
///
/// Tells every peer that the key which is verified here is the right one. It counts where this instance's own key is verified, and
/// `trust.vouchers` says how many it takes.
#[utoipa::path(
    post,
    path = "/v1/trust/vouch",
    operation_id = "vouchForPeer",
    tag = "trust",
    security(("operator" = [])),
    request_body(content = VouchRequest, content_type = "application/json", description = "For whom"),
    responses((status = 200, description = "Who could be told was told", body = VouchedAnswer))
)]
pub(crate) async fn vouch(request: ControlRequest, state: Data<ApiState>) -> Result<HttpResponse, ApiError> {
    let peer = the_peer(request.members(&["peer_id"])?)?;
    let told = ops::vouch_for(&state.context, &peer).await?;
    Ok(answer(VouchedAnswer { status: "vouched", peer_id: peer.to_string(), told }))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct NodesQuery {
    /// Most instances in the answer, 1 to 1000; 500 where it is left out.
    #[param(example = 20, minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// List known instances (operator)
///
/// Peers, and who is live in the registry. Here a node is an instance, as in the service that this route comes from.
#[utoipa::path(
    get,
    path = "/v1/nodes",
    operation_id = "listInstances",
    tag = "trust",
    security(("operator" = [])),
    params(NodesQuery),
    responses((status = 200, description = "The instances", body = KnownNodesAnswer))
)]
pub(crate) async fn nodes(
    _operator: Controls,
    state: Data<ApiState>,
    StrictQuery(query): StrictQuery<NodesQuery>,
) -> Result<HttpResponse, ApiError> {
    let limit = page_limit(query.limit, DEFAULT_NODES, ops::MAX_NEIGHBOURS)?;
    let found = ops::neighbours(&state.context, limit).await?;
    Ok(answer(KnownNodesAnswer::new(None, found)))
}

/// How to look.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = DiscoveryMethod)]
#[allow(dead_code, reason = "no value is made of it; it is a description")]
pub(crate) enum LookText {
    /// On the local network, where the settings allow it.
    Broadcast,
    /// By names, where any is set.
    Dns,
    /// The addresses that the operator gave.
    Manual,
}

/// How to look for others.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = InstanceDiscovery)]
#[allow(dead_code, reason = "read by hand, behind the gate; this is its description")]
pub(crate) struct DiscoverRequest {
    /// Taken for the sake of older clients: an instance looks in the one network that its settings name.
    #[schema(value_type = String, required = false, max_length = 256)]
    network_key: Option<String>,
    /// How; left out: manual.
    #[schema(value_type = LookText, required = false)]
    discovery_method: Option<LookText>,
}

/// Look for instances (operator)
///
/// Who is found is a suggestion: no peer, and not trusted.
#[utoipa::path(
    post,
    path = "/v1/nodes/discover",
    operation_id = "discoverInstances",
    tag = "trust",
    security(("operator" = [])),
    request_body(content = Option<DiscoverRequest>, content_type = "application/json", description = "How",
        example = json!({"discovery_method": "manual"})),
    responses((status = 200, description = "Who was found", body = KnownNodesAnswer))
)]
pub(crate) async fn discover(request: ControlRequest, state: Data<ApiState>) -> Result<HttpResponse, ApiError> {
    let object = request.members(&["network_key", "discovery_method"])?;
    if text(object, "network_key")?.is_some_and(|key| key.chars().count() > 256) {
        return Err(shape("network_key has at most 256 characters"));
    }
    let (look, word) = match text(object, "discovery_method")?.as_deref() {
        Some("broadcast") => (Look::Broadcast, "broadcast"),
        Some("dns") => (Look::Dns, "dns"),
        None | Some("manual") => (Look::Manual, "manual"),
        Some(_) => return Err(shape("discovery_method is broadcast, dns or manual")),
    };
    let found = ops::look(&state.context, look).await?;
    Ok(answer(KnownNodesAnswer::new(Some(word), found)))
}

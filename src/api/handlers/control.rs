//! `/api/federation/…`: the federation's controls, and what it did. The operator's.

pub(crate) mod answers;
mod synced;

use crate::{
    api::{
        codes::Code,
        error::{ApiError, refuse},
        extract::{ControlRequest, Controls, PeerUrl, StrictQuery, page_limit},
        schemas::Subnet,
        state::ApiState,
    },
    json::{Object, Value},
    ops::{self, AddWays, Direction, Filter, Named, PeerOptions, ProbeFirst, Search},
    types::ScanSubnets,
};
use actix_web::{HttpResponse, http::header::CACHE_CONTROL, web::Data};
use answers::{
    AddedAnswer, AutoSyncAnswer, FoundAnswer, HistoryAnswer, PeerSetAnswer, PeersAnswer, StartAnswer, StatusAnswer,
    StopAnswer, millis,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use synced::SyncedAnswer;
use utoipa::{IntoParams, ToSchema};

const DEFAULT_ROUNDS: usize = 100;
const MAX_SUBNETS: usize = 64;

pub(super) fn shape(detail: impl Into<String>) -> ApiError {
    refuse(Code::InvalidFederationRequest, detail)
}

/// A member that may be left out or null.
fn member<'a>(object: Object<'a>, key: &str) -> Option<Value<'a>> {
    object.get(key).filter(|value| !value.is_null())
}

pub(super) fn text(object: Object<'_>, key: &str) -> Result<Option<String>, ApiError> {
    let read = |value: Value<'_>| value.as_str().map(std::borrow::Cow::into_owned);
    member(object, key).map(|value| read(value).ok_or_else(|| shape(format!("{key} is not a string")))).transpose()
}

pub(super) fn flag(object: Object<'_>, key: &str) -> Result<bool, ApiError> {
    let read = |value: Value<'_>| value.as_bool().ok_or_else(|| shape(format!("{key} is neither true nor false")));
    member(object, key).map_or(Ok(false), read)
}

fn whole(object: Object<'_>, key: &str) -> Result<Option<u64>, ApiError> {
    let read = |value: Value<'_>| value.as_unsigned().ok_or_else(|| shape(format!("{key} is not a whole number")));
    member(object, key).map(read).transpose()
}

pub(super) fn answer(body: impl Serialize) -> HttpResponse {
    HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(body)
}

/// What the federation is and did (operator)
#[utoipa::path(
    get,
    path = "/api/federation/status",
    operation_id = "getFederationStatus",
    tag = "federation",
    security(("operator" = [])),
    responses((status = 200, description = "Everything about the federation", body = StatusAnswer))
)]
pub(crate) async fn status(_operator: Controls, state: Data<ApiState>) -> Result<HttpResponse, ApiError> {
    let peers = ops::peers(&state.context)?;
    Ok(answer(StatusAnswer::new(&state.context, peers)?))
}

/// Start the federation (operator)
///
/// Rounds are made again and peers are let in, also after a restart.
#[utoipa::path(
    post,
    path = "/api/federation/start",
    operation_id = "startFederation",
    tag = "federation",
    security(("operator" = [])),
    responses((status = 200, description = "It runs", body = StartAnswer))
)]
pub(crate) async fn start(request: ControlRequest, state: Data<ApiState>) -> Result<HttpResponse, ApiError> {
    request.members(&[])?;
    let status = if ops::start_federation(&state.context)? { "started" } else { "running" };
    let info = ops::federation_info(&state.context);
    let (instance_id, instance_name) = (info.instance_id, info.instance_name);
    Ok(answer(StartAnswer { status, port: info.port, instance_id, instance_name }))
}

/// Stop the federation (operator)
///
/// No rounds are made, and what is for peers (`/lattice/…`, `/federation/…`) answers 503 `federation_stopped`, until it is started
/// again: a restart does not. Everything else goes on.
#[utoipa::path(
    post,
    path = "/api/federation/stop",
    operation_id = "stopFederation",
    tag = "federation",
    security(("operator" = [])),
    responses((status = 200, description = "It is stopped", body = StopAnswer))
)]
pub(crate) async fn stop(request: ControlRequest, state: Data<ApiState>) -> Result<HttpResponse, ApiError> {
    request.members(&[])?;
    ops::stop_federation(&state.context)?;
    Ok(answer(StopAnswer { status: "stopped" }))
}

/// List peers (operator)
#[utoipa::path(
    get,
    path = "/api/federation/peers",
    operation_id = "listFederationPeers",
    tag = "federation",
    security(("operator" = [])),
    responses((status = 200, description = "All peers", body = PeersAnswer))
)]
pub(crate) async fn peers(_operator: Controls, state: Data<ApiState>) -> Result<HttpResponse, ApiError> {
    Ok(answer(PeersAnswer::new(&state.context, ops::peers(&state.context)?)))
}

/// A peer to be added.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = FederationPeerAdd)]
#[allow(dead_code, reason = "read by hand, behind the gate; this is its description")]
pub(crate) struct AddRequest {
    /// Its address.
    #[schema(pattern = "^https?://", format = "peer-url", example = "http://192.168.1.100:9000")]
    peer_url: String,
    /// Which ways changes go.
    #[schema(required = false)]
    direction: Option<DirectionText>,
    /// Which nodes go.
    #[schema(required = false)]
    filter: Option<FilterRequest>,
    /// Whether more important nodes (a greater number as `priority`) go first.
    #[schema(required = false)]
    priority: Option<bool>,
    /// Whether the address is asked first, for three seconds at most: true where it is left out. 0.1.0 does not have this member.
    #[schema(required = false)]
    probe: Option<bool>,
    /// It is an original, which signs nothing: whoever answers at the address is believed. Without filter and priority.
    #[schema(required = false)]
    unsigned: Option<bool>,
    /// Whoever answers at the address from now on is taken for the peer, also with another key; the peer's options stay.
    #[schema(required = false)]
    replace: Option<bool>,
}

/// Which ways changes go.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = FederationDirection)]
#[allow(dead_code, reason = "no value is made of it; it is a description")]
pub(crate) enum DirectionText {
    /// Both.
    Both,
    /// Only from the peer.
    Pull,
    /// Only to the peer.
    Push,
}

/// Which nodes go: those that match one entry of each kind that has entries.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = FederationFilterRequest)]
#[allow(dead_code, reason = "no value is made of it; it is a description")]
pub(crate) struct FilterRequest {
    /// A node's `type`.
    #[schema(required = false, max_items = 64)]
    types: Vec<FilterEntry>,
    /// Patterns of a node's id: `*` stands for any characters, `?` for one.
    #[schema(required = false, max_items = 64)]
    ids: Vec<FilterEntry>,
    /// A node's `tags`: a list of texts, or one.
    #[schema(required = false, max_items = 64)]
    tags: Vec<FilterEntry>,
}

/// 1 to 256 characters, none of them a control character.
#[derive(Debug, Serialize, ToSchema)]
#[schema(pattern = r"^[^\u0000-\u001f\u007f-\u009f]+$", min_length = 1, max_length = 256)]
#[allow(dead_code, reason = "no value is made of it; it is a description")]
pub(crate) struct FilterEntry(String);

fn read_options(object: Object<'_>) -> Result<PeerOptions, ApiError> {
    let direction = match text(object, "direction")?.as_deref() {
        None | Some("both") => Direction::Both,
        Some("pull") => Direction::Pull,
        Some("push") => Direction::Push,
        Some(_) => return Err(shape("direction is both, pull or push")),
    };
    let filter = match member(object, "filter") {
        None => Filter::default(),
        // The reader behind would take a list for an object.
        Some(value) if value.as_object().is_none() => return Err(refuse(Code::InvalidPeer, "filter is not an object")),
        Some(value) => Filter::parse(value.raw()).map_err(|error| refuse(Code::InvalidPeer, error.to_string()))?,
    };
    let (priority, unsigned) = (flag(object, "priority")?, flag(object, "unsigned")?);
    if unsigned && (priority || !filter.is_all()) {
        return Err(refuse(
            Code::InvalidPeer,
            "with an unsigned peer every node is exchanged: leave filter and priority out",
        ));
    }
    Ok(PeerOptions { direction, filter, priority, unsigned })
}

/// Add a peer or change its options (operator)
///
/// Durable when answered. Options that are left out are the usual ones: both directions, every node. The address is asked first: an
/// instance that is a peer at another address stays one peer, this instance itself and what is certainly no instance are refused, and
/// one that does not answer yet is added. Where another key signs than before, 409 `key_mismatch` is the answer, and `replace` takes it.
/// `probe` in the answer describes what was found.
#[utoipa::path(
    post,
    path = "/api/federation/peers/add",
    operation_id = "addFederationPeer",
    tag = "federation",
    security(("operator" = [])),
    request_body(content = AddRequest, content_type = "application/json", description = "The peer",
        example = json!({"peerUrl": "http://192.168.1.100:9000"})),
    responses((status = 200, description = "It is a peer now", body = AddedAnswer))
)]
pub(crate) async fn add(request: ControlRequest, state: Data<ApiState>) -> Result<HttpResponse, ApiError> {
    let object = request.members(&["peerUrl", "direction", "filter", "priority", "unsigned", "probe", "replace"])?;
    let url = text(object, "peerUrl")?.ok_or_else(|| shape("peerUrl is missing: the address of the peer"))?;
    let first = match member(object, "probe").is_none() || flag(object, "probe")? {
        true => ProbeFirst::Yes,
        false => ProbeFirst::No,
    };
    let ways = AddWays { first, replace: flag(object, "replace")? };
    let added = ops::add_peer(&state.context, &url, read_options(object)?, ways).await?;
    let total_peers = ops::peers(&state.context)?.len();
    Ok(answer(AddedAnswer::new(&state.context, added, total_peers)))
}

/// Remove a peer (operator)
///
/// Its address goes into the path percent-encoded: `http%3A%2F%2F192.168.1.100%3A9000`. What was exchanged stays.
#[utoipa::path(
    delete,
    path = "/api/federation/peers/{url}",
    operation_id = "removeFederationPeer",
    tag = "federation",
    security(("operator" = [])),
    params(("url" = String, Path, description = "The peer's address", format = "peer-url", pattern = "^https?://", example = "http://192.168.1.100:9000")),
    responses((status = 200, description = "It is no peer any more", body = PeerSetAnswer))
)]
pub(crate) async fn remove(
    _operator: Controls,
    PeerUrl(url): PeerUrl,
    state: Data<ApiState>,
) -> Result<HttpResponse, ApiError> {
    let total_peers = ops::remove_peer(&state.context, &url)?;
    let peer_url = ops::peer_address(&url);
    Ok(answer(PeerSetAnswer { status: "removed", peer_url, total_peers }))
}

/// With whom to exchange.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = FederationSync)]
#[allow(dead_code, reason = "read by hand, behind the gate; this is its description")]
pub(crate) struct SyncRequest {
    /// The peer's address; left out: all peers.
    #[schema(required = false, pattern = "^https?://", format = "peer-url", example = "http://192.168.1.100:9000")]
    peer_url: Option<String>,
    /// What the peer deletes here is right, however much: what waits of it is carried out, and nothing waits of what this round brings.
    #[schema(required = false)]
    confirm_deletions: Option<bool>,
}

/// Exchange now (operator)
///
/// Answers when all rounds are over; a peer that does not answer is no error here, but of its own entry.
#[utoipa::path(
    post,
    path = "/api/federation/sync",
    operation_id = "syncFederation",
    tag = "federation",
    security(("operator" = [])),
    request_body(content = Option<SyncRequest>, content_type = "application/json", description = "With whom; nothing: with all",
        example = json!({})),
    responses((status = 200, description = "What the rounds did", body = SyncedAnswer))
)]
pub(crate) async fn sync(request: ControlRequest, state: Data<ApiState>) -> Result<HttpResponse, ApiError> {
    let object = request.members(&["peerUrl", "confirmDeletions"])?;
    let (url, confirmed) = (text(object, "peerUrl")?, flag(object, "confirmDeletions")?);
    let synced = ops::sync_peers(&state.context, url.as_deref(), confirmed).await?;
    Ok(answer(SyncedAnswer::new(&state.context, synced)?))
}

/// How to search.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = FederationSearch)]
#[allow(dead_code, reason = "read by hand, behind the gate; this is its description")]
pub(crate) struct SearchRequest {
    /// Make peers of those who prove who they are.
    #[schema(required = false)]
    accept: Option<bool>,
    /// Only these networks, within those of the settings (`discovery.scan_subnets`); left out: all of those.
    #[schema(value_type = Option<Vec<Subnet>>, required = false, max_items = 64, example = json!([]))]
    subnets: Option<Vec<String>>,
    /// How long it may take; 30 s where it is left out.
    #[schema(required = false, minimum = 1, maximum = 60, example = 5)]
    timeout_seconds: Option<u64>,
}

/// Search for other instances (operator)
///
/// By multicast DNS and by asking addresses, as far as the settings (`discovery`) allow either; and in the registry.
#[utoipa::path(
    post,
    path = "/api/federation/discover",
    operation_id = "discoverFederation",
    tag = "federation",
    security(("operator" = [])),
    request_body(content = Option<SearchRequest>, content_type = "application/json", description = "How to search; nothing: everywhere",
        example = json!({"timeoutSeconds": 5})),
    responses((status = 200, description = "Who was found", body = FoundAnswer))
)]
pub(crate) async fn discover(request: ControlRequest, state: Data<ApiState>) -> Result<HttpResponse, ApiError> {
    let search = read_search(request.members(&["accept", "subnets", "timeoutSeconds"])?)?;
    let found: Vec<_> = ops::find_instances(&state.context, search).await?.into_iter().map(Into::into).collect();
    Ok(answer(FoundAnswer { status: "ok", count: found.len(), found }))
}

fn read_search(object: Object<'_>) -> Result<Search, ApiError> {
    let longest = ops::MAX_TIMEOUT.as_secs();
    let timeout = match whole(object, "timeoutSeconds")? {
        None => ops::DEFAULT_TIMEOUT,
        Some(seconds) if (1..=longest).contains(&seconds) => Duration::from_secs(seconds),
        Some(_) => return Err(shape(format!("timeoutSeconds is a number from 1 to {longest}"))),
    };
    let subnets = member(object, "subnets").map(read_subnets).transpose()?;
    Ok(Search { accept: flag(object, "accept")?.then_some(Named::Yes), subnets, timeout })
}

fn read_subnets(value: Value<'_>) -> Result<ScanSubnets, ApiError> {
    let wrong = || shape(format!("subnets is not a list of at most {MAX_SUBNETS} networks such as 192.168.1.0/24"));
    let list = value.as_array().filter(|list| list.len() <= MAX_SUBNETS).ok_or_else(wrong)?;
    let texts = list.iter().map(|text| text.as_str().ok_or_else(wrong)).collect::<Result<Vec<_>, _>>()?;
    ScanSubnets::parse(texts.iter().map(AsRef::as_ref)).map_err(|error| shape(error.to_string()))
}

/// How often.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = FederationInterval)]
#[allow(dead_code, reason = "read by hand, behind the gate; this is its description")]
pub(crate) struct AutoSyncRequest {
    /// How often at least, milliseconds; left out: as before.
    #[schema(required = false, minimum = 1000, maximum = 604_800_000, example = 60_000)]
    interval_ms: Option<u64>,
}

/// Enable auto-sync (operator)
///
/// At once when something changes on either side, and regularly. Durable.
#[utoipa::path(
    post,
    path = "/api/federation/auto-sync/start",
    operation_id = "startFederationAutoSync",
    tag = "federation",
    security(("operator" = [])),
    request_body(content = Option<AutoSyncRequest>, content_type = "application/json", description = "How often; nothing: as before",
        example = json!({"intervalMs": 60_000})),
    responses((status = 200, description = "It does now", body = AutoSyncAnswer))
)]
pub(crate) async fn auto_sync_start(request: ControlRequest, state: Data<ApiState>) -> Result<HttpResponse, ApiError> {
    let interval = whole(request.members(&["intervalMs"])?, "intervalMs")?.map(Duration::from_millis);
    let interval = ops::set_auto_sync(&state.context, true, interval)?;
    Ok(answer(AutoSyncAnswer { status: "started", auto_sync: true, sync_interval: millis(interval) }))
}

/// Disable auto-sync (operator)
///
/// Durable. Peers may still exchange with this instance.
#[utoipa::path(
    post,
    path = "/api/federation/auto-sync/stop",
    operation_id = "stopFederationAutoSync",
    tag = "federation",
    security(("operator" = [])),
    responses((status = 200, description = "It does no more", body = AutoSyncAnswer))
)]
pub(crate) async fn auto_sync_stop(request: ControlRequest, state: Data<ApiState>) -> Result<HttpResponse, ApiError> {
    request.members(&[])?;
    let interval = ops::set_auto_sync(&state.context, false, None)?;
    Ok(answer(AutoSyncAnswer { status: "stopped", auto_sync: false, sync_interval: millis(interval) }))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct HistoryQuery {
    /// Most rounds in the answer, 1 to 500; 100 where it is left out.
    #[param(example = 20, minimum = 1, maximum = 500)]
    limit: Option<usize>,
    /// Only rounds with the peer of this address.
    peer: Option<String>,
}

/// Sync history (operator)
#[utoipa::path(
    get,
    path = "/federation/history",
    operation_id = "listFederationRounds",
    tag = "federation",
    security(("operator" = [])),
    params(HistoryQuery),
    responses((status = 200, description = "The newest rounds", body = HistoryAnswer))
)]
pub(crate) async fn history(
    _operator: Controls,
    state: Data<ApiState>,
    StrictQuery(query): StrictQuery<HistoryQuery>,
) -> Result<HttpResponse, ApiError> {
    let limit = page_limit(query.limit, DEFAULT_ROUNDS, ops::KEPT_ROUNDS)?;
    let rounds = ops::history(&state.context, query.peer.as_deref(), limit)?;
    Ok(answer(HistoryAnswer { count: rounds.len(), rounds: rounds.into_iter().map(Into::into).collect() }))
}

//! `GET /discover`: who is alive.

use crate::{
    api::{
        codes::Code,
        cursor,
        discovered::Listed,
        error::{ApiError, refuse},
        extract::{StrictQuery, if_none_match, page_limit},
        schemas::{EntityTags, Hash, Id, PeerCursor, PublicKeyText, TrustLevel as TrustLevelText, WeakTag},
        state::ApiState,
    },
    ops::{self, DiscoverFilter, DiscoverState, Discovered, Peer, RegistryError, TrustLevel},
};
use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue},
    web,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::{IntoParams, ToSchema};

/// Most peers in one answer, and how many where the client does not say: more than any of the seeds' networks has. With the
/// bound on a manifest's own fields it also bounds the answer, which is made in memory, at 16 MiB.
const MAX_LIMIT: usize = 1_000;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DiscoverQuery {
    /// Only peers of this type, such as `local`, `cloud` or `pi`.
    instance_type: Option<String>,
    /// Only peers whose key has this level.
    #[param(value_type = Option<TrustLevelText>, inline)]
    trust_level: Option<String>,
    /// Most peers in one answer, 1 to 1000; 1000 where it is left out.
    #[param(example = 100, minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// From the answer before.
    #[param(value_type = Option<PeerCursor>, inline)]
    cursor: Option<String>,
}

/// A live peer: its manifest's own top-level fields without `nodes`, and what this service adds.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Peer)]
pub(crate) struct PeerAnswer {
    /// The instance's id.
    #[schema(value_type = Id, example = "ark-example")]
    node_id: String,
    /// Where it can be reached, where its manifest says so.
    #[schema(required = true)]
    address: Option<String>,
    /// How many nodes its manifest lists.
    node_count: u64,
    /// The set hash of those nodes.
    #[schema(value_type = Hash)]
    manifest_hash: String,
    /// Its public key, base64.
    #[schema(value_type = PublicKeyText)]
    pubkey: String,
    /// When it last registered, epoch seconds.
    last_seen: f64,
    /// Seconds until its entry expires.
    expires_in: u64,
    /// What this instance thinks of its key.
    #[schema(value_type = TrustLevelText)]
    trust_level: String,
    /// `proven`: its newest manifest states when it was signed (`issued_at`), within the last 24 hours. `unproven`: it does not, so that
    /// anybody who has that public envelope can keep the entry alive or bring it back.
    #[schema(example = "proven")]
    freshness: String,
}

/// Live peers.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PeerList)]
pub(crate) struct DiscoverAnswer {
    /// The peers, in order of id within one answer. May be fewer than `limit` (also none) although `cursor` is there.
    peers: Vec<PeerAnswer>,
    /// How many peers this answer holds.
    count: u64,
    /// How many peers are alive in all, whatever the filters.
    total: u64,
    /// Send it as `cursor` to go on; not there at the end.
    #[schema(value_type = PeerCursor, required = false)]
    cursor: Option<String>,
}

fn trust_level(text: &str) -> Result<TrustLevel, ApiError> {
    let levels = [TrustLevel::Unknown, TrustLevel::Pending, TrustLevel::Verified, TrustLevel::Revoked];
    let found = levels.into_iter().find(|level| level.as_str() == text);
    found.ok_or_else(|| refuse(Code::InvalidQuery, "trust_level is unknown, pending, verified or revoked"))
}

/// The summary is an object's text made by `Manifest`, so it ends with a brace; ours go before it.
fn write_peer(out: &mut Vec<u8>, peer: &Peer) {
    let record = &peer.record;
    out.extend_from_slice(record.summary.strip_suffix(b"}").unwrap_or(b"{\"node_id\":null"));
    let ours = format!(
        ",\"pubkey\":\"{}\",\"last_seen\":{},\"expires_in\":{},\"trust_level\":\"{}\",\"freshness\":\"{}\"}}",
        record.public_key,
        record.last_seen.to_seconds_text(),
        record.expires_in.as_secs(),
        peer.trust_level.as_str(),
        peer.freshness.as_str()
    );
    out.extend_from_slice(ours.as_bytes());
}

fn write_answer(found: &Discovered) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + found.peers.len() * 400);
    out.extend_from_slice(b"{\"peers\":[");
    for (index, peer) in found.peers.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_peer(&mut out, peer);
    }
    out.extend_from_slice(format!("],\"count\":{},\"total\":{}", found.peers.len(), found.total).as_bytes());
    if let Some(next) = &found.next {
        out.extend_from_slice(format!(",\"cursor\":\"{}\"", cursor::after_peer(next)).as_bytes());
    }
    out.push(b'}');
    out
}

/// List live peers
///
/// Every instance whose manifest was taken and has not expired. The entity tag is weak: it changes when a peer comes, goes or says
/// something new, not with every heartbeat.
#[utoipa::path(
    get,
    path = "/discover",
    operation_id = "discoverPeers",
    tag = "registry",
    params(DiscoverQuery, ("If-None-Match" = inline(Option<EntityTags>), Header, description = "Entity tag of an earlier answer")),
    responses(
        (status = 200, description = "Live peers", body = DiscoverAnswer, headers(("ETag" = inline(WeakTag), description = "Weak entity tag"))),
        (status = 304, description = "Nothing new since the answer with this entity tag", headers(("ETag" = inline(WeakTag), description = "The same")))
    )
)]
pub(crate) async fn discover(
    request: HttpRequest,
    state: web::Data<ApiState>,
    StrictQuery(query): StrictQuery<DiscoverQuery>,
) -> Result<HttpResponse, ApiError> {
    let limit = page_limit(query.limit, MAX_LIMIT, MAX_LIMIT.min(state.context.limits.page_items))?;
    let after = query.cursor.as_deref().map(cursor::peer).transpose()?;
    let trust_level = query.trust_level.as_deref().map(trust_level).transpose()?;
    let filter = DiscoverFilter { instance_type: query.instance_type, trust_level };
    let Listed { etag, body } = listed(&state, &filter, after, limit).await?;
    let unchanged = if_none_match(&request, etag.to_str().unwrap_or_default())?;
    let mut response = if unchanged { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response.insert_header((ETAG, etag)).insert_header((CACHE_CONTROL, NO_CACHE));
    if unchanged {
        return Ok(response.finish());
    }
    Ok(response.insert_header((CONTENT_TYPE, JSON)).body(body))
}

/// The page as it is sent: what was made before, where it still holds.
async fn listed(
    state: &web::Data<ApiState>,
    filter: &DiscoverFilter,
    after: Option<ops::PeerCursor>,
    limit: usize,
) -> Result<Listed, ApiError> {
    if !filter.lets_all_through() || after.is_some() {
        return Ok(made(state, filter, after, limit).await?.1);
    }
    let arrived = state.context.clock.elapsed();
    if let Some((listed, is_ageing)) = state.discovered.get_aged(limit, DiscoverState::of(&state.context), arrived) {
        if is_ageing {
            renew(state, limit);
        }
        return Ok(listed);
    }
    // One makes it for all who ask meanwhile.
    let _turn = state.discovered.turn().await;
    // Before the list is asked for: what changes meanwhile makes it one of before.
    let (now, stands) = (state.context.clock.elapsed(), DiscoverState::of(&state.context));
    let of_another = state.discovered.get(limit, stands, now);
    if let Some(listed) = of_another.or_else(|| state.discovered.begun_after(limit, arrived)) {
        return Ok(listed);
    }
    made_and_kept(state, limit, (now, stands)).await
}

/// The first page of all, which is kept as one of `now`, when everything stood as in `stands`.
async fn made_and_kept(
    state: &ApiState,
    limit: usize,
    (now, stands): (Duration, DiscoverState),
) -> Result<Listed, ApiError> {
    let (found, listed) = made(state, &DiscoverFilter::default(), None, limit).await?;
    state.discovered.keep(limit, stands, now, &found, &listed);
    Ok(listed)
}

/// Makes the list of all anew beside the answers, unless somebody does.
fn renew(state: &web::Data<ApiState>, limit: usize) {
    let Some(turn) = state.discovered.free_turn() else { return };
    let state = web::Data::clone(state);
    actix_web::rt::spawn(async move {
        let _turn = turn;
        let now = (state.context.clock.elapsed(), DiscoverState::of(&state.context));
        // An error is counted; who asks when the list of now is too old makes one himself, and is told.
        let _counted = made_and_kept(&state, limit, now).await;
    });
}

async fn made(
    state: &ApiState,
    filter: &DiscoverFilter,
    after: Option<ops::PeerCursor>,
    limit: usize,
) -> Result<(Discovered, Listed), ApiError> {
    let found = ops::discover(&state.context, filter, after, limit).await.inspect_err(|error| {
        if matches!(error, RegistryError::Unavailable(_)) {
            state.metrics.registry_error();
        }
    })?;
    let etag = HeaderValue::try_from(format!("W/\"{}\"", found.fingerprint()));
    let etag = etag.map_err(|error| ApiError::Internal(error.to_string()))?;
    let listed = Listed { etag, body: Bytes::from(write_answer(&found)) };
    Ok((found, listed))
}

//! `/health`, `/ready`, `/metrics`.

use crate::{
    api::{
        codes::Code,
        error::{ApiError, refuse},
        state::ApiState,
    },
    ops::{self, BrokenFile, Health, TrustLevel},
    telemetry::{Gauges, METRICS_MEDIA_TYPE, TrustCounts},
    types::Timestamp,
};
use actix_web::{HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

const FOREIGN_MANIFEST: &str = "another program's file of this name is left as it is; the service's log says more";

/// A file that is not a node.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BrokenFile)]
pub(crate) struct BrokenAnswer {
    /// Its name in the data directory.
    file: String,
    /// What is wrong with it.
    reason: String,
}

impl From<BrokenFile> for BrokenAnswer {
    fn from(broken: BrokenFile) -> Self {
        Self { file: broken.file, reason: broken.reason }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RegistryHealth)]
pub(crate) struct RegistryAnswer {
    /// `ok` or `failing`.
    #[schema(example = "ok")]
    status: &'static str,
    /// `embedded` or `redis`.
    #[schema(example = "embedded")]
    kind: &'static str,
    /// Live peers, where the registry answers.
    #[schema(required = true)]
    live_peers: Option<u64>,
    /// The code of the state that it is in: that of refused calls, or `eviction_policy` where Redis may delete key bindings. 0.1.0 does
    /// not have this member.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, example = "too_many_clients")]
    reason: Option<&'static str>,
    /// The key that this is about. 0.1.0 does not have this member.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    key: Option<String>,
    /// What is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'static str>,
}

fn registry_answer(health: &Health) -> RegistryAnswer {
    let (registry, fault) = (&health.registry, health.registry.fault.as_ref());
    RegistryAnswer {
        status: if registry.is_failing() { "failing" } else { "ok" },
        kind: health.registry_kind,
        live_peers: registry.live.as_ref().ok().copied(),
        reason: fault.map(|fault| fault.state.code()),
        key: fault.and_then(|fault| fault.key.clone()),
        detail: fault.map(|fault| fault.state.summary()),
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LatticeHealth)]
pub(crate) struct LatticeAnswer {
    /// `ok`, `loading` or `failing`.
    #[schema(example = "ok")]
    status: &'static str,
    /// Live nodes.
    nodes: usize,
    /// Deleted nodes that are remembered.
    tombstones: u64,
    /// Position of the last change.
    seq: u64,
    /// How long the last full build of the index took, seconds.
    #[schema(required = true)]
    index_build_seconds: Option<f64>,
    /// How many files are broken.
    broken_total: usize,
    /// The first hundred of them.
    broken: Vec<BrokenAnswer>,
    /// Deletions of other instances that wait for the admin: `ark-lattice federation deletions`.
    deletions_waiting: u64,
    /// Edits made here that lost against another instance's and are not settled: `ark-lattice conflicts list`. 0.1.0 does not have this
    /// member.
    #[schema(required = false)]
    conflicts: u64,
    /// There where `manifest.json` is not written because another program's file of that name is in the directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    manifest: Option<&'static str>,
    /// Nodes whose files are broken: their last good versions count, but their contents cannot be had. 0.1.0 does not have this member.
    #[schema(required = false)]
    unavailable: usize,
    /// What is wrong with the directory; also where it is `ok` except that edits are seen late.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'static str>,
}

/// How the service is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Health)]
pub(crate) struct HealthAnswer {
    /// `healthy`, or `degraded` where a part fails, files are broken or deletions wait for the admin. The process is alive either way.
    #[schema(example = "healthy")]
    status: &'static str,
    /// This instance's id.
    node_id: String,
    /// Instances that are connected: peers that answer, and those that may write here and make rounds with this one.
    peers_connected: usize,
    /// Unknown instances that ask to write and wait for the admin: `ark-lattice federation pending`. 0.1.0 does not have this member.
    #[schema(required = false)]
    peers_pending: usize,
    /// Ids that two machines use, within the last day: `ark-lattice federation status` states how, and what to do. 0.1.0 does not have this
    /// member.
    #[schema(required = false)]
    shared_ids: Vec<String>,
    /// When a round last came to its end.
    #[schema(required = true, example = "2025-10-03T22:00:00Z")]
    last_sync: Option<String>,
    /// This program's version.
    version: &'static str,
    /// The registry.
    registry: RegistryAnswer,
    /// The lattice.
    lattice: LatticeAnswer,
}

fn lattice_answer(health: Health) -> LatticeAnswer {
    let (lattice, deletions_waiting, conflicts) = (health.lattice, health.deletions_waiting, health.conflicts);
    let status = match (lattice.ready, &lattice.fault) {
        (false, _) => "loading",
        (true, Some(_)) if !lattice.unwatched => "failing",
        (true, _) => "ok",
    };
    LatticeAnswer {
        status,
        nodes: lattice.nodes,
        tombstones: lattice.tombstones,
        seq: lattice.seq,
        index_build_seconds: lattice.index_build.map(|took| took.as_secs_f64()),
        broken_total: lattice.broken_total,
        broken: lattice.broken.into_iter().map(Into::into).collect(),
        deletions_waiting,
        conflicts,
        manifest: lattice.foreign_manifest.then_some(FOREIGN_MANIFEST),
        unavailable: health.unavailable,
        detail: match lattice.fault {
            None => None,
            Some(_) if lattice.full => Some("the disk is full: writes are refused until there is room"),
            Some(_) if lattice.unwatched => Some(
                "the data directory cannot be watched: edits are seen late, by the full scan only; the service's log says why",
            ),
            Some(_) => Some("the data directory cannot be used; the service's log says more"),
        },
    }
}

/// Is the process alive, and how are its parts?
///
/// Always 200 while the process answers: for a liveness probe. `status` and the parts say what is wrong.
#[utoipa::path(
    get,
    path = "/health",
    operation_id = "getHealth",
    tag = "service",
    responses((status = 200, description = "Alive", body = HealthAnswer))
)]
pub(crate) async fn health(state: web::Data<ApiState>) -> Result<HttpResponse, ApiError> {
    let health = ops::health(&state.context).await;
    let (peers_connected, last_sync) = ops::connections(&state.context);
    Ok(HttpResponse::Ok().json(HealthAnswer {
        status: if health.flawless() { "healthy" } else { "degraded" },
        node_id: state.context.identity.node_id.to_string(),
        peers_connected,
        peers_pending: health.peers_pending,
        shared_ids: ops::shared_ids(&state.context).into_iter().map(|shared| shared.id).collect(),
        last_sync: last_sync.map(|at| Timestamp::from_seconds(at.seconds()).to_rfc3339()),
        version: env!("CARGO_PKG_VERSION"),
        registry: registry_answer(&health),
        lattice: lattice_answer(health),
    }))
}

/// The answer of a service that is ready.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Readiness)]
pub(crate) struct ReadyAnswer {
    /// Always `ready`.
    #[schema(example = "ready")]
    status: &'static str,
}

/// Can the service do its work?
///
/// 200 once the index is built and the registry answers: for a readiness probe. 503 `draining` after a stop signal, while requests are
/// still served (`server.drain_delay`).
#[utoipa::path(
    get,
    path = "/ready",
    operation_id = "getReadiness",
    tag = "service",
    responses((status = 200, description = "Ready", body = ReadyAnswer))
)]
pub(crate) async fn ready(state: web::Data<ApiState>) -> Result<HttpResponse, ApiError> {
    if state.context.closing.is_cancelled() {
        return Err(refuse(Code::Draining, "the service is stopping; send requests to another instance"));
    }
    let health = ops::health(&state.context).await;
    if !health.lattice.ready {
        return Err(refuse(Code::LatticeLoading, "the index is still being built"));
    }
    match health.registry.live {
        Ok(_) => {}
        Err(error) if error.fault().is_some() => return Err(error.into()),
        Err(error) => return Err(refuse(Code::RegistryUnavailable, error.to_string())),
    }
    Ok(HttpResponse::Ok().json(ReadyAnswer { status: "ready" }))
}

fn trust_counts(levels: &[TrustLevel]) -> TrustCounts {
    let of = |level| u64::try_from(levels.iter().filter(|it| **it == level).count()).unwrap_or(u64::MAX);
    TrustCounts {
        unknown: of(TrustLevel::Unknown),
        pending: of(TrustLevel::Pending),
        verified: of(TrustLevel::Verified),
        revoked: of(TrustLevel::Revoked),
    }
}

/// Metrics for Prometheus
///
/// OpenMetrics text.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "getMetrics",
    tag = "service",
    responses((status = 200, description = "The metrics", body = String, content_type = "application/openmetrics-text"))
)]
pub(crate) async fn metrics(state: web::Data<ApiState>) -> Result<HttpResponse, ApiError> {
    let health = ops::health(&state.context).await;
    let gauges = Gauges {
        live_peers: health.registry.live.as_ref().ok().copied(),
        nodes: health.lattice.nodes,
        tombstones: health.lattice.tombstones,
        broken_files: health.lattice.broken_total,
        deletions_waiting: health.deletions_waiting,
        conflicts: health.conflicts,
        index_build: health.lattice.index_build,
        ready: health.ready(),
        peers_connected: health.peers_connected,
        peers_pending: health.peers_pending,
        trust: Some(trust_counts(&state.context.trust.levels())),
    };
    let text = state.metrics.encode(gauges).map_err(|error| ApiError::Internal(error.to_string()))?;
    Ok(HttpResponse::Ok().content_type(METRICS_MEDIA_TYPE).body(text))
}

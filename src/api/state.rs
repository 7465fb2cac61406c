//! What every handler can reach.

use super::{
    discovered::DiscoveredBodies,
    extract::{AdminAccess, BodyBudget, DocumentReads},
    origin::Edge,
};
use crate::{
    guard::Pool,
    ops::Context,
    telemetry::{Metrics, Tracer},
    types::WebOrigins,
};
use std::{sync::Arc, time::Duration};

/// Whose web pages may read from us.
#[derive(Debug, Clone)]
pub struct Cors {
    /// Whose pages.
    pub origins: WebOrigins,
    /// How long a browser may remember it.
    pub max_age: Duration,
}

/// Shared by all workers of one application.
#[derive(Debug)]
pub struct ApiState {
    /// What operations work on.
    pub context: Arc<Context>,
    /// This application's metrics.
    pub metrics: Arc<Metrics>,
    /// Makes the spans of requests that belong to a trace.
    pub tracer: Tracer,
    /// What administrative requests have to show.
    pub admin_access: AdminAccess,
    /// How long a client may take to send a body.
    pub body_timeout: Duration,
    /// The least bytes a second of a large body; 0: any.
    pub body_bytes_per_second: usize,
    /// What all bodies under way may cost together.
    pub body_budget: BodyBudget,
    /// What all answers under way may hold.
    pub answers: Arc<Pool>,
    /// The documents that are read for answers.
    pub reads: DocumentReads,
    /// Streams that clients listen to.
    pub listeners: Arc<Pool>,
    /// What stands between the service and its clients.
    pub edge: Edge,
    /// Whether requests of this machine's programs are counted.
    pub count_loopback: bool,
    /// Whether the routes for instances ask for a client's certificate.
    pub client_certificates: bool,
    /// Whose web pages may read from us.
    pub cors: Cors,
    /// Bodies of `GET /discover`.
    pub discovered: DiscoveredBodies,
    /// `/openapi.json`, made once.
    pub openapi: String,
}

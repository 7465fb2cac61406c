//! What every handler can reach.

use super::{extract::OperatorToken, origin::Edge};
use crate::{ops::Context, telemetry::Metrics};
use std::{sync::Arc, time::Duration};

/// Shared by all workers of one application.
#[derive(Debug)]
pub struct ApiState {
    /// What operations work on.
    pub context: Arc<Context>,
    /// This application's metrics.
    pub metrics: Arc<Metrics>,
    /// What the operator has to show.
    pub operator_token: OperatorToken,
    /// How long a client may take to send a body.
    pub body_timeout: Duration,
    /// What stands between the service and its clients.
    pub edge: Edge,
    /// `/openapi.json`, made once.
    pub openapi: String,
}

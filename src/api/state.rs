//! What every handler can reach.

use super::extract::{BodyBudget, OperatorToken};
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
    /// What all bodies under way may cost together.
    pub body_budget: BodyBudget,
    /// `/openapi.json`, made once.
    pub openapi: String,
}

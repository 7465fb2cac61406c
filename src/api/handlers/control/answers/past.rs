//! Rounds that were.

use super::{
    WaitingAnswer,
    left_out::{LeftOutAnswer, TooLargeAnswer},
};
use crate::{api::handlers::nodes::seconds, ops::Past};
use serde::Serialize;
use serde_json::Number;
use utoipa::ToSchema;

/// A round that was.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = FederationPastRound)]
pub(in crate::api) struct PastAnswer {
    /// When it began, epoch seconds.
    #[schema(value_type = f64)]
    at: Number,
    /// The peer's address; of a round that the other side made, its id.
    peer: String,
    /// The other side made it.
    inbound: bool,
    /// How long it took, milliseconds.
    duration_ms: u64,
    /// `in_step`, `waiting`, `unavailable`, `exchanged`, `diverged`, `unexplained`, `moving` or `failed`.
    outcome: String,
    /// Why it failed.
    #[schema(required = true)]
    error: Option<String>,
    /// Nodes and deletions that came and counted here.
    nodes_received: u64,
    /// Nodes and deletions that went and counted there.
    nodes_sent: u64,
    /// Versions made here that lost.
    conflicts_resolved: u64,
    /// Bytes of changes, both ways.
    bytes: u64,
    /// Deletions that waited for an admin at its end.
    deletions_waiting: WaitingAnswer,
    /// Nodes that were left out because their files were broken; only where any were.
    #[serde(skip_serializing_if = "Option::is_none")]
    unavailable: Option<LeftOutAnswer>,
    /// Nodes that were left out for their size; only where any were.
    #[serde(skip_serializing_if = "Option::is_none")]
    too_large: Option<TooLargeAnswer>,
}

impl From<Past> for PastAnswer {
    fn from(past: Past) -> Self {
        Self {
            at: seconds(past.at),
            peer: past.peer,
            inbound: past.inbound,
            duration_ms: past.duration_ms,
            outcome: past.outcome,
            error: past.error,
            nodes_received: past.received,
            nodes_sent: past.sent,
            conflicts_resolved: past.conflicts,
            bytes: past.bytes,
            deletions_waiting: WaitingAnswer { here: past.waiting_here, there: Some(past.waiting_there) },
            unavailable: LeftOutAnswer::of(past.unavailable),
            too_large: TooLargeAnswer::of(past.too_large),
        }
    }
}

/// Rounds that were.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FederationHistory)]
pub(in crate::api) struct HistoryAnswer {
    /// The newest first. Rounds in which nothing moved are counted with their peer, and not listed.
    pub(in crate::api::handlers) rounds: Vec<PastAnswer>,
    /// How many this answer holds.
    pub(in crate::api::handlers) count: usize,
}

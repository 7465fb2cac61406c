//! What is seen of rounds from outside: their traces, and how long they take.

use super::{PeerTask, Shared};
use crate::{
    federation::{
        client::Client,
        peers::PeerState,
        round::Outcome,
        run::RunEnd,
        watch::{Tracing, Watch},
    },
    identity::Held,
    telemetry::Span,
    types::PeerId,
};
use std::{sync::Arc, time::Duration};

impl Shared {
    /// The client for one round, whose requests belong to its trace, and what is seen of them.
    pub(super) fn traced(&self, peer: &PeerTask, state: &PeerState, key: &Arc<Held>, span: &Span) -> (Client, Watch) {
        let options = &self.options;
        let audience = state.node_id.as_deref().and_then(|id| PeerId::parse(id).ok());
        let (tracer, node_id, clock) = (&options.tracer, &options.node_id, &options.clock);
        let tracing = Tracing { tracer, key, node_id, clock };
        let watch = Watch::new(options.metrics.clone()).of_round(tracing, span.context(), audience);
        (peer.client.clone().watched(watch.clone()), watch)
    }
}

pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// As the history and the metrics write it.
pub(super) fn outcome(end: &RunEnd) -> &'static str {
    end.report.outcome.map_or("failed", Outcome::as_str)
}

/// Says in the trace how a round ended.
pub(super) fn tell_span(mut span: Span, before: &PeerState, end: &RunEnd) {
    let report = &end.report;
    span.set("ark.peer.url", before.url.as_str());
    if let Some(peer) = end.peer.as_ref().map(|(peer, _)| peer.as_str()).or(before.node_id.as_deref()) {
        span.set("ark.peer.id", peer);
    }
    span.set("ark.round.outcome", outcome(end));
    span.set("ark.round.requests", u64::from(report.requests));
    span.set("ark.round.nodes_received", report.received.taken);
    span.set("ark.round.nodes_sent", report.sent_taken);
    span.set("ark.round.conflicts", report.received.conflicts);
    span.set("ark.round.bytes", report.bytes_in.saturating_add(report.bytes_out));
    if let Some(error) = &end.error {
        span.fail(&error.to_string());
    }
}

//! What is noted of a round when it is over: with the peer, in the history, in events.

use super::{
    PeerState, RoundError, RunEnd, Shared,
    traced::{milliseconds, outcome},
};
use crate::{
    federation::{
        events::{EventKind, Exchange},
        history::Past,
    },
    types::Timestamp,
};
use serde_json::json;
use std::time::Duration;

impl Shared {
    /// Notes how a round ended: with the peer, in the history, in events.
    pub(super) fn conclude(
        &self,
        before: &PeerState,
        end: &RunEnd,
        (at, took, latency): (Timestamp, Duration, Option<Duration>),
        exchange: &Exchange<'_>,
    ) {
        let (report, url) = (&end.report, before.url.as_str());
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let error = end.error.as_ref().map(ToString::to_string);
        let failure = end.error.as_ref().map(RoundError::kind);
        let setting = self.options.peers.setting_of(url);
        let next = end.error.as_ref().map(|error| error.next(url, setting, &self.options.node_id));
        let is_own = end.failed_here(&*self.options.lattice);
        let (received, sent) = (number(report.received.taken), number(report.sent_taken));
        let conflicts = number(report.received.conflicts);
        let bytes = report.bytes_in.saturating_add(report.bytes_out);
        self.update(url, |state| {
            if let Some((peer, key)) = &end.peer {
                state.node_id.get_or_insert_with(|| peer.to_string());
                state.public_key.get_or_insert_with(|| key.to_base64());
            }
            state.stats.nodes_received = state.stats.nodes_received.saturating_add(received);
            state.stats.nodes_sent = state.stats.nodes_sent.saturating_add(sent);
            state.stats.conflicts = state.stats.conflicts.saturating_add(conflicts);
            state.stats.bytes = state.stats.bytes.saturating_add(bytes);
            match &error {
                None => {
                    state.stats.rounds = state.stats.rounds.saturating_add(1);
                    (state.synced_at, state.error, state.failure, state.failed_in_a_row) = (Some(at), None, None, 0);
                }
                Some(_) if is_own => state.stats.failures = state.stats.failures.saturating_add(1),
                Some(error) => {
                    state.stats.failures = state.stats.failures.saturating_add(1);
                    state.failed_in_a_row = state.failed_in_a_row.saturating_add(1);
                    (state.error, state.failure) = (Some(error.clone()), failure);
                }
            }
        });
        let events = &self.options.events;
        let node_id = end.peer.as_ref().map(|(peer, _)| peer.as_str()).or(before.node_id.as_deref());
        match (before.is_active(), error.is_none()) {
            (false, true) => {
                let latency_ms = latency.map(milliseconds);
                let data = json!({ "peer": url, "nodeId": node_id, "latencyMs": latency_ms });
                events.tell(EventKind::PeerOnline, data);
            }
            (true, false) if !is_own => {
                let data =
                    json!({ "peer": url, "nodeId": node_id, "error": error, "errorCode": failure, "next": next });
                events.tell(EventKind::PeerOffline, data);
            }
            _ => {}
        }
        let (outcome, duration_ms) = (outcome(end), milliseconds(took));
        let (waiting_here, waiting_there) = (report.waiting_here, report.waiting_there.unwrap_or(before.waiting_there));
        let waiting_moved = report.received.waiting > 0 || waiting_there != before.waiting_there;
        let worth_keeping =
            received + sent > 0 || waiting_moved || (error.is_some() && !is_own && before.failure != failure);
        if exchange.end() || worth_keeping {
            let data = json!({
                "peer": url, "nodeId": node_id, "outcome": outcome, "error": error, "errorCode": failure, "next": next, "nodesReceived": received,
                "nodesSent": sent, "conflictsResolved": conflicts, "bytes": bytes, "durationMs": duration_ms,
                "deletionsWaitingHere": waiting_here, "deletionsWaitingThere": waiting_there,
            });
            events.tell(EventKind::SyncComplete, data);
        }
        if !worth_keeping {
            return;
        }
        let (peer, outcome) = (url.to_owned(), outcome.to_owned());
        let past = Past {
            at,
            peer,
            inbound: false,
            duration_ms,
            outcome,
            error,
            received,
            sent,
            conflicts,
            bytes,
            waiting_here,
            waiting_there,
            unavailable: report.unavailable,
            too_large: report.too_large,
        };
        self.options.history.add(past);
    }
}

//! Reports the status of this instance's rounds to their peers, so that a hub without peers of its own can list its inbound peers and their lag.

use super::{ANNOUNCE_EVERY, Shared, keys::Said};
use crate::{
    federation::{
        client::{Client, ClientError},
        exchange::Signer,
        feed,
        filter::Filter,
        inbound::PeerRoundStatus,
        peers::PeerOptions,
        run::RunEnd,
    },
    identity::Held,
    manifest::Position,
    types::PeerId,
};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Minimum time between two reports that differ in positions only. With faster rounds the next regular round reports them.
const MOVED_EVERY: Duration = Duration::from_secs(1);

/// Timeout of a report. The round has succeeded and must not wait longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The last report to a peer.
#[derive(Debug, Default)]
pub(super) struct ReportedStatus {
    last: Option<(PeerRoundStatus, Instant)>,
    /// The peer does not support reports.
    is_unsupported: bool,
}

impl ReportedStatus {
    fn is_due(&self, status: &PeerRoundStatus) -> bool {
        let is_due = |(before, at): &(PeerRoundStatus, Instant)| {
            let moved = before != status && at.elapsed() >= MOVED_EVERY;
            moved || before.outcome != status.outcome || at.elapsed() > ANNOUNCE_EVERY
        };
        !self.is_unsupported && self.last.as_ref().is_none_or(is_due)
    }
}

impl Shared {
    /// Reports the status of a round to its peer where it changed or the last report is old.
    pub(super) async fn send_round_status(
        &self,
        (url, client, held): (&str, &Client, &Held),
        options: &PeerOptions,
        end: &RunEnd,
        said: &mut Said,
    ) {
        let (Some((audience, _)), None) = (&end.peer, &end.error) else { return };
        let status = self.round_status(url, options, end);
        if !said.reported.is_due(&status) {
            return;
        }
        match timeout(PATIENCE, self.post_round_status(client, held, audience, &status)).await {
            Ok(Ok(is_supported)) => said.reported.is_unsupported = !is_supported,
            // The round succeeded; a later one is reported again.
            Ok(Err(error)) => tracing::debug!(peer = url, %error, "the status of the round was not reported"),
            Err(_) => tracing::debug!(peer = url, "the peer did not accept the status of the round in time"),
        }
        said.reported.last = Some((status, Instant::now()));
    }

    async fn post_round_status(
        &self,
        client: &Client,
        held: &Held,
        audience: &PeerId,
        status: &PeerRoundStatus,
    ) -> Result<bool, ClientError> {
        let (node_id, now) = (&self.options.node_id, self.options.clock.now());
        client.send_round_status(&Signer { key: &held.key, node_id, audience, now }, status).await
    }

    fn round_status(&self, url: &str, options: &PeerOptions, end: &RunEnd) -> PeerRoundStatus {
        let here = feed::here(&*self.options.lattice);
        let positions = self.options.peers.get(url).map(|state| state.positions).unwrap_or_default();
        PeerRoundStatus {
            direction: options.direction,
            filtered: options.filter != Filter::ALL,
            outcome: end.report.outcome,
            stands: Some(Position::new(here.start.epoch, here.seq)),
            holds: positions.pulled,
            sent: positions.pushed,
            next_in: self.is_automatic(url).then(|| self.options.control.interval()),
        }
    }
}

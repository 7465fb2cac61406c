//! What the other side hears of our rounds with it: whoever has no peers of its own, such as a hub, shows by that how far each instance
//! is that connects to it.

use super::{ANNOUNCE_EVERY, Shared, keys::Said};
use crate::{
    federation::{
        client::{Client, ClientError},
        exchange::Signer,
        feed,
        filter::Filter,
        inbound::RoundNote,
        peers::PeerOptions,
        run::RunEnd,
    },
    identity::Held,
    manifest::Position,
    types::PeerId,
};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// How often at most a peer hears that positions moved; where rounds follow each other faster, the next regular one says so.
const MOVED_EVERY: Duration = Duration::from_secs(1);

/// A round is not held up for it.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a peer heard of our rounds.
#[derive(Debug, Default)]
pub(super) struct Heard {
    last: Option<(RoundNote, Instant)>,
    /// It does not know of such notes.
    is_deaf: bool,
}

impl Heard {
    fn is_due(&self, note: &RoundNote) -> bool {
        let is_due = |(before, at): &(RoundNote, Instant)| {
            let moved = before != note && at.elapsed() >= MOVED_EVERY;
            moved || before.outcome != note.outcome || at.elapsed() > ANNOUNCE_EVERY
        };
        !self.is_deaf && self.last.as_ref().is_none_or(is_due)
    }
}

impl Shared {
    /// Tells the peer how a round with it went, where that is new to it.
    pub(super) async fn tell_round(
        &self,
        (url, client, held): (&str, &Client, &Held),
        options: &PeerOptions,
        end: &RunEnd,
        said: &mut Said,
    ) {
        let (Some((audience, _)), None) = (&end.peer, &end.error) else { return };
        let note = self.round_note(url, options, end);
        if !said.heard.is_due(&note) {
            return;
        }
        match timeout(PATIENCE, self.send_note(client, held, audience, &note)).await {
            Ok(Ok(knows)) => said.heard.is_deaf = !knows,
            // The round succeeded; how it went is told after a later one.
            Ok(Err(error)) => tracing::debug!(peer = url, %error, "the peer was not told how the round went"),
            Err(_) => tracing::debug!(peer = url, "the peer does not take in how the round went"),
        }
        said.heard.last = Some((note, Instant::now()));
    }

    async fn send_note(
        &self,
        client: &Client,
        held: &Held,
        audience: &PeerId,
        note: &RoundNote,
    ) -> Result<bool, ClientError> {
        let (node_id, now) = (&self.options.node_id, self.options.clock.now());
        client.tell_round(&Signer { key: &held.key, node_id, audience, now }, note).await
    }

    fn round_note(&self, url: &str, options: &PeerOptions, end: &RunEnd) -> RoundNote {
        let here = feed::here(&*self.options.lattice);
        let positions = self.options.peers.get(url).map(|state| state.positions).unwrap_or_default();
        RoundNote {
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

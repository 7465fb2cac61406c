//! The engine's rounds with peers that the admin marked as unsigned.

use super::{ANNOUNCE_EVERY, PeerTask, Shared, keys::Said, outcome, tell_span};
use crate::{
    federation::{
        client::ClientError,
        events::Exchange,
        originals::{self, Original, Receiver},
        peers::{Direction, PeerState},
        run::{RoundError, RoundReport, RunEnd},
    },
    identity::Held,
    manifest::{Canonicalization, sign},
    trust::TrustMode,
};
use bytes::Bytes;
use std::sync::Arc;
use tokio::time::Instant;

impl Shared {
    /// One round, and everything that is noted of it.
    pub(super) async fn round_with_original(&self, peer: &PeerTask, state: &PeerState, said: &mut Said) -> RunEnd {
        let options = &self.options;
        let (at, begun) = (options.clock.now(), options.clock.elapsed());
        let (span, held) = (options.tracer.root("round"), options.key.held());
        let (client, watch) = self.traced(peer, state, &held, &span);
        let exchange = Exchange::new(&options.events, &peer.url);
        let direction = if options.read_only { Direction::Pull } else { state.options.direction };
        let is_due = !held.is_revoked() && said.announced.is_none_or(|at| at.elapsed() > ANNOUNCE_EVERY);
        let envelope = |nodes: &str| self.sign_for_originals(&held, nodes);
        let original = Original {
            url: &peer.url,
            client: &client,
            direction,
            node_id: &options.node_id,
            envelope: if is_due { Some(&envelope) } else { None },
        };
        let (lattice, deletions, clock) = (&options.lattice, &options.deletions, &options.clock);
        let receiver = Receiver { lattice, deletions, clock, limits: options.limits };
        let mut end = RunEnd { report: RoundReport::default(), peer: None, error: self.refuses_originals() };
        if end.error.is_none() {
            let _turn = self.gate.turn(state.failed_in_a_row > 0).await;
            match originals::exchange(&original, &receiver, &mut said.given, &mut end.report).await {
                Ok(true) => said.announced = Some(Instant::now()),
                Ok(false) => {}
                Err(error) => end.error = Some(error),
            }
        }
        let took = options.clock.elapsed().saturating_sub(begun);
        self.audit(state, &end);
        tell_span(span, state, &end);
        options.metrics.round(outcome(&end), took);
        self.conclude(state, &end, (at, took, watch.latency()), &exchange);
        end
    }

    /// Why this instance exchanges with no original.
    fn refuses_originals(&self) -> Option<RoundError> {
        let rules = self.options.trust.rules();
        let (code, why) = if self.options.network.is_some() {
            ("not_trusted", "federation.network_key is set, and an original cannot prove that it knows the key")
        } else if rules.mode == TrustMode::Allowlist {
            ("not_trusted", "trust.mode is allowlist, and an original has no key")
        } else if rules.require_verified {
            ("not_trusted", "trust.require_verified is on, and an original has no key")
        } else {
            return None;
        };
        Some(ClientError::Distrusted { code, detail: why.to_owned() }.into())
    }

    /// Our manifest in the form that the Python original verifies. `nodes`: `"nodes":[…]`.
    fn sign_for_originals(&self, held: &Arc<Held>, nodes: &str) -> Result<String, String> {
        let fields = self.manifest_fields().to_string();
        let text = format!("{},{nodes}}}", fields.trim_end_matches('}'));
        let limits = &self.options.limits;
        let signed = sign(Bytes::from(text), Canonicalization::Python, limits, held.key.public_key(), |bytes| {
            held.key.sign(bytes)
        });
        signed.map_err(|error| error.to_string())
    }
}

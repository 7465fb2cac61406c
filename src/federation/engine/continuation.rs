//! Journals that do not go on where they were: of peers, which were restored or have a twin, and our own, of which a peer knows more
//! than we do.

use super::{PeerState, PeerTask, Shared, keys::Said};
use crate::{
    federation::{
        client::Client,
        events::EventKind,
        failure::FailureKind,
        run::{RoundError, RunEnd},
        shared_ids::{Shared as SharedId, Sharing},
        twins::ANOTHER_IDENTITY,
    },
    trust::Follows,
    types::PublicKey,
};
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;

/// How often a peer is asked which head of ours it knows: a process that was resumed from a live snapshot does not notice that it was.
const ASK_EVERY: Duration = Duration::from_secs(600);

impl Shared {
    /// Asks a peer for the greatest head that it has of us. Where our journal does not contain it, a copy of it went on elsewhere: the
    /// next write begins a new epoch, so that no position of that one counts beyond the common part.
    pub(super) async fn ask_for_own_head(&self, client: &Client, key: PublicKey, said: &mut Said) {
        if said.shown.is_some_and(|at| at.elapsed() < ASK_EVERY) {
            return;
        }
        let options = &self.options;
        let shown = match client.head_of(&options.node_id, &options.limits).await {
            Ok(shown) => shown,
            // The round says what is wrong, if it is a fault.
            Err(error) => {
                tracing::debug!(%error, "the peer was not asked which head of this instance it knows");
                return;
            }
        };
        said.shown = Some(Instant::now());
        let Some(shown) = shown.filter(|it| it.public_key() == key && it.get().node_id == options.node_id) else {
            return;
        };
        let (head, status, epochs) = (shown.get(), options.lattice.status(), options.lattice.epochs());
        let is_ours = head.index_id == status.index_id;
        if !is_ours || epochs.lineage.check(&head.position(), status.seq).is_ok() {
            return;
        }
        // After a start the next write begins one anyway.
        if epochs.next.is_none() {
            options.lattice.begin_epoch();
        }
        tracing::warn!(
            shown = %head.position(),
            seq = status.seq,
            "a peer knows a position of this instance that its journal does not contain: it was restored or resumed from a snapshot, \
             and begins a new epoch. If this repeats, another instance runs with the same identity: {ANOTHER_IDENTITY}"
        );
    }

    /// Tells that a peer was restored, and as a failure of the round that it has a twin; what was exchanged counts.
    pub(super) fn tell_continuation(&self, peer: &PeerTask, before: &PeerState, follows: Follows, end: &mut RunEnd) {
        let Some((id, key)) = &end.peer else { return };
        if matches!(follows, Follows::Restored | Follows::Returned) {
            tracing::info!(
                peer = peer.url,
                peer.id = id.as_str(),
                "the peer was restored from a copy: its lattice and this one are compared anew"
            );
            let data = json!({ "peer": peer.url, "nodeId": id.as_str() });
            self.options.events.tell(EventKind::PeerRestored, data);
        }
        if end.report.has_twin {
            self.tell_twin(peer, before, RoundError::OwnTwin(self.options.node_id.clone()), end);
            return;
        }
        let newest = self.options.trust.newest_head(id, *key);
        if newest.is_none_or(|newest| !newest.is_cloned(self.options.clock.now())) {
            return;
        }
        let error = RoundError::Cloned(id.clone());
        self.tell_twin(peer, before, error, end);
    }

    /// Notes for the status what a round showed of an id that two machines use.
    pub(super) fn note_shared_id(&self, url: &str, end: &RunEnd) {
        let (own_id, now) = (&self.options.node_id, self.options.clock.now());
        let (id, sharing) = match &end.error {
            None => return self.options.shared_ids.settle_own(url, now),
            Some(RoundError::OwnTwin(_)) => (own_id, Sharing::CopiedKey),
            Some(RoundError::Cloned(id)) => (id, Sharing::CopiedKey),
            Some(error) if matches!(error.kind(), FailureKind::RefusedKey | FailureKind::SameId) => {
                (own_id, Sharing::OtherKey)
            }
            _ => return,
        };
        let is_own = id == own_id;
        let seen_at = Some(url.to_owned());
        self.options.shared_ids.note(&SharedId { id, sharing, is_own, is_known: true, other_key: None, seen_at }, now);
    }

    /// Tells once of two instances with one identity, and as the failure of the round.
    fn tell_twin(&self, peer: &PeerTask, before: &PeerState, error: RoundError, end: &mut RunEnd) {
        if before.error.as_deref() != Some(error.to_string().as_str()) {
            tracing::warn!(peer = peer.url, "{error}");
        }
        // Of its two journals each makes positions in the other void.
        if matches!(end.error, None | Some(RoundError::Unsteady | RoundError::SameInstance { .. })) {
            end.error = Some(error);
        }
    }
}

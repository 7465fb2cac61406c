//! Deletions that wait for an admin, as the engine notes them: with the peer, as an event, in the log.

use super::{Shared, keys::Said};
use crate::federation::{
    events::EventKind,
    peers::PeerState,
    run::RunEnd,
    waiting::{confirm_command, waiting_here},
};
use serde_json::json;

impl Shared {
    /// How many deletions of this peer wait here.
    pub(super) fn waiting_here(&self, peer: &PeerState) -> u64 {
        // Where the journal fails, everything else says so.
        peer.node_id.as_deref().map_or(0, |id| self.options.lattice.waiting_of(id).unwrap_or_default())
    }

    /// Notes with the peer what waits there, and tells once of more than before on either side.
    pub(super) fn note_waiting(&self, before: &PeerState, waited_here: u64, end: &RunEnd, said: &mut Said) {
        let (report, events) = (&end.report, &self.options.events);
        let Some((peer, _)) = &end.peer else { return };
        if report.waiting_here > waited_here {
            events.tell(EventKind::DeletionsWaiting, waiting_here(peer, Some(&before.url), report.waiting_here));
        }
        said.waits |= report.waiting_there.is_some();
        let Some(there) = report.waiting_there.filter(|there| *there != before.waiting_there) else { return };
        self.update(&before.url, |state| state.waiting_there = there);
        if there > before.waiting_there {
            let command = confirm_command(&self.options.node_id);
            let data = json!({
                "peer": before.url, "nodeId": peer.as_str(), "where": "there", "deletions": there, "command": command,
            });
            events.tell(EventKind::DeletionsWaiting, data);
        }
    }
}

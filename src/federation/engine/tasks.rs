//! What goes on for each peer: rounds, and hearing from it.

use super::{Engine, PeerTask, Shared};
use crate::federation::{
    pauses::{FIRST_PAUSE, LONGEST_PAUSE, Notices, backoff, jittered, pause_after},
    peers::Direction,
};
use crate::types::{PeerId, PublicKey};
use std::sync::{Arc, atomic::Ordering};
use tokio::time::{Instant, sleep, sleep_until};

impl Engine {
    /// Is this peer exchanged with automatically?
    #[must_use]
    pub fn is_automatic(&self, url: &str) -> bool {
        self.shared.is_automatic(url)
    }

    /// An instance with this id and key sent a valid request: where rounds with it fail, the next one need not wait any longer.
    pub fn contacted(&self, id: &PeerId, key: PublicKey) {
        let known = self.shared.options.peers.with_identity(id.as_str(), &key.to_base64());
        if let Some(peer) = known.filter(|peer| peer.failed_in_a_row > 0)
            && let Some(task) = self.tasks().get(&peer.url)
        {
            task.peer.contact.notify_one();
        }
    }
}

impl Shared {
    /// Is this peer exchanged with automatically: by the switch for all peers, or because it was paired?
    pub(super) fn is_automatic(&self, url: &str) -> bool {
        self.options.control.is_auto() || self.options.peers.get(url).is_some_and(|peer| peer.auto_sync)
    }
}

/// One round after the other, each when there is a reason for it.
pub(super) async fn keep_in_step(shared: Arc<Shared>, peer: Arc<PeerTask>) {
    let mut next = Instant::now();
    let mut not_before = Instant::now();
    loop {
        tokio::select! {
            () = sleep_until(next) => {}
            () = peer.contact.notified() => sleep(FIRST_PAUSE).await,
            () = peer.wake.notified() => tokio::select! {
                () = sleep_until(not_before) => {}
                () = peer.contact.notified() => sleep(FIRST_PAUSE).await,
            },
        }
        if !shared.is_automatic(&peer.url) {
            next = Instant::now() + shared.options.control.interval();
            continue;
        }
        let end = shared.round(&peer, false).await;
        let pause = match &end.error {
            None => {
                not_before = Instant::now();
                peer.answers.notify_one();
                jittered(shared.options.control.interval(), 10)
            }
            Some(error) => {
                let pause = pause_after(shared.failed_in_a_row(&peer.url), error, shared.options.control.interval());
                not_before = Instant::now() + pause;
                pause
            }
        };
        next = Instant::now() + pause;
    }
}

/// Hears from a peer that something changed there. Without this, rounds come regularly all the same.
pub(super) async fn listen(shared: Arc<Shared>, peer: Arc<PeerTask>) {
    let mut failures = 0_u32;
    let mut notices = Notices::new(Instant::now());
    loop {
        if !shared.is_automatic(&peer.url) {
            shared.options.control.automatic().await;
        }
        let silent = shared
            .options
            .peers
            .get(&peer.url)
            .is_none_or(|it| it.options.direction == Direction::Push || it.options.unsigned);
        if !silent && let Ok(mut lines) = peer.client.notices().await {
            let begun = Instant::now();
            while let Ok(Some(line)) = lines.next_line().await {
                // Read no faster than they are heard: what is sent too fast waits at the sender.
                sleep_until(notices.take(Instant::now())).await;
                if line.starts_with(b"data:") {
                    peer.heard.store(position_in(&line).unwrap_or(0), Ordering::Relaxed);
                    peer.wake.notify_one();
                }
            }
            // Whoever lets us in and out again at once is not asked every second.
            if begun.elapsed() > LONGEST_PAUSE {
                failures = 0;
            }
        }
        failures = failures.saturating_add(1);
        tokio::select! {
            () = sleep(backoff(failures)) => {}
            // A round with it just came to its end.
            () = peer.answers.notified() => failures = 0,
        }
    }
}

/// `data: {"seq":N}`
fn position_in(line: &[u8]) -> Option<u64> {
    let notice: serde_json::Value = serde_json::from_slice(line.strip_prefix(b"data:")?).ok()?;
    notice.get("seq")?.as_u64()
}

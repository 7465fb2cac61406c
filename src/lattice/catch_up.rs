//! Callers who wait until what other programs did before is in the index: somebody edits a file and asks for a round at once.

use super::{store::Away, watch::Watcher};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Events that the kernel gave to the watcher's thread are noted within so long.
const ON_THEIR_WAY: Duration = Duration::from_millis(10);
/// Who writes all the time keeps nobody waiting for longer.
const LONGEST: Duration = Duration::from_secs(5);
/// Where nothing tells of changes, all files are looked at: that takes its time.
const LONGEST_SCAN: Duration = Duration::from_secs(60);
/// How often it is looked while somebody waits.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Those who wait.
#[derive(Debug, Default)]
pub(super) struct CatchUp(Vec<(Instant, oneshot::Sender<()>)>);

/// How the events stand.
pub(super) struct Stand<'a> {
    pub(super) watcher: Option<&'a Watcher>,
    /// Events wait to be looked at, or a scan is under way.
    pub(super) is_busy: bool,
}

impl CatchUp {
    /// Somebody waits from now on.
    pub(super) fn add(&mut self, reply: oneshot::Sender<()>) {
        self.0.push((Instant::now(), reply));
    }

    /// Does nobody wait?
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Answers everybody: nothing more will be seen.
    pub(super) fn answer_all(&mut self) {
        for (_, reply) in std::mem::take(&mut self.0) {
            // Whoever asked may be gone.
            let _ = reply.send(());
        }
    }

    /// Answers those who need not wait any longer. `missing`: files that are away, and may come back.
    pub(super) fn answer<'a>(&mut self, stand: &Stand<'_>, missing: impl Iterator<Item = &'a Away> + Clone) {
        let is_quiet = !stand.is_busy && stand.watcher.is_none_or(is_drained);
        let longest = if stand.watcher.is_some() { LONGEST } else { LONGEST_SCAN };
        for (asked, reply) in std::mem::take(&mut self.0) {
            let waited = asked.elapsed();
            let is_settled = missing.clone().all(|away| away.since > asked);
            if waited >= longest || (waited >= ON_THEIR_WAY && is_quiet && is_settled) {
                // Whoever asked may be gone.
                let _ = reply.send(());
            } else {
                self.0.push((asked, reply));
            }
        }
    }
}

#[cfg(target_os = "linux")]
fn is_drained(watcher: &Watcher) -> bool {
    watcher.is_drained()
}

#[cfg(not(target_os = "linux"))]
fn is_drained(_: &Watcher) -> bool {
    true
}

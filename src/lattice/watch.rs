//! Which names others may have changed: events of the kernel, gathered for a moment.

#[cfg(not(target_os = "linux"))]
mod any;
#[cfg(target_os = "linux")]
mod inotify;

#[cfg(not(target_os = "linux"))]
pub(super) use any::{Watcher, watch};
#[cfg(target_os = "linux")]
pub(super) use inotify::{Watcher, watch};

use super::file_name;
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};
use tokio::sync::Notify;

/// How long events are gathered, usually: an editor's save is many.
pub const GATHER_INTERVAL: Duration = Duration::from_millis(100);
/// More names than this cost more than a scan.
const MAX_NAMES: usize = 10_000;

/// What is to be looked at.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Work {
    /// These names, each with the moment at which its first event came, by the machine's clock.
    pub(super) names: BTreeMap<String, SystemTime>,
    /// These names too, also where the file's stamp says that nothing changed.
    pub(super) doubted: BTreeSet<String>,
    /// Everything: events were lost.
    pub(super) everything: bool,
}

/// Names that wait to be looked at.
#[derive(Debug)]
pub(super) struct Pending {
    gather_interval: Duration,
    state: Mutex<(Work, Option<Instant>)>,
    wake: Notify,
}

impl Default for Pending {
    fn default() -> Self {
        Self::new(GATHER_INTERVAL)
    }
}

impl Pending {
    pub(super) fn new(gather_interval: Duration) -> Self {
        Self { gather_interval, state: Mutex::default(), wake: Notify::default() }
    }

    fn state(&self) -> MutexGuard<'_, (Work, Option<Instant>)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Work)) {
        let mut state = self.state();
        change(&mut state.0);
        if state.1.is_none() {
            state.1 = Some(Instant::now());
            self.wake.notify_one();
        }
    }

    /// This name may stand for something else now.
    pub(super) fn add(&self, name: &str) {
        self.change(|work| {
            if work.everything || work.names.len() >= MAX_NAMES {
                work.everything = true;
                work.names.clear();
            } else if !work.names.contains_key(name) {
                work.names.insert(name.to_owned(), SystemTime::now());
            }
        });
    }

    /// A reader found something else than the index says, or nothing that it could read: the stamp is not to be trusted.
    pub(super) fn doubt(&self, name: &str) {
        self.change(|work| {
            if work.doubted.len() < MAX_NAMES {
                work.doubted.insert(name.to_owned());
            }
        });
    }

    /// Anything may have changed.
    pub(super) fn add_everything(&self) {
        self.change(|work| work.everything = true);
    }

    /// Something happened to what has this name, or (`None`) to the directory itself: it was moved, removed or given other permissions.
    fn note(&self, name: Option<&OsStr>) {
        match name.map(|name| (name.to_str(), name)) {
            Some((Some(name), _)) if file_name::is_candidate(name) => self.add(name),
            Some((Some(_), _)) => {}
            Some((None, name)) if file_name::is_candidate(&name.to_string_lossy()) => self.add_everything(),
            Some((None, _)) => {}
            None => self.add_everything(),
        }
    }

    /// How long until there is work; `None` while nothing waits.
    pub(super) fn due_in(&self) -> Option<Duration> {
        self.state().1.map(|since| self.gather_interval.saturating_sub(since.elapsed()))
    }

    /// The work, where it was gathered for long enough.
    pub(super) fn take_due(&self) -> Option<Work> {
        let mut state = self.state();
        state.1.filter(|since| since.elapsed() >= self.gather_interval)?;
        state.1 = None;
        Some(std::mem::take(&mut state.0))
    }

    /// All names that wait, however short they did.
    pub(super) fn take_all(&self) -> BTreeSet<String> {
        let mut state = self.state();
        state.1 = None;
        std::mem::take(&mut state.0).names.into_keys().collect()
    }

    /// Answers when something begins to wait.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    fn noted(name: Option<&[u8]>) -> Work {
        let pending = Pending::default();
        pending.note(name.map(OsStr::from_bytes));
        std::mem::take(&mut pending.state().0)
    }

    #[test]
    fn only_changes_of_candidates_are_noted() {
        assert_eq!(noted(Some(b"a.json")).names.into_keys().collect::<Vec<_>>(), ["a.json"]);
        for other in [&b".ark-1-2.tmp"[..], b"manifest.json", b"a.txt", b"\xff.txt"] {
            assert_eq!(noted(Some(other)), Work::default(), "{other:?}");
        }
    }

    #[test]
    fn the_directory_itself_nameless_files_and_too_many_names_ask_for_everything() {
        assert!(noted(None).everything && noted(Some(b"\xff.json")).everything);
        let pending = Pending::default();
        for number in 0..=MAX_NAMES {
            pending.add(&number.to_string());
        }
        let work = std::mem::take(&mut pending.state().0);
        assert!(work.everything && work.names.is_empty());
    }
}

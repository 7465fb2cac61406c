//! Which names others may have changed: events of the kernel, gathered for a moment.

use super::file_name;
use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode},
};
use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// How long events are gathered: an editor's save is many.
const GATHER: Duration = Duration::from_millis(100);
/// More names than this cost more than a scan.
const MAX_NAMES: usize = 10_000;

/// What is to be looked at.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Work {
    /// These names.
    pub(super) names: BTreeSet<String>,
    /// These names too, also where the file's stamp says that nothing changed.
    pub(super) doubted: BTreeSet<String>,
    /// Everything: events were lost.
    pub(super) everything: bool,
}

/// Names that wait to be looked at.
#[derive(Debug, Default)]
pub(super) struct Pending {
    state: Mutex<(Work, Option<Instant>)>,
    wake: Notify,
}

impl Pending {
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
            } else if !work.names.contains(name) {
                work.names.insert(name.to_owned());
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

    /// How long until there is work; `None` while nothing waits.
    pub(super) fn due_in(&self) -> Option<Duration> {
        self.state().1.map(|since| GATHER.saturating_sub(since.elapsed()))
    }

    /// The work, where it was gathered for long enough.
    pub(super) fn take_due(&self) -> Option<Work> {
        let mut state = self.state();
        state.1.filter(|since| since.elapsed() >= GATHER)?;
        state.1 = None;
        Some(std::mem::take(&mut state.0))
    }

    /// Answers when something begins to wait.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }
}

/// Watches the directory's own files. Ends when the answer is dropped.
///
/// # Errors
/// When the kernel has no watch left, or the directory is gone.
pub(super) fn watch(directory: &Path, pending: Arc<Pending>) -> notify::Result<RecommendedWatcher> {
    let root = directory.to_owned();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| match event {
        Ok(event) => note(&root, &event, &pending),
        Err(error) => {
            tracing::warn!(%error, "events of the data directory were lost; looking at every file");
            pending.add_everything();
        }
    })?;
    watcher.watch(directory, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

fn note(root: &Path, event: &Event, pending: &Pending) {
    if event.need_rescan() {
        pending.add_everything();
        return;
    }
    if let EventKind::Access(access) = event.kind
        && access != AccessKind::Close(AccessMode::Write)
    {
        return;
    }
    for path in &event.paths {
        if path == root {
            // The directory itself was moved, removed or given other permissions.
            pending.add_everything();
        } else if let Some(name) = path.file_name() {
            match name.to_str() {
                Some(name) if file_name::is_candidate(name) => pending.add(name),
                Some(_) => {}
                None if file_name::is_candidate(&name.to_string_lossy()) => pending.add_everything(),
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::event::{CreateKind, Flag, ModifyKind, RenameMode};

    fn noted(event: &Event) -> Work {
        let pending = Pending::default();
        note(Path::new("/d"), event, &pending);
        std::mem::take(&mut pending.state().0)
    }

    #[test]
    fn only_changes_of_candidates_are_noted() {
        let renamed = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        let work = noted(&Event::new(renamed).add_path("/d/a.json".into()).add_path("/d/.ark-1-2.tmp".into()));
        assert_eq!(work.names.into_iter().collect::<Vec<_>>(), ["a.json"]);
        let opened = EventKind::Access(AccessKind::Open(AccessMode::Any));
        assert_eq!(noted(&Event::new(opened).add_path("/d/a.json".into())), Work::default());
        let manifest = EventKind::Create(CreateKind::File);
        assert_eq!(noted(&Event::new(manifest).add_path("/d/manifest.json".into())), Work::default());
    }

    #[test]
    fn lost_events_and_too_many_names_ask_for_everything() {
        assert!(noted(&Event::new(EventKind::Other).set_flag(Flag::Rescan)).everything);
        assert!(noted(&Event::new(EventKind::Any).add_path("/d".into())).everything);
        let pending = Pending::default();
        for number in 0..=MAX_NAMES {
            pending.add(&number.to_string());
        }
        let work = std::mem::take(&mut pending.state().0);
        assert!(work.everything && work.names.is_empty());
    }
}

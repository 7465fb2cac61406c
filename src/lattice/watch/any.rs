//! Systems other than Linux.

use super::Pending;
use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode},
};
use std::{path::Path, sync::Arc};

pub(in crate::lattice) type Watcher = RecommendedWatcher;

/// Watches the directory's own files. Ends when the answer is dropped.
///
/// # Errors
/// When the kernel has no watch left, or the directory is gone.
pub(in crate::lattice) fn watch(directory: &Path, pending: Arc<Pending>) -> notify::Result<Watcher> {
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
        pending.note(if path == root { None } else { path.file_name() });
    }
}

//! Makes the index agree with files that others may have changed.

use super::{
    Entry, LatticeError,
    dating::{Dated, Missing},
    file_name,
    journal::Source,
    reader::{self, FileStamp, Found, NodeFile},
    store::{Away, Changes, SeenFile, Store, fingerprint},
    turns::Turns,
    watch::{Pending, Work},
};
use crate::types::{Limits, NodeId, Timestamp};
use std::{
    collections::{BTreeSet, hash_map},
    path::Path,
    sync::Arc,
    time::{Instant, SystemTime},
};

/// A file that breaks may be one that another program is writing: it gets this long, ns.
const HALF_WRITTEN_NANOS: u64 = 500_000_000;
/// Files that a thread reads at a time.
const READ_TURN: usize = 16;

/// What the stamp alone says of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Glance {
    /// As it was when it was read.
    Same,
    /// As it was, but it was so young then that it may have changed since.
    Racy,
    /// New, or changed.
    Differs,
}

impl Store {
    /// Compares a stamp with what is known of the file, and notes that the file is there.
    pub(super) fn glance(&mut self, name: &str, stamp: &FileStamp) -> Glance {
        let (seen, generation) = (fingerprint(stamp), self.generation);
        let is_as_broken = self.shared.report().broken.get_mut(name).is_some_and(|broken| {
            let is_same = broken.fingerprint == Some(seen);
            if is_same {
                broken.generation = generation;
            }
            is_same
        });
        if is_as_broken {
            if let Some(known) = self.owner_mut(name) {
                known.generation = generation;
            }
            return Glance::Same;
        }
        match self.owner_mut(name) {
            Some(known) if known.live && known.fingerprint == seen => {
                known.generation = generation;
                let (id, racy) = (known.entry.id.clone(), known.racy);
                self.missing.remove(&id);
                if racy { Glance::Racy } else { Glance::Same }
            }
            _ => Glance::Differs,
        }
    }

    /// Reads these names again and writes down what changed.
    ///
    /// # Errors
    /// [`LatticeError`] where the directory is gone or the journal fails; nothing is changed then.
    pub(super) fn examine(&mut self, names: &[String]) -> Result<(), LatticeError> {
        let mut changes = Changes::default();
        for (name, found) in names.iter().zip(read_all(&self.shared.directory, names, &self.shared.limits)) {
            self.settle(&mut changes, name, found)?;
        }
        self.commit_found(&changes)
    }

    /// Looks at names that events told of. What is half written yet, or gone for less than the grace, goes back to `pending`: many
    /// editors move the old file aside before they write the new one.
    ///
    /// # Errors
    /// As [`Self::examine`].
    pub(super) fn examine_events(&mut self, work: &Work, pending: &Pending) -> Result<(), LatticeError> {
        // What is in another directory in its place are no edits.
        self.shared.check_directory().map_err(|error| LatticeError::Io(error.to_string()))?;
        let names: BTreeSet<&String> = work.names.keys().chain(&work.doubted).collect();
        let mut names: Vec<String> = names.into_iter().cloned().collect();
        // Our own writes come back as events: their stamps are known.
        names.retain(|name| match self.shared.directory.join(name).symlink_metadata() {
            Ok(metadata) => {
                self.glance(name, &FileStamp::of(&metadata)) == Glance::Differs || work.doubted.contains(name)
            }
            Err(_) => true,
        });
        let mut changes = Changes::default();
        for (name, found) in names.iter().zip(read_all(&self.shared.directory, &names, &self.shared.limits)) {
            match &found {
                Found::Broken(_, Some(stamp)) if stamp.age_nanos() < HALF_WRITTEN_NANOS => {
                    if work.doubted.contains(name) { pending.doubt(name) } else { pending.add(name) }
                }
                Found::Nothing if self.may_come_back(name, work.names.get(name).copied()) => pending.add(name),
                _ => self.settle(&mut changes, name, found)?,
            }
        }
        self.commit_found(&changes)
    }

    /// Notes that a live node's file is not there. Answers whether it is away for so short a time that it may come back by itself.
    /// `noticed_at`: when an event said so, by the machine's clock.
    pub(super) fn may_come_back(&mut self, name: &str, noticed_at: Option<SystemTime>) -> bool {
        let Some(id) = self.owner(name).filter(|known| known.live).map(|known| known.entry.id.clone()) else {
            return false;
        };
        let grace = self.vanish_grace;
        match self.missing.entry(id) {
            hash_map::Entry::Occupied(away) => away.get().since.elapsed() < grace,
            hash_map::Entry::Vacant(free) => {
                // Whatever happened in the directory last, the file was gone then.
                let changed_at = self.shared.directory.metadata().and_then(|it| it.modified()).ok();
                let at = [noticed_at, changed_at].into_iter().flatten().fold(SystemTime::now(), SystemTime::min);
                free.insert(Away { since: Instant::now(), at: Timestamp::from_system_time(at) });
                true
            }
        }
    }

    /// Before the end: nobody waits any more for files that are away, among them those of `pending`, and a deletion that is not written
    /// down would be left to whoever starts next, perhaps in a copy of the directory that tells less of it.
    pub(super) fn settle_missing(&mut self, pending: BTreeSet<String>) {
        let mut names = pending;
        names.extend(self.missing.keys().map(|id| self.name_for(id)));
        names.retain(|name| self.shared.directory.join(name).symlink_metadata().is_err());
        let names: Vec<String> = names.into_iter().collect();
        if let Err(error) = self.examine(&names) {
            tracing::warn!(%error, "deletions of the last moment are left to the next start");
        }
    }

    /// Commits what was found out about files.
    ///
    /// # Errors
    /// As [`Self::examine`].
    pub(super) fn commit_found(&mut self, changes: &Changes) -> Result<(), LatticeError> {
        if changes.deletes() {
            // An unmounted directory is empty too: files only count as deleted while it stands.
            self.shared.check_directory().map_err(|error| LatticeError::Io(error.to_string()))?;
        }
        match self.commit(changes) {
            // What was only looked at again need not be written down: the next start looks once more.
            Err(LatticeError::NoSpace | LatticeError::ReadOnly(_)) if changes.only_looks() => {
                self.show_all(changes);
                self.unmark_broken(&changes.repaired);
                Ok(())
            }
            result => result,
        }
    }

    /// Draws the conclusions from what a name stands for.
    ///
    /// # Errors
    /// As [`Self::examine`].
    pub(super) fn settle(&mut self, changes: &mut Changes, name: &str, found: Found) -> Result<(), LatticeError> {
        match found {
            Found::Node(file) => self.settle_node(changes, name, *file),
            // A folder like any other: nobody misses a node there.
            Found::Broken(..) if self.owner(name).is_none() && is_directory(&self.shared.directory.join(name)) => {
                changes.repaired.push(name.to_owned());
                Ok(())
            }
            Found::Broken(reason, stamp) => {
                self.mark_broken(name, &reason, stamp.as_ref(), None);
                self.settle_broken(changes, name)
            }
            Found::Misnamed(id, reason, stamp) => {
                self.mark_broken(name, &reason, Some(&stamp), Some(id.clone()));
                self.settle_broken(changes, name)?;
                // Renamed so that it fits its id no longer: broken, not deleted.
                let own = self.live(&id).is_some().then(|| self.name_for(&id)).filter(|own| own != name);
                match own {
                    Some(own) if self.shared.directory.join(&own).symlink_metadata().is_err() => {
                        self.settle_broken(changes, &own)
                    }
                    _ => Ok(()),
                }
            }
            Found::Nothing => self.settle_nothing(changes, name),
        }
    }

    /// The name stands for something that is no node.
    fn settle_broken(&mut self, changes: &mut Changes, name: &str) -> Result<(), LatticeError> {
        let Some((id, live)) = self.owner(name).map(|known| (known.entry.id.clone(), known.live)) else {
            return Ok(());
        };
        self.make_room(changes, &id)?;
        if live {
            self.stage_broke(changes, id);
        } else if let Some(known) = self.known.get_mut(id.as_str()) {
            known.generation = self.generation;
        }
        Ok(())
    }

    /// There is nothing of the name.
    fn settle_nothing(&mut self, changes: &mut Changes, name: &str) -> Result<(), LatticeError> {
        changes.repaired.push(name.to_owned());
        let Some(entry) = self.owner(name).map(|known| known.entry.clone()) else { return Ok(()) };
        self.make_room(changes, &entry.id)?;
        for other in [file_name::plain(&entry.id), file_name::second(&entry.id)] {
            if other == name {
                continue;
            }
            // Reported as a second file until now; it is the node's only file from here on.
            if let Found::Node(file) = reader::examine(&self.shared.directory, &other, &self.shared.limits) {
                return self.settle_node(changes, &other, *file);
            }
        }
        if let Some(coming) = self.arrived(&entry.id, None)? {
            let source = Source::Given { ancestry: coming.ancestry, from: coming.from };
            self.stage_deleted(changes, (&entry.id, coming.content_hash), coming.at, source);
            return Ok(());
        }
        if self.is_renamed(&entry.id) {
            return self.settle_broken(changes, name);
        }
        match self.date_deletion(&entry)? {
            Missing::Deleted(at) => {
                self.stage_deleted(changes, (&entry.id, entry.content_hash), at, Source::Edit);
            }
            Missing::Lost => self.stage_lost(changes, entry.id.clone()),
        }
        Ok(())
    }

    fn settle_node(&mut self, changes: &mut Changes, name: &str, file: NodeFile) -> Result<(), LatticeError> {
        self.make_room(changes, &file.id)?;
        let known = self.known.get(file.id.as_str());
        let other = known.map(|known| self.known.name(known)).filter(|other| other != name);
        if let Some(other) = other
            && self.shared.directory.join(&other).symlink_metadata().is_ok()
        {
            if name != file_name::plain(&file.id) {
                self.mark_broken(name, &format!("the node {} is in {other} already", file.id), Some(&file.stamp), None);
                return Ok(());
            }
            let stamp = self.shared.directory.join(&other).symlink_metadata().ok().map(|it| FileStamp::of(&it));
            self.mark_broken(&other, &format!("the node {} is in {name} already", file.id), stamp.as_ref(), None);
        }
        changes.repaired.push(name.to_owned());
        let known = self.known.get(file.id.as_str()).map(|known| (Arc::clone(&known.entry), known.live));
        let same = known.as_ref().filter(|(entry, _)| entry.content_hash == file.content_hash);
        self.note_time(name, file.has_unreadable_time);
        self.note_origin(&file, same.is_some())?;
        let arrived = if same.is_some() { None } else { self.arrived(&file.id, Some(file.content_hash))? };
        // The same content keeps its version's time: a file that was only touched, or came back, is no edit.
        let dated = match (same, &arrived) {
            (Some((entry, _)), _) => Dated::At(entry.updated_at),
            (None, Some(coming)) => Dated::At(coming.at),
            (None, None) => self.date_edit(name, &file)?,
        };
        let (Dated::At(updated_at) | Dated::Older(updated_at) | Dated::Remembered(updated_at)) = dated else {
            // It is there: only what it means is open.
            if let Some(known) = self.known.get_mut(file.id.as_str()) {
                known.generation = self.generation;
            }
            return Ok(());
        };
        self.stage_step_back(changes, dated);
        let entry = Entry {
            id: file.id,
            content_hash: file.content_hash,
            file_hash: file.file_hash,
            node_type: file.node_type,
            updated_at,
            size_bytes: file.stamp.size,
            seq: known.as_ref().map_or(0, |(entry, _)| entry.seq),
        };
        let at = SeenFile { name, stamp: file.stamp, read_at_ns: file.read_at_ns, stated: Some(file.declared) };
        if same.is_some_and(|(_, live)| *live) {
            self.stage_seen(changes, entry, at);
        } else {
            // Also a repaired file with the content that it had: its content can be had again.
            let source = match arrived {
                Some(it) => Source::Given { ancestry: it.ancestry, from: it.from },
                None if matches!(dated, Dated::Remembered(_)) => Source::Remembered,
                None => Source::Edit,
            };
            self.stage_put(changes, entry, at, source);
        }
        Ok(())
    }

    /// A node occurs once in a batch: what is staged for it so far is written down first.
    fn make_room(&mut self, changes: &mut Changes, id: &NodeId) -> Result<(), LatticeError> {
        if changes.touches(id) { self.commit_found(&std::mem::take(changes)) } else { Ok(()) }
    }
}

pub(super) fn is_directory(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir())
}

/// Reads the names with as many threads as the machine has cores; each holds one file at a time.
pub(super) fn read_all(directory: &Path, names: &[String], limits: &Limits) -> Vec<Found> {
    let read =
        |at: usize| names.get(at).map_or(Found::Nothing, |name: &String| reader::examine(directory, name, limits));
    Turns::over(names.len(), READ_TURN).all(read)
}

#[cfg(test)]
mod tests {
    use super::{super::store::tests::store, *};
    use std::{collections::BTreeMap, fs, path::PathBuf};

    fn events(store: &mut Store, pending: &Pending) {
        let work = Work { names: BTreeMap::from([("a.json".to_owned(), SystemTime::now())]), ..Work::default() };
        store.examine_events(&work, pending).unwrap();
    }

    fn with_a_node(folder: &Path) -> (Store, PathBuf) {
        let mut store = store(folder);
        let path = store.shared.directory.join("a.json");
        super::super::offline::write_file(&path, br#"{"id":"a","n":1}"#).unwrap();
        events(&mut store, &Pending::default());
        assert_eq!(store.shared.status().seq, 1);
        (store, path)
    }

    #[test]
    fn a_file_that_an_editor_moves_aside_before_it_writes_the_new_one_is_not_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, path) = with_a_node(folder.path());
        let pending = Pending::default();
        let backup = path.with_extension("json~");
        fs::rename(&path, &backup).unwrap();
        events(&mut store, &pending);
        assert!(pending.due_in().is_some(), "it is looked at again");
        fs::rename(&backup, &path).unwrap();
        events(&mut store, &pending);
        assert_eq!((store.shared.status().nodes, store.shared.status().seq), (1, 1));

        fs::remove_file(&path).unwrap();
        events(&mut store, &pending);
        events(&mut store, &pending);
        assert_eq!((store.shared.status().nodes, store.shared.status().tombstones), (0, 1));
    }

    #[test]
    fn what_is_away_at_the_end_is_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, path) = with_a_node(folder.path());
        store.vanish_grace = std::time::Duration::from_secs(60);
        fs::remove_file(path).unwrap();
        events(&mut store, &Pending::default());
        assert_eq!(store.shared.status().tombstones, 0);
        store.settle_missing(BTreeSet::new());
        assert_eq!((store.shared.status().nodes, store.shared.status().tombstones), (0, 1));
    }

    #[test]
    fn a_file_that_a_reader_doubts_is_read_again_whatever_its_stamp_says() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, path) = with_a_node(folder.path());
        super::super::offline::write_file(&path, br#"{"id":"a","n":2}"#).unwrap();
        let stamp = FileStamp::of(&path.symlink_metadata().unwrap());
        store.known.iter_mut().for_each(|known| known.fingerprint = fingerprint(&stamp));
        events(&mut store, &Pending::default());
        assert_eq!(store.shared.status().seq, 1);
        let work = Work { doubted: BTreeSet::from(["a.json".to_owned()]), ..Work::default() };
        store.examine_events(&work, &Pending::default()).unwrap();
        assert_eq!(store.shared.status().seq, 2);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_that_the_machine_could_not_read_is_tried_again_at_every_look() {
        let found = reader::examine(Path::new("/proc/self"), "mem", &Limits::default());
        assert!(matches!(found, Found::Broken(_, None)), "{found:?}");
    }
}

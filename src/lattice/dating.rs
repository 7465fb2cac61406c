//! When an edit or a deletion counts as made that is found in the directory (DESIGN 4.7): while the service runs, and at its start,
//! where a file may also be older than the journal, because it comes from a backup.

use super::{
    Entry, LatticeError, Version,
    journal::{Journal, JournalError, Op, Stated},
    reader::NodeFile,
    store::{Changes, Store},
    version::{self, FileTimes},
};
use crate::types::{NodeId, Timestamp};
use serde::{Deserialize, Serialize};
use std::{fs::Metadata, io, time::Duration};

/// So many files of one start that hold an earlier content under a new mtime come from a backup; fewer are edits that were undone.
const RESTORED: usize = 10;
/// Names that a summary shows.
const SHOWN: usize = 3;
/// How coarse the times of a directory may be. A directory whose last change lies further before a file was seen in it is an older copy.
const COARSE: Duration = Duration::from_secs(3);
/// How far the clock of the file system may lie behind that of the process.
const FINE: Duration = Duration::from_millis(100);

/// How files are read that hold an earlier content under a new mtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Reading {
    /// They come from a backup that lost the mtimes: the old versions.
    Restored,
    /// Each is an edit that brings the earlier content back.
    Undone,
}

/// What one kind of finding comes to.
#[derive(Debug, Default)]
struct Tally {
    count: usize,
    first: Vec<String>,
}

impl Tally {
    fn add(&mut self, id: &NodeId) {
        self.count = self.count.saturating_add(1);
        if self.first.len() < SHOWN {
            self.first.push(id.to_string());
        }
    }

    fn names(&self) -> String {
        let more = if self.count > self.first.len() { ", …" } else { "" };
        format!("{}{more}", self.first.join(", "))
    }
}

/// What speaks for and against a copy in a start. It is written down before what follows from it: what a start wrote that did not come to
/// the end of its first scan is known to the journal since, and looks as if it had always been there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Found {
    /// The directory's mtime before the process touched it, micros; `None`: its file system keeps none.
    directory_changed_at: Option<i64>,
    reading: Option<Reading>,
    /// One file at least is the very file that the journal knows, edited or not: the files were not all put there anew.
    has_kept_file: bool,
    /// A file was put there anew with the content that it had: programs that copy do that, editing seldom.
    has_recreated: bool,
    /// A file was put there after the directory's last change: who copied the files gave the directory its time back, which tells then
    /// how old the copy is.
    is_dated_back: bool,
    /// Files hold an earlier content under a new mtime.
    has_earlier: bool,
    /// Files are older than the versions of the journal.
    has_older: bool,
}

/// How changes are judged that are found before the first complete scan of a start.
#[derive(Debug)]
pub(super) struct AtStart {
    found: Found,
    /// What of that is written down.
    written: Option<Found>,
    /// An earlier start was ended in the middle of its scan: that a file is as the journal knows it says nothing, for that start may have
    /// written it down.
    goes_on: bool,
    /// The directory was adopted: what is missing in it was lost.
    adopting: bool,
    /// Files that hold an earlier content under a new mtime, while the reading is not decided.
    undecided: Vec<String>,
    older: Tally,
    undone: Tally,
    lost: Tally,
}

impl AtStart {
    /// Of a directory that is as it was before this process changed anything in it. `unfinished`: what the start before had written down
    /// of itself, if it did not come to the end of its scan.
    pub(super) fn begun(directory: &Metadata, unfinished: Option<&str>) -> Self {
        let begun = Self::new(directory);
        match unfinished.map(serde_json::from_str::<Found>) {
            None => begun,
            Some(Ok(found)) => Self { found, written: Some(found), goes_on: true, ..begun },
            // Another version wrote it: nothing is deleted for want of understanding it.
            Some(Err(_)) => Self { found: Found { has_older: true, ..begun.found }, goes_on: true, ..begun },
        }
    }

    /// As [`Self::begun`], where no start before was ended in its scan.
    pub(super) fn new(directory: &Metadata) -> Self {
        let changed_at = directory.modified().map(Timestamp::from_system_time).ok();
        let changed_at = changed_at.filter(|at| *at > Timestamp::EPOCH).map(Timestamp::micros);
        Self {
            found: Found { directory_changed_at: changed_at, ..Found::default() },
            written: None,
            goes_on: false,
            adopting: false,
            undecided: Vec::new(),
            older: Tally::default(),
            undone: Tally::default(),
            lost: Tally::default(),
        }
    }

    /// A file is as the journal knows it.
    pub(super) fn found_kept(&mut self) {
        self.found.has_kept_file |= !self.goes_on;
    }

    /// Writes down what was found so far, where that changed, so that a process that ends in the middle of its first scan leaves it to the
    /// next one.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(super) fn note(&mut self, journal: &Journal) -> Result<(), JournalError> {
        if self.written != Some(self.found) {
            let text = serde_json::to_string(&self.found).map_err(|error| io::Error::other(error.to_string()))?;
            journal.note_start(&text)?;
            self.written = Some(self.found);
        }
        Ok(())
    }

    /// The directory is adopted.
    pub(super) fn adopt(&mut self) {
        self.adopting = true;
    }

    /// The file of this node is older than the journal's version.
    fn found_older(&mut self, id: &NodeId) {
        self.found.has_older = true;
        self.older.add(id);
    }

    fn directory_changed_at(&self) -> Option<Timestamp> {
        self.found.directory_changed_at.map(Timestamp::from_micros)
    }

    /// Do the files come from a copy that was made before? What is missing in a copy was not yet in it; to take that for deleted would
    /// delete it everywhere.
    fn is_copy(&self) -> bool {
        let all_anew = self.all_anew() && (self.found.has_recreated || self.found.has_earlier);
        self.adopting || self.found.has_older || all_anew || self.found.reading == Some(Reading::Restored)
    }

    /// Was every file put there anew, in a directory whose own time tells nothing?
    fn all_anew(&self) -> bool {
        !self.found.has_kept_file && !self.found.is_dated_back
    }

    /// Was the directory last changed before a file was seen in it at `seen`?
    fn predates(&self, seen: Timestamp) -> bool {
        self.directory_changed_at().is_some_and(|changed| changed.plus(fineness(changed).max(FINE)) < seen)
    }

    /// Was the directory last changed before a file was put there? To put it there changed the directory, by the same clock.
    fn is_older_than(&self, created: Timestamp) -> bool {
        self.directory_changed_at().is_some_and(|changed| changed.plus(fineness(changed)) < created)
    }

    /// One line for each thing that the admin may want to know, with the command for the other reading.
    fn report(&self) {
        if self.older.count > 0 {
            tracing::warn!(
                lattice.older_files = self.older.count,
                "{} files are older than the versions that were here ({}): they count as restored from a backup, and newer versions \
                 of peers replace them. If these files are to count as edited now: ark-lattice node accept ID... Once they are replaced, they \
                 are kept here: ark-lattice conflicts list --all, then ark-lattice conflicts restore NUMBER",
                self.older.count,
                self.older.names()
            );
        }
        if self.undone.count > 0 {
            tracing::warn!(
                lattice.undone_edits = self.undone.count,
                "{} files hold an earlier content again ({}): each counts as an edit made when the file was written, and replaces what peers \
                 have. If they come from a backup, the later versions are kept on the peers that had them. There: ark-lattice conflicts list \
                 --all, then ark-lattice conflicts restore NUMBER",
                self.undone.count,
                self.undone.names()
            );
        }
        if self.lost.count > 0 {
            tracing::warn!(
                lattice.lost_nodes = self.lost.count,
                "{} nodes are missing in a directory that is an older copy ({}): they count as lost, not as deleted, and come back from \
                 peers. If they are to be deleted: ark-lattice node rm ID, once they are back",
                self.lost.count,
                self.lost.names()
            );
        }
    }
}

/// When an edit counts as made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dated {
    /// Then: after the version that it replaces.
    At(Timestamp),
    /// Then: before the version that the journal has. The directory holds an older version.
    Older(Timestamp),
    /// The same, of a version that was here before and was replaced: nobody could miss it.
    Remembered(Timestamp),
    /// That is decided once all files were looked at.
    Undecided,
}

fn fineness(at: Timestamp) -> Duration {
    if at.micros().rem_euclid(1_000_000) == 0 { COARSE } else { Duration::ZERO }
}

/// What a missing file means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// The node was deleted, then.
    Deleted(Timestamp),
    /// The directory is an older copy, in which the node was not yet.
    Lost,
}

impl Store {
    /// Dates the content of a file that is not the content of the node's version.
    ///
    /// # Errors
    /// [`LatticeError`]: the journal cannot be read.
    pub(super) fn date_edit(&mut self, name: &str, file: &NodeFile) -> Result<Dated, LatticeError> {
        let (held, now) = (self.held(&file.id)?, self.shared.clock.now());
        let times = FileTimes {
            stated: self.newly_stated(file, held)?,
            modified: Timestamp::from_nanos(file.stamp.mtime_ns),
            placed: Timestamp::from_nanos(file.stamp.ctime_ns),
        };
        let is_same_date = times.stated.is_none() && held.is_some_and(|held| held.at == times.modified);
        let is_before_known =
            self.at_start.is_some() && is_same_date && self.is_before_known_file(&file.id, times.modified)?;
        let Some(start) = &mut self.at_start else {
            return Ok(Dated::At(version::edit_seen(self.to_follow(held), times, self.known_at, now)));
        };
        let at = version::edit_found_at_start(held.map(|held| held.at), times, now);
        let Some(held) = held else { return Ok(Dated::At(at)) };
        let at = if is_before_known { at.min(version::just_before(held.at)) } else { at };
        let is_older = |at| Version { at, content: Some(file.content_hash) } < held;
        let earlier = self.shared.journal.remembered(&file.id, &file.content_hash)?;
        let earlier = earlier.filter(|earlier| is_older(earlier.at));
        let remembered = earlier.map(|earlier| earlier.at);
        // By its mtime that very file of before, though a document may state an earlier date: then whatever took its place states one
        // between the two.
        let is_that_file = earlier.is_some_and(|earlier| earlier.is_file_of(file.stamp.mtime_ns));
        if is_older(at) || is_that_file {
            start.found_older(&file.id);
            return Ok(remembered.map_or(Dated::Older(at), Dated::Remembered));
        }
        Ok(match (remembered, start.found.reading) {
            (None, _) => Dated::At(at),
            (Some(_), None) => {
                start.found.has_earlier = true;
                start.undecided.push(name.to_owned());
                Dated::Undecided
            }
            (Some(old), Some(Reading::Restored)) => {
                start.found_older(&file.id);
                Dated::Remembered(old)
            }
            (Some(_), Some(Reading::Undone)) => {
                start.undone.add(&file.id);
                Dated::At(at)
            }
        })
    }

    /// Was a file of this mtime there before the one that the journal knows? That one's version can be dated earlier than its mtime, as
    /// its document states: where both have one date, this tells which is older.
    fn is_before_known_file(&self, id: &NodeId, modified: Timestamp) -> Result<bool, LatticeError> {
        let known = self.shared.journal.last_seen(id)?.map(|seen| Timestamp::from_nanos(seen.mtime_ns));
        Ok(known.is_some_and(|known| modified.plus(fineness(modified)) <= known))
    }

    /// Notes whether a file of a start, of a node that is known, is the one that the journal knows. Its inode alone does not say so:
    /// file systems give the number of a file that was deleted to the next one. `is_same`: it holds the node's version.
    ///
    /// # Errors
    /// [`LatticeError`]: the journal cannot be read.
    pub(super) fn note_origin(&mut self, file: &NodeFile, is_same: bool) -> Result<(), LatticeError> {
        let Some(start) = self.at_start.as_mut().filter(|start| !start.found.has_kept_file) else { return Ok(()) };
        let Some(seen) = self.shared.journal.last_seen(&file.id)? else { return Ok(()) };
        let created = file.created_ns.map(Timestamp::from_nanos);
        start.found.is_dated_back |= created.is_some_and(|created| start.is_older_than(created));
        let was_there = file.created_ns.is_none_or(|created| created <= seen.read_at_ns);
        // A file system without lasting numbers shows by the ctime that nobody touched the file.
        if (file.stamp.inode == seen.inode && was_there) || file.stamp.ctime_ns == seen.ctime_ns {
            start.found_kept();
        } else if is_same {
            start.found.has_recreated = true;
        }
        Ok(())
    }

    /// The document's own date, where the edit changed it.
    fn newly_stated(&self, file: &NodeFile, held: Option<Version>) -> Result<Option<Timestamp>, LatticeError> {
        let (Some(stated), Some(held)) = (file.declared, held) else { return Ok(file.declared) };
        let before = match self.known.get(file.id.as_str()) {
            Some(known) => self.shared.journal.stated(&known.entry)?,
            None => Stated::Unknown,
        };
        Ok(Some(stated).filter(|stated| before.changed_to(*stated, held.at)))
    }

    /// What it means that the node's file is not there.
    ///
    /// # Errors
    /// [`LatticeError`]: the journal cannot be read.
    pub(super) fn date_deletion(&mut self, entry: &Entry) -> Result<Missing, LatticeError> {
        let now = self.shared.clock.now();
        let after = |at: Timestamp| Missing::Deleted(at.min(now).max(version::just_after(entry.updated_at)));
        let Some(start) = &mut self.at_start else {
            return Ok(after(self.missing.get(&entry.id).map_or(now, |away| away.at)));
        };
        let seen = self.shared.journal.last_seen(&entry.id)?;
        let changed_at = start.directory_changed_at();
        // Where only the version's time was noted, the ctime says later than that note when the file was there.
        let was_there = seen.map(|seen| Timestamp::from_nanos(seen.read_at_ns.max(seen.ctime_ns)));
        if was_there.is_some_and(|at| start.predates(at)) || start.is_copy() {
            start.lost.add(&entry.id);
            return Ok(Missing::Lost);
        }
        // The directory's last change may be a later one: still nearer than now, and an edit that a peer made since must not lose.
        Ok(after(changed_at.unwrap_or(now)))
    }

    /// Decides how files are read that hold an earlier content, now that all were looked at. Answers those that are due now.
    pub(super) fn decide_reading(&mut self) -> Vec<String> {
        let Some(start) = self.at_start.as_mut().filter(|start| start.found.reading.is_none()) else {
            return Vec::new();
        };
        let found = start.undecided.len().saturating_add(start.older.count);
        // One file alone that was put there anew may be an edit that was undone; several are a backup.
        let is_restored = found >= RESTORED || (start.all_anew() && (start.found.has_recreated || found > 1));
        let reading = if is_restored && start.found.has_earlier { Reading::Restored } else { Reading::Undone };
        start.found.reading = Some(reading);
        std::mem::take(&mut start.undecided)
    }

    /// The first complete scan is through: from here on, the service runs.
    pub(super) fn started(&mut self) -> Result<(), LatticeError> {
        let Some(start) = self.at_start.take() else { return Ok(()) };
        start.report();
        Ok(self.shared.journal.started()?)
    }

    /// Writes changes into the journal; at a start, what they follow from before them.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(super) fn write_down(&mut self, ops: &[Op], seq: u64) -> Result<(), JournalError> {
        if let Some(start) = &mut self.at_start {
            start.note(&self.shared.journal)?;
        }
        self.shared.journal.commit(ops, seq)
    }

    /// Stages a version that is older than the journal's: every position is void with it.
    pub(super) fn stage_step_back(&self, changes: &mut Changes, dated: Dated) {
        if matches!(dated, Dated::Older(_) | Dated::Remembered(_)) {
            self.stage_void(changes);
        }
    }
}

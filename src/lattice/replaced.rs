//! Files that a version of another instance replaced, or whose node it deleted, while a program may have had them open: what that
//! program writes goes on in bytes without a name. They are looked at for a while; what is written there is an edit like any other.

use super::{
    NodeDocument, place,
    reader::{self, FileStamp},
    store::Store,
    write_batch::WriteOp,
};
use crate::types::Timestamp;
use bytes::Bytes;
use rustix::process::{Resource, getrlimit};
use std::{
    collections::VecDeque,
    fs::File,
    time::{Duration, Instant},
};

/// The most files that are looked at: each holds a descriptor. Fewer where the process may open few.
const MOST: usize = 1024;
/// One part in this many of the descriptors that the process may open.
const SHARE: u64 = 8;
/// How long a file is looked at after it was replaced: programs that read, change and write do so at once. For so long its disk cannot be
/// remounted read-only, and its room is not free.
const UNTOUCHED_FOR: Duration = Duration::from_secs(2);
/// How long one in which something was written since is looked at after it changed last.
const LOOKED_AT_FOR: Duration = Duration::from_secs(10 * 60);
/// How often.
const EVERY: Duration = Duration::from_millis(250);

/// One of them.
#[derive(Debug)]
struct ReplacedFile {
    number: u64,
    name: String,
    file: File,
    seen: Seen,
    changed: Instant,
    /// Something was written there since.
    is_touched: bool,
    /// What was written there since is no node.
    is_broken: bool,
}

impl ReplacedFile {
    fn is_over(&self, now: Instant) -> bool {
        let most = if self.is_touched { LOOKED_AT_FOR } else { UNTOUCHED_FOR };
        now.saturating_duration_since(self.changed) >= most
    }
}

fn most() -> usize {
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(descriptors / SHARE).unwrap_or(MOST).min(MOST)
}

/// What a write changes. Not the ctime, which changes with the file's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    mtime_ns: i64,
    size: u64,
}

impl Seen {
    fn of(file: &File) -> Option<Self> {
        let stamp = FileStamp::of(&file.metadata().ok()?);
        Some(Self { mtime_ns: stamp.mtime_ns, size: stamp.size })
    }
}

/// Those that are looked at.
#[derive(Debug, Default)]
pub(super) struct Replaced {
    files: VecDeque<ReplacedFile>,
    most: Option<usize>,
    last: u64,
    look_at: Option<Instant>,
}

impl Replaced {
    /// This file is about to be replaced or removed. Answers what is to be [kept](Self::add) once it was.
    pub(super) fn open(path: &std::path::Path) -> Option<File> {
        reader::open_regular(path).ok()
    }

    /// The file of this name was replaced or removed. Of too many the oldest is looked at no longer.
    pub(super) fn add(&mut self, name: &str, file: File) {
        let Some(seen) = Seen::of(&file) else { return };
        if self.files.len() >= *self.most.get_or_insert_with(most) {
            // One in which nothing was written, if there is such a one: of the others what was written is still to be kept.
            let is_done = |file: &ReplacedFile| !file.is_broken && Seen::of(&file.file) == Some(file.seen);
            let oldest = self.files.iter().position(is_done).unwrap_or_default();
            self.files.remove(oldest);
        }
        self.last = self.last.saturating_add(1);
        let (number, changed) = (self.last, Instant::now());
        let name = name.to_owned();
        self.files.push_back(ReplacedFile { number, name, file, seen, changed, is_touched: false, is_broken: false });
    }

    /// Gives the room free of those in which nothing was written.
    pub(super) fn release(&mut self) {
        self.files.retain(|file| file.is_touched);
    }

    /// All of them are looked at next time, whenever that is.
    pub(super) fn look_now(&mut self) {
        self.look_at = None;
    }

    /// The edit could not be taken: it is to be tried again.
    pub(super) fn try_again(&mut self, number: u64) {
        for file in self.files.iter_mut().filter(|file| file.number == number) {
            file.seen = Seen { mtime_ns: 0, size: 0 };
        }
    }
}

impl Store {
    /// Edits that programs wrote into files which were replaced under them, each with the number of its file.
    pub(super) fn edits_of_replaced(&mut self) -> Vec<(u64, WriteOp)> {
        let now = Instant::now();
        if self.replaced.files.is_empty() || self.replaced.look_at.is_some_and(|at| at > now) {
            return Vec::new();
        }
        self.replaced.look_at = Some(now + EVERY);
        let mut files = std::mem::take(&mut self.replaced.files);
        let mut edits = Vec::new();
        for file in &mut files {
            if let Some(op) = self.edit_of(file, now) {
                edits.push((file.number, op));
            }
        }
        for file in files {
            if !file.is_over(now) {
                self.replaced.files.push_back(file);
            } else if file.is_broken {
                self.keep_bytes_of(&file);
            }
        }
        edits
    }

    /// Nobody looks any more: of what is half written the bytes are kept.
    pub(super) fn keep_unfinished(&mut self) {
        for file in std::mem::take(&mut self.replaced.files).iter().filter(|file| file.is_broken) {
            self.keep_bytes_of(file);
        }
    }

    fn edit_of(&self, file: &mut ReplacedFile, now: Instant) -> Option<WriteOp> {
        let seen = Seen::of(&file.file)?;
        if std::mem::replace(&mut file.seen, seen) == seen {
            return None;
        }
        (file.changed, file.is_touched) = (now, true);
        let node = reader::read_open(&file.file, &self.shared.limits)
            .ok()
            .and_then(|bytes| NodeDocument::parse(bytes, self.shared.limits.json_depth).ok())
            .filter(|node| self.name_for(node.id()) == file.name);
        file.is_broken = node.is_none();
        let modified = Timestamp::from_nanos(seen.mtime_ns).min(self.shared.clock.now());
        tracing::info!(
            lattice.file = file.name,
            is_whole = node.is_some(),
            "a program goes on writing in a file that was replaced: what it writes counts as an edit once it is whole"
        );
        Some(WriteOp::Finish { node: node?, modified })
    }

    /// What was written is no node to the end: it is kept as the bytes of a broken file are.
    fn keep_bytes_of(&self, file: &ReplacedFile) {
        let bytes: Bytes = match reader::read_open(&file.file, &self.shared.limits) {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::warn!(%error, lattice.file = file.name, "what was written into a replaced file cannot be kept");
                return;
            }
        };
        if let Err(error) = place::keep_bytes(&self.shared.directory, &file.name, &bytes) {
            tracing::warn!(%error, lattice.file = file.name, "what was written into a replaced file cannot be kept");
        }
    }
}

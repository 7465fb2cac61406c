//! A data directory as its files are now, without index, journal or watcher: for commands that read it, and for those that write where
//! there is no journal or a service has it open. A service sees the changes like those of any other program.

mod file_id;
mod revertible;
mod walk;
mod whole_file;

pub use self::revertible::write_file_revertible;
pub use walk::Walked;
pub use whole_file::WholeFile;

use super::{
    BrokenFile, Entry, NodeDocument, NodeError, OVERSIZE_BYTES, StoredNode, Written,
    atomic_file::{self, TempFile},
    examine, file_name,
    index::Snapshot,
    manifest_file,
    place::{self, Overruled, keep_aside},
    reader::{self, FileStamp, Found, NodeFile},
    version::{self, Version},
};
use crate::types::{ContentHash, Limits, NodeId, SetHash, Timestamp};
use std::{
    collections::{BTreeMap, HashSet},
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

/// Writes that share one fsync of the directory.
const BATCH: usize = 256;
/// Threads that sync files at the same time.
const SYNC_THREADS: usize = 8;
/// Names that are read at a time.
const STEP: usize = 2048;

/// Why a command on the directory failed. One line each, for people.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// The data directory does not exist.
    #[error("the data directory {} does not exist; create it, or name the right one with --lattice or LATTICE_PATH", .0.display())]
    Missing(PathBuf),
    /// It is something else.
    #[error("{} is not a directory; name the data directory with --lattice or LATTICE_PATH", .0.display())]
    NotADirectory(PathBuf),
    /// The machine refused; nothing half written is left.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the machine says.
        error: io::Error,
    },
    /// The node's file is not a node.
    #[error("{file} is broken: {reason}")]
    Broken {
        /// The file's name.
        file: String,
        /// Why.
        reason: String,
    },
    /// The node exceeds the limit.
    #[error("the node {id} has {bytes} bytes; the limit is {limit} (limits.node_bytes)")]
    TooLarge {
        /// The node.
        id: NodeId,
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The text is no node.
    #[error(transparent)]
    Node(#[from] NodeError),
}

/// A node in the directory.
#[derive(Debug, Clone)]
pub struct OfflineNode {
    /// What an index would know of it; `seq` is 0. Without an `updated_at` of its own: when its file was last changed.
    pub entry: Arc<Entry>,
    /// Its own `updated_at`, where it can be read.
    pub stated: Option<Timestamp>,
    /// When its file was last changed.
    pub changed_at: Timestamp,
}

impl OfflineNode {
    fn of(file: &NodeFile) -> Self {
        Self { entry: Arc::new(entry_of_file(file)), stated: file.declared, changed_at: seen_at(&file.stamp) }
    }

    /// Its version, as a service that starts here would date it.
    #[must_use]
    pub fn version(&self, now: Timestamp) -> Version {
        let at = version::time_of_file(self.stated, self.changed_at, now);
        Version { at, content: Some(self.entry.content_hash) }
    }
}

/// What [`OfflineDirectory::take_many`] did.
#[derive(Debug, Default)]
pub struct Taken {
    /// One answer a node, in their order.
    pub written: Vec<Result<Written, OfflineError>>,
    /// Where the versions that were replaced are kept, relative to the directory.
    pub kept_as: Vec<String>,
}

/// All that is in the directory.
#[derive(Debug, Default)]
pub struct Listing {
    /// The nodes, in order of id.
    pub nodes: BTreeMap<NodeId, OfflineNode>,
    /// The files that are not nodes, in order of name.
    pub broken: Vec<BrokenFile>,
    /// The files of nodes whose `updated_at` cannot be read as a time, in order of name: the time of their last change counts.
    pub unreadable_times: Vec<String>,
}

impl Listing {
    /// The hash of the whole set.
    #[must_use]
    pub fn set_hash(&self) -> SetHash {
        Snapshot::of(self.nodes.values().map(|node| Arc::clone(&node.entry))).set_hash()
    }
}

/// A data directory.
#[derive(Debug, Clone)]
pub struct OfflineDirectory {
    directory: PathBuf,
    limits: Limits,
}

/// Where a node's file is or would be, and what is there.
struct Place {
    name: String,
    current: Option<NodeFile>,
    broken: Option<String>,
}

/// A write whose file is not in place yet.
struct Staged {
    /// Its place among the answers.
    number: usize,
    name: String,
    temp: TempFile,
    /// A broken file is in its place.
    broken: bool,
    /// What is in its place is kept.
    keep: bool,
}

/// How nodes are written.
#[derive(Debug, Clone, Copy)]
struct Way {
    dry: bool,
    keep: bool,
}

impl OfflineDirectory {
    /// Names a directory that exists.
    ///
    /// # Errors
    /// [`OfflineError::Missing`], [`OfflineError::NotADirectory`], [`OfflineError::Io`].
    pub fn open(directory: &Path, limits: Limits) -> Result<Self, OfflineError> {
        match fs::metadata(directory) {
            Ok(metadata) if metadata.is_dir() => Ok(Self { directory: directory.to_owned(), limits }),
            Ok(_) => Err(OfflineError::NotADirectory(directory.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(OfflineError::Missing(directory.to_owned())),
            Err(error) => Err(failed(directory, error)),
        }
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// What to tell of a `manifest.json` in the directory that no service of ours wrote; `None` where there is none.
    #[must_use]
    pub fn foreign_manifest(&self) -> Option<&'static str> {
        manifest_file::is_foreign(&self.directory).then_some(manifest_file::FOREIGN)
    }

    /// Reads every file, a few at a time.
    ///
    /// # Errors
    /// [`OfflineError::Io`] where the directory cannot be listed.
    pub fn list(&self) -> Result<Listing, OfflineError> {
        self.list_with(|_, _| {})
    }

    /// As [`Self::list`]; `progress` hears how many files are read, and of how many.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub fn list_with(&self, mut progress: impl FnMut(usize, usize)) -> Result<Listing, OfflineError> {
        let mut listing = Listing::default();
        let names = self.names(&mut listing.broken)?;
        let (mut done, total) = (0, names.len());
        for names in names.chunks(STEP) {
            let found = examine::read_all(&self.directory, names, &self.limits);
            names.iter().zip(found).for_each(|(name, found)| listing.add(name, found));
            done += names.len();
            progress(done, total);
        }
        listing.broken.sort_by(|a, b| a.file.cmp(&b.file));
        Ok(listing)
    }

    /// The names that may be nodes' files, in order; those that are not even text are broken.
    fn names(&self, broken: &mut Vec<BrokenFile>) -> Result<Vec<String>, OfflineError> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(|error| failed(&self.directory, error))? {
            match entry.map_err(|error| failed(&self.directory, error))?.file_name().into_string() {
                Ok(name) if file_name::is_candidate(&name) => names.push(name),
                Err(name) if file_name::is_candidate(&name.to_string_lossy()) => broken.push(BrokenFile {
                    file: name.to_string_lossy().into_owned(),
                    reason: "the file's name is not UTF-8".to_owned(),
                }),
                _ => {}
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// What an index would know of one node, as it is now. `None` where there is no file that is this node.
    #[must_use]
    pub fn node(&self, id: &NodeId) -> Option<OfflineNode> {
        let file = self.place(id).current?;
        Some(OfflineNode::of(&file))
    }

    /// One node with its content. `None` where there is no such file.
    ///
    /// # Errors
    /// [`OfflineError::Broken`], [`OfflineError::Io`].
    pub fn read(&self, id: &NodeId) -> Result<Option<StoredNode>, OfflineError> {
        let place = self.place(id);
        let Some(file) = place.current else {
            return match place.broken {
                Some(reason) => Err(OfflineError::Broken { file: place.name, reason }),
                None => Ok(None),
            };
        };
        let (bytes, _) = reader::read_bytes(&self.directory.join(&place.name), &self.limits)
            .map_err(|error| OfflineError::Broken { file: place.name.clone(), reason: error.to_string() })?;
        let node = NodeDocument::parse(bytes.clone(), self.limits.json_depth)?;
        Ok(Some(StoredNode { entry: Arc::new(entry_of(&node, seen_at(&file.stamp))), bytes }))
    }

    /// Fails for a node that is larger than one that may be put.
    ///
    /// # Errors
    /// [`OfflineError::TooLarge`].
    pub fn check_size(&self, node: &NodeDocument) -> Result<(), OfflineError> {
        self.check_within(node, 0)
    }

    fn check_within(&self, node: &NodeDocument, allowance: usize) -> Result<(), OfflineError> {
        let (bytes, limit) = (node.document().source().len(), self.limits.node_bytes);
        if bytes > limit.saturating_add(allowance) {
            return Err(OfflineError::TooLarge { id: node.id().clone(), bytes, limit });
        }
        Ok(())
    }

    /// Writes one node as [`Self::put_many`] does.
    ///
    /// # Errors
    /// [`OfflineError`]; nothing was written.
    pub fn put(&self, node: NodeDocument) -> Result<Written, OfflineError> {
        let file = node.id().to_string();
        let answer = self.put_many(vec![node], false)?.pop();
        answer.ok_or_else(|| OfflineError::Broken { file, reason: "the write has no outcome".to_owned() })?
    }

    /// Writes nodes as they are, as edits made now; all that is acknowledged is durable when this answers. One answer a node, in their
    /// order; a node whose own file cannot be written does not stop the others. With `dry` nothing is written.
    ///
    /// # Errors
    /// The first failure of the directory itself; nodes before it may have been written.
    pub fn put_many(
        &self,
        nodes: Vec<NodeDocument>,
        dry: bool,
    ) -> Result<Vec<Result<Written, OfflineError>>, OfflineError> {
        let nodes = nodes.into_iter().map(|node| (node, None)).collect();
        Ok(self.write_many(nodes, Way { dry, keep: false })?.written)
    }

    /// Writes versions that were made elsewhere, as [`Self::put_many`] does. Each file is last changed when its version was made, where
    /// that is given, so that a service that starts here dates it alike. A version that is replaced is kept beside the others.
    ///
    /// # Errors
    /// As [`Self::put_many`].
    pub fn take_many(
        &self,
        versions: Vec<(NodeDocument, Option<Timestamp>)>,
        dry: bool,
    ) -> Result<Taken, OfflineError> {
        self.write_many(versions, Way { dry, keep: true })
    }

    fn write_many(&self, nodes: Vec<(NodeDocument, Option<Timestamp>)>, way: Way) -> Result<Taken, OfflineError> {
        let mut taken = Taken { written: Vec::with_capacity(nodes.len()), kept_as: Vec::new() };
        let mut batch = Vec::new();
        let mut names = HashSet::new();
        for (node, changed_at) in nodes {
            // Two ids that differ by case may be one file: the second must see the first.
            let key = file_name::plain(node.id()).to_ascii_lowercase();
            if batch.len() >= BATCH || !names.insert(key.clone()) {
                self.commit(std::mem::take(&mut batch), &mut taken)?;
                names = HashSet::from([key]);
            }
            match self.stage(taken.written.len(), &node, changed_at, way) {
                Ok((written, staged)) => {
                    taken.written.push(Ok(written));
                    batch.extend(staged);
                }
                Err(error @ OfflineError::TooLarge { .. }) => taken.written.push(Err(error)),
                Err(error) => return Err(error),
            }
        }
        self.commit(batch, &mut taken)?;
        Ok(taken)
    }

    /// Deletes a node's file, durably, also a broken one under the node's name. Answers whether there was one.
    ///
    /// # Errors
    /// [`OfflineError::Io`].
    pub fn remove(&self, id: &NodeId) -> Result<bool, OfflineError> {
        let place = self.place(id);
        if place.current.is_none() && place.broken.is_none() {
            return Ok(false);
        }
        let path = self.directory.join(&place.name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            outcome => outcome.map_err(|error| failed(&path, error))?,
        }
        self.sync_directory()?;
        Ok(true)
    }

    fn place(&self, id: &NodeId) -> Place {
        let (plain, second) = (file_name::plain(id), file_name::second(id));
        let broken = match reader::examine(&self.directory, &plain, &self.limits) {
            Found::Node(file) => return Place { name: plain, current: Some(*file), broken: None },
            Found::Nothing => None,
            Found::Broken(reason, _) | Found::Misnamed(_, reason, _) => Some(reason),
        };
        if let Found::Node(file) = reader::examine(&self.directory, &second, &self.limits) {
            return Place { name: second, current: Some(*file), broken: None };
        }
        if broken.is_some() && self.is_of_another_case(&plain, id) {
            return Place { name: second, current: None, broken: None };
        }
        Place { name: plain, current: None, broken }
    }

    /// Where case does not count, the plain name may lead to the file of another id.
    fn is_of_another_case(&self, plain: &str, id: &NodeId) -> bool {
        let read = reader::read_bytes(&self.directory.join(plain), &self.limits).ok();
        let other = read.and_then(|(bytes, _)| NodeDocument::parse(bytes, self.limits.json_depth).ok());
        other.is_some_and(|other| {
            other.id() != id && file_name::plain(other.id()).eq_ignore_ascii_case(plain) && self.ignores_case(plain)
        })
    }

    fn ignores_case(&self, name: &str) -> bool {
        let there = |name: &str| self.directory.join(name).symlink_metadata().is_ok();
        there(&name.to_ascii_lowercase()) && there(&name.to_ascii_uppercase())
    }

    fn stage(
        &self,
        number: usize,
        node: &NodeDocument,
        changed_at: Option<Timestamp>,
        way: Way,
    ) -> Result<(Written, Option<Staged>), OfflineError> {
        // What comes from elsewhere may have been stored there by an older release.
        self.check_within(node, if way.keep { OVERSIZE_BYTES } else { 0 })?;
        let place = self.place(node.id());
        let same = place.current.as_ref().filter(|file| file.content_hash == node.content_hash());
        let same = same.map(entry_of_file);
        // A version from elsewhere is the one that is here; an edit may bring another text of the content.
        if let Some(same) = same.as_ref().filter(|_| way.keep) {
            return Ok((Written::Unchanged(Arc::new(same.clone())), None));
        }
        let entry = entry_of(node, now());
        let written = match (same, &place.current) {
            (Some(same), _) if same.file_hash == entry.file_hash => {
                return Ok((Written::Unchanged(Arc::new(same)), None));
            }
            (Some(same), _) => Written::Unchanged(Arc::new(Entry { updated_at: same.updated_at, ..entry })),
            (None, Some(_)) => Written::Replaced(Arc::new(entry)),
            (None, None) => Written::Created(Arc::new(entry)),
        };
        if way.dry {
            return Ok((written, None));
        }
        let temp = TempFile::create(&self.directory, 0o644).map_err(|error| failed(&self.directory, error))?;
        let write = || -> io::Result<()> {
            let mut file = temp.file()?;
            file.write_all(node.document().source())?;
            // A file system that cannot keep the time is no reason not to take the version.
            let _ = changed_at.and_then(Timestamp::to_system_time).map(|at| file.set_modified(at));
            Ok(())
        };
        write().map_err(|error| failed(&self.directory, error))?;
        let broken = place.broken.is_some();
        Ok((written, Some(Staged { number, name: place.name, temp, broken, keep: way.keep })))
    }

    /// Puts the files in place, and adds to `taken` where what they replace is kept. A file that cannot be put in its place turns its
    /// node's answer into the error; the others go on.
    fn commit(&self, mut batch: Vec<Staged>, taken: &mut Taken) -> Result<(), OfflineError> {
        if batch.is_empty() {
            return Ok(());
        }
        sync_files(&mut batch).map_err(|error| failed(&self.directory, error))?;
        let kept = self.keep_all(&batch)?;
        for (staged, kept) in batch.into_iter().zip(kept) {
            let (number, path) = (staged.number, self.directory.join(&staged.name));
            match kept.and_then(|kept| self.put_in_place(staged, &path, kept)) {
                Ok(kept_as) => taken.kept_as.extend(kept_as),
                Err(error) if concerns_all(&error) => return Err(failed(&path, error)),
                Err(error) => {
                    if let Some(answer) = taken.written.get_mut(number) {
                        *answer = Err(failed(&path, error));
                    }
                }
            }
        }
        self.sync_directory()
    }

    fn put_in_place(&self, staged: Staged, path: &Path, mut kept: Option<Overruled>) -> io::Result<Vec<String>> {
        let mut kept_as = Vec::new();
        if staged.broken {
            keep_aside(&self.directory, &staged.name)?;
        } else if staged.keep && !kept.as_ref().is_some_and(|kept| kept.is(path)) {
            // Another program was here meanwhile.
            kept_as.extend(kept.take().map(|kept| kept.kept_as));
            kept = place::keep_overruled(&self.directory, &staged.name)?;
            if kept.is_some() {
                place::sync_overruled(&self.directory)?;
            }
        }
        kept_as.extend(kept.map(|kept| kept.kept_as));
        staged.temp.rename(path)?;
        Ok(kept_as)
    }

    /// Keeps what the batch replaces, durably: before the first file is replaced.
    fn keep_all(&self, batch: &[Staged]) -> Result<Vec<io::Result<Option<Overruled>>>, OfflineError> {
        let keep = |staged: &Staged| match staged.keep && !staged.broken {
            true => place::keep_overruled(&self.directory, &staged.name),
            false => Ok(None),
        };
        let kept: Vec<io::Result<Option<Overruled>>> = batch.iter().map(keep).collect();
        if kept.iter().any(|kept| matches!(kept, Ok(Some(_)))) {
            place::sync_overruled(&self.directory).map_err(|error| failed(&self.directory, error))?;
        }
        Ok(kept)
    }

    fn sync_directory(&self) -> Result<(), OfflineError> {
        atomic_file::sync_directory(&self.directory).map_err(|error| failed(&self.directory, error))
    }
}

impl Listing {
    fn add(&mut self, name: &str, found: Found) {
        match found {
            Found::Nothing => {}
            Found::Broken(reason, _) | Found::Misnamed(_, reason, _) => {
                self.broken.push(BrokenFile { file: name.to_owned(), reason });
            }
            Found::Node(file) => {
                let plain = file_name::plain(&file.id);
                if file.has_unreadable_time {
                    self.unreadable_times.push(name.to_owned());
                }
                let node = OfflineNode::of(&file);
                if let Some(first) = self.nodes.insert(file.id, node) {
                    // The plain name counts; names come sorted, and `~` sorts after what may end a plain name.
                    let extra = if name == plain { file_name::second(&first.entry.id) } else { name.to_owned() };
                    if name != plain {
                        self.nodes.insert(first.entry.id.clone(), first);
                    }
                    let reason = format!("its node is in {plain} already");
                    self.broken.push(BrokenFile { file: extra, reason });
                }
            }
        }
    }
}

/// Writes a file that is there whole or not at all, durably; what was there is replaced.
///
/// # Errors
/// [`OfflineError::Io`].
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), OfflineError> {
    atomic_file::replace(path, 0o644, |file| file.write_all(bytes)).map_err(|error| failed(path, error))
}

/// As [`write_file`], for a file that only this user may read (mode 0600).
///
/// # Errors
/// [`OfflineError::Io`].
pub fn write_private_file(path: &Path, bytes: &[u8]) -> Result<(), OfflineError> {
    atomic_file::replace(path, 0o600, |file| file.write_all(bytes)).map_err(|error| failed(path, error))
}

/// Writes a file that must not exist yet, durably.
///
/// # Errors
/// [`OfflineError::Io`], also where there is one.
pub fn write_new_file(path: &Path, bytes: &[u8], mode: u32) -> Result<(), OfflineError> {
    atomic_file::write_new(path, mode, |file| file.write_all(bytes)).map_err(|error| failed(path, error))
}

/// Does every other write fail for this reason as well?
fn concerns_all(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::ReadOnlyFilesystem
    )
}

fn failed(path: &Path, error: io::Error) -> OfflineError {
    OfflineError::Io { path: path.to_owned(), error }
}

fn sync_files(batch: &mut [Staged]) -> io::Result<()> {
    let sync = |share: &mut [Staged]| -> io::Result<()> {
        for staged in share {
            staged.temp.file()?.sync_all()?;
            staged.temp.close();
        }
        Ok(())
    };
    let share = batch.len().div_ceil(SYNC_THREADS);
    thread::scope(|scope| {
        let threads: Vec<_> = batch.chunks_mut(share).map(|share| scope.spawn(move || sync(share))).collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}

/// When the content of a file was first seen, as far as the file itself can tell.
fn seen_at(stamp: &FileStamp) -> Timestamp {
    Timestamp::from_nanos(stamp.mtime_ns)
}

fn now() -> Timestamp {
    Timestamp::from_nanos(reader::machine_nanos())
}

fn entry_of(node: &NodeDocument, first_seen: Timestamp) -> Entry {
    let source = node.document().source();
    Entry {
        id: node.id().clone(),
        content_hash: node.content_hash(),
        file_hash: *ContentHash::of(source).as_bytes(),
        node_type: node.node_type(),
        updated_at: node.updated_at().unwrap_or(first_seen),
        size_bytes: u64::try_from(source.len()).unwrap_or(u64::MAX),
        seq: 0,
    }
}

fn entry_of_file(file: &NodeFile) -> Entry {
    Entry {
        id: file.id.clone(),
        content_hash: file.content_hash,
        file_hash: file.file_hash,
        node_type: file.node_type.clone(),
        updated_at: file.declared.unwrap_or_else(|| seen_at(&file.stamp)),
        size_bytes: file.stamp.size,
        seq: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn node(text: &str) -> NodeDocument {
        NodeDocument::parse(Bytes::copy_from_slice(text.as_bytes()), 64).unwrap()
    }

    fn put(directory: &OfflineDirectory, text: &str) -> Written {
        directory.put_many(vec![node(text)], false).unwrap().remove(0).unwrap()
    }

    #[test]
    fn nodes_are_written_listed_read_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let directory = OfflineDirectory::open(folder.path(), Limits::default()).unwrap();
        assert!(matches!(put(&directory, r#"{"id":"a/b","n":1}"#), Written::Created(_)));
        assert!(matches!(put(&directory, r#"{"id":"a/b","n":1}"#), Written::Unchanged(_)));
        assert!(matches!(put(&directory, r#"{"id":"a/b","n":2}"#), Written::Replaced(_)));
        fs::File::create(folder.path().join("odd.json")).unwrap();
        let listing = directory.list().unwrap();
        assert_eq!((listing.nodes.len(), listing.broken.len()), (1, 1));
        let id = NodeId::parse("a/b").unwrap();
        let stored = directory.read(&id).unwrap().unwrap();
        assert_eq!(&stored.bytes[..], br#"{"id":"a/b","n":2}"#);
        assert!(directory.remove(&id).unwrap());
        assert!(!directory.remove(&id).unwrap());
        assert!(directory.read(&id).unwrap().is_none());
    }

    #[test]
    fn a_dry_run_answers_the_same_and_writes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let directory = OfflineDirectory::open(folder.path(), Limits::default()).unwrap();
        let answers = directory.put_many(vec![node(r#"{"id":"a"}"#)], true).unwrap();
        assert!(matches!(answers[0], Ok(Written::Created(_))));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_broken_file_in_the_way_is_kept_aside_and_reported_when_read() {
        let folder = tempfile::tempdir().unwrap();
        let directory = OfflineDirectory::open(folder.path(), Limits::default()).unwrap();
        io::Write::write_all(&mut fs::File::create(folder.path().join("a.json")).unwrap(), b"{half").unwrap();
        let id = NodeId::parse("a").unwrap();
        assert!(matches!(directory.read(&id), Err(OfflineError::Broken { .. })));
        assert!(matches!(put(&directory, r#"{"id":"a"}"#), Written::Created(_)));
        assert_eq!(fs::read(folder.path().join(".a.json.broken")).unwrap(), b"{half");
    }
}

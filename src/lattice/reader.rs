//! Reading one file of the data directory, whatever somebody put there.

use super::{
    NodeType, file_name,
    node::{NodeDocument, OVERSIZE_BYTES},
};
use crate::types::{ContentHash, Limits, NodeId, Sha256Digest, Timestamp};
use bytes::Bytes;
use rustix::{
    buffer::spare_capacity,
    fs::{Mode, OFlags},
};
use std::{
    fs::{File, Metadata, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    ops::Range,
    os::{
        fd::OwnedFd,
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

/// A file changed within this time before it was read may change again without another time stamp: it is read again later.
const RACY_NANOS: u64 = 2_000_000_000;

/// What tells one state of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileStamp {
    /// Last change of the content, ns since the epoch.
    pub(super) mtime_ns: i64,
    /// Last change of content, name or permissions, ns since the epoch.
    pub(super) ctime_ns: i64,
    /// Length in bytes.
    pub(super) size: u64,
    /// The file's number in its file system.
    pub(super) inode: u64,
}

impl FileStamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        let nanos = |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
        Self {
            mtime_ns: nanos(metadata.mtime(), metadata.mtime_nsec()),
            ctime_ns: nanos(metadata.ctime(), metadata.ctime_nsec()),
            size: metadata.size(),
            inode: metadata.ino(),
        }
    }

    /// As [`Self::of`].
    pub(super) fn of_stat(stat: &rustix::fs::Stat) -> Self {
        // The fields' types differ between machines.
        fn nanos(seconds: impl TryInto<i64>, nanos: impl TryInto<i64>) -> i64 {
            let (seconds, nanos) = (seconds.try_into().unwrap_or(i64::MAX), nanos.try_into().unwrap_or(0));
            seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
        }
        Self {
            mtime_ns: nanos(stat.st_mtime, stat.st_mtime_nsec),
            ctime_ns: nanos(stat.st_ctime, stat.st_ctime_nsec),
            size: u64::try_from(stat.st_size).unwrap_or(u64::MAX),
            inode: stat.st_ino,
        }
    }

    /// How long ago the content changed, by the machine's clock, ns.
    pub(super) fn age_nanos(&self) -> u64 {
        self.mtime_ns.abs_diff(machine_nanos())
    }

    /// The same file with the same content, wherever it was moved and whoever linked to it: both change its ctime.
    pub(super) fn is_same_file(&self, other: &Self) -> bool {
        (self.mtime_ns, self.size, self.inode) == (other.mtime_ns, other.size, other.inode)
    }

    /// Was the content too young when it was read at `read_at_ns` for an equal stamp to prove anything later?
    pub(super) fn is_racy(&self, read_at_ns: i64) -> bool {
        self.mtime_ns.abs_diff(read_at_ns) <= RACY_NANOS
    }
}

/// The machine's clock, ns since the epoch. Not the injected clock: it is compared with what the file system writes.
pub(super) fn machine_nanos() -> i64 {
    nanos_since_epoch(SystemTime::now())
}

fn nanos_since_epoch(at: SystemTime) -> i64 {
    i64::try_from(at.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos()).unwrap_or(i64::MAX)
}

/// A file that is a node.
#[derive(Debug)]
pub(super) struct NodeFile {
    pub(super) id: NodeId,
    pub(super) content_hash: ContentHash,
    pub(super) file_hash: Sha256Digest,
    pub(super) node_type: Option<NodeType>,
    /// The document's own `updated_at`.
    pub(super) declared: Option<Timestamp>,
    /// It states one that cannot be read.
    pub(super) has_unreadable_time: bool,
    pub(super) stamp: FileStamp,
    /// When the file was created, where its file system tells, ns since the epoch. No program can choose it.
    pub(super) created_ns: Option<i64>,
    /// When it was read, by the machine's clock, ns since the epoch.
    pub(super) read_at_ns: i64,
}

/// What a name of the directory stands for.
#[derive(Debug)]
pub(super) enum Found {
    /// There is nothing of that name.
    Nothing,
    /// Something that is no node: why, and its stamp.
    Broken(String, Option<FileStamp>),
    /// A node under a name that is not its own: its id, why, and its stamp.
    Misnamed(NodeId, String, FileStamp),
    /// A node.
    Node(Box<NodeFile>),
}

/// Why a file's bytes could not be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("not a regular file")]
    NotRegular,
    #[error("larger than {0} bytes")]
    TooLarge(usize),
}

/// Reads a regular file of at most the limit, following no link and waiting for nobody.
///
/// # Errors
/// [`ReadError`].
pub(super) fn read_bytes(path: &Path, limits: &Limits) -> Result<(Bytes, FileStamp), ReadError> {
    let file = open_regular(path)?;
    let metadata = file.metadata()?;
    // The stamp from before the read: a change during the read then shows as a difference later.
    Ok((read_whole(&file, metadata.len(), limits)?, FileStamp::of(&metadata)))
}

/// Opens a regular file; a link, a FIFO or a directory is none.
///
/// # Errors
/// [`ReadError`].
pub(super) fn open_regular(path: &Path) -> Result<File, ReadError> {
    // A FIFO would block the open until somebody writes; O_NONBLOCK has no effect on regular files.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(ReadError::NotRegular) }
}

/// Reads an open file from its beginning.
///
/// # Errors
/// [`ReadError`].
pub(super) fn read_open(file: &File, limits: &Limits) -> Result<Bytes, ReadError> {
    (&*file).seek(SeekFrom::Start(0))?;
    read_whole(file, file.metadata()?.len(), limits)
}

fn read_whole(file: &File, length: u64, limits: &Limits) -> Result<Bytes, ReadError> {
    let limit = limits.node_bytes.saturating_add(OVERSIZE_BYTES);
    let limit_u64 = u64::try_from(limit).unwrap_or(u64::MAX);
    if length > limit_u64 {
        return Err(ReadError::TooLarge(limits.node_bytes));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0).saturating_add(1));
    read_at_most(file, limit_u64, &mut bytes)?;
    if bytes.len() > limit {
        return Err(ReadError::TooLarge(limits.node_bytes));
    }
    Ok(Bytes::from(bytes))
}

fn read_at_most(file: &File, limit: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
    // One byte more than the limit, so that a file that grows meanwhile is seen to be too large.
    file.take(limit.saturating_add(1)).read_to_end(bytes).map(drop)
}

/// Many small files of one directory, one behind the other in one piece of memory, each in three system calls.
#[derive(Debug)]
pub(super) struct SmallFiles {
    directory: OwnedFd,
    bytes: Vec<u8>,
}

impl SmallFiles {
    /// A file that is larger is not read here: nobody who keeps one node is to keep much of its neighbours.
    pub(super) const LARGEST_BYTES: usize = 16 << 10;

    /// Room for `bytes` bytes.
    pub(super) fn new(directory: &Path, bytes: usize) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(directory, flags, Mode::empty())?;
        // One byte more shows that a file is longer than it should be.
        Ok(Self { directory, bytes: Vec::with_capacity(bytes.saturating_add(1)) })
    }

    /// Reads a file that should be these bytes. Answers where they are; `None`: it is not as it should be, or there is no room for it.
    pub(super) fn read(&mut self, name: &str, size: usize, hash: &Sha256Digest) -> Option<Range<usize>> {
        let start = self.bytes.len();
        if self.bytes.capacity() - start <= size || size > Self::LARGEST_BYTES {
            return None;
        }
        // See `read_bytes`. What is no regular file has not these bytes either, and from a pipe nothing is taken: it has no places.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.directory, name, flags, Mode::empty()).ok()?;
        let read = rustix::io::pread(&file, spare_capacity(&mut self.bytes), 0);
        let end = start.saturating_add(size);
        if read == Ok(size) && self.bytes.get(start..end).is_some_and(|bytes| ContentHash::of(bytes).as_bytes() == hash)
        {
            return Some(start..end);
        }
        self.bytes.truncate(start);
        None
    }

    pub(super) fn into_bytes(self) -> Bytes {
        self.bytes.into()
    }
}

/// Reads what the name stands for.
pub(super) fn examine(directory: &Path, name: &str, limits: &Limits) -> Found {
    match examine_whole(directory, name, limits) {
        Whole::Nothing => Found::Nothing,
        Whole::Broken(reason, stamp) => Found::Broken(reason, stamp),
        Whole::Misnamed(id, reason, stamp) => Found::Misnamed(id, reason, stamp),
        Whole::Node(file, _) => Found::Node(file),
    }
}

/// [`Found`] with the document.
pub(super) enum Whole {
    Nothing,
    Broken(String, Option<FileStamp>),
    Misnamed(NodeId, String, FileStamp),
    Node(Box<NodeFile>, NodeDocument),
}

/// Reads what the name stands for, and keeps the content.
pub(super) fn examine_whole(directory: &Path, name: &str, limits: &Limits) -> Whole {
    examine_as(directory, name, name, limits)
}

/// Reads the file `kept_as` as if its name were `name`.
pub(super) fn examine_as(directory: &Path, kept_as: &str, name: &str, limits: &Limits) -> Whole {
    let path = directory.join(kept_as);
    let metadata = match path.symlink_metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Whole::Nothing,
        Err(error) => return Whole::Broken(error.to_string(), None),
    };
    let seen = Some(FileStamp::of(&metadata));
    if metadata.is_dir() {
        return Whole::Broken("a directory, where the file of a node would be".to_owned(), seen);
    }
    if metadata.is_symlink() {
        return Whole::Broken("a symbolic link; links are not followed".to_owned(), seen);
    }
    if !metadata.is_file() {
        // Not even opened: opening a device may do something.
        return Whole::Broken(ReadError::NotRegular.to_string(), seen);
    }
    let read_at_ns = machine_nanos();
    let (bytes, stamp) = match read_bytes(&path, limits) {
        Ok(read) => read,
        Err(ReadError::Io(error)) if error.kind() == io::ErrorKind::NotFound => return Whole::Nothing,
        // No stamp: the file may be whole, and what failed (a disk, too many open files) may pass without a trace on it.
        Err(ReadError::Io(error)) => return Whole::Broken(error.to_string(), None),
        Err(error) => return Whole::Broken(error.to_string(), seen),
    };
    let file_hash = *ContentHash::of(&bytes).as_bytes();
    let document = match NodeDocument::parse(bytes, limits.json_depth) {
        Ok(document) => document,
        Err(error) => return Whole::Broken(error.to_string(), Some(stamp)),
    };
    if !file_name::is_valid(name, document.id()) {
        let reason =
            format!("the document's id is {}, whose file is {}", document.id(), file_name::plain(document.id()));
        return Whole::Misnamed(document.id().clone(), reason, stamp);
    }
    let file = NodeFile {
        id: document.id().clone(),
        content_hash: document.content_hash(),
        file_hash,
        node_type: document.node_type(),
        declared: document.updated_at(),
        has_unreadable_time: document.has_unreadable_time(),
        stamp,
        created_ns: metadata.created().ok().map(nanos_since_epoch),
        read_at_ns,
    };
    Whole::Node(Box::new(file), document)
}

#[cfg(test)]
mod tests {
    use super::{super::offline::write_file, *};

    #[test]
    fn small_files_are_what_they_should_be_or_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let text = |name: &str| format!("{{\"id\":\"{name}\"}}");
        for name in ["a", "b", "longer", "shorter", "other", "target", "c"] {
            write_file(&folder.path().join(name), text(name).as_bytes()).unwrap();
        }
        write_file(&folder.path().join("longer"), (text("longer") + "\n").as_bytes()).unwrap();
        write_file(&folder.path().join("shorter"), b"{}").unwrap();
        write_file(&folder.path().join("other"), text("OTHER").as_bytes()).unwrap();
        write_file(&folder.path().join("large"), &[b' '; SmallFiles::LARGEST_BYTES + 1]).unwrap();
        std::os::unix::fs::symlink("target", folder.path().join("link")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, folder.path().join("pipe"), Mode::RUSR).unwrap();
        let mut files = SmallFiles::new(folder.path(), 64 << 10).unwrap();
        let mut read = |name: &str, as_if: &str| {
            let text = text(as_if);
            files.read(name, text.len(), ContentHash::of(text.as_bytes()).as_bytes())
        };
        let mut found = vec![("a", read("a", "a"))];
        for (name, as_if) in [("longer", "longer"), ("shorter", "shorter"), ("other", "other"), ("link", "target")] {
            assert_eq!(read(name, as_if), None, "{name}");
        }
        for name in ["pipe", "missing", "."] {
            assert_eq!(read(name, "a"), None, "{name}");
        }
        found.extend([("b", read("b", "b")), ("c", read("c", "c"))]);
        let spaces = [b' '; SmallFiles::LARGEST_BYTES + 1];
        assert_eq!(files.read("large", spaces.len(), ContentHash::of(&spaces).as_bytes()), None);
        let bytes = files.into_bytes();
        for (name, range) in found {
            assert_eq!(bytes.slice(range.unwrap()), text(name));
        }
        let mut no_room = SmallFiles::new(folder.path(), text("a").len() - 1).unwrap();
        assert_eq!(no_room.read("a", text("a").len(), ContentHash::of(text("a").as_bytes()).as_bytes()), None);
    }
}

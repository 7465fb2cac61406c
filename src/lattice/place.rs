//! Files on their way into their places.

use super::{
    Entry, NodeDocument,
    atomic_file::{self, TempFile},
    reader::FileStamp,
};
use crate::types::{ContentHash, Sha256Digest, Timestamp};
use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
    thread,
};

/// Threads that write and sync at the same time. They mostly wait: the more of them do, the more files the file system's own journal
/// commits together.
const THREADS: usize = 16;

/// What no file looks like.
pub(super) const NO_FILE: FileStamp = FileStamp { mtime_ns: 0, ctime_ns: 0, size: 0, inode: 0 };

/// Runs `one` over the batch, on several threads. One answer each, in their order.
pub(super) fn on_threads<T: Send>(
    batch: &mut [T],
    one: impl Fn(&mut T) -> io::Result<()> + Sync,
) -> Vec<io::Result<()>> {
    let one = &one;
    if batch.len() <= 1 {
        return batch.iter_mut().map(one).collect();
    }
    let share = batch.len().div_ceil(THREADS);
    thread::scope(|scope| {
        let threads: Vec<_> = batch
            .chunks_mut(share)
            .map(|share| {
                let writes = share.len();
                // `Scope::spawn` panics where the machine gives no more threads; these writes fail then.
                let do_share = move || share.iter_mut().map(one).collect::<Vec<_>>();
                (writes, thread::Builder::new().spawn_scoped(scope, do_share))
            })
            .collect();
        let join =
            |(writes, thread): (usize, io::Result<thread::ScopedJoinHandle<'_, Vec<io::Result<()>>>>)| match thread
                .map(thread::ScopedJoinHandle::join)
            {
                Ok(Ok(results)) => results,
                Ok(Err(panic)) => std::panic::resume_unwind(panic),
                Err(error) => (0..writes).map(|_| Err(io::Error::new(error.kind(), error.to_string()))).collect(),
            };
        threads.into_iter().flat_map(join).collect()
    })
}

/// The directory, in the data directory, of versions that others overruled.
const OVERRULED: &str = ".ark-overruled";
/// The most bytes of a file's name.
const MAX_NAME_BYTES: usize = 255;
/// A file that was changed within this time may be one that somebody is writing, ns.
const WRITTEN_FOR_NANOS: u64 = 600_000_000_000;
/// Hex digits that tell the kept versions of one file apart.
const SHORT_HASH_DIGITS: usize = 8;

/// Keeps a broken file's bytes under a hidden name: they may be the user's half-finished edit. A directory in its place is moved there.
/// Answers the name; `None`: there is nothing to keep.
pub(super) fn keep_aside(directory: &Path, name: &str) -> io::Result<Option<String>> {
    let (path, hidden) = (directory.join(name), format!(".{}.broken", stem(name)));
    let kept = match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => Some(move_aside(&path, directory, &hidden)?),
        Ok(metadata) => {
            // Somebody may still be writing it. What he writes goes on in the bytes that are kept, so that no others do.
            let is_shared = FileStamp::of(&metadata).age_nanos() >= WRITTEN_FOR_NANOS;
            match keep(&path, directory, &hidden, is_shared) {
                // A file of somebody else that may be neither read nor linked.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    Some(move_aside(&path, directory, &hidden)?)
                }
                kept => kept?,
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    if let Some(kept) = &kept {
        tracing::warn!(lattice.file = name, lattice.kept = kept, "a broken file was replaced; its bytes are kept");
    }
    Ok(kept)
}

/// Keeps these bytes as [`keep_aside`] does those of the file of this name.
pub(super) fn keep_bytes(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let (temp, _) = write_temp(directory, bytes, None)?;
    let hidden = format!(".{}.broken", stem(name));
    let kept = keep(temp.path(), directory, &hidden, true)?;
    tracing::warn!(
        lattice.file = name,
        lattice.kept = kept,
        "what was written into a replaced file is no node; its bytes are kept"
    );
    atomic_file::sync_directory(directory)
}

/// The name of the file that is kept under this name as [`keep_aside`] does; `None`: it is no such name, or one of a name that was too
/// long.
pub(super) fn kept_aside(name: &str) -> Option<&str> {
    let (file, number) = name.strip_prefix('.')?.rsplit_once(".broken")?;
    let is_number = number.strip_prefix('.').is_some_and(|number| number.parse::<u32>().is_ok());
    ((number.is_empty() || is_number) && file.ends_with(".json")).then_some(file)
}

fn numbered(name: &str, number: u32) -> String {
    if number == 1 { name.to_owned() } else { format!("{name}.{number}") }
}

/// Moves a directory to the first of `{name}`, `{name}.2` and so on that is free. Answers the name.
fn move_aside(path: &Path, folder: &Path, name: &str) -> io::Result<String> {
    for number in 1..=u32::MAX {
        let kept = numbered(name, number);
        let target = folder.join(&kept);
        if matches!(target.symlink_metadata(), Err(error) if error.kind() == io::ErrorKind::NotFound) {
            return fs::rename(path, target).map(|()| kept);
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// A file whose content is about to be overruled, and where it is kept.
#[derive(Debug)]
pub(super) struct Overruled {
    /// Relative to the data directory.
    pub(super) kept_as: String,
    stamp: FileStamp,
}

impl Overruled {
    /// Is this still the file that is kept?
    pub(super) fn is(&self, path: &Path) -> bool {
        path.symlink_metadata().is_ok_and(|metadata| FileStamp::of(&metadata).is_same_file(&self.stamp))
    }
}

/// Keeps the file of this name as `.ark-overruled/{name}~{hash}`. `None`: there is no such file. Not durable before
/// [`sync_overruled`].
pub(super) fn keep_overruled(directory: &Path, name: &str) -> io::Result<Option<Overruled>> {
    let path = directory.join(name);
    let stamp = match path.symlink_metadata() {
        Ok(metadata) if metadata.is_file() => FileStamp::of(&metadata),
        // A link that took the place meanwhile, or the like.
        Ok(_) => return keep_aside(directory, name).map(|_| None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let hash = ContentHash::of(&fs::read(&path)?).to_hex();
    let hash = hash.get(..SHORT_HASH_DIGITS).unwrap_or_default();
    let folder = directory.join(OVERRULED);
    match fs::create_dir(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let kept = keep(&path, &folder, &format!("{}~{hash}", stem(name)), true)?;
    Ok(kept.map(|kept| Overruled { kept_as: format!("{OVERRULED}/{kept}"), stamp }))
}

/// Makes what [`keep_overruled`] did durable.
pub(super) fn sync_overruled(directory: &Path) -> io::Result<()> {
    atomic_file::sync_directory(&directory.join(OVERRULED))?;
    atomic_file::sync_directory(directory)
}

/// The file's name, or a hash of one that is too long for what is added to it.
fn stem(name: &str) -> String {
    if name.len() <= MAX_NAME_BYTES - 20 { name.to_owned() } else { ContentHash::of(name.as_bytes()).to_hex() }
}

/// Keeps a file's bytes in the folder under this name, or the first of `{name}.2`, `{name}.3` and so on that is free or has the same
/// bytes already (`is_shared`). What was kept before is never replaced. Answers the name; `None`: there is no file, or it is none that has
/// bytes.
fn keep(path: &Path, folder: &Path, name: &str, is_shared: bool) -> io::Result<Option<String>> {
    for number in 1..=u32::MAX {
        let kept = numbered(name, number);
        let target = folder.join(&kept);
        match fs::hard_link(path, &target) {
            Ok(()) => return Ok(Some(kept)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            // FAT and some network file systems have no links. What is no regular file has no bytes to keep.
            Err(_) if !path.symlink_metadata()?.is_file() => return Ok(None),
            Err(_) => match copy_new(path, &target) {
                Ok(()) => return Ok(Some(kept)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            },
        }
        if is_shared && is_same_file(path, &target)? {
            return Ok(Some(kept));
        }
    }
    Ok(None)
}

fn copy_new(path: &Path, target: &Path) -> io::Result<()> {
    let (mut from, mut to) = (File::open(path)?, File::create_new(target)?);
    let copied = io::copy(&mut from, &mut to).and_then(|_| to.sync_all());
    if copied.is_err() {
        let _ = fs::remove_file(target);
    }
    copied
}

/// Are both regular files with the same bytes?
fn is_same_file(one: &Path, other: &Path) -> io::Result<bool> {
    let (of_one, of_other) = (one.symlink_metadata()?, other.symlink_metadata()?);
    if !of_one.is_file() || !of_other.is_file() || of_one.len() != of_other.len() {
        return Ok(false);
    }
    Ok(fs::read(one)? == fs::read(other)?)
}

/// The stamp of our file under its own name: the rename moved its ctime. Where another file took the place meanwhile, a stamp
/// that no file has, so that the next look reads it.
pub(super) fn stamp_in_place(path: &Path, written: &FileStamp) -> FileStamp {
    let Ok(metadata) = path.symlink_metadata() else { return NO_FILE };
    let stamp = FileStamp::of(&metadata);
    if stamp.is_same_file(written) { stamp } else { NO_FILE }
}

/// What the index will know of this document.
pub(super) fn entry_of(node: &NodeDocument, current: Option<&Entry>, updated_at: Timestamp) -> Entry {
    let source = node.document().source();
    let file_hash: Sha256Digest = *ContentHash::of(source).as_bytes();
    Entry {
        id: current.map_or_else(|| node.id().clone(), |entry| entry.id.clone()),
        content_hash: node.content_hash(),
        file_hash,
        node_type: node.node_type(),
        updated_at,
        size_bytes: u64::try_from(source.len()).unwrap_or(u64::MAX),
        seq: 0,
    }
}

/// A durable file beside its place, closed.
pub(super) fn write_temp(
    directory: &Path,
    bytes: &[u8],
    dated: Option<Timestamp>,
) -> io::Result<(TempFile, FileStamp)> {
    let (mut temp, stamp) = write_unsynced(directory, bytes, dated)?;
    temp.sync()?;
    temp.close();
    Ok((temp, stamp))
}

/// An open file beside its place that is not durable yet. `dated`: its mtime, which is a version's time then: a later start dates the
/// content by it, also where the journal is gone.
pub(super) fn write_unsynced(
    directory: &Path,
    bytes: &[u8],
    dated: Option<Timestamp>,
) -> io::Result<(TempFile, FileStamp)> {
    let temp = TempFile::create(directory, 0o644)?;
    let stamp = fill(&temp, bytes, dated)?;
    Ok((temp, stamp))
}

/// An open file on its way to a place that seems free, not durable yet: without a name, where the file system has such files.
pub(super) fn write_first(
    root: &File,
    directory: &Path,
    bytes: &[u8],
    dated: Option<Timestamp>,
) -> io::Result<(TempFile, FileStamp)> {
    let Ok(temp) = TempFile::unnamed(root, 0o644) else { return write_unsynced(directory, bytes, dated) };
    let stamp = fill(&temp, bytes, dated)?;
    Ok((temp, stamp))
}

fn fill(temp: &TempFile, bytes: &[u8], dated: Option<Timestamp>) -> io::Result<FileStamp> {
    let mut file = temp.file()?;
    file.write_all(bytes)?;
    let dated = dated.filter(|at| *at > Timestamp::EPOCH);
    if let Some(modified) = dated.and_then(Timestamp::to_system_time)
        && let Err(error) = file.set_modified(modified)
    {
        // The journal knows the version's time all the same.
        tracing::debug!(%error, "a file cannot be dated");
    }
    Ok(FileStamp::of(&file.metadata()?))
}

#[cfg(test)]
mod tests {
    use super::{super::offline::write_file, *};

    #[test]
    fn what_is_kept_is_numbered_and_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path();
        let kept = |name: &str| fs::read(directory.join(name)).ok();
        let path = directory.join("a.json");
        let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
        for text in ["{one", "{two", "{one", "{three"] {
            write_file(&path, text.as_bytes()).unwrap();
            File::open(&path).unwrap().set_modified(long_ago).unwrap();
            keep_aside(directory, "a.json").unwrap();
        }
        assert_eq!(kept(".a.json.broken").as_deref(), Some(&b"{one"[..]));
        assert_eq!(kept(".a.json.broken.2").as_deref(), Some(&b"{two"[..]));
        assert_eq!(kept(".a.json.broken.3").as_deref(), Some(&b"{three"[..]));
        assert!(kept(".a.json.broken.4").is_none(), "the same bytes are kept once");
        write_file(&path, b"{one").unwrap();
        assert_eq!(
            keep_aside(directory, "a.json").unwrap().as_deref(),
            Some(".a.json.broken.4"),
            "not of a young file"
        );
        keep_aside(directory, "missing.json").unwrap();
        for (name, of) in [
            (".a.json.broken", Some("a.json")),
            (".a.json.broken.12", Some("a.json")),
            (".a.json.broken.x", None),
            ("a.json.broken", None),
            (".a.broken", None),
            (".ark-lattice", None),
        ] {
            assert_eq!(kept_aside(name), of, "{name}");
        }
        // A name of the longest kind, and a directory in the way of what is kept.
        let long = format!("{}.json", "x".repeat(250));
        write_file(&directory.join(&long), b"{long").unwrap();
        fs::create_dir(directory.join(format!(".{}.broken", stem(&long)))).unwrap();
        keep_aside(directory, &long).unwrap();
        assert_eq!(kept(&format!(".{}.broken.2", stem(&long))).as_deref(), Some(&b"{long"[..]));
    }

    #[test]
    fn an_overruled_file_is_kept_with_its_time_and_recognised() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path();
        let path = directory.join("a.json");
        assert!(keep_overruled(directory, "a.json").unwrap().is_none());
        write_file(&path, b"one").unwrap();
        let first = keep_overruled(directory, "a.json").unwrap().unwrap();
        sync_overruled(directory).unwrap();
        assert_eq!(first.kept_as, ".ark-overruled/a.json~7692c3ad");
        assert!(first.is(&path));
        assert_eq!(keep_overruled(directory, "a.json").unwrap().unwrap().kept_as, first.kept_as);
        write_file(&path, b"two").unwrap();
        assert!(!first.is(&path));
        // Somebody has put another file under the name.
        write_file(&directory.join(".ark-overruled/a.json~3fc4ccfe"), b"else").unwrap();
        assert_eq!(keep_overruled(directory, "a.json").unwrap().unwrap().kept_as, ".ark-overruled/a.json~3fc4ccfe.2");
        assert_eq!(fs::read(directory.join(&first.kept_as)).unwrap(), b"one");
        assert_eq!(fs::read(directory.join(".ark-overruled/a.json~3fc4ccfe")).unwrap(), b"else");
    }

    #[test]
    fn where_links_fail_a_copy_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        write_file(&from, b"text").unwrap();
        copy_new(&from, &to).unwrap();
        assert!(is_same_file(&from, &to).unwrap());
        write_file(&from, b"else").unwrap();
        assert_eq!(copy_new(&from, &to).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&to).unwrap(), b"text");
    }
}

//! The marker of a data directory: `.ark-lattice`, which names the lattice that the directory holds (DESIGN 4.8).
//!
//! The journal belongs to the lattice id of the marker, not to an inode: a directory that is copied or restored stays the same lattice,
//! and another directory in its place (an empty disk, an unmounted one) is recognised before its missing files count as deleted. The
//! marker also carries the lock against a second service on the same directory.

use super::{atomic_file, reader::FileStamp};
use crate::{
    json::{Document, Value},
    types::is_lower_hex,
};
use bytes::Bytes;
use rustix::fs::{FlockOperation, flock};
use std::{
    fs::{File, Metadata, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// The marker's file name. A dot file: never a node.
pub(super) const NAME: &str = ".ark-lattice";
/// Hex digits of a lattice id.
const ID_DIGITS: usize = 32;
/// The only layout that exists so far: one file a node, no sub-directories.
const LAYOUT: &str = "flat";
/// A marker is one line; more is not read.
const MAX_BYTES: u64 = 4096;

/// Why a marker cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum MarkerError {
    /// Another process holds the lock.
    #[error("another process serves this directory")]
    InUse,
    /// The file is not a marker, or one of a layout that this release does not know.
    #[error("{0}")]
    Unreadable(&'static str),
    /// The file system failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads the lattice id from the marker of `directory`. `None`: there is no marker.
///
/// # Errors
/// [`MarkerError::Unreadable`], [`MarkerError::Io`].
pub(super) fn read(directory: &Path) -> Result<Option<String>, MarkerError> {
    match open(directory) {
        Ok(file) => parse(&file).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Writes the marker of `directory`, durably, in the place of one that is there.
///
/// # Errors
/// Those of the file system.
pub(super) fn write(directory: &Path, lattice_id: &str) -> io::Result<()> {
    atomic_file::replace(&directory.join(NAME), 0o644, |file| {
        writeln!(file, "{{\"lattice\":\"{lattice_id}\",\"layout\":\"{LAYOUT}\"}}")
    })
}

fn open(directory: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC).open(directory.join(NAME))
}

fn parse(file: &File) -> Result<String, MarkerError> {
    let mut text = Vec::new();
    Read::take(file, MAX_BYTES).read_to_end(&mut text)?;
    let document = Document::parse(Bytes::from(text), 4).map_err(|_| MarkerError::Unreadable("it is not JSON"))?;
    let member = |key| document.root().as_object().and_then(|object| object.get(key)).and_then(Value::as_str);
    let is_id = |id: &str| id.len() == ID_DIGITS && is_lower_hex(id.as_bytes());
    let id = member("lattice").filter(|id| is_id(id)).ok_or(MarkerError::Unreadable("it names no lattice"))?;
    if member("layout").is_none_or(|layout| layout != LAYOUT) {
        return Err(MarkerError::Unreadable("it is of a layout that this release does not know"));
    }
    Ok(id.into_owned())
}

/// Does another process hold the lock of this directory? Without a marker, or without locks, none is known to.
#[must_use]
pub fn is_served(directory: &Path) -> bool {
    let Ok(file) = open(directory) else { return false };
    matches!(flock(&file, FlockOperation::NonBlockingLockShared), Err(rustix::io::Errno::WOULDBLOCK))
}

/// The marker of the directory that is served, with its lock.
#[derive(Debug)]
pub(super) struct Marker {
    directory: PathBuf,
    lattice_id: String,
    held: Mutex<Held>,
    /// The directory's own path, as it was given, leads to another directory now.
    leads_elsewhere: AtomicBool,
}

/// The marker file that was read last. Open: its lock is ours as long as it is.
#[derive(Debug)]
struct Held {
    file: File,
    device: u64,
    /// The file may be overwritten in its place: then only its times and its size differ.
    stamp: FileStamp,
    /// The last look did not find it.
    was_away: bool,
    /// Another directory of this lattice is in its place, or the same one again: nobody has looked at it yet.
    is_replaced: bool,
}

impl Held {
    fn of(file: File, metadata: &Metadata) -> Result<Self, MarkerError> {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(MarkerError::InUse),
            // Some network file systems have no locks; the journal's own lock remains.
            Err(rustix::io::Errno::NOTSUP | rustix::io::Errno::NOLCK | rustix::io::Errno::NOSYS) => {}
            Err(error) => return Err(MarkerError::Io(error.into())),
        }
        let (device, stamp) = (metadata.dev(), FileStamp::of(metadata));
        Ok(Self { file, device, stamp, was_away: false, is_replaced: false })
    }

    fn is(&self, metadata: &Metadata) -> bool {
        self.device == metadata.dev() && self.stamp == FileStamp::of(metadata)
    }
}

impl Marker {
    /// Takes the lock of a directory whose marker names `lattice_id`.
    ///
    /// # Errors
    /// [`MarkerError`].
    pub(super) fn hold(directory: &Path, lattice_id: String) -> Result<Self, MarkerError> {
        let file = open(directory)?;
        let metadata = file.metadata()?;
        let held = Mutex::new(Held::of(file, &metadata)?);
        Ok(Self { directory: directory.to_owned(), lattice_id, held, leads_elsewhere: AtomicBool::new(false) })
    }

    /// Fails unless the directory that stands there now has the marker of this lattice, and is the one that was looked at. Cheap: one
    /// `stat` while nothing changed.
    ///
    /// # Errors
    /// [`io::Error`] with one line for people, which says what to check.
    pub(super) fn check(&self) -> io::Result<()> {
        if self.leads_elsewhere.load(Ordering::Acquire) {
            return Err(io::Error::other(
                "its path leads to another directory now than when the service started, and what is in that one is not followed: restart \
                 the service",
            ));
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let looked = self.look(&mut held);
        match &looked {
            Ok(()) if std::mem::take(&mut held.was_away) => held.is_replaced = true,
            Ok(()) => {}
            Err(_) => held.was_away = true,
        }
        looked?;
        if held.is_replaced {
            return Err(io::Error::other(
                "it was away or replaced, and is about to be looked at anew; try again in a moment",
            ));
        }
        Ok(())
    }

    /// Is there a directory of this lattice that must be looked at as at a start? It may be an older copy.
    pub(super) fn is_replaced(&self) -> bool {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).is_replaced
    }

    /// From here on the directory that stands there now is looked at.
    pub(super) fn accept(&self) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).is_replaced = false;
    }

    /// Notes whether the path `given` of the directory leads to it still: a symbolic link may be changed.
    pub(super) fn follow(&self, given: &Path) {
        let leads_elsewhere = given.canonicalize().is_ok_and(|it| it != self.directory);
        self.leads_elsewhere.store(leads_elsewhere, Ordering::Release);
    }

    fn look(&self, held: &mut Held) -> io::Result<()> {
        let path = self.directory.join(NAME);
        let metadata = path.symlink_metadata().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => self.missing(),
            _ => error,
        })?;
        if held.is(&metadata) {
            return Ok(());
        }
        // Another file, or another content: the directory was replaced, or the marker was restored or overwritten.
        let file = open(&self.directory)?;
        // From before it is read: a change meanwhile is then seen by the next look.
        let metadata = file.metadata()?;
        match parse(&file) {
            Ok(found) if found == self.lattice_id => {}
            Ok(found) => {
                return Err(io::Error::other(format!(
                    "the directory that stands there now is of another lattice ({found}): is the right disk mounted?"
                )));
            }
            Err(error) => {
                return Err(io::Error::other(format!(
                    "its marker {NAME} cannot be used ({error}), so no file counts as deleted and nothing is written: is the right disk \
                     mounted? If this is the right directory, stop the service, move the marker away and run: ark-lattice adopt"
                )));
            }
        }
        if metadata.ino() == held.stamp.inode && metadata.dev() == held.device {
            // Its lock is ours as it was.
            held.stamp = FileStamp::of(&metadata);
            return Ok(());
        }
        let another = Held::of(file, &metadata).map_err(|error| match error {
            MarkerError::Io(error) => error,
            other => io::Error::other(other.to_string()),
        })?;
        // While it is held open, no other file has its number.
        *held = Held { is_replaced: true, ..another };
        Ok(())
    }

    /// Gives the lock back: the lattice is closed.
    pub(super) fn release(&self) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = flock(&held.file, FlockOperation::Unlock) {
            // Closing the file gives it back as well.
            tracing::debug!(%error, "the lock of the marker is not given back yet");
        }
    }

    fn missing(&self) -> io::Error {
        io::Error::other(format!(
            "the marker {NAME} is missing in it, so no file counts as deleted and nothing is written: is the disk mounted? If this is \
             the right directory, stop the service and run: ark-lattice adopt"
        ))
    }
}

impl Drop for Marker {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn a_marker_is_read_as_it_was_written_and_anything_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()).unwrap(), None);
        write(folder.path(), ID).unwrap();
        assert_eq!(read(folder.path()).unwrap().as_deref(), Some(ID));
        for bad in ["", "{", "{}", r#"{"lattice":"12","layout":"flat"}"#] {
            atomic_file::replace(&folder.path().join(NAME), 0o644, |file| file.write_all(bad.as_bytes())).unwrap();
            assert!(matches!(read(folder.path()), Err(MarkerError::Unreadable(_))), "{bad}");
        }
        let tree = format!("{{\"lattice\":\"{ID}\",\"layout\":\"of tomorrow\"}}");
        atomic_file::replace(&folder.path().join(NAME), 0o644, |file| file.write_all(tree.as_bytes())).unwrap();
        assert!(matches!(read(folder.path()), Err(MarkerError::Unreadable(reason)) if reason.contains("layout")));
    }

    #[test]
    fn a_directory_is_served_once_and_recognised_after_it_was_copied() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        write(&data, ID).unwrap();
        let marker = Marker::hold(&data, ID.to_owned()).unwrap();
        assert!(matches!(Marker::hold(&data, ID.to_owned()), Err(MarkerError::InUse)));
        marker.check().unwrap();

        let moved = folder.path().join("moved");
        fs::rename(&data, &moved).unwrap();
        assert!(marker.check().is_err(), "nothing stands in its place");
        fs::create_dir(&data).unwrap();
        assert!(marker.check().unwrap_err().to_string().contains("mounted"), "an empty directory does");
        write(&data, &ID.replace('0', "f")).unwrap();
        assert!(marker.check().unwrap_err().to_string().contains("another lattice"));
        write(&data, ID).unwrap();
        for _ in 0..2 {
            assert!(marker.check().unwrap_err().to_string().contains("looked at anew") && marker.is_replaced());
        }
        marker.accept();
        marker.check().unwrap();
        // Overwritten in its place: the same file, another lattice, or none.
        let text = fs::read_to_string(data.join(NAME)).unwrap();
        let overwrite = |text: &str| File::create(data.join(NAME)).unwrap().write_all(text.as_bytes()).unwrap();
        for (other, reason) in [(text.replace('0', "f"), "another lattice"), (String::new(), "cannot be used")] {
            overwrite(&other);
            for _ in 0..2 {
                let error = marker.check().unwrap_err().to_string();
                assert!(error.contains(reason) && error.contains("mounted"), "{error}");
            }
            overwrite(&text);
            marker.check().unwrap_err();
            assert!(marker.is_replaced(), "what happened in it meanwhile is not known");
            marker.accept();
            marker.check().unwrap();
        }
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&data, &link).unwrap();
        let marker = {
            drop(marker);
            Marker::hold(&data.canonicalize().unwrap(), ID.to_owned()).unwrap()
        };
        marker.follow(&link);
        marker.check().unwrap();
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(&moved, &link).unwrap();
        marker.follow(&link);
        assert!(marker.check().unwrap_err().to_string().contains("restart the service"));
        std::os::unix::fs::symlink(&data, folder.path().join("back")).unwrap();
        marker.follow(&folder.path().join("back"));
        marker.check().unwrap();
        assert!(matches!(Marker::hold(&data, ID.to_owned()), Err(MarkerError::InUse)), "its lock is still ours");
        drop(marker);
        Marker::hold(&data, ID.to_owned()).unwrap();
    }
}

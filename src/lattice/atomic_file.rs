//! Files that are there whole or not at all: written beside their place, made durable, then renamed.

use super::file_name::CaseSensitivity;
use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

const PREFIX: &str = ".ark-";
const SUFFIX: &str = ".tmp";

/// Before the number of the process in a temporary name. The capital letter lets a probe see whether case counts.
const PROCESS: char = 'T';
/// How old a client's temporary file is at least when its client is taken for dead: their names do not say which process it is.
const CLIENTS_AGE: Duration = Duration::from_secs(60 * 60);

/// Makes and removes a file: proves that the directory can be written, and shows whether case counts where that is to be found out.
///
/// # Errors
/// No file can be made there.
pub(super) fn probe(directory: &Path, case: CaseSensitivity) -> io::Result<CaseSensitivity> {
    let temp = TempFile::create(directory, 0o600)?;
    let name = temp.path().file_name().unwrap_or_default().to_ascii_lowercase();
    let other_case = directory.join(name).symlink_metadata().is_ok();
    drop(temp);
    Ok(match case {
        CaseSensitivity::Probe if other_case => CaseSensitivity::Insensitive,
        CaseSensitivity::Probe => CaseSensitivity::Sensitive,
        given => given,
    })
}

/// Is this the name of a file that a write of ours, or of one of the clients, leaves behind when the process is killed?
#[must_use]
pub fn is_temporary(name: &str) -> bool {
    process_of(name).is_some() || is_of_client(name)
}

/// The process that made the temporary file of this name.
fn process_of(name: &str) -> Option<u32> {
    let (process, number) = middle(name)?.strip_prefix(PROCESS)?.split_once('-')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number(number) && is_number(process) { process.parse().ok() } else { None }
}

/// `clients/` write to names of random letters and digits.
fn is_of_client(name: &str) -> bool {
    middle(name).is_some_and(|it| matches!(it.len(), 8 | 16) && it.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

fn middle(name: &str) -> Option<&str> {
    name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)
}

/// Did a write that was killed leave this file behind? It is a regular file of this user's with a temporary name, and the process that made
/// it is gone.
#[must_use]
pub fn is_abandoned(directory: &Path, name: &str) -> bool {
    let Ok(metadata) = directory.join(name).symlink_metadata() else { return false };
    if !metadata.is_file() || !is_of_this_user(&metadata) {
        return false;
    }
    match process_of(name) {
        // A container gives the same number again and again.
        Some(process) => process == std::process::id() || !is_alive(process),
        None => {
            is_of_client(name) && metadata.modified().is_ok_and(|at| at.elapsed().is_ok_and(|age| age > CLIENTS_AGE))
        }
    }
}

#[cfg(unix)]
fn is_of_this_user(metadata: &Metadata) -> bool {
    std::os::unix::fs::MetadataExt::uid(metadata) == rustix::process::geteuid().as_raw()
}

#[cfg(not(unix))]
fn is_of_this_user(_metadata: &Metadata) -> bool {
    true
}

/// One that ended and was not waited for has no program any more. Other systems than Linux do not say.
fn is_alive(process: u32) -> bool {
    fs::read_link(format!("/proc/{process}/exe")).is_ok()
}

/// A file under a temporary name, or without one. Removed on drop unless it was renamed.
#[derive(Debug)]
pub struct TempFile {
    /// Empty while it has none.
    path: PathBuf,
    file: Option<File>,
}

impl TempFile {
    /// Makes an empty file in `directory`, readable and writable as `mode` and the umask say (octal permission bits).
    ///
    /// # Errors
    /// Those of the file system.
    pub fn create(directory: &Path, mode: u32) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = directory.join(format!("{PREFIX}{PROCESS}{}-{number}{SUFFIX}", std::process::id()));
            let mut options = OpenOptions::new();
            options.write(true).read(true).create_new(true);
            set_mode(&mut options, mode);
            match options.open(&path) {
                Ok(file) => return Ok(Self { path, file: Some(file) }),
                // Left by a killed process that had the same number, which containers hand out again and again.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// As [`TempFile::create`], without a name: cheaper to make and to put in its place, it has to stay open until then, and only takes a
    /// place that is free.
    ///
    /// # Errors
    /// Those of the file system, which may know no such files.
    #[cfg(target_os = "linux")]
    pub fn unnamed(directory: &File, mode: u32) -> io::Result<Self> {
        use rustix::fs::{Mode, OFlags, openat};
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = openat(directory, c".", flags, Mode::from_raw_mode(mode))?;
        Ok(Self { path: PathBuf::new(), file: Some(file.into()) })
    }

    /// Other systems have no files without a name.
    ///
    /// # Errors
    /// Always.
    #[cfg(not(target_os = "linux"))]
    pub fn unnamed(_directory: &File, _mode: u32) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Has it no name?
    #[must_use]
    pub fn is_unnamed(&self) -> bool {
        self.path.as_os_str().is_empty()
    }

    /// The open file.
    ///
    /// # Errors
    /// When it was closed before.
    pub fn file(&self) -> io::Result<&File> {
        self.file.as_ref().ok_or_else(|| io::Error::other("the temporary file is closed"))
    }

    /// Where it is until it is renamed. The name has a capital letter.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes its content durable, also after it was closed.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn sync(&self) -> io::Result<()> {
        match &self.file {
            Some(file) => file.sync_all(),
            None => File::open(&self.path)?.sync_all(),
        }
    }

    /// Closes the file; it can be renamed still.
    pub fn close(&mut self) {
        self.file = None;
    }

    /// Takes the place of `target`, which is replaced where it exists. The directory still has to be synced.
    ///
    /// # Errors
    /// Those of the file system; the temporary file is removed then.
    pub fn rename(mut self, target: &Path) -> io::Result<()> {
        fs::rename(&self.path, target)?;
        self.path = PathBuf::new();
        Ok(())
    }

    /// Gives a file without a name its first one, in `directory`, which still has to be synced. Answers how it stands there.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`], and those of the file system.
    pub fn link(&self, directory: &File, name: &str) -> io::Result<Metadata> {
        let file = self.file()?;
        link(file, directory, name)?;
        file.metadata()
    }

    /// Takes the place of `target`, which must not exist.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`], and those of the file system.
    pub fn rename_new(self, target: &Path) -> io::Result<()> {
        // A link is refused where the name is taken, a rename is not.
        match fs::hard_link(&self.path, target) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
            Err(_) if target.symlink_metadata().is_ok() => Err(io::ErrorKind::AlreadyExists.into()),
            // FAT and some network file systems have no links.
            Err(_) => self.rename(target),
        }
    }
}

/// A link to the descriptor itself needs a privilege before Linux 6.10; the way over `/proc` needs none (man linkat, `AT_EMPTY_PATH`).
#[cfg(target_os = "linux")]
fn link(file: &File, directory: &File, name: &str) -> io::Result<()> {
    use rustix::fs::{AtFlags, CWD, linkat};
    use std::os::fd::AsRawFd as _;
    match linkat(file, c"", directory, name, AtFlags::EMPTY_PATH) {
        Err(rustix::io::Errno::NOENT) => {
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            Ok(linkat(CWD, path, directory, name, AtFlags::SYMLINK_FOLLOW)?)
        }
        linked => Ok(linked?),
    }
}

#[cfg(not(target_os = "linux"))]
fn link(_file: &File, _directory: &File, _name: &str) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if !self.is_unnamed() {
            // A name that cannot be removed now is removed at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Writes a file that must not exist yet, durably.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`], and those of the file system. Nothing is left behind.
pub fn write_new(path: &Path, mode: u32, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let directory = parent(path)?;
    filled(directory, mode, write)?.rename_new(path)?;
    sync_directory(directory)
}

/// Writes a file, durably; what was there is replaced as a whole.
///
/// # Errors
/// Those of the file system. What was there is untouched then, unless the sync of the directory failed.
pub fn replace(path: &Path, mode: u32, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let directory = parent(path)?;
    filled(directory, mode, write)?.rename(path)?;
    sync_directory(directory)
}

/// A durable file beside its place.
///
/// # Errors
/// Those of the file system. Nothing is left behind.
pub fn filled(directory: &Path, mode: u32, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<TempFile> {
    let temp = TempFile::create(directory, mode)?;
    let mut file = temp.file()?.try_clone()?;
    write(&mut file)?;
    file.flush()?;
    file.sync_all()?;
    Ok(temp)
}

/// The directory that a file is in.
///
/// # Errors
/// The path names no file.
pub fn parent(path: &Path) -> io::Result<&Path> {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Ok(Path::new(".")),
        Some(parent) => Ok(parent),
        None => Err(io::Error::new(io::ErrorKind::InvalidInput, "the path names no file")),
    }
}

/// Makes renames and removals in `directory` durable.
///
/// # Errors
/// Those of the file system.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(unix)]
fn set_mode(options: &mut OpenOptions, mode: u32) {
    std::os::unix::fs::OpenOptionsExt::mode(options, mode);
}

#[cfg(not(unix))]
fn set_mode(_options: &mut OpenOptions, _mode: u32) {}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        replace(&path, 0o644, |file| file.write_all(b"one")).unwrap();
        let failed = replace(&path, 0o644, |file| {
            file.write_all(b"half")?;
            Err(io::Error::other("disk gone"))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(names(directory.path()), ["a"]);
    }

    #[test]
    fn only_files_of_killed_writes_are_abandoned() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path();
        let new = |name: &str| {
            File::create(directory.join(name)).unwrap();
            is_abandoned(directory, name)
        };
        let long_ago = |name: &str| {
            new(name);
            let then = std::time::SystemTime::now() - CLIENTS_AGE * 2;
            File::options().write(true).open(directory.join(name)).unwrap().set_modified(then).unwrap();
            is_abandoned(directory, name)
        };
        // No process has that number.
        assert!(new(".ark-T4194304-0.tmp"));
        assert!(new(&format!(".ark-T{}-7.tmp", std::process::id())));
        if cfg!(target_os = "linux") {
            let child = std::process::Command::new("sleep").arg("60").spawn();
            let mut child = child.unwrap();
            let name = format!(".ark-T{}-7.tmp", child.id());
            assert!(!new(&name), "its process still writes");
            child.kill().unwrap();
            child.wait().unwrap();
            assert!(is_abandoned(directory, &name));
        }
        for client in [".ark-0123456789abcdef.tmp", ".ark-aB3dE6gH.tmp"] {
            assert!(is_temporary(client) && !new(client) && long_ago(client), "{client}");
        }
        for foreign in [
            ".ark-notes.tmp",
            ".ark-.tmp",
            ".ark-T1-.tmp",
            ".ark-T-1.tmp",
            ".ark-T1x-1.tmp",
            ".ark-1-0.tmp",
            ".ark-T1-0.tmp~",
            ".ark-my-backup.tmp",
            ".ark-01234567.json.tmp",
        ] {
            assert!(!is_temporary(foreign) && !long_ago(foreign), "{foreign}");
        }
        fs::create_dir(directory.join(".ark-T4194304-1.tmp")).unwrap();
        std::os::unix::fs::symlink(".ark-notes.tmp", directory.join(".ark-T4194304-2.tmp")).unwrap();
        assert!(!is_abandoned(directory, ".ark-T4194304-1.tmp") && !is_abandoned(directory, ".ark-T4194304-2.tmp"));
    }

    #[test]
    fn a_new_file_does_not_replace_one_that_exists() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        write_new(&path, 0o600, |file| file.write_all(b"one")).unwrap();
        let again = write_new(&path, 0o600, |file| file.write_all(b"two"));
        assert_eq!(again.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(names(directory.path()), ["key"]);
        #[cfg(unix)]
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions()) & 0o777, 0o600);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_without_a_name_takes_a_free_place_only_and_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let root = File::open(directory.path()).unwrap();
        let unnamed = |text: &[u8]| {
            // What has no such files is served by the others; a test machine's temporary folder has them.
            let temp = TempFile::unnamed(&root, 0o640).unwrap();
            temp.file().unwrap().write_all(text).unwrap();
            temp.sync().unwrap();
            temp
        };
        drop(unnamed(b"dropped"));
        assert!(names(directory.path()).is_empty());
        assert_eq!(unnamed(b"one").link(&root, "a").unwrap().len(), 3);
        let taken = unnamed(b"two").link(&root, "a");
        assert_eq!(taken.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(directory.path().join("a")).unwrap(), b"one");
        assert_eq!(names(directory.path()), ["a"]);
    }
}

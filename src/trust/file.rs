//! A chain in a file: appended and synced. Beside it stands where it ends, so that a file that was cut is noticed too.

use super::chain::{Chain, ChainError, Ledger};
use crate::lattice::offline::write_file;
use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// Why a chain's file cannot be used. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It is not what was written.
    #[error("{}: {error}; restore a copy of the state directory, or look at it with: ark-lattice audit verify", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: ChainError,
    },
    /// The file beside it is gone or damaged.
    #[error("{} {problem}; restore a copy of the state directory", path.display())]
    Guard {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// It cannot be read or written.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        error: io::Error,
    },
}

/// An open chain.
#[derive(Debug)]
pub struct ChainFile {
    path: PathBuf,
    guard: PathBuf,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    bytes: u64,
    chain: Chain,
    /// What a failed write left is not taken away yet: nothing may follow it.
    spoiled: bool,
    /// Where it ends is not written down yet: no second line may follow before it is.
    unguarded: bool,
}

/// What a chain's file holds.
#[derive(Debug)]
pub struct Contents {
    /// The texts of its lines.
    pub texts: Vec<String>,
    /// Where it ends.
    pub chain: Chain,
    /// Bytes after its last whole line: of one that was not written to its end.
    pub torn_bytes: usize,
}

/// Where the end of the chain in `path` is kept.
fn guard_of(path: &Path) -> PathBuf {
    path.with_extension("head")
}

/// Reads and checks a chain. A file that is not there is an empty one. Changes nothing.
///
/// # Errors
/// [`FileError`].
pub fn read(path: &Path) -> Result<Contents, FileError> {
    let failed = |path: &Path, error| FileError::Io { path: path.to_owned(), error };
    let read = |path: &Path| match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path, error)),
    };
    // The end first: a service may be adding lines meanwhile.
    let guard = guard_of(path);
    let known = read(&guard)?;
    let bytes = read(path)?.unwrap_or_default();
    let damaged = |error| FileError::Damaged { path: path.to_owned(), error };
    let (texts, chain, whole) = Chain::read(&bytes).map_err(damaged)?;
    check_guard(known.as_deref(), &bytes, &chain).map_err(|error| match error {
        Guarding::Damaged(error) => damaged(error),
        Guarding::Problem(problem) => FileError::Guard { path: guard, problem },
    })?;
    Ok(Contents { texts, chain, torn_bytes: bytes.len().saturating_sub(whole) })
}

enum Guarding {
    Damaged(ChainError),
    Problem(&'static str),
}

/// The chain goes at least as far as is known. It may go further: the process ended between the two writes.
fn check_guard(known: Option<&[u8]>, bytes: &[u8], chain: &Chain) -> Result<(), Guarding> {
    let Some(known) = known else {
        // The first line may have been written when the process was killed.
        let none = chain.length() <= 1;
        return if none { Ok(()) } else { Err(Guarding::Problem("is gone: nobody can say where the log ended")) };
    };
    let ends = std::str::from_utf8(known).ok().and_then(read_ends).ok_or(Guarding::Problem("is damaged"))?;
    // Where there are two, the process ended while it wrote the log anew: the file is the one before or the one after.
    let mut checked = ends.iter().map(|known| check_end(known, bytes, chain));
    let first = checked.next().unwrap_or(Err(Guarding::Problem("is damaged")));
    if checked.any(|another| another.is_ok()) { Ok(()) } else { first }
}

fn read_ends(text: &str) -> Option<Vec<Chain>> {
    let ends: Vec<Chain> = text.split_inclusive('\n').map(|line| line.parse().ok()).collect::<Option<_>>()?;
    (1..=2).contains(&ends.len()).then_some(ends)
}

fn check_end(known: &Chain, bytes: &[u8], chain: &Chain) -> Result<(), Guarding> {
    if known.length() > chain.length() {
        return Err(Guarding::Damaged(ChainError::Cut { found: chain.length(), known: known.length() }));
    }
    if chain.length() > known.length().saturating_add(1) {
        return Err(Guarding::Damaged(ChainError::Other(known.length().saturating_add(2))));
    }
    let at = usize::try_from(known.length()).unwrap_or(usize::MAX);
    let hash = match at.checked_sub(1) {
        None => Chain::default().hash().as_bytes().to_vec(),
        Some(line) => bytes.split(|byte| *byte == b'\n').nth(line).unwrap_or_default().to_vec(),
    };
    let same = hash.starts_with(known.hash().as_bytes());
    if same { Ok(()) } else { Err(Guarding::Damaged(ChainError::Other(known.length()))) }
}

impl Open {
    /// Takes away what a failed write left.
    fn take_away(&mut self) -> io::Result<()> {
        self.spoiled = true;
        self.file.set_len(self.bytes)?;
        self.file.sync_all()?;
        self.spoiled = false;
        Ok(())
    }
}

impl ChainFile {
    /// Opens a chain, checks all of it, and takes away what a killed process did not write to its end. Answers the texts of its lines.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn open(path: &Path) -> Result<(Self, Vec<String>), FileError> {
        let contents = read(path)?;
        let failed = |error| FileError::Io { path: path.to_owned(), error };
        let is_new = !path.exists();
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path).map_err(failed)?;
        if contents.torn_bytes > 0 {
            tracing::warn!(path = %path.display(), bytes = contents.torn_bytes, "a line that was not written to its end is left out");
        }
        let written: u64 = file.metadata().map_err(failed)?.len();
        let bytes = written.saturating_sub(u64::try_from(contents.torn_bytes).unwrap_or(u64::MAX));
        file.set_len(bytes).and_then(|()| file.sync_all()).map_err(failed)?;
        if is_new {
            sync_folder(path).map_err(failed)?;
        }
        let open = Open { file, bytes, chain: contents.chain, spoiled: false, unguarded: false };
        let opened = Self { path: path.to_owned(), guard: guard_of(path), open: Mutex::new(open) };
        opened.guard_again();
        Ok((opened, contents.texts))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the end of what was found. On a full disk that has to wait, as after a line: what was decided can be read all the same.
    fn guard_again(&self) {
        let mut open = self.lock();
        let end = open.chain.to_string();
        let noted = std::fs::read(&self.guard).is_ok_and(|it| it == end.as_bytes());
        open.unguarded = !noted && self.keep_guard(&end).is_err();
    }

    fn keep_guard(&self, ends: &str) -> io::Result<()> {
        write_file(&self.guard, ends.as_bytes()).map_err(|error| io::Error::other(error.to_string()))
    }

    /// The file with these lines, in the place of the one that was there.
    fn put(&self, whole: &str) -> io::Result<File> {
        let written = write_file(&self.path, whole.as_bytes()).map_err(|error| io::Error::other(error.to_string()));
        let mut file = OpenOptions::new().append(true).read(true).open(&self.path)?;
        let mut read = Vec::new();
        file.read_to_end(&mut read)?;
        // Also where the last step of the write failed, what stands under the name is what has to be gone on with.
        match written {
            _ if read == whole.as_bytes() => Ok(file),
            Err(error) => Err(error),
            Ok(()) => Err(io::Error::other(format!("{} does not hold what was written", self.path.display()))),
        }
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

impl Ledger for ChainFile {
    fn append(&self, text: &str) -> io::Result<()> {
        let mut open = self.lock();
        if open.spoiled {
            open.take_away()?;
        }
        if open.unguarded {
            self.keep_guard(&open.chain.to_string())?;
            open.unguarded = false;
        }
        let (line, next) = open.chain.sealed(text);
        if let Err(error) = open.file.write_all(line.as_bytes()).and_then(|()| open.file.sync_data()) {
            // What came of the line must not stand before the next one. Where that fails too, it is tried again then.
            let _tried_again_later = open.take_away();
            return Err(error);
        }
        open.bytes = open.bytes.saturating_add(u64::try_from(line.len()).unwrap_or(u64::MAX));
        open.chain = next;
        // The line is kept whether or not this works: a file that ends one line later than is known is a whole one.
        open.unguarded = self.keep_guard(&open.chain.to_string()).is_err();
        Ok(())
    }

    fn replace(&self, texts: &[String]) -> io::Result<()> {
        let mut open = self.lock();
        let (mut chain, mut whole) = (Chain::default(), String::new());
        for text in texts {
            let (line, next) = chain.sealed(text);
            whole.push_str(&line);
            chain = next;
        }
        // Both ends first: whenever the process is killed, the file fits one of them.
        self.keep_guard(&format!("{}{chain}", open.chain))?;
        open.unguarded = true;
        let file = self.put(&whole)?;
        let bytes = u64::try_from(whole.len()).unwrap_or(u64::MAX);
        let unguarded = self.keep_guard(&chain.to_string()).is_err();
        *open = Open { file, bytes, chain, spoiled: false, unguarded };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn put(path: &Path, bytes: impl AsRef<[u8]>) {
        File::create(path).unwrap().write_all(bytes.as_ref()).unwrap();
    }

    fn three(folder: &Path) -> PathBuf {
        let path = folder.join("audit.log");
        let (log, texts) = ChainFile::open(&path).unwrap();
        assert!(texts.is_empty());
        for text in ["one", "two", "three"] {
            log.append(text).unwrap();
        }
        path
    }

    #[test]
    fn an_end_that_cannot_be_noted_at_the_start_keeps_nobody_from_reading_and_is_noted_before_the_next_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = three(folder.path());
        let guard = guard_of(&path);
        fs::remove_file(&guard).unwrap();
        let whole = fs::read(&path).unwrap();
        let first = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        put(&path, &whole[..first]);
        // As on a full disk: a directory in its place cannot be replaced by a file.
        let (log, texts) = {
            let contents = read(&path).unwrap();
            let file = OpenOptions::new().append(true).open(&path).unwrap();
            let bytes = u64::try_from(first).unwrap();
            let open = Open { file, bytes, chain: contents.chain, spoiled: false, unguarded: false };
            let guard = guard.clone();
            (ChainFile { path: path.clone(), guard, open: Mutex::new(open) }, contents.texts)
        };
        fs::create_dir(&guard).unwrap();
        log.guard_again();
        assert_eq!((texts.len(), log.lock().unguarded), (1, true));
        assert!(log.append("refused").is_err());
        assert_eq!(fs::read(&path).unwrap(), &whole[..first]);
        fs::remove_dir(&guard).unwrap();
        log.append("two").unwrap();
        assert_eq!(ChainFile::open(&path).unwrap().1, ["one", "two"]);
    }

    #[test]
    fn what_was_appended_is_there_and_a_torn_line_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = three(folder.path());
        let whole = fs::read(&path).unwrap();
        put(&path, [&whole[..], b"0123 tor"].concat());
        assert_eq!(read(&path).unwrap().torn_bytes, 8);
        let (log, texts) = ChainFile::open(&path).unwrap();
        assert_eq!(texts, ["one", "two", "three"]);
        log.append("four").unwrap();
        assert_eq!(ChainFile::open(&path).unwrap().1.len(), 4);
        log.replace(&["only".to_owned()]).unwrap();
        log.append("more").unwrap();
        assert_eq!(ChainFile::open(&path).unwrap().1, ["only", "more"]);
    }

    #[test]
    fn a_file_that_was_changed_cut_or_lost_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = three(folder.path());
        let guard = guard_of(&path);
        let (log, known) = (fs::read(&path).unwrap(), fs::read(&guard).unwrap());
        for (file, bytes) in [(&path, &log), (&guard, &known)] {
            for at in 0..bytes.len() {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << (at % 8);
                put(file, &changed);
                assert!(ChainFile::open(&path).is_err(), "{} byte {at}", file.display());
                assert_eq!(fs::read(file).unwrap(), changed, "nothing is repaired by a guess");
            }
            put(file, bytes);
        }
        // Cut between two lines: each line that is left is right.
        let two = log.iter().rposition(|byte| *byte == b' ').unwrap() - 64;
        put(&path, &log[..two]);
        assert!(matches!(ChainFile::open(&path), Err(FileError::Damaged { error: ChainError::Cut { .. }, .. })));
        fs::remove_file(&path).unwrap();
        assert!(matches!(ChainFile::open(&path), Err(FileError::Damaged { error: ChainError::Cut { .. }, .. })));
        put(&path, &log);
        fs::remove_file(&guard).unwrap();
        assert!(matches!(ChainFile::open(&path), Err(FileError::Guard { .. })));
        put(&guard, &known);
        assert_eq!(ChainFile::open(&path).unwrap().1.len(), 3);
    }

    #[test]
    fn a_process_that_ended_while_it_wrote_the_log_anew_has_one_of_both() {
        let folder = tempfile::tempdir().unwrap();
        let path = three(folder.path());
        let guard = guard_of(&path);
        let (before, old_end) = (fs::read(&path).unwrap(), fs::read(&guard).unwrap());
        ChainFile::open(&path).unwrap().0.replace(&["one".to_owned(), "only".to_owned()]).unwrap();
        let (after, new_end) = (fs::read(&path).unwrap(), fs::read(&guard).unwrap());
        for (file, texts) in [(&before, 3), (&after, 2)] {
            put(&path, file);
            put(&guard, [&old_end[..], &new_end[..]].concat());
            assert_eq!(ChainFile::open(&path).unwrap().1.len(), texts);
            // From then on it is that one, and no other.
            let cut = file.iter().rposition(|byte| *byte == b' ').unwrap() - 64;
            put(&path, &file[..cut]);
            assert!(ChainFile::open(&path).is_err());
        }
        put(&path, &before);
        put(&guard, &new_end);
        assert!(ChainFile::open(&path).is_err(), "put back afterwards");
    }

    #[test]
    fn a_process_that_ended_between_the_two_files_has_lost_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = three(folder.path());
        let known = fs::read(guard_of(&path)).unwrap();
        ChainFile::open(&path).unwrap().0.append("four").unwrap();
        put(&guard_of(&path), &known);
        assert_eq!(ChainFile::open(&path).unwrap().1.len(), 4);
    }
}

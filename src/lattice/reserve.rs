//! Room on the disk that is ours already. When the disk is full it is given up, so that the journal can still write down what
//! stands in the data directory; from then on writes are refused before they touch a file, until it is held again.

use super::journal::is_full;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Enough for the pages that one batch of writes changes in the journal.
const BYTES: usize = 4 << 20;
/// A disk that was full a moment ago is not written to again for nothing.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    // By the machine's clock: no disk waits for an injected one.
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Held,
    /// Given up, or never held; when holding it failed last.
    Missing(Option<Instant>),
}

impl Reserve {
    /// The reserve of the journal at `journal`. A full disk is no error here: it is held later.
    pub(super) fn beside(journal: &Path) -> Self {
        let path = journal.with_extension("reserve");
        let held = fs::metadata(&path).is_ok_and(|metadata| {
            // Cut off while it was written, or without its blocks, it would hold less than it says.
            let bytes = u64::try_from(BYTES).unwrap_or(u64::MAX);
            metadata.len() == bytes && metadata.blocks().saturating_mul(512) >= bytes
        });
        let state = if held { State::Held } else { State::Missing(None) };
        Self { path, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers once the room is held, and only where the state directory can be written.
    ///
    /// # Errors
    /// Those of the file system: no room, read-only.
    pub(super) fn hold(&self) -> io::Result<()> {
        let mut state = self.state();
        match *state {
            // Opening writes nothing, but a file system that became read-only refuses it.
            State::Held => match OpenOptions::new().write(true).open(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => return other.map(drop),
            },
            State::Missing(Some(failed)) if failed.elapsed() < PAUSE => {
                return Err(io::ErrorKind::StorageFull.into());
            }
            State::Missing(_) => {}
        }
        let made = self.make();
        *state = match &made {
            Ok(()) => State::Held,
            Err(error) => {
                // Half a reserve takes the room that others need.
                let _ = fs::remove_file(&self.path);
                State::Missing(is_full(error).then(Instant::now))
            }
        };
        made
    }

    fn make(&self) -> io::Result<()> {
        let options = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&self.path);
        let mut file: File = options?;
        // A block of its own each, also where the file system compresses or shares equal blocks.
        let mut word = 0x9E37_79B9_7F4A_7C15_u64;
        let mut block = Vec::with_capacity(64 << 10);
        for _ in 0..BYTES / (64 << 10) {
            block.clear();
            while block.len() < 64 << 10 {
                word ^= word << 13;
                word ^= word >> 7;
                word ^= word << 17;
                block.extend_from_slice(&word.to_le_bytes());
            }
            file.write_all(&block)?;
        }
        file.sync_all()
    }

    /// Gives the room up. Answers whether there was any.
    pub(super) fn release(&self) -> bool {
        let mut state = self.state();
        let held = matches!(*state, State::Held) && fs::remove_file(&self.path).is_ok();
        *state = State::Missing(Some(Instant::now()));
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_held_across_starts_and_made_again_where_it_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().join("lattice.redb");
        let reserve = Reserve::beside(&journal);
        reserve.hold().unwrap();
        let file = folder.path().join("lattice.reserve");
        assert_eq!(file.metadata().unwrap().len(), 4 << 20);
        assert!(matches!(*Reserve::beside(&journal).state(), State::Held));

        assert!(reserve.release() && !reserve.release());
        assert!(!file.exists());
        assert_eq!(reserve.hold().unwrap_err().kind(), io::ErrorKind::StorageFull, "not at once");

        File::create(&file).unwrap().set_len(4 << 20).unwrap();
        let again = Reserve::beside(&journal);
        assert!(matches!(*again.state(), State::Missing(None)), "a hole holds nothing");
        again.hold().unwrap();
        fs::remove_file(&file).unwrap();
        again.hold().unwrap();
        assert!(file.exists(), "made again where somebody removed it");
    }
}

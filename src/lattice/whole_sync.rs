//! One sync of the whole file system instead of one for each of many files.
//!
//! A sync of one file makes a journalling file system commit; a hundred of them on sixteen threads still cost several commits and most of
//! the writer's time. `syncfs(2)` makes everything durable with one. It is only used where it says the truth:
//!
//! * Linux from 5.8 on, where it tells of failed writes (man syncfs, section "ERRORS" and "HISTORY").
//! * File systems that carry it to the disk themselves. Those in user space are not told of it.
//!
//! It waits for what other programs have written as well. Where that takes long, files are synced one by one for a while.

use std::{
    fs::File,
    io,
    time::{Duration, Instant},
};

/// From so many files on.
const MANY: usize = 32;
/// When the others' data takes longer than this, each file is synced by itself again ...
const LONG: Duration = Duration::from_secs(1);
/// ... for this time. By the machine's clock: no disk waits for an injected one.
const PAUSE: Duration = Duration::from_secs(60);

/// When the next whole sync may be.
#[derive(Debug, Default)]
pub(super) struct WholeSync {
    not_before: Option<Instant>,
}

impl WholeSync {
    /// May so many files be synced together?
    pub(super) fn may(&self, root: &File, files: usize) -> bool {
        let rests = self.not_before.is_some_and(|moment| Instant::now() < moment);
        files >= MANY && !rests && tells_the_truth(root)
    }

    /// Makes everything durable that was written. `root`, on the same file system, was opened before that: of failures from then on it
    /// tells.
    ///
    /// # Errors
    /// Something on the file system could not be written, this program's or another one's: each file has to be asked for itself.
    pub(super) fn run(&mut self, root: &File) -> io::Result<()> {
        let begun = Instant::now();
        let synced = sync(root);
        let took = begun.elapsed();
        if synced.is_err() || took > LONG {
            self.not_before = Some(Instant::now() + PAUSE);
        }
        synced
    }
}

#[cfg(target_os = "linux")]
fn sync(root: &File) -> io::Result<()> {
    Ok(rustix::fs::syncfs(root)?)
}

#[cfg(not(target_os = "linux"))]
fn sync(_root: &File) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(target_os = "linux")]
fn tells_the_truth(root: &File) -> bool {
    /// ext2 to ext4, XFS, Btrfs, F2FS: linux/magic.h and statfs(2).
    const KNOWN: [u64; 4] = [0xEF53, 0x5846_5342, 0x9123_683E, 0xF2F5_2010];
    let release = rustix::system::uname();
    release.release().to_str().is_ok_and(is_new_enough)
        && rustix::fs::fstatfs(root).is_ok_and(|found| u64::try_from(found.f_type).is_ok_and(|it| KNOWN.contains(&it)))
}

#[cfg(not(target_os = "linux"))]
fn tells_the_truth(_root: &File) -> bool {
    false
}

/// Is this release of Linux one whose `syncfs` tells of failed writes?
#[cfg(target_os = "linux")]
fn is_new_enough(release: &str) -> bool {
    let mut numbers = release.split(|sign: char| !sign.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (5, 8),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn only_releases_that_tell_of_failures_are_relied_on() {
        for (release, expected) in [
            ("5.8.0", true),
            ("5.7.19", false),
            ("6.1.0-rpi7", true),
            ("4.19.0-amd64", false),
            ("10.0", true),
            ("x", false),
        ] {
            assert_eq!(is_new_enough(release), expected, "{release}");
        }
    }

    #[test]
    fn few_files_are_synced_by_themselves_and_a_failure_lets_it_rest() {
        let folder = tempfile::tempdir().unwrap();
        let root = File::open(folder.path()).unwrap();
        let mut sync = WholeSync::default();
        assert!(!sync.may(&root, MANY - 1));
        sync.not_before = Some(Instant::now() + PAUSE);
        assert!(!sync.may(&root, MANY));
        sync.not_before = Some(Instant::now());
        if sync.may(&root, MANY) {
            sync.run(&root).unwrap();
        }
    }
}

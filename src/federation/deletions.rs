//! Mass-delete guard: counts the nodes that other instances delete here, and decides whether deletions are carried out or wait for the
//! admin (DESIGN 4.7). A sender, its deletions, a number of nodes and a time in, a decision out; what was counted is kept in one file.
//! What waits is kept by the lattice.

mod additions;
mod counts;
mod kept;
mod sender;
mod window;

pub use counts::Reservation;
pub use sender::{Account, Sender};

use crate::{
    lattice::{
        StoredVersion,
        offline::{OfflineError, write_file},
    },
    types::{NodeId, SharedClock},
};
use counts::{Counts, Wave};
use kept::KeptCounts;
use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use window::SLOT_LIFE;

/// Up to this many deletions within an hour are always carried out.
pub const FEW_DELETIONS: usize = 10;
/// Deletions of one account within this time are added up.
const WINDOW: Duration = Duration::from_secs(60 * 60);
/// So long are deletions counted together that expire together.
const SLOT: Duration = Duration::from_secs(5 * 60);
/// How long after a confirmation the rest of the same wave is carried out as well: it may come in several batches.
const WAVE: Duration = Duration::from_secs(10 * 60);
/// Accounts that are distinguished. Further senders share the account of those that are not verified.
const MOST_ACCOUNTS: usize = 1000;
/// Pairs of accounts of which one deletes what the other one added shortly before. Of further pairs such nodes count as established.
const MOST_PAIRS: usize = 10_000;
/// Times begin so late that what was counted before the start has one as well.
const BEFORE_START: Duration = Duration::from_secs(3 * 60 * 60);
/// Added nodes that a killed process may forget: so many, or a twentieth of the established ones.
const MOST_UNSAVED: usize = 64;

/// Are these more than [`FEW_DELETIONS`] and more than a quarter of the nodes?
#[must_use]
pub fn is_mass(deletions: usize, nodes: usize) -> bool {
    deletions > FEW_DELETIONS && deletions.saturating_mul(4) > nodes
}

/// The counts of one instance, shared by its pushes and rounds.
#[derive(Debug, Default)]
pub struct DeletionGuard {
    counts: Mutex<Counts>,
    /// `None`: they end with the process.
    file: Option<CountsFile>,
}

#[derive(Debug)]
struct CountsFile {
    path: PathBuf,
    clock: SharedClock,
    /// The revision that is in the file. Held while it is written.
    written: Mutex<u64>,
}

impl DeletionGuard {
    /// With the counts of the process before. Where they cannot be read, all deletions of other instances wait until none of them would
    /// count any more, and the log has an error: a damaged file gives no budget back.
    #[must_use]
    pub fn open(path: &Path, clock: &SharedClock) -> Self {
        let now = Self::time(clock.elapsed());
        let read = match std::fs::read(path) {
            Ok(bytes) => KeptCounts::parse(&bytes).map_err(|error| error.to_string()).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.to_string()),
        };
        let counts = match read {
            Ok(None) => Counts::default(),
            Ok(Some(kept)) => kept.into_counts(now, clock.now()),
            Err(error) => {
                tracing::error!(
                    path = %path.display(), %error, wait_minutes = SLOT_LIFE.as_secs() / 60,
                    "the deletion counts cannot be read: deletions of other instances wait for the admin until this time is over"
                );
                Counts { closed_until: now.saturating_add(SLOT_LIFE), revision: 1, ..Counts::default() }
            }
        };
        let file = CountsFile { path: path.to_owned(), clock: SharedClock::clone(clock), written: Mutex::new(0) };
        Self { counts: Mutex::new(counts), file: Some(file) }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn time(elapsed: Duration) -> Duration {
        elapsed.saturating_add(BEFORE_START)
    }

    /// Reserves the deletions of these versions, of the `nodes` that are here now, in one step with the check. `None`: all of them must
    /// wait. `elapsed`: by the process's own clock. It must be durable ([`Self::save`]) before anything is deleted, and every reservation
    /// must come back with [`Self::settle`].
    pub fn reserve(
        &self,
        sender: &Sender<'_>,
        deletions: &[(NodeId, u64)],
        nodes: usize,
        elapsed: Duration,
    ) -> Option<Reservation> {
        self.counts().reserve(sender, deletions, nodes, Self::time(elapsed))
    }

    /// Notes versions that were stored for this sender: nodes that it added do not raise the number that deletions of any
    /// sender are compared with. A few of them may be lost with a killed process; more of them are due to be saved.
    pub fn note_stored(&self, sender: &Sender<'_>, stored: &[StoredVersion], elapsed: Duration) {
        self.counts().note_stored(&sender.account, stored, Self::time(elapsed));
    }

    /// These versions are here no more.
    pub fn note_gone<'a>(&self, versions: impl Iterator<Item = &'a (NodeId, u64)>) {
        self.counts().additions.remove(versions);
    }

    /// Of what was reserved, only what was really deleted stays counted.
    pub fn settle(&self, reservation: Reservation, carried_out: usize) {
        self.counts().settle(reservation, carried_out);
    }

    /// Are more added nodes not kept yet than a killed process may forget? `nodes`: how many are here.
    #[must_use]
    pub fn is_save_due(&self, nodes: usize) -> bool {
        let counts = self.counts();
        self.file.is_some() && counts.unsaved >= MOST_UNSAVED.max(counts.established(nodes) / 20)
    }

    /// Makes the counts durable, together with those of others that wait for it. Blocks on the disk.
    ///
    /// # Errors
    /// [`OfflineError`]: they are as they were on the disk.
    pub fn save(&self) -> Result<(), OfflineError> {
        let Some(file) = &self.file else { return Ok(()) };
        let wanted = self.counts().revision;
        let mut written = file.written.lock().unwrap_or_else(PoisonError::into_inner);
        if *written >= wanted {
            return Ok(());
        }
        let (kept, revision, unsaved) = {
            let counts = self.counts();
            let kept = KeptCounts::of(&counts, Self::time(file.clock.elapsed()), file.clock.now());
            (kept, counts.revision, counts.unsaved)
        };
        let failed = |error: serde_json::Error| OfflineError::Io { path: file.path.clone(), error: error.into() };
        let bytes = kept.bytes().map_err(failed)?;
        write_file(&file.path, &bytes)?;
        *written = revision;
        let mut counts = self.counts();
        counts.unsaved = counts.unsaved.saturating_sub(unsaved);
        Ok(())
    }

    /// As [`Self::save`], on a thread that may block. Answers whether they are durable; where not, the log has the error.
    pub async fn save_soon(self: &Arc<Self>) -> bool {
        if self.file.is_none() {
            return true;
        }
        let guard = Arc::clone(self);
        let saved = tokio::task::spawn_blocking(move || guard.save()).await;
        let error = match saved {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::error!(
            error,
            "the deletion counts cannot be kept; deletions of other instances wait for the admin meanwhile"
        );
        false
    }

    /// The admin confirmed so many deletions of this instance. As many again are carried out within ten minutes, the rest of a wave that comes
    /// in several batches; beyond that the guard counts from now. `is_own`: an instance with this id has an account of its own, and only
    /// that instance has the rest of the wave.
    pub fn confirm(&self, from: &str, is_own: bool, deletions: usize, elapsed: Duration) {
        let mut counts = self.counts();
        if counts.windows.remove(&Account::own(from)).is_some() {
            counts.change();
        }
        counts.waves.insert(from.into(), Wave { since: Self::time(elapsed), left: deletions, is_own });
    }

    /// The admin confirmed what this instance deletes in the round that begins: none of it waits until the round ends.
    pub fn confirm_round(self: &Arc<Self>, from: &str) -> ConfirmedRound {
        let count = &mut self.counts();
        let rounds = count.rounds.entry(from.into()).or_default();
        *rounds = rounds.saturating_add(1);
        ConfirmedRound { guard: Arc::clone(self), from: from.into() }
    }
}

/// A round whose deletions the admin confirmed; dropped, it is over.
#[derive(Debug)]
#[must_use]
pub struct ConfirmedRound {
    guard: Arc<DeletionGuard>,
    from: Box<str>,
}

impl Drop for ConfirmedRound {
    fn drop(&mut self) {
        let mut counts = self.guard.counts();
        match counts.rounds.get_mut(&self.from) {
            Some(rounds) if *rounds > 1 => *rounds = rounds.saturating_sub(1),
            _ => drop(counts.rounds.remove(&self.from)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Clock, TestClock, Timestamp};
    use proptest::prelude::*;
    use std::thread;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn clock_at(seconds: i64) -> Arc<TestClock> {
        TestClock::at(Timestamp::from_seconds(seconds))
    }

    fn verified(id: &str) -> Sender<'_> {
        Sender { id, account: Account::own(id), address: None, given: 0, is_pulled: false }
    }

    fn other(id: &str) -> Sender<'_> {
        Sender { account: Account::Unverified, ..verified(id) }
    }

    /// Versions of so many nodes, of which each has its own position.
    fn versions(names: &str, count: usize) -> Vec<(NodeId, u64)> {
        let version =
            |number: usize| (NodeId::parse(&format!("{names}-{number}")).unwrap(), u64::try_from(number + 1).unwrap());
        (0..count).map(version).collect()
    }

    /// They are stored for this sender, as new nodes.
    fn adds(guard: &DeletionGuard, sender: &Sender<'_>, versions: &[(NodeId, u64)], now: Duration) {
        let stored = versions.iter().map(|(id, seq)| StoredVersion { id: id.clone(), seq: *seq, replaced: None });
        guard.note_stored(sender, &stored.collect::<Vec<_>>(), now);
    }

    fn reserve(
        guard: &DeletionGuard,
        sender: &Sender<'_>,
        count: usize,
        nodes: usize,
        now: Duration,
    ) -> Option<Reservation> {
        guard.reserve(sender, &versions("old", count), nodes, now)
    }

    /// Reserves them and has all of them carried out.
    fn deletes(guard: &DeletionGuard, sender: &Sender<'_>, deletions: usize, nodes: usize, now: Duration) -> bool {
        deletes_these(guard, sender, &versions("old", deletions), nodes, now)
    }

    fn deletes_these(
        guard: &DeletionGuard,
        sender: &Sender<'_>,
        versions: &[(NodeId, u64)],
        nodes: usize,
        now: Duration,
    ) -> bool {
        let reserved = guard.reserve(sender, versions, nodes, now);
        reserved.is_some_and(|reserved| {
            guard.settle(reserved, versions.len());
            guard.note_gone(versions.iter());
            true
        })
    }

    #[test]
    fn small_parts_are_added_up_against_what_was_here_when_the_window_began() {
        let guard = DeletionGuard::default();
        assert!(deletes(&guard, &verified("few"), 10, 12, at(0)), "ten are always carried out");
        assert!(!deletes(&guard, &verified("a"), 26, 100, at(0)));
        for n in 0..5 {
            assert!(deletes(&guard, &verified("a"), 5, 100 - 5 * n, at(1)));
        }
        assert!(!deletes(&guard, &verified("a"), 5, 75, at(2)));
        assert!(!deletes(&guard, &verified("a"), 1, 1_000_000, at(2)), "nodes that came since do not make it more");
        assert!(deletes(&guard, &verified("b"), 5, 75, at(2)), "another verified instance has its own count");
        assert!(!deletes(&guard, &verified("a"), 5, 75, at(1 + 3600)));
        assert!(deletes(&guard, &verified("a"), 5, 75, at(1 + 3900)), "they are an hour old, to five minutes");
    }

    #[test]
    fn the_window_slides() {
        let (guard, a) = (DeletionGuard::default(), verified("a"));
        assert!(deletes(&guard, &a, 1, 200, at(0)));
        assert!(deletes(&guard, &a, 49, 199, at(3560)) && !deletes(&guard, &a, 5, 150, at(3561)));
        assert!(!deletes(&guard, &a, 11, 150, at(3610)), "no hour ends here for all of them");
        assert!(!deletes(&guard, &a, 2, 150, at(3900)), "the first one is over, and what it was compared with");
        assert!(deletes(&guard, &a, 37, 150, at(3560 + 3900)));
    }

    #[test]
    fn no_hour_has_more_deletions_than_the_bound() {
        let (guard, a) = (DeletionGuard::default(), verified("a"));
        let (mut left, mut at_seconds) = (1000_usize, Vec::new());
        for second in (0..4 * 3600).step_by(97) {
            while deletes(&guard, &a, 7, left, at(second)) {
                at_seconds.extend([second; 7]);
                left -= 7;
            }
        }
        for begin in (0..3 * 3600).step_by(60) {
            let within = at_seconds.iter().filter(|second| (begin..begin + 3600).contains(*second)).count();
            assert!(within <= 250, "{within} from {begin} s on");
        }
        assert!(left < 750, "beyond the hour more go");
    }

    #[test]
    fn senders_that_are_not_verified_are_counted_together() {
        let guard = DeletionGuard::default();
        let carried_out = (0..1000)
            .filter(|n| deletes(&guard, &other(&format!("fresh-{n}")), 1, 200_usize.saturating_sub(*n), at(0)));
        assert_eq!(carried_out.count(), 50);
        assert!(deletes(&guard, &verified("known"), 30, 150, at(0)), "a verified instance is counted by itself");
    }

    #[test]
    fn nodes_that_instances_add_first_raise_what_may_be_deleted_for_none() {
        let junk = versions("junk", 10_000);
        for sender in [verified("a"), other("fresh-1")] {
            for another in [verified("b"), other("fresh-2")] {
                let guard = DeletionGuard::default();
                adds(&guard, &sender, &junk, at(0));
                for deleting in [&sender, &another] {
                    assert!(!deletes(&guard, deleting, 200, 10_200, at(1)), "compared with the 200 that were here");
                    assert!(!deletes(&guard, deleting, 51, 10_200, at(1)));
                }
                assert!(deletes(&guard, &another, 50, 10_200, at(1)) && !deletes(&guard, &another, 1, 10_150, at(1)));
            }
            // Its own nodes it may take back, within the bound on all of them.
            let guard = DeletionGuard::default();
            adds(&guard, &sender, &junk, at(0));
            assert!(deletes_these(&guard, &sender, &junk[..1000], 10_200, at(2)));
            assert!(deletes(&guard, &sender, 50, 9200, at(3)) && !deletes(&guard, &sender, 1, 9150, at(3)));
            assert!(deletes(&guard, &sender, 1000, 9150, at(3 * 3600)), "hours later they are nodes like others");
        }
    }

    #[test]
    fn additions_of_one_instance_raise_the_number_for_its_own_nodes_alone() {
        let (junk, good) = (versions("junk", 700), versions("good", 200));
        let guard = DeletionGuard::default();
        adds(&guard, &verified("helper"), &junk, at(0));
        adds(&guard, &verified("good"), &good, at(0));
        let evil = verified("evil");
        // 200 established nodes, 200 of another instance, and the junk.
        assert!(!deletes_these(&guard, &evil, &good, 1100, at(1)));
        assert!(deletes_these(&guard, &evil, &good[..50], 1100, at(1)), "a quarter of what that one added");
        assert!(deletes_these(&guard, &evil, &junk[..100], 1050, at(2)));
        assert!(deletes_these(&guard, &evil, &good[50..100], 950, at(3)), "then a quarter of the established ones");
        assert!(!deletes_these(&guard, &evil, &good[100..101], 900, at(4)));
        assert!(!deletes(&guard, &evil, 1, 900, at(4)));
        assert!(deletes(&guard, &verified("good"), 50, 900, at(5)), "every other one has a budget of its own");
    }

    #[test]
    fn a_first_exchange_may_be_followed_by_deletions_of_what_it_brought() {
        let brought = versions("new", 100);
        for sender in ["a", "b"] {
            let guard = DeletionGuard::default();
            adds(&guard, &verified("a"), &brought, at(0));
            assert!(deletes_these(&guard, &verified(sender), &brought[..25], 100, at(1)));
            let more = &brought[30..if sender == "a" { 31 } else { 41 }];
            assert!(!deletes_these(&guard, &verified(sender), more, 75, at(1)), "a quarter, as ever");
        }
    }

    #[test]
    fn versions_of_others_are_not_the_senders_own() {
        let (guard, a) = (DeletionGuard::default(), verified("a"));
        let (before, junk) = (versions("n", 200), versions("junk", 700));
        adds(&guard, &a, &before, at(0));
        adds(&guard, &a, &junk, at(0));
        // The admin writes the same nodes: they are at other positions now.
        let written: Vec<(NodeId, u64)> = before.iter().map(|(id, seq)| (id.clone(), seq + 5000)).collect();
        assert!(!deletes_these(&guard, &a, &written, 1000, at(1)));
    }

    fn kept(folder: &Path, clock: &Arc<TestClock>) -> DeletionGuard {
        let clock: SharedClock = clock.clone();
        DeletionGuard::open(&folder.join("deletions.json"), &clock)
    }

    #[test]
    fn a_restart_gives_no_budget_back() {
        let folder = tempfile::tempdir().unwrap();
        let clock = clock_at(1_700_000_000);
        let guard = kept(folder.path(), &clock);
        adds(&guard, &verified("helper"), &versions("junk", 700), clock.elapsed());
        assert!(guard.is_save_due(900));
        assert!(deletes(&guard, &verified("a"), 30, 900, clock.elapsed()));
        assert!(deletes(&guard, &other("b"), 40, 870, clock.elapsed()));
        guard.save().unwrap();
        assert!(!guard.is_save_due(900));
        drop(guard);
        clock.advance(at(600));
        let again = clock_at(1_700_000_600);
        let guard = kept(folder.path(), &again);
        assert!(!deletes(&guard, &verified("a"), 21, 900, again.elapsed()), "20 are left of 50");
        assert!(deletes(&guard, &verified("a"), 20, 900, again.elapsed()));
        assert!(!deletes(&guard, &other("c"), 11, 900, again.elapsed()));
        assert!(!deletes(&guard, &verified("d"), 51, 900, again.elapsed()), "the junk is still left out");
        // A wall clock that was set back adds no time; hours later all of it is over.
        guard.save().unwrap();
        assert!(!deletes(&kept(folder.path(), &clock_at(1_600_000_000)), &verified("a"), 11, 900, at(0)));
        let later = clock_at(1_700_000_600 + 3 * 3600);
        assert!(deletes(&kept(folder.path(), &later), &verified("a"), 225, 900, later.elapsed()));
    }

    #[test]
    fn unreadable_counts_keep_all_deletions_waiting_for_an_hour() {
        for damaged in ["{", "[]", r#"{"version":2,"saved_at":0,"additions_age_ms":0,"accounts":[]}"#] {
            let folder = tempfile::tempdir().unwrap();
            write_file(&folder.path().join("deletions.json"), damaged.as_bytes()).unwrap();
            let clock = clock_at(1_700_000_000);
            let guard = kept(folder.path(), &clock);
            assert!(!deletes(&guard, &verified("a"), 1, 1000, clock.elapsed()), "{damaged}");
            guard.save().unwrap();
            let again = clock_at(1_700_000_600);
            let guard = kept(folder.path(), &again);
            assert!(!deletes(&guard, &verified("a"), 1, 1000, again.elapsed()), "another restart does not end it");
            guard.confirm("a", true, 1, again.elapsed());
            assert!(deletes(&guard, &verified("a"), 1, 1000, again.elapsed()), "what the admin confirms goes");
            again.advance(SLOT_LIFE - at(600));
            assert!(deletes(&guard, &verified("a"), 1, 1000, again.elapsed()));
        }
    }

    #[tokio::test]
    async fn counts_that_cannot_be_kept_are_reported() {
        let folder = tempfile::tempdir().unwrap();
        let guard = Arc::new(kept(&folder.path().join("missing"), &clock_at(1_700_000_000)));
        assert!(guard.save_soon().await, "nothing to keep");
        let reserved = reserve(&guard, &verified("a"), 1, 100, at(0)).unwrap();
        assert!(reserved.is_counted() && !guard.save_soon().await);
        guard.settle(reserved, 0);
    }

    #[test]
    fn a_confirmation_covers_the_rest_of_its_wave_and_nothing_else() {
        for sender in [verified("a"), other("b")] {
            let guard = DeletionGuard::default();
            assert!(!deletes(&guard, &sender, 75, 100, at(2)));
            guard.confirm(sender.id, sender.account.is_own(), 75, at(2));
            assert!(deletes(&guard, &sender, 50, 60, at(3)));
            assert!(!deletes(&guard, &sender, 26, 60, at(4)), "more than was confirmed");
            assert!(deletes(&guard, &sender, 25, 60, at(4)));
            assert!(!deletes(&guard, &sender, 26, 60, at(5)), "it is used up");
            guard.confirm(sender.id, sender.account.is_own(), 75, at(100));
            assert!(!deletes(&guard, &sender, 50, 60, at(100 + 600)), "ten minutes later it is another wave");
            guard.confirm(sender.id, sender.account.is_own(), 0, at(800));
            assert!(!deletes(&guard, &sender, 50, 60, at(801)), "where nothing was confirmed, nothing is switched");
        }
        let guard = DeletionGuard::default();
        guard.confirm("b", false, 75, at(5));
        assert!(!deletes(&guard, &other("c"), 75, 75, at(6)), "what one of the others may, its neighbour may not");
        let unused = reserve(&guard, &other("b"), 60, 75, at(7)).unwrap();
        guard.settle(unused, 10);
        assert!(deletes(&guard, &other("b"), 65, 75, at(8)), "what was not carried out is left");
        guard.confirm("known", true, 75, at(9));
        assert!(!deletes(&guard, &other("known"), 60, 75, at(10)), "another key that states the same id");
        assert!(deletes(&guard, &verified("known"), 60, 75, at(11)));
    }

    #[test]
    fn a_confirmed_round_covers_what_it_pulls_until_it_ends() {
        let guard = Arc::new(DeletionGuard::default());
        let pulled = |id| Sender { is_pulled: true, ..verified(id) };
        let rounds = (guard.confirm_round("a"), guard.confirm_round("a"));
        assert!(deletes(&guard, &pulled("a"), 75, 75, at(0)) && !deletes(&guard, &pulled("b"), 75, 75, at(0)));
        assert!(!deletes(&guard, &other("a"), 75, 75, at(0)), "a push that states its id");
        drop(rounds.0);
        assert!(deletes(&guard, &pulled("a"), 75, 75, at(1)));
        drop(rounds.1);
        assert!(!deletes(&guard, &pulled("a"), 75, 75, at(2)));
    }

    #[test]
    fn what_was_not_carried_out_is_not_counted() {
        let guard = DeletionGuard::default();
        for _ in 0..100 {
            let reserved = reserve(&guard, &verified("a"), 25, 100, at(0)).unwrap();
            guard.settle(reserved, 0);
        }
        let reserved = reserve(&guard, &verified("a"), 25, 100, at(0)).unwrap();
        assert!(reserve(&guard, &verified("a"), 1, 100, at(0)).is_none(), "reserved is counted");
        guard.settle(reserved, 20);
        assert!(deletes(&guard, &verified("a"), 5, 80, at(0)) && !deletes(&guard, &verified("a"), 1, 75, at(0)));
    }

    #[test]
    fn accounts_are_bounded_and_further_ones_share_one() {
        let guard = DeletionGuard::default();
        for n in 0..MOST_ACCOUNTS {
            assert!(deletes(&guard, &verified(&n.to_string()), 1, 9, at(3)));
        }
        let further = (0..100).filter(|n| deletes(&guard, &verified(&format!("further-{n}")), 1, 9, at(3))).count();
        assert_eq!((further, guard.counts().windows.len()), (FEW_DELETIONS, MOST_ACCOUNTS + 1));
        assert!(deletes(&guard, &verified("0"), 1, 9, at(4)), "known ones keep theirs");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// However parallel requests interleave, the decisions are those of one after the other: what is carried out never passes the
        /// guard, and nothing waits that would have fitted beside what was carried out.
        #[test]
        fn parallel_requests_decide_as_sequential_ones(
            size in 1_usize..30, requests in 1_usize..24, nodes in 0_usize..400, verified in any::<bool>(),
        ) {
            let sender = |n: usize| if verified { "one".to_owned() } else { format!("fresh-{n}") };
            let run = |guard: &DeletionGuard, n: usize| {
                let id = sender(n);
                let sender = if verified { super::tests::verified(&id) } else { other(&id) };
                deletes(guard, &sender, size, nodes, at(0))
            };
            let sequential = DeletionGuard::default();
            let expected = (0..requests).filter(|n| run(&sequential, *n)).count();
            let parallel = DeletionGuard::default();
            let found = thread::scope(|scope| {
                let threads: Vec<_> = (0..requests).map(|n| { let parallel = &parallel; let run = &run; scope.spawn(move || run(parallel, n)) }).collect();
                threads.into_iter().map(|it| usize::from(it.join().unwrap())).sum::<usize>()
            });
            prop_assert_eq!(found, expected);
            prop_assert!(!is_mass(found * size, nodes));
        }
    }
}

//! Mass-delete guard: counts the nodes that other instances delete here, and decides whether deletions are carried out or wait for the
//! admin (DESIGN 4.7). Pure: a sender, its deletions, a number of nodes and a time in, a decision out. What waits is kept by the lattice.

mod brought;

use crate::types::NodeId;
use brought::Brought;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Up to this many deletions in one window are always carried out.
pub const FEW_DELETIONS: usize = 10;
/// Deletions of one account within this time are added up.
const WINDOW: Duration = Duration::from_secs(60 * 60);
/// How long after a confirmation the rest of the same wave is carried out as well: it may come in several batches.
const WAVE: Duration = Duration::from_secs(10 * 60);
/// Verified senders that are counted at the same time. Beyond it the oldest window is dropped.
const MOST_WINDOWS: usize = 10_000;

/// Are these more than [`FEW_DELETIONS`] and more than a quarter of the nodes?
#[must_use]
pub fn is_mass(deletions: usize, nodes: usize) -> bool {
    deletions > FEW_DELETIONS && deletions.saturating_mul(4) > nodes
}

/// The instance that sent changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender<'a> {
    /// Up to this position of the journal here it had been given the versions; 0: that is not known.
    pub given: u64,
    /// Its id.
    pub id: &'a str,
    /// Its key is verified here, or the admin added it as a peer. All other senders share one account: keys cost nothing to make.
    pub verified: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Account {
    Verified(Box<str>),
    Others,
}

impl From<Sender<'_>> for Account {
    fn from(sender: Sender<'_>) -> Self {
        if sender.verified { Self::Verified(sender.id.into()) } else { Self::Others }
    }
}

#[derive(Debug, Clone)]
struct Window {
    since: Duration,
    /// Carried out, or reserved to be.
    deletions: usize,
    /// Nodes that were here when the window began.
    nodes: usize,
    /// Of the deletions those of nodes that the sender had not added shortly before.
    others: usize,
    /// Nodes that were here when the window began, without those that the sender had added shortly before.
    nodes_of_others: usize,
}

impl Window {
    fn passes(&self) -> bool {
        !is_mass(self.deletions, self.nodes) && !is_mass(self.others, self.nodes_of_others)
    }
}

/// Deletions that may be carried out now.
#[derive(Debug)]
#[must_use]
pub struct Reservation {
    /// How many.
    pub deletions: usize,
    /// Of them those of nodes that the sender had not added shortly before.
    others: usize,
    counted: Counted,
}

impl Reservation {
    fn uncounted(deletions: usize) -> Self {
        Self { deletions, others: 0, counted: Counted::Nowhere }
    }
}

/// What a reservation was taken from.
#[derive(Debug)]
enum Counted {
    /// Nothing: there are none, or the admin confirmed the round that they are of.
    Nowhere,
    /// The window of this account that began then.
    Window(Account, Duration),
    /// The rest of a confirmed wave of this sender.
    Wave(Box<str>),
}

/// What is left of a wave that the admin confirmed.
#[derive(Debug)]
struct Wave {
    since: Duration,
    left: usize,
}

/// What every account deleted within its window.
#[derive(Debug, Default)]
struct Counts {
    windows: HashMap<Account, Window>,
    brought: Brought,
    /// Waves that the admin confirmed, by sender.
    waves: HashMap<Box<str>, Wave>,
    /// Rounds under way whose deletions the admin confirmed, by peer.
    rounds: HashMap<Box<str>, usize>,
}

impl Counts {
    fn reserve(&mut self, sender: Sender<'_>, ids: &[&NodeId], nodes: usize, now: Duration) -> Option<Reservation> {
        if self.rounds.contains_key(sender.id) {
            return Some(Reservation::uncounted(usize::MAX));
        }
        let deletions = ids.len();
        if deletions == 0 {
            return Some(Reservation::uncounted(0));
        }
        self.waves.retain(|_, wave| wave.left > 0 && now.saturating_sub(wave.since) < WAVE);
        if let Some(wave) = self.waves.get_mut(sender.id).filter(|wave| wave.left >= deletions) {
            wave.left = wave.left.saturating_sub(deletions);
            return Some(Reservation { deletions, others: 0, counted: Counted::Wave(sender.id.into()) });
        }
        self.windows.retain(|_, window| now.saturating_sub(window.since) < WINDOW);
        let account = Account::from(sender);
        let others = self.brought.others(&account, ids.iter().copied());
        let added = self.brought.count(&account, now);
        let begins =
            || Window { since: now, deletions: 0, nodes, others: 0, nodes_of_others: nodes.saturating_sub(added) };
        let mut after = self.windows.get(&account).cloned().unwrap_or_else(begins);
        after.deletions = after.deletions.saturating_add(deletions);
        after.others = after.others.saturating_add(others);
        if !after.passes() {
            return None;
        }
        if !self.windows.contains_key(&account)
            && self.windows.len() >= MOST_WINDOWS
            && let Some(oldest) = self.windows.iter().min_by_key(|(_, it)| it.since).map(|(account, _)| account.clone())
        {
            self.windows.remove(&oldest);
        }
        let since = after.since;
        self.windows.insert(account.clone(), after);
        Some(Reservation { deletions, others, counted: Counted::Window(account, since) })
    }

    fn settle(&mut self, reservation: Reservation, carried_out: usize) {
        let unused = reservation.deletions.saturating_sub(carried_out);
        match reservation.counted {
            Counted::Nowhere => {}
            Counted::Wave(sender) => {
                if let Some(wave) = self.waves.get_mut(&sender) {
                    wave.left = wave.left.saturating_add(unused);
                }
            }
            Counted::Window(account, since) => {
                let Some(window) = self.windows.get_mut(&account).filter(|window| window.since == since) else {
                    return;
                };
                window.deletions = window.deletions.saturating_sub(unused);
                // Which of them were carried out is not known: those of other nodes first.
                let unused = reservation.others.saturating_sub(carried_out);
                window.others = window.others.saturating_sub(unused);
                if window.deletions == 0 {
                    self.windows.remove(&account);
                }
            }
        }
    }
}

/// The counts of one instance, shared by its pushes and rounds.
#[derive(Debug, Default)]
pub struct DeletionGuard(Mutex<Counts>);

impl DeletionGuard {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves the deletions of these nodes, of the `nodes` that are here now, in one step with the check. `None`: all of them must
    /// wait. `elapsed`: by the process's own clock. Every reservation must come back with [`Self::settle`].
    pub fn reserve(
        &self,
        sender: Sender<'_>,
        deletions: &[&NodeId],
        nodes: usize,
        elapsed: Duration,
    ) -> Option<Reservation> {
        self.counts().reserve(sender, deletions, nodes, elapsed)
    }

    /// The sender adds these nodes, which are not here yet: what it adds does not raise the number that its deletions are compared
    /// with. To be called before they are added.
    pub fn note_added<'a>(&self, sender: Sender<'_>, ids: impl Iterator<Item = &'a NodeId>, elapsed: Duration) {
        self.counts().brought.add(sender, ids, elapsed);
    }

    /// These nodes are here no more.
    pub fn note_gone<'a>(&self, sender: Sender<'_>, ids: impl Iterator<Item = &'a NodeId>) {
        self.counts().brought.remove(sender, ids);
    }

    /// Of what was reserved, only what was really deleted stays counted.
    pub fn settle(&self, reservation: Reservation, carried_out: usize) {
        self.counts().settle(reservation, carried_out);
    }

    /// The admin confirmed so many deletions of this instance. As many again are carried out within ten minutes, the rest of a wave that comes
    /// in several batches; beyond that the guard counts from now.
    pub fn confirm(&self, from: &str, deletions: usize, elapsed: Duration) {
        let mut counts = self.counts();
        counts.windows.remove(&Account::Verified(from.into()));
        counts.waves.insert(from.into(), Wave { since: elapsed, left: deletions });
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
    use proptest::prelude::*;
    use std::thread;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn verified(id: &str) -> Sender<'_> {
        Sender { id, verified: true, given: 0 }
    }

    fn other(id: &str) -> Sender<'_> {
        Sender { id, verified: false, given: 0 }
    }

    fn ids(names: &str, count: usize) -> Vec<NodeId> {
        (0..count).map(|number| NodeId::parse(&format!("{names}-{number}")).unwrap()).collect()
    }

    fn reserve(
        guard: &DeletionGuard,
        sender: Sender<'_>,
        count: usize,
        nodes: usize,
        now: Duration,
    ) -> Option<Reservation> {
        guard.reserve(sender, &ids("old", count).iter().collect::<Vec<_>>(), nodes, now)
    }

    /// Reserves them and has all of them carried out.
    fn deletes(guard: &DeletionGuard, sender: Sender<'_>, deletions: usize, nodes: usize, now: Duration) -> bool {
        let reserved = reserve(guard, sender, deletions, nodes, now);
        reserved.is_some_and(|reserved| {
            guard.settle(reserved, deletions);
            true
        })
    }

    #[test]
    fn small_parts_are_added_up_against_what_was_here_when_the_window_began() {
        let guard = DeletionGuard::default();
        assert!(deletes(&guard, verified("few"), 10, 12, at(0)), "ten are always carried out");
        assert!(!deletes(&guard, verified("a"), 26, 100, at(0)));
        for n in 0..5 {
            assert!(deletes(&guard, verified("a"), 5, 100 - 5 * n, at(1)));
        }
        assert!(!deletes(&guard, verified("a"), 5, 75, at(2)));
        assert!(!deletes(&guard, verified("a"), 1, 1_000_000, at(2)), "nodes that came since do not make it more");
        assert!(deletes(&guard, verified("b"), 5, 75, at(2)), "another verified instance has its own count");
        assert!(deletes(&guard, verified("a"), 5, 75, at(1 + 3600)), "a new window");
    }

    #[test]
    fn senders_that_are_not_verified_are_counted_together() {
        let guard = DeletionGuard::default();
        let carried_out =
            (0..1000).filter(|n| deletes(&guard, other(&format!("fresh-{n}")), 1, 200_usize.saturating_sub(*n), at(0)));
        assert_eq!(carried_out.count(), 50);
        assert!(deletes(&guard, verified("known"), 30, 150, at(0)), "a verified instance is counted by itself");
    }

    #[test]
    fn nodes_that_a_sender_adds_first_do_not_raise_what_it_may_delete() {
        let junk = ids("junk", 10_000);
        for sender in [verified("a"), other("fresh-1")] {
            let guard = DeletionGuard::default();
            guard.note_added(sender, junk.iter(), at(0));
            assert!(!deletes(&guard, sender, 200, 10_200, at(1)), "it is compared with the 200 nodes that were here");
            assert!(deletes(&guard, sender, 50, 10_200, at(1)) && !deletes(&guard, sender, 1, 10_150, at(1)));
            let another = if sender.verified { verified("b") } else { other("fresh-2") };
            // Those that are not verified share one account also of what they add.
            assert_eq!(deletes(&guard, another, 51, 10_150, at(2)), sender.verified);
            // Its own nodes it may take back, within the bound on all of them.
            let own: Vec<&NodeId> = junk.iter().take(1000).collect();
            let reserved = guard.reserve(sender, &own, 10_150, at(2)).unwrap();
            guard.settle(reserved, own.len());
            guard.note_gone(sender, own.into_iter());
            assert!(deletes(&guard, sender, 1000, 9150, at(3 * 3600)), "two hours later they are nodes like others");
        }
    }

    #[test]
    fn a_first_exchange_may_be_followed_by_deletions_of_what_it_brought() {
        let (guard, brought) = (DeletionGuard::default(), ids("new", 100));
        guard.note_added(verified("a"), brought.iter(), at(0));
        let some: Vec<&NodeId> = brought.iter().take(25).collect();
        let reserved = guard.reserve(verified("a"), &some, 100, at(1)).unwrap();
        guard.settle(reserved, 25);
        assert!(guard.reserve(verified("a"), &[&brought[30]], 75, at(1)).is_none(), "a quarter of all, as ever");
    }

    #[test]
    fn a_confirmation_covers_the_rest_of_its_wave_and_nothing_else() {
        for sender in [verified("a"), other("b")] {
            let guard = DeletionGuard::default();
            assert!(!deletes(&guard, sender, 75, 100, at(2)));
            guard.confirm(sender.id, 75, at(2));
            assert!(deletes(&guard, sender, 50, 60, at(3)));
            assert!(!deletes(&guard, sender, 26, 60, at(4)), "more than was confirmed");
            assert!(deletes(&guard, sender, 25, 60, at(4)));
            assert!(!deletes(&guard, sender, 26, 60, at(5)), "it is used up");
            guard.confirm(sender.id, 75, at(100));
            assert!(!deletes(&guard, sender, 50, 60, at(100 + 600)), "ten minutes later it is another wave");
            guard.confirm(sender.id, 0, at(800));
            assert!(!deletes(&guard, sender, 50, 60, at(801)), "where nothing was confirmed, nothing is switched");
        }
        let guard = DeletionGuard::default();
        guard.confirm("b", 75, at(5));
        assert!(!deletes(&guard, other("c"), 75, 75, at(6)), "what one of the others may, its neighbour may not");
        let unused = reserve(&guard, other("b"), 60, 75, at(7)).unwrap();
        guard.settle(unused, 10);
        assert!(deletes(&guard, other("b"), 65, 75, at(8)), "what was not carried out is left");
    }

    #[test]
    fn a_confirmed_round_covers_what_comes_until_it_ends() {
        let guard = Arc::new(DeletionGuard::default());
        let rounds = (guard.confirm_round("a"), guard.confirm_round("a"));
        assert!(deletes(&guard, verified("a"), 75, 75, at(0)) && !deletes(&guard, verified("b"), 75, 75, at(0)));
        drop(rounds.0);
        assert!(deletes(&guard, verified("a"), 75, 75, at(1)));
        drop(rounds.1);
        assert!(!deletes(&guard, verified("a"), 75, 75, at(2)));
    }

    #[test]
    fn what_was_not_carried_out_is_not_counted() {
        let guard = DeletionGuard::default();
        for _ in 0..100 {
            let reserved = reserve(&guard, verified("a"), 25, 100, at(0)).unwrap();
            guard.settle(reserved, 0);
        }
        let reserved = reserve(&guard, verified("a"), 25, 100, at(0)).unwrap();
        assert!(reserve(&guard, verified("a"), 1, 100, at(0)).is_none(), "reserved is counted");
        guard.settle(reserved, 20);
        assert!(deletes(&guard, verified("a"), 5, 80, at(0)) && !deletes(&guard, verified("a"), 1, 75, at(0)));
    }

    #[test]
    fn windows_are_bounded() {
        let guard = DeletionGuard::default();
        for n in 0..MOST_WINDOWS + 10 {
            assert!(deletes(&guard, verified(&n.to_string()), 1, 9, at(3)));
        }
        assert_eq!(guard.counts().windows.len(), MOST_WINDOWS);
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
            let run = |guard: &DeletionGuard, n: usize| deletes(guard, Sender { id: &sender(n), verified, given: 0 }, size, nodes, at(0));
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

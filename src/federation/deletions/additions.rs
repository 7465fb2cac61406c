//! Nodes that other instances added here within the last one to two hours. They are no part of what the mass-delete guard compares
//! deletions with: otherwise an instance adds nodes first, and it or another one may then delete as many that were here before.

use super::{Account, WINDOW};
use crate::{lattice::StoredVersion, types::NodeId};
use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    time::Duration,
};

/// Nodes of one account that are remembered one by one. Those beyond it are counted only: deletions of them count like those of established nodes.
const MOST_OF_ONE: usize = 250_000;
/// Nodes that are remembered one by one of all accounts: about 36 MiB.
const MOST: usize = 1_000_000;

/// The number of an account, in this process.
pub(super) type AccountNumber = u32;

/// How many nodes one account added.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    marked: usize,
    unmarked: usize,
}

impl Count {
    fn sum(self) -> usize {
        self.marked.saturating_add(self.unmarked)
    }
}

/// What was added within one hour.
#[derive(Debug, Default)]
struct Generation {
    /// The account that added each version, by the keyed hash of its node and position. Another version of the node has another position.
    marks: HashMap<u64, AccountNumber>,
    counts: HashMap<AccountNumber, Count>,
    total: usize,
}

impl Generation {
    fn count(&self, account: AccountNumber) -> Count {
        self.counts.get(&account).copied().unwrap_or_default()
    }

    fn add_mark(&mut self, hash: u64, account: AccountNumber) {
        if self.marks.insert(hash, account).is_none() {
            let count = self.counts.entry(account).or_default();
            count.marked = count.marked.saturating_add(1);
            self.total = self.total.saturating_add(1);
        }
    }

    fn add_unmarked(&mut self, account: AccountNumber, nodes: usize) {
        let count = self.counts.entry(account).or_default();
        count.unmarked = count.unmarked.saturating_add(nodes);
        self.total = self.total.saturating_add(nodes);
    }

    fn remove_mark(&mut self, hash: u64) -> bool {
        let Some(account) = self.marks.remove(&hash) else { return false };
        if let Some(count) = self.counts.get_mut(&account) {
            count.marked = count.marked.saturating_sub(1);
        }
        self.total = self.total.saturating_sub(1);
        true
    }
}

/// What one account added, as it is kept: within this hour, and within the hour before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Added {
    pub(super) account: Account,
    pub(super) lately: usize,
    pub(super) before: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Additions {
    since: Duration,
    lately: Generation,
    before: Generation,
    numbers: HashMap<Account, AccountNumber>,
    next: AccountNumber,
    hasher: RandomState,
}

impl Additions {
    /// From counts that were kept, of an hour that began then. Which nodes they were is not known any more.
    pub(super) fn of(since: Duration, added: Vec<Added>) -> Self {
        let mut additions = Self { since, ..Self::default() };
        for Added { account, lately, before } in added {
            let number = additions.number(&account);
            additions.lately.add_unmarked(number, lately);
            additions.before.add_unmarked(number, before);
        }
        additions
    }

    /// When the hour of the newest additions began.
    pub(super) fn since(&self) -> Duration {
        self.since
    }

    /// How many nodes each account added.
    pub(super) fn added(&self) -> impl Iterator<Item = Added> {
        let added = self.numbers.iter().map(|(account, number)| Added {
            account: account.clone(),
            lately: self.lately.count(*number).sum(),
            before: self.before.count(*number).sum(),
        });
        added.filter(|added| added.lately > 0 || added.before > 0)
    }

    /// How many accounts are distinguished.
    pub(super) fn accounts(&self) -> usize {
        self.numbers.len()
    }

    /// Is this account one of them?
    pub(super) fn has(&self, account: &Account) -> bool {
        self.numbers.contains_key(account)
    }

    /// Forgets what was added too long ago.
    pub(super) fn advance(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.since);
        if passed < WINDOW {
            return;
        }
        let lately = std::mem::take(&mut self.lately);
        self.before = if passed < WINDOW.saturating_mul(2) { lately } else { Generation::default() };
        self.since = now;
        let before = &self.before;
        self.numbers.retain(|_, number| before.count(*number).sum() > 0);
    }

    fn number(&mut self, account: &Account) -> AccountNumber {
        if let Some(number) = self.numbers.get(account) {
            return *number;
        }
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        self.numbers.insert(account.clone(), number);
        number
    }

    fn hash(&self, id: &NodeId, seq: u64) -> u64 {
        self.hasher.hash_one((id, seq))
    }

    /// Notes versions that this account stored. A node that is new is one that it added; a version in the place of its own is that node
    /// still, and one in the place of another instance's belongs to none. Answers how many are new.
    pub(super) fn note(&mut self, account: &Account, stored: &[StoredVersion]) -> usize {
        let number = self.number(account);
        let remembered = self.lately.count(number).marked.saturating_add(self.before.count(number).marked);
        let all = self.lately.marks.len().saturating_add(self.before.marks.len());
        let mut room = MOST.saturating_sub(all).min(MOST_OF_ONE.saturating_sub(remembered));
        let mut new = 0_usize;
        for StoredVersion { id, seq, replaced } in stored {
            let hash = self.hash(id, *seq);
            match replaced {
                None => {
                    new = new.saturating_add(1);
                    if room > 0 {
                        self.lately.add_mark(hash, number);
                        room = room.saturating_sub(1);
                    } else {
                        self.lately.add_unmarked(number, 1);
                    }
                }
                Some(replaced) => {
                    let replaced = self.hash(id, *replaced);
                    for generation in [&mut self.lately, &mut self.before] {
                        if generation.marks.get(&replaced) == Some(&number) && generation.remove_mark(replaced) {
                            generation.add_mark(hash, number);
                        }
                    }
                }
            }
        }
        new
    }

    /// These versions are here no more.
    pub(super) fn remove<'a>(&mut self, versions: impl Iterator<Item = &'a (NodeId, u64)>) {
        for (id, seq) in versions {
            let hash = self.hash(id, *seq);
            if !self.lately.remove_mark(hash) {
                self.before.remove_mark(hash);
            }
        }
    }

    /// How many nodes all of them added that are perhaps still here.
    pub(super) fn total(&self) -> usize {
        self.lately.total.saturating_add(self.before.total)
    }

    /// How many of them this account added.
    pub(super) fn total_of(&self, account: AccountNumber) -> usize {
        self.lately.count(account).sum().saturating_add(self.before.count(account).sum())
    }

    /// The number of this account, where it added anything.
    pub(super) fn number_of(&self, account: &Account) -> Option<AccountNumber> {
        self.numbers.get(account).copied()
    }

    /// Which account added this version, if any did.
    pub(super) fn origin(&self, id: &NodeId, seq: u64) -> Option<AccountNumber> {
        let hash = self.hash(id, seq);
        self.lately.marks.get(&hash).or_else(|| self.before.marks.get(&hash)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(from: usize, count: usize) -> Vec<StoredVersion> {
        let version = |number: usize| StoredVersion {
            id: NodeId::parse(&number.to_string()).unwrap(),
            seq: u64::try_from(number).unwrap(),
            replaced: None,
        };
        (from..from + count).map(version).collect()
    }

    #[test]
    fn what_is_remembered_is_bounded_and_forgotten() {
        let mut additions = Additions::default();
        let at = Duration::from_secs;
        for account in 0..5 {
            let added = versions(account * 1_000_000, MOST_OF_ONE + 10);
            assert_eq!(additions.note(&Account::own(&account.to_string()), &added), MOST_OF_ONE + 10);
        }
        assert_eq!(additions.lately.marks.len(), MOST);
        let number = additions.number_of(&Account::own("0")).unwrap();
        assert_eq!(additions.total_of(number), MOST_OF_ONE + 10, "those beyond the bound are counted");
        let known = versions(MOST_OF_ONE - 5, 10);
        assert_eq!(known.iter().filter(|it| additions.origin(&it.id, it.seq) == Some(number)).count(), 5);
        additions.advance(at(3600));
        assert_eq!((additions.total_of(number), additions.total()), (MOST_OF_ONE + 10, 5 * (MOST_OF_ONE + 10)));
        additions.advance(at(7200));
        assert_eq!((additions.total(), additions.accounts()), (0, 0));
    }

    #[test]
    fn a_version_of_another_account_takes_the_mark_away() {
        let (a, b) = (Account::own("a"), Account::own("b"));
        let mut additions = Additions::default();
        additions.note(&a, &versions(0, 3));
        let number = additions.number_of(&a).unwrap();
        let again =
            |id: &str, seq, replaced| StoredVersion { id: NodeId::parse(id).unwrap(), seq, replaced: Some(replaced) };
        assert_eq!(additions.note(&a, &[again("0", 10, 0)]), 0);
        assert_eq!(additions.note(&b, &[again("1", 11, 1)]), 0);
        let origin = |id: &str, seq| additions.origin(&NodeId::parse(id).unwrap(), seq);
        assert_eq!((origin("0", 10), origin("0", 0)), (Some(number), None), "its own next version");
        assert_eq!((origin("1", 11), origin("2", 2), origin("2", 12)), (None, Some(number), None));
        assert_eq!(additions.total(), 3, "another version does not make it established");
        additions.remove(versions(2, 1).iter().map(|it| (it.id.clone(), it.seq)).collect::<Vec<_>>().iter());
        assert_eq!(additions.total(), 2);
    }
}

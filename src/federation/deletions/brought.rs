//! Nodes that senders added here within the last one to two hours. They are no part of what the mass-delete guard compares a sender's
//! deletions with: otherwise a sender adds nodes first, and may then delete as many that were here before.

use super::{Account, Sender, WINDOW};
use crate::types::NodeId;
use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
    time::Duration,
};

/// Nodes of one account whose ids are remembered. Those beyond it are counted only: deletions of them count like those of other nodes.
const MOST_OF_ONE: usize = 250_000;
/// Ids that are remembered of all accounts: about 32 MiB.
const MOST: usize = 1_000_000;
/// Accounts that are remembered; beyond it the oldest goes.
const MOST_ACCOUNTS: usize = 10_000;

/// What was added within one window.
#[derive(Debug, Default)]
struct Added {
    /// Keyed hashes of the ids.
    ids: HashSet<u64>,
    /// Nodes whose ids are not remembered.
    others: usize,
}

#[derive(Debug)]
struct OfAccount {
    since: Duration,
    added: Added,
    before: Added,
}

impl OfAccount {
    fn at(now: Duration) -> Self {
        Self { since: now, added: Added::default(), before: Added::default() }
    }

    fn advance(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.since);
        if passed >= WINDOW {
            let added = std::mem::take(&mut self.added);
            self.before = if passed < WINDOW.saturating_mul(2) { added } else { Added::default() };
            self.since = now;
        }
    }

    fn remembered(&self) -> usize {
        self.added.ids.len().saturating_add(self.before.ids.len())
    }

    fn has(&self, hash: u64) -> bool {
        self.added.ids.contains(&hash) || self.before.ids.contains(&hash)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Brought {
    of: HashMap<Account, OfAccount>,
    hasher: RandomState,
}

impl Brought {
    fn advance(&mut self, now: Duration) {
        self.of.values_mut().for_each(|of| of.advance(now));
        self.of.retain(|_, of| of.remembered() > 0 || of.added.others > 0 || of.before.others > 0);
    }

    /// These nodes are added by this sender.
    pub(super) fn add<'a>(&mut self, sender: Sender<'_>, ids: impl Iterator<Item = &'a NodeId>, now: Duration) {
        let mut ids = ids.peekable();
        if ids.peek().is_none() {
            return;
        }
        self.advance(now);
        let account = Account::from(sender);
        if !self.of.contains_key(&account)
            && self.of.len() >= MOST_ACCOUNTS
            && let Some(oldest) = self.of.iter().min_by_key(|(_, it)| it.since).map(|(account, _)| account.clone())
        {
            self.of.remove(&oldest);
        }
        let all: usize = self.of.values().map(OfAccount::remembered).sum();
        let of = self.of.entry(account).or_insert_with(|| OfAccount::at(now));
        let mut room = MOST.saturating_sub(all).min(MOST_OF_ONE.saturating_sub(of.remembered()));
        for id in ids {
            let hash = self.hasher.hash_one(id);
            if of.has(hash) {
                continue;
            }
            if room > 0 {
                of.added.ids.insert(hash);
                room = room.saturating_sub(1);
            } else {
                of.added.others = of.added.others.saturating_add(1);
            }
        }
    }

    /// These nodes are gone.
    pub(super) fn remove<'a>(&mut self, sender: Sender<'_>, ids: impl Iterator<Item = &'a NodeId>) {
        let Some(of) = self.of.get_mut(&Account::from(sender)) else { return };
        for id in ids {
            let hash = self.hasher.hash_one(id);
            of.added.ids.remove(&hash);
            of.before.ids.remove(&hash);
        }
    }

    /// How many nodes this account added that are perhaps still here.
    pub(super) fn count(&mut self, account: &Account, now: Duration) -> usize {
        self.advance(now);
        let of = self.of.get(account);
        of.map_or(0, |of| of.remembered().saturating_add(of.added.others).saturating_add(of.before.others))
    }

    /// How many of these nodes were not added by this account.
    pub(super) fn others<'a>(&self, account: &Account, ids: impl Iterator<Item = &'a NodeId>) -> usize {
        let of = self.of.get(account);
        ids.filter(|id| of.is_none_or(|of| !of.has(self.hasher.hash_one(*id)))).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(from: usize, count: usize) -> Vec<NodeId> {
        (from..from + count).map(|number| NodeId::parse(&number.to_string()).unwrap()).collect()
    }

    #[test]
    fn what_is_remembered_is_bounded_and_forgotten() {
        let mut brought = Brought::default();
        let at = Duration::from_secs;
        for account in 0..5 {
            let id = account.to_string();
            let sender = Sender { id: &id, verified: true, given: 0 };
            brought.add(sender, ids(account * 1_000_000, MOST_OF_ONE + 10).iter(), at(0));
        }
        let remembered: usize = brought.of.values().map(OfAccount::remembered).sum();
        assert_eq!(remembered, MOST);
        let account = Account::Verified("0".into());
        assert_eq!(brought.count(&account, at(0)), MOST_OF_ONE + 10, "those beyond the bound are counted");
        assert_eq!(brought.others(&account, ids(MOST_OF_ONE - 5, 10).iter()), 5);
        assert_eq!(brought.count(&account, at(3600)), MOST_OF_ONE + 10);
        assert_eq!(brought.count(&account, at(7200)), 0);
        assert!(brought.of.is_empty());
    }
}

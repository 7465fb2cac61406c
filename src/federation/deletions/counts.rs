//! What each account deleted and added of late, and the decision whether further deletions fit. In memory; [`super::kept`] has the form of
//! the file.

use super::{
    MOST_ACCOUNTS, MOST_PAIRS, WAVE,
    additions::{AccountNumber, Additions},
    sender::{Account, Sender},
    window::{Nodes, SLOT_LIFE, Window},
};
use crate::{lattice::StoredVersion, types::NodeId};
use std::{collections::HashMap, time::Duration};

/// Deletions that may be carried out now.
#[derive(Debug)]
#[must_use]
pub struct Reservation {
    /// How many.
    pub deletions: usize,
    /// Of them those that count as deletions of established nodes.
    pub(super) of_established: usize,
    pub(super) counted: Counted,
}

impl Reservation {
    /// Was it taken from a window, whose counts are kept?
    #[must_use]
    pub fn is_counted(&self) -> bool {
        matches!(self.counted, Counted::Window(..))
    }

    pub(super) fn uncounted(deletions: usize) -> Self {
        Self { deletions, of_established: 0, counted: Counted::Nowhere }
    }
}

/// What a reservation was taken from.
#[derive(Debug)]
pub(super) enum Counted {
    /// Nothing: there are none, or the admin confirmed the round that they are of.
    Nowhere,
    /// The slot of this account's window that began then.
    Window(Account, Duration),
    /// The rest of a confirmed wave of this sender.
    Wave(Box<str>),
}

/// What is left of a wave that the admin confirmed.
#[derive(Debug)]
pub(super) struct Wave {
    pub(super) since: Duration,
    pub(super) left: usize,
    /// It is of the instance that has an account of its own, and of no other one that states its id.
    pub(super) is_own: bool,
}

/// Deletions by one account of what another one added.
#[derive(Debug)]
pub(super) struct OfAdded {
    /// When the last one was.
    pub(super) at: Duration,
    /// How many nodes the other one had added when the first one was.
    pub(super) added: usize,
    pub(super) deletions: usize,
}

/// What every account deleted and added.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) windows: HashMap<Account, Window>,
    pub(super) additions: Additions,
    /// By the account that deletes and the account that added.
    pub(super) of_added: HashMap<(Account, AccountNumber), OfAdded>,
    /// Waves that the admin confirmed, by sender.
    pub(super) waves: HashMap<Box<str>, Wave>,
    /// Rounds under way whose deletions the admin confirmed, by peer.
    pub(super) rounds: HashMap<Box<str>, usize>,
    /// Until then all deletions wait: what was counted before the start is not known.
    pub(super) closed_until: Duration,
    /// Counts changes of what is kept.
    pub(super) revision: u64,
    /// Nodes that were added and are not kept yet.
    pub(super) unsaved: usize,
}

impl Counts {
    /// The account that is counted: where there are too many, those beyond share one.
    pub(super) fn account(&self, wanted: &Account) -> Account {
        let is_known = self.windows.contains_key(wanted) || self.additions.has(wanted);
        let is_full = self.windows.len().max(self.additions.accounts()) >= MOST_ACCOUNTS;
        if is_known || !is_full { wanted.clone() } else { Account::Unverified }
    }

    pub(super) fn change(&mut self) {
        self.revision = self.revision.saturating_add(1);
    }

    pub(super) fn advance(&mut self, now: Duration) {
        self.windows.retain(|_, window| window.advance(now));
        self.of_added.retain(|_, of| now.saturating_sub(of.at) < SLOT_LIFE);
        self.additions.advance(now);
    }

    pub(super) fn established(&self, nodes: usize) -> usize {
        nodes.saturating_sub(self.additions.total())
    }

    pub(super) fn reserve(
        &mut self,
        sender: &Sender<'_>,
        versions: &[(NodeId, u64)],
        nodes: usize,
        now: Duration,
    ) -> Option<Reservation> {
        // In open mode any key states any id in a push: the confirmation is for the instance that the round is with.
        if sender.is_pulled && self.rounds.contains_key(sender.id) {
            return Some(Reservation::uncounted(usize::MAX));
        }
        let deletions = versions.len();
        if deletions == 0 {
            return Some(Reservation::uncounted(0));
        }
        self.waves.retain(|_, wave| wave.left > 0 && now.saturating_sub(wave.since) < WAVE);
        let is_own = sender.account.is_own();
        if let Some(wave) = self.waves.get_mut(sender.id).filter(|it| it.left >= deletions && it.is_own == is_own) {
            wave.left = wave.left.saturating_sub(deletions);
            return Some(Reservation { deletions, of_established: 0, counted: Counted::Wave(sender.id.into()) });
        }
        if now < self.closed_until {
            return None;
        }
        self.advance(now);
        let account = self.account(&sender.account);
        let (of_established, of_added) = self.divide(&account, versions);
        let counted = Nodes { all: deletions, established: of_established };
        let held = Nodes { all: nodes, established: self.established(nodes) };
        let empty = Window::default();
        if !self.windows.get(&account).unwrap_or(&empty).fits(counted, held) {
            return None;
        }
        let since = self.windows.entry(account.clone()).or_default().add(counted, held, now);
        for (added_by, deletions) in of_added {
            self.count_of_added(&account, added_by, deletions, now);
        }
        self.change();
        Some(Reservation { deletions, of_established, counted: Counted::Window(account, since) })
    }

    /// How many of these versions count as established when this account deletes them, and how many of the others each account added.
    /// Its own additions never count as established; those of another account do beyond a quarter of what that one added, so that one
    /// instance's additions raise the number for no nodes but its own.
    pub(super) fn divide(
        &self,
        account: &Account,
        versions: &[(NodeId, u64)],
    ) -> (usize, HashMap<AccountNumber, usize>) {
        let own = self.additions.number_of(account);
        let (mut of_established, mut by_origin) = (0_usize, HashMap::<AccountNumber, usize>::new());
        for (id, seq) in versions {
            match self.additions.origin(id, *seq) {
                None => of_established = of_established.saturating_add(1),
                origin if origin == own => {}
                Some(origin) => {
                    let deletions = by_origin.entry(origin).or_default();
                    *deletions = deletions.saturating_add(1);
                }
            }
        }
        let is_full = self.of_added.len() >= MOST_PAIRS;
        by_origin.retain(|origin, deletions| {
            let (added, before) = match self.of_added.get(&(account.clone(), *origin)) {
                Some(of) => (of.added, of.deletions),
                None if is_full => (0, 0),
                None => (self.additions.total_of(*origin), 0),
            };
            let within = (*deletions).min((added / 4).saturating_sub(before));
            of_established = of_established.saturating_add(deletions.saturating_sub(within));
            *deletions = within;
            within > 0
        });
        (of_established, by_origin)
    }

    pub(super) fn count_of_added(
        &mut self,
        account: &Account,
        added_by: AccountNumber,
        deletions: usize,
        now: Duration,
    ) {
        let added = self.additions.total_of(added_by);
        let of = self.of_added.entry((account.clone(), added_by));
        let of = of.or_insert(OfAdded { at: now, added, deletions: 0 });
        of.at = now;
        of.deletions = of.deletions.saturating_add(deletions);
    }

    pub(super) fn settle(&mut self, reservation: Reservation, carried_out: usize) {
        let Reservation { deletions, of_established, counted } = reservation;
        let unused = deletions.saturating_sub(carried_out);
        match counted {
            Counted::Nowhere => {}
            Counted::Wave(sender) => {
                if let Some(wave) = self.waves.get_mut(&sender) {
                    wave.left = wave.left.saturating_add(unused);
                }
            }
            Counted::Window(_, _) if unused == 0 => {}
            Counted::Window(account, since) => {
                // Which of them were carried out is not known: those of established nodes first.
                let unused = Nodes { all: unused, established: of_established.saturating_sub(carried_out) };
                if self.windows.get_mut(&account).is_some_and(|window| !window.subtract(since, unused)) {
                    self.windows.remove(&account);
                }
                self.change();
            }
        }
    }

    pub(super) fn note_stored(&mut self, account: &Account, stored: &[StoredVersion], now: Duration) {
        if stored.is_empty() {
            return;
        }
        self.additions.advance(now);
        let account = self.account(account);
        let new = self.additions.note(&account, stored);
        if new > 0 {
            self.unsaved = self.unsaved.saturating_add(new);
            self.change();
        }
    }
}

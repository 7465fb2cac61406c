//! Deletions of one account within the last hour, in a window that slides: its slots expire one after the other, so that no moment
//! gives the whole budget back at once.

use super::{SLOT, WINDOW, is_mass};
use std::{collections::VecDeque, time::Duration};

/// How long a slot counts after its beginning: its last deletion is then an hour old.
pub(super) const SLOT_LIFE: Duration = Duration::from_secs(WINDOW.as_secs() + SLOT.as_secs());

/// Two numbers of nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Nodes {
    /// All.
    pub(super) all: usize,
    /// Those that no other instance added within the last one to two hours; of deletions, those that count as such.
    pub(super) established: usize,
}

/// Deletions within a few minutes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slot {
    /// When it began: with its first deletion.
    pub(super) since: Duration,
    /// Carried out, or reserved to be.
    pub(super) deletions: Nodes,
    /// The nodes that were here when it began.
    pub(super) held: Nodes,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Window(VecDeque<Slot>);

impl Window {
    /// From slots that were kept, in any order.
    pub(super) fn of(mut slots: Vec<Slot>) -> Self {
        slots.sort_by_key(|slot| slot.since);
        Self(slots.into())
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.0.iter()
    }

    /// Removes slots that are over. Answers whether any is left.
    pub(super) fn advance(&mut self, now: Duration) -> bool {
        while self.0.front().is_some_and(|slot| now.saturating_sub(slot.since) >= SLOT_LIFE) {
            self.0.pop_front();
        }
        !self.0.is_empty()
    }

    /// Do these deletions fit beside those of the last hour? All are compared with what was held when the oldest that counts was made;
    /// `held`: what is held now.
    pub(super) fn fits(&self, deletions: Nodes, held: Nodes) -> bool {
        let held = self.0.front().map_or(held, |slot| slot.held);
        let sum = self.0.iter().fold(deletions, |sum, slot| Nodes {
            all: sum.all.saturating_add(slot.deletions.all),
            established: sum.established.saturating_add(slot.deletions.established),
        });
        !is_mass(sum.all, held.all) && !is_mass(sum.established, held.established)
    }

    /// Counts deletions. Answers when their slot began.
    pub(super) fn add(&mut self, deletions: Nodes, held: Nodes, now: Duration) -> Duration {
        if let Some(slot) = self.0.back_mut().filter(|slot| now.saturating_sub(slot.since) < SLOT) {
            slot.deletions.all = slot.deletions.all.saturating_add(deletions.all);
            slot.deletions.established = slot.deletions.established.saturating_add(deletions.established);
            return slot.since;
        }
        self.0.push_back(Slot { since: now, deletions, held });
        now
    }

    /// Takes deletions back that were counted in the slot that began then. Answers whether any slot is left.
    pub(super) fn subtract(&mut self, since: Duration, unused: Nodes) -> bool {
        if let Some(slot) = self.0.iter_mut().find(|slot| slot.since == since) {
            slot.deletions.all = slot.deletions.all.saturating_sub(unused.all);
            slot.deletions.established = slot.deletions.established.saturating_sub(unused.established);
        }
        self.0.retain(|slot| slot.deletions.all > 0);
        !self.0.is_empty()
    }
}

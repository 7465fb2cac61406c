//! Senders of changes, and the accounts on which their deletions, additions and conflicts count. Counts nothing itself.

use crate::{
    guard::Payer,
    lattice::DeletionBudget,
    trust::TrustStore,
    types::{PeerId, PublicKey},
};
use std::{net::IpAddr, sync::Arc};

/// On whose account deletions and additions count.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Account {
    /// That of the instance with this id.
    Own(Arc<str>),
    /// That of all senders that are neither verified nor named by the admin: keys cost nothing to make.
    Unverified,
}

impl Account {
    /// That of the instance with this id.
    #[must_use]
    pub fn own(id: &str) -> Self {
        Self::Own(id.into())
    }

    /// That of the instance with this id and key. `is_named`: the admin named it, with this key.
    #[must_use]
    pub fn of(trust: &TrustStore, peer: &PeerId, key: PublicKey, is_named: bool) -> Self {
        if is_named {
            return Self::own(peer.as_str());
        }
        // Many keys of one voucher must not have many budgets.
        trust.answerable_for(peer, key).map_or(Self::Unverified, |answerable| Self::own(answerable.as_str()))
    }

    /// Is it that of one instance?
    #[must_use]
    pub fn is_own(&self) -> bool {
        matches!(self, Self::Own(_))
    }

    pub(super) fn into_id(self) -> Option<String> {
        match self {
            Self::Own(id) => Some(id.as_ref().to_owned()),
            Self::Unverified => None,
        }
    }
}

/// The instance that sent changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender<'a> {
    /// Up to this position of the journal here it had been given the versions; 0: that is not known.
    pub given: u64,
    /// Its id.
    pub id: &'a str,
    /// On whose account its changes count.
    pub account: Account,
    /// Source address of a push, where it is known.
    pub address: Option<IpAddr>,
    /// A round of this instance pulls from it; otherwise it pushes.
    pub is_pulled: bool,
}

impl Sender<'_> {
    /// A budget of so many deletions for one call of the lattice. Conflicts count for the sender's account: those of senders that are not
    /// verified for their address, as their ids cost nothing.
    #[must_use]
    pub fn budget(&self, deletions: usize) -> DeletionBudget {
        let account = match (&self.account, self.is_pulled) {
            (Account::Own(id), _) => Some(id.as_ref().into()),
            (Account::Unverified, true) => None,
            // No id begins with this character.
            (Account::Unverified, false) => Some(format!("\0{}", Payer::wide(self.address)).into()),
        };
        DeletionBudget::new(deletions, !self.account.is_own()).with_conflict_account(account)
    }
}

//! How many live entries, and how many bytes of them, peers may have that nobody decided on: in all, of one key, and from one address.
//! The rest is left to known peers. The scripts in Redis repeat these bounds.

use crate::{
    trust::{Admitted, Standing},
    types::PublicKey,
};
use std::collections::HashMap;

/// A key or an address has at least so many places, where there are so many.
const LEAST_SHARE: u64 = 16;

/// What the settings say of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlaceLimits {
    /// Most live entries of all peers.
    pub max_peers: u64,
    /// Most bytes of live entries of strangers, with their envelopes.
    pub stranger_bytes: u64,
}

impl PlaceLimits {
    /// Most live entries of strangers: a quarter of all is left to known peers, and as many as there are of those.
    #[must_use]
    pub fn of_strangers(self, known_peers: u64) -> u64 {
        self.max_peers.saturating_sub((self.max_peers / 4).max(known_peers))
    }

    /// Most live entries of one key that is a stranger's.
    #[must_use]
    pub fn of_one_key(self) -> u64 {
        (self.max_peers / 8).max(LEAST_SHARE)
    }

    /// Most live entries of strangers from one address.
    #[must_use]
    pub fn from_one_address(self) -> u64 {
        (self.max_peers / 4).max(LEAST_SHARE)
    }

    /// Most bytes of one key, and from one address.
    #[must_use]
    pub fn bytes_of_one(self) -> u64 {
        self.stranger_bytes / 4
    }
}

/// Which share is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// That of all peers that nobody decided on.
    Strangers,
    /// That of the key.
    Key,
    /// That of the address.
    Address,
}

impl Share {
    const fn of(self) -> &'static str {
        match self {
            Self::Strangers => "of peers that are not verified",
            Self::Key => "of this key",
            Self::Address => "from this address",
        }
    }
}

/// A share of the registry is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoPlace {
    /// As many entries as it may have.
    #[error("the registry holds as many peers {} as it may: {limit} (registry.max_peers)", .share.of())]
    Entries {
        /// Whose.
        share: Share,
        /// The bound that is reached.
        limit: u64,
    },
    /// As many bytes as it may have.
    #[error("the registry holds as many bytes of manifests {} as it may: {limit} (registry.stranger_bytes)", .share.of())]
    Bytes {
        /// Whose.
        share: Share,
        /// The bound that is reached.
        limit: u64,
    },
}

/// What one live entry takes, and on whose account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) key: PublicKey,
    pub(super) bytes: u64,
    /// `None`: a known peer's.
    pub(super) stranger: Option<Stranger>,
}

/// A peer that nobody decided on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stranger {
    /// Where it registered from; `None`: this machine, or that is not known since a restart.
    pub(super) address: Option<Box<str>>,
}

impl Place {
    /// For a statement whose row takes so many bytes.
    pub(super) fn of(admitted: &Admitted, bytes: usize) -> Self {
        let Standing { known, address, .. } = admitted.standing();
        let stranger = (!known).then(|| Stranger { address: address.clone() });
        Self { key: admitted.manifest().public_key(), bytes: u64::try_from(bytes).unwrap_or(u64::MAX), stranger }
    }
}

/// Entries and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) entries: u64,
    pub(super) bytes: u64,
}

impl Tally {
    const fn add(&mut self, bytes: u64) {
        self.entries = self.entries.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    const fn subtract(&mut self, bytes: u64) {
        self.entries = self.entries.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// What strangers have.
#[derive(Debug, Clone, Default)]
pub(super) struct Tallies {
    pub(super) all: Tally,
    of_key: HashMap<PublicKey, Tally>,
    from_address: HashMap<Box<str>, Tally>,
}

impl Tallies {
    /// Those that these places count against.
    pub(super) fn part<'a>(&self, places: impl Iterator<Item = &'a Place>) -> Self {
        let mut part = Self { all: self.all, ..Self::default() };
        for Place { key, stranger, .. } in places {
            if let Some(tally) = self.of_key.get(key) {
                part.of_key.insert(*key, *tally);
            }
            let Some(address) = stranger.as_ref().and_then(|stranger| stranger.address.as_ref()) else { continue };
            if let Some(tally) = self.from_address.get(address) {
                part.from_address.insert(address.clone(), *tally);
            }
        }
        part
    }

    pub(super) fn add(&mut self, place: &Place) {
        let Place { key, bytes, stranger: Some(Stranger { address }) } = place else { return };
        self.all.add(*bytes);
        self.of_key.entry(*key).or_default().add(*bytes);
        if let Some(address) = address {
            self.from_address.entry(address.clone()).or_default().add(*bytes);
        }
    }

    pub(super) fn subtract(&mut self, place: &Place) {
        let Place { key, bytes, stranger: Some(Stranger { address }) } = place else { return };
        self.all.subtract(*bytes);
        subtract(&mut self.of_key, key, *bytes);
        if let Some(address) = address {
            subtract(&mut self.from_address, address, *bytes);
        }
    }

    /// May this entry be added, in the place of what its id had? What is live already needs no place, and what takes no more bytes than
    /// before needs none of those.
    pub(super) fn check(
        &mut self,
        place: &Place,
        before: Option<&Place>,
        limits: PlaceLimits,
        known_peers: u64,
    ) -> Result<(), NoPlace> {
        let Some(Stranger { address }) = &place.stranger else { return Ok(()) };
        if let Some(before) = before {
            self.subtract(before);
        }
        let of_key = self.of_key.get(&place.key).copied().unwrap_or_default();
        let from = address.as_ref().and_then(|address| self.from_address.get(address)).copied();
        let shares = [
            (Share::Key, Some(of_key), limits.of_one_key(), limits.bytes_of_one()),
            (Share::Address, from, limits.from_one_address(), limits.bytes_of_one()),
            (Share::Strangers, Some(self.all), limits.of_strangers(known_peers), limits.stranger_bytes),
        ];
        let grows = before.is_none_or(|before| place.bytes > before.bytes);
        let none = shares.into_iter().find_map(|(share, tally, entries, bytes)| {
            let tally = tally?;
            if before.is_none() && tally.entries >= entries {
                return Some(NoPlace::Entries { share, limit: entries });
            }
            let over = grows && tally.bytes.saturating_add(place.bytes) > bytes;
            over.then_some(NoPlace::Bytes { share, limit: bytes })
        });
        if let Some(before) = before {
            self.add(before);
        }
        none.map_or(Ok(()), Err)
    }

    /// How many keys and addresses are counted.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.of_key.len(), self.from_address.len())
    }
}

fn subtract<K: std::hash::Hash + Eq + ?Sized, Q: std::hash::Hash + Eq + std::borrow::Borrow<K>>(
    tallies: &mut HashMap<Q, Tally>,
    of: &K,
    bytes: u64,
) {
    if let Some(tally) = tallies.get_mut(of) {
        tally.subtract(bytes);
        if tally.entries == 0 {
            tallies.remove(of);
        }
    }
}

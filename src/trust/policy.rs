//! Which verified manifests this instance lets in at all.

use crate::{
    manifest::{Manifest, Verified},
    types::{PeerId, PublicKey, Timestamp},
};
use std::{collections::HashMap, time::Duration};

/// How far ahead of our clock a manifest's `last_updated` may be (DESIGN 4.2).
pub const MAX_SKEW: Duration = Duration::from_secs(300);

/// For how long a statement counts that says when it was signed (DESIGN 4.2). Public envelopes can be repeated by anybody.
pub const MAX_STATEMENT_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// Who may speak for an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrustMode {
    /// Any key for any id: the seed's behaviour, for a closed network.
    Open,
    /// The first key that registers an id owns it (trust on first use), and may write.
    Tofu,
    /// The first key that registers an id owns it. Changes are taken from verified keys only, and from peers that the admin named.
    #[default]
    Verified,
    /// Only keys that the operator listed, each for its id.
    Allowlist,
}

impl TrustMode {
    /// The word of the settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Tofu => "tofu",
            Self::Verified => "verified",
            Self::Allowlist => "allowlist",
        }
    }
}

/// What this instance thinks of a peer's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrustLevel {
    /// The mode is `open`: nothing binds the key to the id.
    Unknown,
    /// Bound on first use; no operator has confirmed it.
    Pending,
    /// The operator listed this key for this id.
    Verified,
    /// The operator withdrew this key.
    Revoked,
}

impl TrustLevel {
    /// The level as the wire writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Pending => "pending",
            Self::Verified => "verified",
            Self::Revoked => "revoked",
        }
    }

    /// Reads what [`Self::as_str`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Unknown, Self::Pending, Self::Verified, Self::Revoked].into_iter().find(|level| level.as_str() == text)
    }
}

/// Whether the registry must hold the id to one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// Refuse another key than the one that is pinned.
    FirstKey,
    /// Take any key; another key starts a new history for the id.
    AnyKey,
}

/// Why a verified manifest is not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// It is dated too far ahead of our clock (freeze and fast-forward: DESIGN 4.2).
    #[error("{field} is {ahead_seconds} s ahead of this instance's clock; at most {} s are allowed", MAX_SKEW.as_secs())]
    ClockSkew {
        /// `last_updated` or `issued_at`.
        field: &'static str,
        /// How far ahead, seconds.
        ahead_seconds: u64,
    },
    /// It was signed too long ago (replay: DESIGN 4.2).
    #[error(
        "issued_at is {age_seconds} s ago, more than {} s: somebody repeats it, or it must be signed anew",
        MAX_STATEMENT_AGE.as_secs()
    )]
    Stale {
        /// How long ago, seconds.
        age_seconds: u64,
    },
    /// The operator withdrew the key, or its owner did.
    #[error("the key that speaks for {peer} is revoked here")]
    Revoked {
        /// The id that the manifest speaks for.
        peer: PeerId,
    },
    /// Another key has the id by decision (impersonation).
    #[error("another key is trusted to speak for {peer}")]
    OtherKey {
        /// The id that the manifest speaks for.
        peer: PeerId,
    },
    /// The mode is `allowlist` and this key is not listed for this id.
    #[error("this instance only takes manifests from listed keys, and this key is not listed for {peer}")]
    NotListed {
        /// The id that the manifest speaks for.
        peer: PeerId,
    },
}

/// The operator's rules.
#[derive(Debug, Clone, Default)]
pub struct TrustPolicy {
    mode: TrustMode,
    listed: HashMap<PeerId, PublicKey>,
}

/// Proof that a manifest passed signature and policy: only [`TrustPolicy::admit`] makes one, and a registry takes nothing else.
#[derive(Debug, Clone)]
pub struct Admitted {
    manifest: Verified<Manifest>,
    binding: Binding,
    standing: Standing,
}

/// On whose account a registration goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// The peer is verified, listed, added by the admin, or this instance: it may use what is reserved.
    pub known: bool,
    /// Where it came from, an address or the network of one; `None`: this machine.
    pub address: Option<Box<str>>,
    /// How many known peers there are, live or not: as many places are left to them at least.
    pub known_peers: u64,
}

impl Admitted {
    /// The verified manifest.
    #[must_use]
    pub fn manifest(&self) -> &Verified<Manifest> {
        &self.manifest
    }

    /// On whose account it goes: a stranger's of this machine, unless [`Self::with_standing`] says otherwise.
    #[must_use]
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// The same, on this account.
    #[must_use]
    pub fn with_standing(self, standing: Standing) -> Self {
        Self { standing, ..self }
    }

    /// Whether the registry must hold the id to its first key.
    #[must_use]
    pub fn binding(&self) -> Binding {
        self.binding
    }
}

/// Was a statement that says when it was signed, signed lately? `now` is the wall clock as it reads: one that was ahead once must not
/// make all statements old until the next start.
///
/// # Errors
/// [`TrustError::Stale`].
pub fn check_age(manifest: &Manifest, now: Timestamp) -> Result<(), TrustError> {
    match manifest.issued_at().map(|issued| now.since(issued)) {
        Some(age) if age > MAX_STATEMENT_AGE => Err(TrustError::Stale { age_seconds: age.as_secs() }),
        _ => Ok(()),
    }
}

impl TrustPolicy {
    /// Rules from the settings: `listed` says which key speaks for which id.
    #[must_use]
    pub fn new(mode: TrustMode, listed: HashMap<PeerId, PublicKey>) -> Self {
        Self { mode, listed }
    }

    /// The mode.
    #[must_use]
    pub fn mode(&self) -> TrustMode {
        self.mode
    }

    /// The key that the operator listed for this id.
    pub(super) fn listed(&self, peer: &PeerId) -> Option<PublicKey> {
        self.listed.get(peer).copied()
    }

    /// How many ids the operator listed.
    pub(super) fn listed_count(&self) -> usize {
        self.listed.len()
    }

    /// The first id for which the operator listed this key.
    pub(super) fn listed_id(&self, key: PublicKey) -> Option<&PeerId> {
        self.listed.iter().filter(|(_, listed)| **listed == key).map(|(peer, _)| peer).min()
    }

    /// Did the operator list this key, for whichever id?
    pub(super) fn lists(&self, key: PublicKey) -> bool {
        self.listed.values().any(|listed| *listed == key)
    }

    /// Lets a verified manifest in, or says why not. Version and first-key rules are the registry's, in one step with its write.
    ///
    /// # Errors
    /// [`TrustError`]: too far ahead of `now`, or not listed.
    pub fn admit(&self, manifest: Verified<Manifest>, now: Timestamp) -> Result<Admitted, TrustError> {
        let listed = self.listed(manifest.get().peer());
        self.admit_for(manifest, now, listed, None)
    }

    /// As [`Self::admit`], with the key that is listed for the id now, and the one that has it by decision.
    pub(super) fn admit_for(
        &self,
        manifest: Verified<Manifest>,
        now: Timestamp,
        listed: Option<PublicKey>,
        owner: Option<PublicKey>,
    ) -> Result<Admitted, TrustError> {
        let statement = manifest.get();
        for (field, stated) in [("last_updated", statement.last_updated()), ("issued_at", statement.issued_at())] {
            let ahead = stated.map_or(Duration::ZERO, |stated| stated.since(now));
            if ahead > MAX_SKEW {
                return Err(TrustError::ClockSkew { field, ahead_seconds: ahead.as_secs() });
            }
        }
        let (peer, key) = (statement.peer(), manifest.public_key());
        let binding = match (self.mode, listed, owner) {
            // A listed key is the operator's word: it stands in every mode.
            (_, Some(listed), _) if listed != key => return Err(TrustError::NotListed { peer: peer.clone() }),
            // So is one that was decided on (id squatting, key substitution).
            (_, None, Some(owner)) if owner != key => return Err(TrustError::OtherKey { peer: peer.clone() }),
            (TrustMode::Allowlist, None, None) => return Err(TrustError::NotListed { peer: peer.clone() }),
            // The operator's word also replaces a key that was pinned before.
            (_, Some(_), _) | (_, _, Some(_)) | (TrustMode::Open, None, None) => Binding::AnyKey,
            (TrustMode::Tofu | TrustMode::Verified, None, None) => Binding::FirstKey,
        };
        Ok(Admitted { manifest, binding, standing: Standing::default() })
    }

    /// What this instance thinks of `key` speaking for `peer`.
    #[must_use]
    pub fn level(&self, peer: &PeerId, key: PublicKey) -> TrustLevel {
        match (self.listed.get(peer), self.mode) {
            (Some(listed), _) if *listed == key => TrustLevel::Verified,
            (Some(_), _) => TrustLevel::Revoked,
            (None, TrustMode::Open) => TrustLevel::Unknown,
            (None, TrustMode::Tofu | TrustMode::Verified) => TrustLevel::Pending,
            (None, TrustMode::Allowlist) => TrustLevel::Revoked,
        }
    }
}

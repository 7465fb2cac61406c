//! Which verified manifests this instance lets in at all.

use super::KeyLine;
use crate::{
    manifest::{Manifest, Verified},
    types::{PeerId, PublicKey, Timestamp},
};
use std::{collections::HashMap, time::Duration};

/// How far ahead of our clock a manifest's `last_updated` may be (DESIGN 4.2).
pub const MAX_SKEW: Duration = Duration::from_secs(300);

/// Who may speak for an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrustMode {
    /// Any key for any id: the seed's behaviour, for a closed network.
    Open,
    /// The first key that registers an id owns it (trust on first use).
    #[default]
    Tofu,
    /// Only keys that the operator listed, each for its id.
    Allowlist,
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
    /// `last_updated` is too far ahead of our clock (freeze and fast-forward: DESIGN 4.2).
    #[error("last_updated is {ahead_seconds} s ahead of this instance's clock; at most {} s are allowed", MAX_SKEW.as_secs())]
    ClockSkew {
        /// How far ahead, seconds.
        ahead_seconds: u64,
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
}

impl Admitted {
    /// The verified manifest.
    #[must_use]
    pub fn manifest(&self) -> &Verified<Manifest> {
        &self.manifest
    }

    /// Whether the registry must hold the id to its first key.
    #[must_use]
    pub fn binding(&self) -> Binding {
        self.binding
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

    /// Lets a verified manifest in, or says why not. Version and first-key rules are the registry's, in one step with its write.
    ///
    /// # Errors
    /// [`TrustError`]: too far ahead of `now`, or not listed.
    pub fn admit(&self, manifest: Verified<Manifest>, now: Timestamp) -> Result<Admitted, TrustError> {
        self.admit_in_line(manifest, None, now)
    }

    /// Is another key listed for this id than this one?
    #[must_use]
    pub fn lists_another(&self, peer: &PeerId, key: PublicKey) -> bool {
        self.listed.get(peer).is_some_and(|listed| *listed != key)
    }

    /// As [`Self::admit`], where the key may have come in the place of a listed one.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn admit_in_line(
        &self,
        manifest: Verified<Manifest>,
        line: Option<&KeyLine>,
        now: Timestamp,
    ) -> Result<Admitted, TrustError> {
        let statement = manifest.get();
        if let Some(stated) = statement.last_updated() {
            let ahead = stated.since(now);
            if ahead > MAX_SKEW {
                return Err(TrustError::ClockSkew { ahead_seconds: ahead.as_secs() });
            }
        }
        let listed = self.listed.get(statement.peer());
        let binding = match (self.mode, listed) {
            // A listed key is the operator's word: it stands in every mode.
            (_, Some(key)) if *key != manifest.public_key() && !succeeds(line, manifest.public_key(), *key) => {
                return Err(TrustError::NotListed { peer: statement.peer().clone() });
            }
            (TrustMode::Allowlist, None) => {
                return Err(TrustError::NotListed { peer: statement.peer().clone() });
            }
            // The operator's word also replaces a key that was pinned before it was listed.
            (_, Some(_)) | (TrustMode::Open, None) => Binding::AnyKey,
            (TrustMode::Tofu, None) => Binding::FirstKey,
        };
        Ok(Admitted { manifest, binding })
    }

    /// As [`Self::level`], where statements may have changed which key speaks for `peer`.
    #[must_use]
    pub fn level_in_line(&self, peer: &PeerId, key: PublicKey, line: Option<&KeyLine>) -> TrustLevel {
        match (line, self.listed.get(peer)) {
            (Some(line), _) if line.is_retired(key) || (line.revoked && line.public_key == key) => TrustLevel::Revoked,
            (_, Some(listed)) if succeeds(line, key, *listed) => TrustLevel::Verified,
            _ => self.level(peer, key),
        }
    }

    /// What this instance thinks of `key` speaking for `peer`.
    #[must_use]
    pub fn level(&self, peer: &PeerId, key: PublicKey) -> TrustLevel {
        match (self.listed.get(peer), self.mode) {
            (Some(listed), _) if *listed == key => TrustLevel::Verified,
            (Some(_), _) => TrustLevel::Revoked,
            (None, TrustMode::Open) => TrustLevel::Unknown,
            (None, TrustMode::Tofu) => TrustLevel::Pending,
            (None, TrustMode::Allowlist) => TrustLevel::Revoked,
        }
    }
}

/// Did `key` come in the place of `listed`?
fn succeeds(line: Option<&KeyLine>, key: PublicKey, listed: PublicKey) -> bool {
    line.is_some_and(|line| line.succeeds(key, listed))
}

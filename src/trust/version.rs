//! Whether a statement may follow the newest accepted one of the same id. The Redis adapter's script repeats these rules in
//! Lua, inside one atomic step; the conformance suite holds both to the same answers.

use super::{Binding, KeyLine, freshness::MAX_SEQ_JUMP};
use crate::{
    manifest::{Manifest, Verified},
    types::{PublicKey, Sha256Digest, Timestamp},
};

/// What is remembered of an id as long as it is bound: its key and its newest accepted version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The key that speaks for the id.
    pub public_key: PublicKey,
    /// `last_updated` of the newest accepted manifest.
    pub last_updated: Option<Timestamp>,
    /// `seq` of the newest accepted manifest.
    pub seq: Option<u64>,
    /// What the newest accepted manifest says: see `Verified::digest`.
    pub digest: Sha256Digest,
    /// `issued_at` of the newest accepted manifest.
    pub issued_at: Option<Timestamp>,
    /// Digests of manifests with the same `last_updated` that were replaced by later ones, oldest first, at most [`MAX_SUPERSEDED`]: by
    /// their dates alone they could not be told from later ones (replay).
    pub superseded: Vec<Sha256Digest>,
}

/// How many manifests of one `last_updated` are remembered that were replaced by later ones.
pub const MAX_SUPERSEDED: usize = 8;

/// What accepting a statement means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The id was not known, or (with [`Binding::AnyKey`]) its key changed.
    First,
    /// A new version.
    Newer,
    /// The same statement again: only its time to live is renewed.
    Heartbeat,
    /// The same statement, signed anew: it is renewed, and the newer envelope counts.
    Reissued,
}

/// Why a statement may not follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// Another key already speaks for this id (impersonation).
    #[error("another key already speaks for this id")]
    KeyMismatch,
    /// The key was revoked by its owner.
    #[error("the key that speaks for this id is revoked")]
    Revoked,
    /// `last_updated`, `seq` or `issued_at` is below the newest accepted; or one of the first two is left out where that one stated it
    /// (rollback).
    #[error("{field} is below that of the newest accepted manifest, or missing where that one states it")]
    Rollback {
        /// `last_updated`, `seq` or `issued_at`.
        field: &'static str,
    },
    /// A later manifest with the same `last_updated` took its place (rollback).
    #[error("a later manifest with the same last_updated took the place of this one")]
    Superseded,
    /// The same `seq` with other content (equivocation).
    #[error("seq is that of the newest accepted manifest, but the content differs")]
    Equivocation,
    /// `seq` jumps so far that it would spoil those that are left (fast-forward).
    #[error(
        "seq is more than {MAX_SEQ_JUMP} above that of the newest accepted manifest; only another key may begin anew"
    )]
    FastForward,
}

impl Pin {
    /// The pin that `manifest` leaves behind once it is accepted.
    #[must_use]
    pub fn of(manifest: &Verified<Manifest>) -> Self {
        Self {
            public_key: manifest.public_key(),
            last_updated: manifest.get().last_updated(),
            seq: manifest.get().seq(),
            digest: *manifest.digest(),
            issued_at: manifest.get().issued_at(),
            superseded: Vec::new(),
        }
    }

    /// What is remembered once another key took the place of the one before: nothing of what that one said counts any more.
    #[must_use]
    pub const fn fresh(public_key: PublicKey) -> Self {
        Self { public_key, last_updated: None, seq: None, digest: [0; 32], issued_at: None, superseded: Vec::new() }
    }

    /// What is remembered after `next` followed `newest` as `step` says.
    #[must_use]
    pub fn after(newest: Option<&Self>, next: &Self, step: Step) -> Self {
        let Some(newest) = newest else { return next.clone() };
        match step {
            Step::First => next.clone(),
            Step::Heartbeat => newest.clone(),
            Step::Reissued => Self { issued_at: next.issued_at, ..newest.clone() },
            Step::Newer if next.last_updated.is_none() || next.last_updated != newest.last_updated => next.clone(),
            Step::Newer => {
                let mut superseded = newest.superseded.clone();
                superseded.push(newest.digest);
                superseded.drain(..superseded.len().saturating_sub(MAX_SUPERSEDED));
                Self { superseded, ..next.clone() }
            }
        }
    }

    /// As [`Self::step`], for an id whose key has statements: a key that was replaced or revoked speaks in no mode.
    ///
    /// # Errors
    /// [`VersionError`].
    pub fn step_in_line(
        newest: Option<&Self>,
        line: Option<&KeyLine>,
        next: &Self,
        binding: Binding,
    ) -> Result<Step, VersionError> {
        match line {
            Some(line) if line.revoked && line.public_key == next.public_key => Err(VersionError::Revoked),
            Some(line) if line.is_retired(next.public_key) => Err(VersionError::KeyMismatch),
            _ => Self::step(newest, next, binding),
        }
    }

    /// May `next` follow `newest`? A statement that leaves out what the newest one stated cannot be ordered, so it is refused.
    ///
    /// # Errors
    /// [`VersionError`], checked in the order of its variants.
    pub fn step(newest: Option<&Self>, next: &Self, binding: Binding) -> Result<Step, VersionError> {
        let Some(newest) = newest else { return Ok(Step::First) };
        if newest.public_key != next.public_key {
            return match binding {
                Binding::FirstKey => Err(VersionError::KeyMismatch),
                Binding::AnyKey => Ok(Step::First),
            };
        }
        // Of two that both say when they were signed, the older one is a repetition by somebody else. One that does not say it is as good
        // as it ever was.
        let (is_older, is_reissued) = match (newest.issued_at, next.issued_at) {
            (_, None) => (false, false),
            (None, Some(_)) => (false, true),
            (Some(newest), Some(next)) => (next < newest, next > newest),
        };
        if newest.digest == next.digest {
            return match (is_older, is_reissued) {
                (true, _) => Err(VersionError::Rollback { field: "issued_at" }),
                (false, true) => Ok(Step::Reissued),
                (false, false) => Ok(Step::Heartbeat),
            };
        }
        // `None` sorts below every `Some`: leaving the field out is a rollback.
        if next.seq < newest.seq {
            return Err(VersionError::Rollback { field: "seq" });
        }
        if next.last_updated < newest.last_updated {
            return Err(VersionError::Rollback { field: "last_updated" });
        }
        let same_date = next.last_updated.is_some() && next.last_updated == newest.last_updated;
        if same_date && !is_reissued && newest.superseded.contains(&next.digest) {
            return Err(VersionError::Superseded);
        }
        if is_older {
            return Err(VersionError::Rollback { field: "issued_at" });
        }
        if newest.seq.is_some() && next.seq == newest.seq {
            return Err(VersionError::Equivocation);
        }
        if let (Some(newest), Some(next)) = (newest.seq, next.seq)
            && next.saturating_sub(newest) > MAX_SEQ_JUMP
        {
            return Err(VersionError::FastForward);
        }
        Ok(Step::Newer)
    }
}

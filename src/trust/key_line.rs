//! Which key speaks for an id after its statements: what a peer remembers, and which statements may change it.

use crate::{
    identity::{KeyLog, SignedStatement, StatementError, StatementKind},
    types::{ContentHash, PeerId, PublicKey, Sha256Digest, Timestamp},
};
use serde::{Deserialize, Serialize};

use super::{MAX_SKEW, TooManyChanges};

/// Keys that are remembered as replaced, of one id: many more than an instance ever has, few enough for one row.
const MAX_RETIRED: usize = 1024;

/// What is remembered of an id whose key has statements, as long as it is bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyLine {
    /// The key that speaks; the revoked one where [`Self::revoked`].
    pub public_key: PublicKey,
    /// The key that may replace it.
    pub recovery_key: Option<PublicKey>,
    /// How often the recovery key spoke.
    pub epoch: u64,
    /// Which statement is the newest.
    pub seq: u64,
    /// The digest of the newest.
    pub tip: Sha256Digest,
    /// No key speaks for the id.
    pub revoked: bool,
    /// Keys that spoke before, the newest last.
    pub retired: Vec<PublicKey>,
}

/// What a peer knows of an id before it reads statements.
#[derive(Debug, Clone, Copy)]
pub enum Known<'a> {
    /// The key that it saw first.
    Key(PublicKey),
    /// What earlier statements led to.
    Line(&'a KeyLine),
}

/// Why statements are not followed. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyLineError {
    /// One of them is malformed, or a signature does not fit.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// There is none.
    #[error("there is no statement")]
    Empty,
    /// They are of another id.
    #[error("these are statements of {0}")]
    OtherId(PeerId),
    /// None of them begins where we are (key substitution).
    #[error("none of these statements is by the key that speaks for this id here")]
    OtherKey,
    /// They end before what is known (rollback).
    #[error("these statements are older than those that were accepted")]
    Rollback,
    /// They begin after what is known: what lies between is missing.
    #[error("these statements begin after those that are known; send the ones in between too")]
    Gap,
    /// They say something else than what is known (equivocation: somebody else has or had the key).
    #[error("these statements contradict those that were accepted; only the recovery key can decide between them")]
    Fork,
    /// One of them may not say what it says.
    #[error("statement {seq}: {problem}")]
    NotAllowed {
        /// Which one.
        seq: u64,
        /// Which rule it breaks.
        problem: &'static str,
    },
    /// The newest is dated too far ahead (fast-forward).
    #[error("the newest statement is dated {ahead_seconds} s ahead of this instance's clock")]
    ClockSkew {
        /// How far.
        ahead_seconds: u64,
    },
}

impl KeyLine {
    /// Did this key speak once, and does no more?
    #[must_use]
    pub fn is_retired(&self, key: PublicKey) -> bool {
        self.retired.contains(&key)
    }

    /// May this key speak now?
    #[must_use]
    pub fn speaks(&self, key: PublicKey) -> bool {
        !self.revoked && self.public_key == key
    }

    /// Does this key speak in the place of `other`, which spoke before?
    #[must_use]
    pub fn succeeds(&self, key: PublicKey, other: PublicKey) -> bool {
        self.speaks(key) && (key == other || self.is_retired(other))
    }

    /// The same, that also remembers the keys that `other` remembers as replaced, as many as there is place for.
    #[must_use]
    pub fn with_retired_of(mut self, other: &Self) -> Self {
        let older = other.retired.iter().filter(|key| **key != self.public_key && !self.retired.contains(key));
        let room = MAX_RETIRED.saturating_sub(self.retired.len());
        let older: Vec<PublicKey> = older.take(room).copied().collect();
        self.retired.splice(..0, older);
        self
    }

    /// What these statements lead to from what is known; the same where they say nothing new.
    ///
    /// # Errors
    /// [`KeyLineError`].
    pub fn follow(known: Known<'_>, log: &KeyLog, peer: &PeerId, now: Timestamp) -> Result<Self, KeyLineError> {
        let (statements, tip) = (log.statements(), log.tip().ok_or(KeyLineError::Empty)?);
        // All are of one id: `KeyLog` sees to that.
        if tip.node_id != *peer {
            return Err(KeyLineError::OtherId(tip.node_id.clone()));
        }
        // Fast-forward: a statement of the far future would make every later one look old.
        let ahead = tip.issued_at.since(now);
        if ahead > MAX_SKEW {
            return Err(KeyLineError::ClockSkew { ahead_seconds: ahead.as_secs() });
        }
        let (mut line, rest) = match known {
            Known::Key(key) => Self::from_key(key, statements)?,
            Known::Line(line) => (line.clone(), line.rest(statements)?),
        };
        for statement in rest {
            line = line.after(statement)?;
        }
        Ok(line)
    }

    /// Where a peer begins that knows only a key: at the last statement that made it the one that speaks.
    fn from_key(key: PublicKey, statements: &[SignedStatement]) -> Result<(Self, &[SignedStatement]), KeyLineError> {
        let makes = |signed: &SignedStatement| {
            signed.statement().public_key == key && signed.statement().kind != StatementKind::Revoke
        };
        if let Some(at) = statements.iter().rposition(makes)
            && let Some((signed, rest)) = statements.get(at..).and_then(<[_]>::split_first)
        {
            signed.verify()?;
            // By its own word: what it says of the recovery key is pinned with it, on first use.
            signed_by(signed, key)?;
            let statement = signed.statement();
            if let (StatementKind::Enroll, Some(recovery)) = (statement.kind, statement.recovery_key) {
                signed_by(signed, recovery)?;
            }
            let line = Self {
                public_key: key,
                recovery_key: statement.recovery_key,
                epoch: statement.epoch,
                seq: statement.seq,
                tip: signed.digest(),
                revoked: false,
                retired: Vec::new(),
            };
            return Ok((line, rest));
        }
        // The statement that made it is too old to be sent: the first one that is speaks of it.
        let first = statements.first().map(SignedStatement::statement).ok_or(KeyLineError::Empty)?;
        let ends = first.old_key == Some(key) || (first.kind == StatementKind::Revoke && first.public_key == key);
        let (Some(before), Some(previous)) = (first.seq.checked_sub(1).filter(|_| ends), first.previous) else {
            return Err(KeyLineError::OtherKey);
        };
        let line = Self {
            public_key: key,
            recovery_key: first.recovery_key,
            epoch: first.epoch,
            seq: before,
            tip: previous,
            revoked: false,
            retired: Vec::new(),
        };
        Ok((line, statements))
    }

    /// What comes after what is known.
    fn rest<'a>(&self, statements: &'a [SignedStatement]) -> Result<&'a [SignedStatement], KeyLineError> {
        let after = |at: usize| statements.get(at..).unwrap_or_default();
        if let Some(at) = statements.iter().position(|signed| signed.digest() == self.tip) {
            return Ok(after(at.saturating_add(1)));
        }
        let first = statements.first().map(SignedStatement::statement).ok_or(KeyLineError::Empty)?;
        let next = self.seq.checked_add(1);
        if first.previous == Some(self.tip) && Some(first.seq) == next {
            return Ok(statements);
        }
        // The recovery key stands above whatever was said in an earlier epoch, also where that is unknown here.
        if let Some(at) = statements.iter().position(|signed| signed.statement().epoch > self.epoch) {
            return Ok(after(at));
        }
        let tip = statements.last().map(|signed| (signed.statement().epoch, signed.statement().seq));
        if tip < Some((self.epoch, self.seq)) {
            return Err(KeyLineError::Rollback);
        }
        Err(if Some(first.seq) > next { KeyLineError::Gap } else { KeyLineError::Fork })
    }

    /// What holds after one more statement, if that may say what it says.
    fn after(&self, signed: &SignedStatement) -> Result<Self, KeyLineError> {
        signed.verify()?;
        let statement = signed.statement();
        let refuse = |problem| Err(KeyLineError::NotAllowed { seq: statement.seq, problem });
        let by_recovery = self.recovery_key.filter(|key| signed.is_signed_by(*key));
        let speaks_for_recovery = match statement.kind {
            StatementKind::Enroll => return refuse("an enrolment is the first statement"),
            StatementKind::Rotate => {
                if self.revoked {
                    return refuse("a revoked key replaces itself by no other");
                }
                if statement.old_key != Some(self.public_key) {
                    return refuse("it replaces a key that does not speak");
                }
                signed_by(signed, self.public_key)?;
                false
            }
            StatementKind::Recover => true,
            StatementKind::Revoke => {
                if by_recovery.is_none() {
                    if statement.public_key != self.public_key || self.revoked {
                        return refuse("it revokes a key that does not speak");
                    }
                    signed_by(signed, self.public_key)?;
                }
                by_recovery.is_some()
            }
        };
        if speaks_for_recovery {
            let Some(recovery) = self.recovery_key else {
                return refuse("no recovery key was announced");
            };
            signed_by(signed, recovery)?;
        }
        if speaks_for_recovery != (statement.epoch > self.epoch) || statement.epoch < self.epoch {
            return refuse("an epoch ends with the word of the recovery key, and with nothing else");
        }
        self.check_recovery_key(signed)?;
        if statement.kind != StatementKind::Revoke {
            // It must hold the key that it names, and no thief's old key comes back.
            signed_by(signed, statement.public_key)?;
            if statement.public_key == self.public_key || self.is_retired(statement.public_key) {
                return refuse("the new key spoke before");
            }
        }
        let mut retired = self.retired.clone();
        if statement.public_key != self.public_key {
            if retired.len() >= MAX_RETIRED {
                // A key that is forgotten would be believed again where the operator lists it.
                if !speaks_for_recovery {
                    return refuse("too many keys were replaced to remember one more; only the recovery key can go on");
                }
                // A thief who fills the list must not keep the owner out: what he named last is forgotten.
                retired.truncate(MAX_RETIRED.saturating_sub(1));
            }
            retired.push(self.public_key);
        }
        Ok(Self {
            public_key: statement.public_key,
            recovery_key: statement.recovery_key,
            epoch: statement.epoch,
            seq: statement.seq,
            tip: signed.digest(),
            revoked: statement.kind == StatementKind::Revoke,
            retired,
        })
    }

    /// A key that was stolen must not be able to name another recovery key: only the old one may, or, where there was none, the
    /// key; and the new one signs too.
    fn check_recovery_key(&self, signed: &SignedStatement) -> Result<(), KeyLineError> {
        let statement = signed.statement();
        if statement.recovery_key == self.recovery_key {
            return Ok(());
        }
        let problem = "only the recovery key can name another one";
        let refused = KeyLineError::NotAllowed { seq: statement.seq, problem };
        let may = match statement.kind {
            StatementKind::Rotate => self.recovery_key.is_none(),
            StatementKind::Recover => true,
            StatementKind::Enroll | StatementKind::Revoke => false,
        };
        match statement.recovery_key.filter(|_| may) {
            Some(key) => signed_by(signed, key),
            None => Err(refused),
        }
    }
}

fn signed_by(signed: &SignedStatement, key: PublicKey) -> Result<(), KeyLineError> {
    if signed.is_signed_by(key) {
        return Ok(());
    }
    Err(StatementError::Signature { seq: signed.statement().seq, key, problem: "is missing" }.into())
}

/// As it is kept.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    version: u32,
    public_key: String,
    recovery_key: Option<String>,
    epoch: u64,
    seq: u64,
    tip: String,
    revoked: bool,
    retired: Vec<String>,
}

impl KeyLine {
    /// The text that a registry keeps.
    #[must_use]
    pub fn to_row(&self) -> String {
        let row = Row {
            version: 1,
            public_key: self.public_key.to_base64(),
            recovery_key: self.recovery_key.map(|key| key.to_base64()),
            epoch: self.epoch,
            seq: self.seq,
            tip: ContentHash::from_digest(self.tip).to_string(),
            revoked: self.revoked,
            retired: self.retired.iter().map(|key| key.to_base64()).collect(),
        };
        // Texts and numbers: it does not fail.
        serde_json::to_string(&row).unwrap_or_default()
    }

    /// `None` for every text that [`Self::to_row`] does not write.
    #[must_use]
    pub fn from_row(text: &str) -> Option<Self> {
        let row: Row = serde_json::from_str(text).ok().filter(|row: &Row| row.version == 1)?;
        let key = |text: &String| PublicKey::parse(text).ok();
        let recovery_key = match &row.recovery_key {
            Some(text) => Some(key(text)?),
            None => None,
        };
        Some(Self {
            public_key: key(&row.public_key)?,
            recovery_key,
            epoch: row.epoch,
            seq: row.seq,
            tip: *ContentHash::parse(&row.tip).ok()?.as_bytes(),
            revoked: row.revoked,
            retired: row.retired.iter().map(key).collect::<Option<_>>()?,
        })
    }
}

/// A key that took the place of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyChange {
    /// The key that spoke.
    pub old: PublicKey,
    /// The one that speaks now.
    pub new: PublicKey,
    /// By the word of the recovery key, not by that of the old one: whatever the old one did may have been a thief's doing.
    pub by_recovery: bool,
}

/// A change of a key line that is about to be kept.
#[derive(Debug, Clone, Copy)]
pub struct LineChange<'a> {
    /// The id.
    pub peer: &'a PeerId,
    /// The key that spoke, where it is another one than the one that speaks now.
    pub old: Option<PublicKey>,
    /// What holds afterwards.
    pub line: &'a KeyLine,
    /// By the word of the recovery key.
    pub by_recovery: bool,
    /// Where the statements came from; never [`super::StatementSource::Own`].
    pub address: Option<&'a str>,
}

/// Told of every key that takes another's place, or speaks no more, once that is durable. May wait for the disk.
pub trait KeyEvents: Send + Sync + std::fmt::Debug {
    /// The key that has the id by the admin's decision, and what took its place since; `None`: nothing was decided.
    fn known_key(&self, peer: &PeerId) -> Option<PublicKey>;
    /// Does this key's own word still count, for whom it wants to give its place to?
    fn may_speak(&self, key: PublicKey) -> bool;
    /// May statements change the key of this peer once more? Takes one of its allowance.
    ///
    /// # Errors
    /// [`TooManyChanges`].
    fn may_change(&self, change: &LineChange<'_>) -> Result<(), TooManyChanges>;
    /// A key took the place of another.
    fn rotated(&self, peer: &PeerId, change: KeyChange);
    /// A key speaks no more.
    fn revoked(&self, peer: &PeerId, key: PublicKey);
}

#[cfg(test)]
mod tests;

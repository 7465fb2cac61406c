//! The invites of this instance: durable, one small private file. It holds a hash of each secret, never the secret.

use crate::{
    lattice::offline::{OfflineError, write_private_file},
    trust::invite::{InviteId, InviteKey},
    types::{PeerId, PublicKey, Timestamp},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// The most invites that are open at a time.
pub const MAX_OPEN: usize = 100;
/// The most that are kept, with used, revoked and expired ones.
const MAX_KEPT: usize = 300;
/// How long the instance that used an invite may repeat it, in case the answer was lost.
pub const REPEATABLE_FOR: Duration = Duration::from_secs(600);
/// How long an invite is listed after its end.
const KEPT_AFTER_END: Duration = Duration::from_secs(7 * 24 * 3600);

/// Why the invites cannot be read, kept or used.
#[derive(Debug, thiserror::Error)]
pub enum InvitesError {
    /// The file cannot be read.
    #[error("the invites in {} cannot be read: {error}; a newer version may have written them: run that one, correct the file, or move it away", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: String,
    },
    /// The file cannot be written; nothing has changed.
    #[error("the invites cannot be kept: {0}")]
    Unwritable(#[from] OfflineError),
    /// [`MAX_OPEN`] are open.
    #[error("{MAX_OPEN} invites are open already; revoke one first: ark-lattice invite revoke ID")]
    Full,
    /// There is no invite with this id.
    #[error("there is no invite {0}; see: ark-lattice invite list")]
    Unknown(InviteId),
    /// It cannot be used any more.
    #[error("the invite {0}")]
    Ended(&'static str),
}

/// The instance that used an invite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    /// Its id.
    pub peer: String,
    /// Its key, base64.
    pub public_key: String,
    /// When.
    pub at: Timestamp,
    /// The admin removed the peer since.
    #[serde(default)]
    pub removed: bool,
}

impl Use {
    fn is_by(&self, peer: &PeerId, key: PublicKey) -> bool {
        self.peer == peer.as_str() && self.public_key == key.to_base64()
    }

    /// May the instance that used the invite do so again?
    fn repeated(&self, now: Timestamp) -> Result<Taken, InvitesError> {
        if self.removed {
            return Err(InvitesError::Ended("was used, and the peer was removed since"));
        }
        if now.since(self.at) > REPEATABLE_FOR {
            return Err(InvitesError::Ended("was used, more than ten minutes ago"));
        }
        Ok(Taken::Again)
    }
}

/// Whether an invite can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InviteState {
    /// It can.
    Open,
    /// An instance joined with it.
    Used,
    /// The admin revoked it.
    Revoked,
    /// Its time is over.
    Expired,
}

impl InviteState {
    /// The word of the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Used => "used",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
        }
    }
}

/// An invite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite {
    /// Its id.
    pub id: InviteId,
    /// A hash of its secret.
    key: InviteKey,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
    /// The addresses in its line.
    pub addresses: Vec<String>,
    /// The instance that used it.
    #[serde(default)]
    pub used: Option<Use>,
    /// When it was revoked.
    #[serde(default)]
    pub revoked_at: Option<Timestamp>,
    /// It was refused as expired: it stays so, also where the clock goes back.
    #[serde(default)]
    expired: bool,
}

impl Invite {
    /// A new one.
    #[must_use]
    pub fn new(
        id: InviteId,
        key: InviteKey,
        created_at: Timestamp,
        expires_at: Timestamp,
        addresses: Vec<String>,
    ) -> Self {
        Self { id, key, created_at, expires_at, addresses, used: None, revoked_at: None, expired: false }
    }

    /// Whether it can be used at this time.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> InviteState {
        match (&self.used, self.revoked_at) {
            (Some(_), _) => InviteState::Used,
            (None, Some(_)) => InviteState::Revoked,
            (None, None) if self.expired || now >= self.expires_at => InviteState::Expired,
            (None, None) => InviteState::Open,
        }
    }

    fn ended_at(&self) -> Timestamp {
        self.used.as_ref().map(|used| used.at).or(self.revoked_at).unwrap_or(self.expires_at)
    }
}

/// What taking an invite did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is used now.
    New,
    /// The same instance used it before, with the same key: an answer was lost.
    Again,
}

/// All invites, by id.
#[derive(Debug)]
pub struct Invites {
    path: PathBuf,
    invites: Mutex<BTreeMap<InviteId, Invite>>,
}

impl Invites {
    /// Reads the file; no file: no invites.
    ///
    /// # Errors
    /// [`InvitesError::Unreadable`].
    pub fn open(path: &Path) -> Result<Self, InvitesError> {
        let unreadable = |error: String| InvitesError::Unreadable { path: path.to_owned(), error };
        let invites: Vec<Invite> = match std::fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(unreadable(error.to_string())),
        };
        let invites = invites.into_iter().map(|invite| (invite.id, invite)).collect();
        Ok(Self { path: path.to_owned(), invites: Mutex::new(invites) })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<InviteId, Invite>> {
        self.invites.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that are kept, the newest first.
    #[must_use]
    pub fn list(&self) -> Vec<Invite> {
        let mut invites: Vec<Invite> = self.lock().values().cloned().collect();
        invites.sort_by_key(|invite| std::cmp::Reverse((invite.created_at, invite.id)));
        invites
    }

    /// The HMAC key of an invite, whatever its state.
    #[must_use]
    pub fn key(&self, id: InviteId) -> Option<InviteKey> {
        self.lock().get(&id).map(|invite| invite.key.clone())
    }

    /// Adds an invite, durably. Blocks on the disk.
    ///
    /// # Errors
    /// [`InvitesError::Full`], [`InvitesError::Unwritable`].
    pub fn add(&self, invite: Invite, now: Timestamp) -> Result<(), InvitesError> {
        self.change(|invites| {
            invites.retain(|_, it| it.state(now) == InviteState::Open || now.since(it.ended_at()) < KEPT_AFTER_END);
            if invites.values().filter(|it| it.state(now) == InviteState::Open).count() >= MAX_OPEN {
                return Err(InvitesError::Full);
            }
            while invites.len() >= MAX_KEPT {
                let ended = invites.values().filter(|it| it.state(now) != InviteState::Open);
                let Some(oldest) = ended.min_by_key(|it| it.ended_at()).map(|it| it.id) else { break };
                invites.remove(&oldest);
            }
            invites.insert(invite.id, invite);
            Ok(())
        })
    }

    /// Revokes an invite that is open, durably. Blocks on the disk.
    ///
    /// # Errors
    /// [`InvitesError::Unknown`], [`InvitesError::Ended`], [`InvitesError::Unwritable`].
    pub fn revoke(&self, id: InviteId, now: Timestamp) -> Result<Invite, InvitesError> {
        self.change(|invites| {
            let invite = invites.get_mut(&id).ok_or(InvitesError::Unknown(id))?;
            if invite.used.is_some() {
                return Err(InvitesError::Ended(
                    "is used already; to undo the pairing: ark-lattice federation trust revoke",
                ));
            }
            invite.revoked_at.get_or_insert(now);
            Ok(invite.clone())
        })
    }

    /// Uses an invite for this instance, durably; of several at a time one succeeds. The secret was proved before. Blocks on the disk.
    ///
    /// # Errors
    /// [`InvitesError`].
    pub fn take(&self, id: InviteId, peer: &PeerId, key: PublicKey, now: Timestamp) -> Result<Taken, InvitesError> {
        self.change(|invites| {
            let invite = invites.get_mut(&id).ok_or(InvitesError::Unknown(id))?;
            match (invite.state(now), &invite.used) {
                (_, Some(used)) if used.is_by(peer, key) => return Ok(used.repeated(now)),
                (InviteState::Used, _) => return Err(InvitesError::Ended("was used by another instance")),
                (InviteState::Revoked, _) => return Err(InvitesError::Ended("was revoked")),
                (InviteState::Expired, _) => {
                    invite.expired = true;
                    return Ok(Err(InvitesError::Ended("has expired")));
                }
                (InviteState::Open, _) => {}
            }
            let (peer, public_key) = (peer.to_string(), key.to_base64());
            invite.used = Some(Use { peer, public_key, at: now, removed: false });
            Ok(Ok(Taken::New))
        })?
    }

    /// Ends the repetition of the invites that this instance used, durably: the admin removed it. Blocks on the disk.
    ///
    /// # Errors
    /// [`InvitesError::Unwritable`].
    pub fn end_uses_of(&self, peer: &str) -> Result<(), InvitesError> {
        self.change(|invites| {
            let uses = invites.values_mut().filter_map(|invite| invite.used.as_mut());
            uses.filter(|used| used.peer == peer).for_each(|used| used.removed = true);
            Ok(())
        })
    }

    /// Makes an invite open again of which [`Self::take`] answered [`Taken::New`] and the rest of the pairing failed. Blocks on the disk.
    ///
    /// # Errors
    /// [`InvitesError::Unwritable`]: it stays used.
    pub fn release(&self, id: InviteId, peer: &PeerId, key: PublicKey) -> Result<(), InvitesError> {
        self.change(|invites| {
            if let Some(invite) = invites.get_mut(&id)
                && invite.used.as_ref().is_some_and(|used| used.is_by(peer, key))
            {
                invite.used = None;
            }
            Ok(())
        })
    }

    /// What is not written does not count.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut BTreeMap<InviteId, Invite>) -> Result<T, InvitesError>,
    ) -> Result<T, InvitesError> {
        let mut invites = self.lock();
        let mut changed = invites.clone();
        let outcome = change(&mut changed)?;
        if changed != *invites {
            let list: Vec<&Invite> = changed.values().collect();
            let text = serde_json::to_vec_pretty(&list)
                .map_err(|error| InvitesError::Unreadable { path: self.path.clone(), error: error.to_string() })?;
            write_private_file(&self.path, &text)?;
            *invites = changed;
        }
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn invite(number: u8, created: i64) -> Invite {
        let addresses = vec!["http://host:9001".to_owned()];
        Invite::new(
            InviteId::from_bytes([number; 8]),
            InviteKey::from_bytes([number; 32]),
            at(created),
            at(created).plus(DAY),
            addresses,
        )
    }

    fn who(name: &str, key: u8) -> (PeerId, PublicKey) {
        (PeerId::parse(name).unwrap(), PublicKey::from_bytes([key; 32]))
    }

    #[test]
    fn one_instance_uses_an_invite_and_that_outlives_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("invites.json");
        let invites = Invites::open(&path).unwrap();
        invites.add(invite(1, 0), at(0)).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let id = InviteId::from_bytes([1; 8]);
        let ((b, b_key), (c, c_key)) = (who("b", 2), who("c", 3));
        assert_eq!(invites.take(id, &b, b_key, at(10)).unwrap(), Taken::New);
        let invites = Invites::open(&path).unwrap();
        assert_eq!(invites.take(id, &b, b_key, at(20)).unwrap(), Taken::Again);
        assert!(matches!(invites.take(id, &c, c_key, at(20)), Err(InvitesError::Ended(_))));
        assert!(matches!(invites.take(id, &b, c_key, at(20)), Err(InvitesError::Ended(_))));
        assert!(matches!(invites.revoke(id, at(20)), Err(InvitesError::Ended(_))));
        invites.release(id, &c, c_key).unwrap();
        assert_eq!(invites.list()[0].state(at(20)), InviteState::Used);
        invites.release(id, &b, b_key).unwrap();
        assert_eq!(invites.take(id, &c, c_key, at(30)).unwrap(), Taken::New);
    }

    #[test]
    fn a_use_is_repeated_for_ten_minutes_and_not_by_a_peer_that_was_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("invites.json");
        let invites = Invites::open(&path).unwrap();
        let ((b, key), ended) = (who("b", 2), |it| matches!(it, Err(InvitesError::Ended(_))));
        for number in 1..=2 {
            invites.add(invite(number, 0), at(0)).unwrap();
            assert_eq!(invites.take(InviteId::from_bytes([number; 8]), &b, key, at(10)).unwrap(), Taken::New);
        }
        let id = InviteId::from_bytes([1; 8]);
        assert_eq!(invites.take(id, &b, key, at(610)).unwrap(), Taken::Again);
        assert!(ended(invites.take(id, &b, key, at(611))));
        invites.end_uses_of("b").unwrap();
        let invites = Invites::open(&path).unwrap();
        assert!(ended(invites.take(InviteId::from_bytes([2; 8]), &b, key, at(11))));
    }

    #[test]
    fn an_invite_that_was_refused_as_expired_stays_so_when_the_clock_goes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("invites.json");
        let (invites, id, (b, key)) = (Invites::open(&path).unwrap(), InviteId::from_bytes([1; 8]), who("b", 2));
        invites.add(invite(1, 0), at(0)).unwrap();
        let late = invites.take(id, &b, key, at(0).plus(DAY));
        assert!(matches!(late, Err(InvitesError::Ended("has expired"))));
        let invites = Invites::open(&path).unwrap();
        assert!(matches!(invites.take(id, &b, key, at(1)), Err(InvitesError::Ended("has expired"))));
        assert_eq!(invites.list()[0].state(at(1)), InviteState::Expired);
    }

    #[test]
    fn revoked_and_expired_invites_are_not_used_and_the_file_stays_small() {
        let folder = tempfile::tempdir().unwrap();
        let invites = Invites::open(&folder.path().join("invites.json")).unwrap();
        let (b, key) = who("b", 2);
        for number in 0..100 {
            invites.add(invite(number, 0), at(0)).unwrap();
        }
        assert!(matches!(invites.add(invite(100, 0), at(0)), Err(InvitesError::Full)));
        let first = InviteId::from_bytes([0; 8]);
        assert_eq!(invites.revoke(first, at(1)).unwrap().state(at(1)), InviteState::Revoked);
        assert!(matches!(invites.take(first, &b, key, at(1)), Err(InvitesError::Ended("was revoked"))));
        invites.add(invite(100, 0), at(1)).unwrap();
        let second = InviteId::from_bytes([1; 8]);
        assert!(matches!(invites.take(second, &b, key, at(0).plus(DAY)), Err(InvitesError::Ended("has expired"))));
        let unknown = InviteId::from_bytes([200; 8]);
        assert!(matches!(invites.take(unknown, &b, key, at(0)), Err(InvitesError::Unknown(_))));
        // All of them ended a day after they were made.
        invites.add(invite(101, 90_000), at(90_000)).unwrap();
        assert_eq!(invites.list().len(), 102);
        invites.add(invite(102, 9_000_000), at(9_000_000)).unwrap();
        assert_eq!(invites.list().len(), 1);
    }
}

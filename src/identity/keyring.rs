//! Where this instance's key and its statements are, and how one key takes the place of another: a process that is killed at any
//! moment leaves a key that works and statements that fit it.
//!
//! A change is three steps, each durable before the next: the new key beside the old one (`….next`), the statement that names it,
//! and the rename over the old one. The statement decides: before it the old key holds and the new one is thrown away, after it the
//! new one does.

use super::{
    KeyError, KeyFileError, KeyLog, KeyPair, SignedStatement, Statement, StatementError, StatementKind,
    key_file::{self, Stored},
};
use crate::types::{PeerId, PublicKey, Timestamp};
use bytes::Bytes;
use secrecy::SecretString;
use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::SystemTime,
};

/// More than 128 statements take.
const MAX_LOG_BYTES: u64 = 1 << 20;

/// Why a key was not changed. Nothing was.
#[derive(Debug, thiserror::Error)]
pub enum KeyChangeError {
    /// The files.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// No new key can be made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The statement does not follow the one before.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// There is no key to change.
    #[error("there is no key in {}; make one with: ark-lattice keygen", .0.display())]
    NoKey(PathBuf),
    /// The key is revoked.
    #[error("this key is revoked, and speaks for nobody: replace it with the recovery words: ark-lattice key recover")]
    Revoked,
    /// The key has no recovery key, or another one.
    #[error("these are not the recovery words of this instance: its recovery key is {}", .0.map_or_else(|| "none".to_owned(), |key| key.to_base64()))]
    OtherWords(Option<PublicKey>),
    /// There is a recovery key already.
    #[error(
        "this instance has a recovery key already ({0}); only the old words can name new ones: ark-lattice key recover --new-words"
    )]
    HasWords(PublicKey),
    /// The statements are of another id.
    #[error("the statements beside the key are of {0}: this instance's id must stay the same (instance.node_id)")]
    OtherId(PeerId),
}

/// A key and what is said of it.
#[derive(Debug)]
pub struct Held {
    /// The key.
    pub key: KeyPair,
    /// What is said of it; nothing for a key that was never changed and has no recovery key.
    pub log: KeyLog,
    /// Since when this key speaks, as far as it is known.
    pub since: Option<Timestamp>,
}

impl Held {
    /// Is the key revoked?
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        self.log.tip().is_some_and(|tip| tip.kind == StatementKind::Revoke)
    }

    /// The key that may replace it.
    #[must_use]
    pub fn recovery_key(&self) -> Option<PublicKey> {
        self.log.tip().and_then(|tip| tip.recovery_key)
    }
}

/// What is known of a key without opening it.
#[derive(Debug, Clone)]
pub struct Shown {
    /// The public key.
    pub public_key: PublicKey,
    /// Is its file under a passphrase?
    pub encrypted: bool,
    /// Does it speak no more?
    pub revoked: bool,
    /// The key that may replace it.
    pub recovery_key: Option<PublicKey>,
    /// Since when it speaks, as far as that is known.
    pub since: Option<Timestamp>,
    /// How many statements there are.
    pub statements: usize,
}

/// Who changes a key, and when.
#[derive(Debug, Clone)]
pub struct Change {
    /// The instance.
    pub node_id: PeerId,
    /// Now.
    pub now: Timestamp,
}

/// The files of a key.
#[derive(Debug, Clone)]
pub struct KeyPlace {
    key: PathBuf,
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

impl KeyPlace {
    /// With the key in this file.
    #[must_use]
    pub fn new(key: PathBuf) -> Self {
        Self { key }
    }

    /// The file with the key.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.key
    }

    fn next(&self) -> PathBuf {
        beside(&self.key, ".next")
    }

    /// The file with the statements.
    #[must_use]
    pub fn statements(&self) -> PathBuf {
        beside(&self.key, ".statements.json")
    }

    /// Is there a key?
    #[must_use]
    pub fn exists(&self) -> bool {
        self.key.exists() || self.next().exists()
    }

    /// Held while a key is changed: one at a time.
    fn lock(&self) -> Result<File, KeyFileError> {
        let folder = self.key.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let failed = |error| KeyFileError::Io { path: folder.to_owned(), error };
        let file = File::open(folder).map_err(failed)?;
        file.lock().map_err(failed)?;
        Ok(file)
    }

    fn place_error(&self, problem: &str) -> KeyFileError {
        KeyFileError::Place { path: self.statements(), problem: problem.to_owned() }
    }

    /// What is said of the key. No file: nothing; one that cannot be read is an error.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn log(&self) -> Result<KeyLog, KeyFileError> {
        let path = self.statements();
        let failed = |error| KeyFileError::Io { path: path.clone(), error };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(KeyLog::default()),
            Err(error) => return Err(failed(error)),
        };
        let mut text = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(file, MAX_LOG_BYTES), &mut text).map_err(failed)?;
        let unusable = |error: StatementError| self.place_error(&format!("{error}; restore a copy of the file"));
        let log = KeyLog::parse(Bytes::from(text)).map_err(unusable)?;
        // A changed bit is noticed here and not by the peers, who would refuse all that comes after.
        log.statements().iter().try_for_each(SignedStatement::verify).map_err(unusable)?;
        Ok(log)
    }

    /// Which file holds the key that the statements name, and what is in it.
    fn find(&self, log: &KeyLog) -> Result<Option<(PathBuf, Stored)>, KeyFileError> {
        let stored = |path: PathBuf| match path.exists() {
            true => key_file::read_stored(&path).map(|stored| Some((path, stored))),
            false => Ok(None),
        };
        let current = stored(self.key.clone())?;
        let Some(tip) = log.tip() else { return Ok(current) };
        let fits = |found: &Option<(PathBuf, Stored)>| {
            found.as_ref().is_some_and(|(_, stored)| stored.public_key() == Some(tip.public_key))
        };
        if fits(&current) {
            return Ok(current);
        }
        let next = stored(self.next())?;
        if fits(&next) {
            return Ok(next);
        }
        let problem = format!(
            "the statements name the key {}, which is not in {}: restore that key, or replace it with: ark-lattice key recover; where \
             the key was meant to be another identity, move this file away",
            tip.public_key,
            self.key.display()
        );
        // Without any key there is nothing to start with; who has words may go on from here.
        if current.is_none() && next.is_none() { Ok(None) } else { Err(self.place_error(&problem)) }
    }

    /// Is a passphrase needed to use the key?
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn is_encrypted(&self) -> Result<bool, KeyFileError> {
        Ok(matches!(self.find(&self.log()?)?, Some((_, Stored::Sealed(_)))))
    }

    /// What is known of the key without opening it; `None` where there is none.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn shown(&self) -> Result<Option<Shown>, KeyFileError> {
        let log = self.log()?;
        let Some((path, stored)) = self.find(&log)? else { return Ok(None) };
        let public_key = stored.public_key().ok_or_else(|| self.place_error("the key's file names no public key"))?;
        Ok(Some(Shown {
            public_key,
            encrypted: matches!(stored, Stored::Sealed(_)),
            revoked: log.tip().is_some_and(|tip| tip.kind == StatementKind::Revoke),
            recovery_key: log.tip().and_then(|tip| tip.recovery_key),
            since: since(&log, &path),
            statements: log.statements().len(),
        }))
    }

    /// The key; `None` where there is none.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn load(&self, passphrase: Option<&SecretString>) -> Result<Option<Held>, KeyFileError> {
        let log = self.log()?;
        let Some((path, stored)) = self.find(&log)? else { return Ok(None) };
        let since = since(&log, &path);
        Ok(Some(Held { key: stored.open(&path, passphrase)?, log, since }))
    }

    /// Brings a change to its end that a killed process left half done.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn finish(&self) -> Result<(), KeyFileError> {
        let next = self.next();
        if !next.exists() {
            return Ok(());
        }
        let _one_at_a_time = self.lock()?;
        match self.find(&self.log()?)? {
            Some((path, _)) if path == next => self.take_over(),
            _ => self.forget(&next),
        }
    }

    fn take_over(&self) -> Result<(), KeyFileError> {
        let renamed = std::fs::rename(self.next(), &self.key).and_then(|()| key_file::sync_folder(&self.key));
        renamed.map_err(|error| KeyFileError::Io { path: self.key.clone(), error })
    }

    fn forget(&self, path: &Path) -> Result<(), KeyFileError> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(KeyFileError::Io { path: path.to_owned(), error })
            }
            _ => Ok(()),
        }
    }

    fn write_log(&self, log: &KeyLog) -> Result<(), KeyFileError> {
        key_file::replace(&self.statements(), log.to_json().as_bytes())
    }

    fn held(&self, passphrase: Option<&SecretString>) -> Result<Held, KeyChangeError> {
        let held = self.load(passphrase)?.ok_or_else(|| KeyChangeError::NoKey(self.key.clone()))?;
        if held.is_revoked() { Err(KeyChangeError::Revoked) } else { Ok(held) }
    }

    /// The steps of the module's text.
    fn put(&self, key: &KeyPair, passphrase: Option<&SecretString>, log: &KeyLog) -> Result<(), KeyFileError> {
        key_file::replace_key(&self.next(), key, passphrase)?;
        self.write_log(log)?;
        self.take_over()
    }

    /// Enrols the key, with this recovery key: the first statement. Where there are statements already, a recovery key is named by
    /// a rotation.
    ///
    /// # Errors
    /// [`KeyChangeError`].
    pub fn enroll(
        &self,
        change: &Change,
        words: &KeyPair,
        passphrase: Option<&SecretString>,
    ) -> Result<Held, KeyChangeError> {
        self.finish()?;
        let lock = self.lock()?;
        let mut held = self.held(passphrase)?;
        if let Some(known) = held.recovery_key() {
            return Err(KeyChangeError::HasWords(known));
        }
        if !held.log.is_empty() {
            drop(lock);
            return self.rotate(change, Some(words), passphrase, passphrase);
        }
        held.log.append(enrolment(change, &held.key, Some(words)))?;
        self.write_log(&held.log)?;
        Ok(held)
    }

    /// A new key in the place of the old one, by the old one's word.
    ///
    /// # Errors
    /// [`KeyChangeError`].
    pub fn rotate(
        &self,
        change: &Change,
        words: Option<&KeyPair>,
        passphrase: Option<&SecretString>,
        new_passphrase: Option<&SecretString>,
    ) -> Result<Held, KeyChangeError> {
        self.finish()?;
        let _one_at_a_time = self.lock()?;
        let Held { key: old, mut log, .. } = self.held(passphrase)?;
        if log.is_empty() {
            log.append(enrolment(change, &old, None))?;
        }
        let known = log.tip().and_then(|tip| tip.recovery_key);
        if let (Some(known), Some(_)) = (known, words) {
            return Err(KeyChangeError::HasWords(known));
        }
        let key = KeyPair::generate()?;
        let recovery_key = known.or(words.map(KeyPair::public_key));
        let kind = StatementKind::Rotate;
        let statement = Statement {
            old_key: Some(old.public_key()),
            recovery_key,
            ..next(change, &log, kind, key.public_key(), 0)?
        };
        let keys: Vec<&KeyPair> = [Some(&old), Some(&key), words].into_iter().flatten().collect();
        log.append(SignedStatement::sign(statement, &keys))?;
        self.put(&key, new_passphrase, &log)?;
        Ok(Held { key, log, since: Some(change.now) })
    }

    /// A new key by the recovery key's word; `new_words` take the old ones' place. The old key need not be there, nor the statements.
    ///
    /// # Errors
    /// [`KeyChangeError`].
    pub fn recover(
        &self,
        change: &Change,
        words: &KeyPair,
        new_words: Option<&KeyPair>,
        new_passphrase: Option<&SecretString>,
    ) -> Result<Held, KeyChangeError> {
        // Where the files do not fit each other, the words put that right.
        let _as_far_as_it_goes = self.finish();
        let _one_at_a_time = self.lock()?;
        let mut log = self.log()?;
        check_words(&log, words)?;
        let key = KeyPair::generate()?;
        let recovery_key = Some(new_words.unwrap_or(words).public_key());
        let kind = StatementKind::Recover;
        let statement = Statement { recovery_key, ..next(change, &log, kind, key.public_key(), 1)? };
        let keys: Vec<&KeyPair> = [Some(words), Some(&key), new_words].into_iter().flatten().collect();
        log.append(SignedStatement::sign(statement, &keys))?;
        self.put(&key, new_passphrase, &log)?;
        Ok(Held { key, log, since: Some(change.now) })
    }

    /// Says that the key speaks no more: by the recovery key's word where it is given, otherwise by the key's own. The statements
    /// that say so.
    ///
    /// # Errors
    /// [`KeyChangeError`].
    pub fn revoke(
        &self,
        change: &Change,
        words: Option<&KeyPair>,
        reason: Option<String>,
        passphrase: Option<&SecretString>,
    ) -> Result<KeyLog, KeyChangeError> {
        self.finish()?;
        let _one_at_a_time = self.lock()?;
        let mut log = self.log()?;
        let held = match words {
            None => Some(self.held(passphrase)?),
            Some(words) => {
                check_words(&log, words)?;
                None
            }
        };
        if let Some(held) = held.as_ref().filter(|_| log.is_empty()) {
            log.append(enrolment(change, &held.key, None))?;
        }
        let tip = log.tip().ok_or_else(|| KeyChangeError::NoKey(self.key.clone()))?;
        let (revoked, recovery_key) = (tip.public_key, tip.recovery_key);
        let kind = StatementKind::Revoke;
        let step = u64::from(words.is_some());
        let statement = Statement { recovery_key, reason, ..next(change, &log, kind, revoked, step)? };
        let signer = words.or(held.as_ref().map(|held| &held.key));
        let signer = signer.ok_or_else(|| KeyChangeError::NoKey(self.key.clone()))?;
        log.append(SignedStatement::sign(statement, &[signer]))?;
        self.write_log(&log)?;
        Ok(log)
    }

    /// The same key under another passphrase, or under none.
    ///
    /// # Errors
    /// [`KeyChangeError`].
    pub fn reseal(
        &self,
        passphrase: Option<&SecretString>,
        new_passphrase: Option<&SecretString>,
    ) -> Result<PublicKey, KeyChangeError> {
        self.finish()?;
        let _one_at_a_time = self.lock()?;
        let held = self.load(passphrase)?.ok_or_else(|| KeyChangeError::NoKey(self.key.clone()))?;
        key_file::replace_key(&self.key, &held.key, new_passphrase)?;
        Ok(held.key.public_key())
    }
}

/// Since when the newest key speaks: as its statements say, or since its file was written.
fn since(log: &KeyLog, path: &Path) -> Option<Timestamp> {
    let made = std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let made = made.and_then(|made| made.duration_since(SystemTime::UNIX_EPOCH).ok());
    let made = made.and_then(|age| i64::try_from(age.as_secs()).ok()).map(Timestamp::from_seconds);
    log.tip().map(|tip| tip.issued_at).or(made)
}

fn check_words(log: &KeyLog, words: &KeyPair) -> Result<(), KeyChangeError> {
    match log.tip().map(|tip| tip.recovery_key) {
        Some(known) if known != Some(words.public_key()) => Err(KeyChangeError::OtherWords(known)),
        _ => Ok(()),
    }
}

fn enrolment(change: &Change, key: &KeyPair, words: Option<&KeyPair>) -> SignedStatement {
    let statement = Statement {
        kind: StatementKind::Enroll,
        node_id: change.node_id.clone(),
        epoch: 0,
        seq: 0,
        previous: None,
        old_key: None,
        public_key: key.public_key(),
        recovery_key: words.map(KeyPair::public_key),
        issued_at: Timestamp::from_seconds(change.now.seconds()),
        reason: None,
    };
    let keys: Vec<&KeyPair> = [Some(key), words].into_iter().flatten().collect();
    SignedStatement::sign(statement, &keys)
}

/// What comes behind the newest. `by_recovery`: 1 where the recovery key speaks. Its epochs follow the time, so that who has nothing
/// but the words can still say something that stands above all that was said before.
fn next(
    change: &Change,
    log: &KeyLog,
    kind: StatementKind,
    public_key: PublicKey,
    by_recovery: u64,
) -> Result<Statement, KeyChangeError> {
    let tip = log.tip();
    if let Some(tip) = tip.filter(|tip| tip.node_id != change.node_id) {
        return Err(KeyChangeError::OtherId(tip.node_id.clone()));
    }
    let epoch = tip.map_or(0, |tip| tip.epoch);
    let seconds = u64::try_from(change.now.seconds()).unwrap_or(0);
    Ok(Statement {
        kind,
        node_id: change.node_id.clone(),
        epoch: if by_recovery == 1 { epoch.saturating_add(1).max(seconds) } else { epoch },
        seq: tip.map_or(0, |tip| tip.seq.saturating_add(1)),
        previous: log.last().map(SignedStatement::digest),
        old_key: None,
        public_key,
        recovery_key: None,
        // A clock that was set back must not make a statement look older than the one that it follows.
        issued_at: Timestamp::from_seconds(
            change.now.seconds().max(tip.map_or(i64::MIN, |tip| tip.issued_at.seconds())),
        ),
        reason: None,
    })
}

/// The key that a service signs with, which may become another one while it runs.
#[derive(Debug)]
pub struct Keyring {
    held: RwLock<Arc<Held>>,
    place: Option<(KeyPlace, Option<SecretString>)>,
    seen: RwLock<Marks>,
}

/// When the files were last changed.
type Marks = [Option<SystemTime>; 2];

impl Keyring {
    /// A key that stays, because it came with the settings.
    #[must_use]
    pub fn fixed(key: KeyPair) -> Self {
        let held = Held { key, log: KeyLog::default(), since: None };
        Self { held: RwLock::new(Arc::new(held)), place: None, seen: RwLock::default() }
    }

    /// A key that is in files.
    #[must_use]
    pub fn in_files(held: Held, place: KeyPlace, passphrase: Option<SecretString>) -> Self {
        let seen = RwLock::new(marks(&place));
        Self { held: RwLock::new(Arc::new(held)), place: Some((place, passphrase)), seen }
    }

    /// What holds now.
    #[must_use]
    pub fn held(&self) -> Arc<Held> {
        Arc::clone(&self.held.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The public key that holds now.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.held().key.public_key()
    }

    /// Looks whether the files were changed, and takes what they hold. Answers whether that is something else.
    ///
    /// # Errors
    /// [`KeyFileError`]: what held before holds on.
    pub fn reload(&self) -> Result<bool, KeyFileError> {
        let Some((place, passphrase)) = &self.place else { return Ok(false) };
        let marks = marks(place);
        if *self.seen.read().unwrap_or_else(PoisonError::into_inner) == marks {
            return Ok(false);
        }
        let held = place.load(passphrase.as_ref())?;
        *self.seen.write().unwrap_or_else(PoisonError::into_inner) = marks;
        let Some(held) = held else { return Ok(false) };
        let before = self.held();
        let stand = |held: &Held| (held.key.public_key(), held.log.last().map(SignedStatement::digest));
        let changed = stand(&before) != stand(&held);
        if changed {
            *self.held.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(held);
        }
        Ok(changed)
    }
}

fn marks(place: &KeyPlace) -> Marks {
    let changed = |path: &Path| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    [changed(place.path()), changed(&place.statements())]
}

#[cfg(test)]
mod tests;

//! Statements about an instance's key: which key speaks for an id from now on, and by whose word.
//!
//! Each is a small JSON document (RFC 8785) in a DSSE envelope, signed by every key that has a say in it:
//!
//! | `kind` | what it says | signed by |
//! |---|---|---|
//! | `enroll` | this key speaks for this id, and this recovery key may replace it | the key, the recovery key where one is named |
//! | `rotate` | another key takes the place of `old_key` | the old and the new key; also a recovery key that is named for the first time |
//! | `recover` | another key takes the place of whatever spoke last | the recovery key and the new key; also another recovery key |
//! | `revoke` | this key speaks no more, and none does until a `recover` | the key, or the recovery key |
//!
//! Every statement carries everything that holds after it, and the digest of the one before: who knows one of them can follow from
//! there. `epoch` counts the recovery key's words: a later epoch stands above everything that was said in an earlier one, also what
//! a thief said.

use super::KeyPair;
use crate::{
    json::{Document, Object, Value},
    types::{ContentHash, PeerId, PublicKey, Sha256Digest, Timestamp},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::{borrow::Cow, fmt};

/// The media type of a statement inside its DSSE envelope.
pub const STATEMENT_PAYLOAD_TYPE: &str = "application/vnd.ark-lattice.key+json";
/// The most statements that are sent or read at once: the newest ones of an instance.
pub const MAX_STATEMENTS: usize = 128;
/// The most characters of a reason.
pub const MAX_REASON_CHARS: usize = 200;
/// The most signatures of one statement.
const MAX_SIGNATURES: usize = 3;
/// Nesting of a list of envelopes.
const MAX_DEPTH: usize = 8;
/// Counters stay exact in every JSON reader.
const MAX_COUNT: u64 = (1 << 53) - 1;

/// What a statement says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatementKind {
    /// The first one.
    Enroll,
    /// By the key itself.
    Rotate,
    /// By the recovery key.
    Recover,
    /// The end of a key.
    Revoke,
}

impl StatementKind {
    /// The word of the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enroll => "enroll",
            Self::Rotate => "rotate",
            Self::Recover => "recover",
            Self::Revoke => "revoke",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Enroll, Self::Rotate, Self::Recover, Self::Revoke].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// Why a text is not a statement, or not one that counts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// It has the wrong shape.
    #[error("statement {number}: {problem}")]
    Shape {
        /// Which one, from 1.
        number: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The text as a whole has the wrong shape.
    #[error("{0}")]
    List(&'static str),
    /// A signature does not fit, or one is missing.
    #[error("statement {seq}: the signature of {key} {problem}")]
    Signature {
        /// Which one.
        seq: u64,
        /// Whose.
        key: PublicKey,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// What is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// What it says.
    pub kind: StatementKind,
    /// Of whom.
    pub node_id: PeerId,
    /// How often the recovery key spoke so far.
    pub epoch: u64,
    /// How many statements came before.
    pub seq: u64,
    /// SHA-256 of the one before, as it was signed.
    pub previous: Option<Sha256Digest>,
    /// Of a rotation: the key that it replaces.
    pub old_key: Option<PublicKey>,
    /// The key that speaks after it; of a revocation the one that speaks no more.
    pub public_key: PublicKey,
    /// The key that may replace it.
    pub recovery_key: Option<PublicKey>,
    /// When it was said, whole seconds.
    pub issued_at: Timestamp,
    /// Of a revocation: why, in the operator's words.
    pub reason: Option<String>,
}

impl Statement {
    /// RFC 8785: members in order, no space.
    fn to_json(&self) -> String {
        let mut members =
            vec![format!("\"epoch\":{}", self.epoch), format!("\"issued_at\":{}", self.issued_at.seconds())];
        members.push(format!("\"kind\":\"{}\"", self.kind.as_str()));
        members.push(format!("\"node_id\":{}", serde_json::Value::from(self.node_id.as_str())));
        members.extend(self.old_key.map(|key| format!("\"old_key\":\"{key}\"")));
        members.extend(self.previous.map(|digest| format!("\"previous\":\"{}\"", ContentHash::from_digest(digest))));
        members.push(format!("\"public_key\":\"{}\"", self.public_key));
        members.extend(self.reason.as_deref().map(|reason| format!("\"reason\":{}", serde_json::Value::from(reason))));
        members.extend(self.recovery_key.map(|key| format!("\"recovery_key\":\"{key}\"")));
        members.push(format!("\"seq\":{}", self.seq));
        format!("{{{}}}", members.join(","))
    }

    fn parse(object: Object<'_>) -> Result<Self, &'static str> {
        let text = |name: &str| object.get(name).map(|value| value.as_str().ok_or("a text is not one")).transpose();
        let key = |name: &str| -> Result<Option<PublicKey>, &'static str> {
            let text = text(name)?;
            text.map(|text| PublicKey::parse(&text).map_err(|_| "a key is not base64 of 32 bytes")).transpose()
        };
        let count = |name: &str| {
            let number = object.get(name).and_then(Value::as_number).and_then(|text| text.parse::<u64>().ok());
            number.filter(|number| *number <= MAX_COUNT)
        };
        let previous = text("previous")?.map(|text| ContentHash::parse(&text).map_err(|_| "previous is not a hash"));
        let reason = text("reason")?.map(Cow::into_owned);
        if reason.as_ref().is_some_and(|reason| reason.chars().count() > MAX_REASON_CHARS) {
            return Err("reason is too long");
        }
        let issued_at = object.get("issued_at").and_then(Value::as_number).and_then(|text| text.parse::<i64>().ok());
        let statement = Self {
            kind: text("kind")?.and_then(|text| StatementKind::parse(&text)).ok_or("kind is none that is known")?,
            node_id: text("node_id")?.and_then(|text| PeerId::parse(&text).ok()).ok_or("node_id is not an id")?,
            epoch: count("epoch").ok_or("epoch is not a count")?,
            seq: count("seq").ok_or("seq is not a count")?,
            previous: previous.transpose()?.map(|hash| *hash.as_bytes()),
            old_key: key("old_key")?,
            public_key: key("public_key")?.ok_or("public_key is missing")?,
            recovery_key: key("recovery_key")?,
            issued_at: issued_at.map(Timestamp::from_seconds).ok_or("issued_at is not whole seconds")?,
            reason,
        };
        let first = statement.previous.is_none();
        if first != (statement.seq == 0) {
            return Err("the first statement, and no other, names none before it");
        }
        // The recovery key may speak without knowing what was said before.
        let may = match statement.kind {
            StatementKind::Enroll => first && statement.epoch == 0,
            StatementKind::Recover => true,
            StatementKind::Rotate | StatementKind::Revoke => !first,
        };
        if !may {
            return Err("an enrolment is the first statement, a rotation or a revocation is not");
        }
        if (statement.kind == StatementKind::Rotate) != statement.old_key.is_some() {
            return Err("a rotation, and nothing else, names an old_key");
        }
        Ok(statement)
    }
}

/// A statement with its signatures, which nobody has checked yet.
#[derive(Clone)]
pub struct SignedStatement {
    statement: Statement,
    payload: Vec<u8>,
    signatures: Vec<(PublicKey, [u8; 64])>,
}

impl fmt::Debug for SignedStatement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.statement, f)
    }
}

impl SignedStatement {
    /// Signs with all of these keys.
    #[must_use]
    pub fn sign(statement: Statement, keys: &[&KeyPair]) -> Self {
        let payload = statement.to_json().into_bytes();
        let message = pre_authentication_encoding(&payload);
        let signatures = keys.iter().map(|key| (key.public_key(), key.sign(&message))).collect();
        Self { statement, payload, signatures }
    }

    /// What it says; believe it after [`Self::verify`].
    #[must_use]
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// SHA-256 of what was signed.
    #[must_use]
    pub fn digest(&self) -> Sha256Digest {
        Sha256::digest(&self.payload).into()
    }

    /// Has this key signed it? True only once [`Self::verify`] said so.
    #[must_use]
    pub fn is_signed_by(&self, key: PublicKey) -> bool {
        self.signatures.iter().any(|(signer, _)| *signer == key)
    }

    /// Checks every signature that is on it.
    ///
    /// # Errors
    /// [`StatementError::Signature`].
    pub fn verify(&self) -> Result<(), StatementError> {
        let message = pre_authentication_encoding(&self.payload);
        for (key, signature) in &self.signatures {
            if !key.has_signed(&message, signature) {
                let problem = "does not fit";
                return Err(StatementError::Signature { seq: self.statement.seq, key: *key, problem });
            }
        }
        Ok(())
    }

    /// Its envelope.
    #[must_use]
    pub fn to_envelope(&self) -> String {
        let signature = |(key, bytes): &(PublicKey, [u8; 64])| {
            format!("{{\"keyid\":\"{key}\",\"sig\":\"{}\"}}", STANDARD.encode(bytes))
        };
        let signatures: Vec<String> = self.signatures.iter().map(signature).collect();
        format!(
            "{{\"payload\":\"{}\",\"payloadType\":\"{STATEMENT_PAYLOAD_TYPE}\",\"signatures\":[{}]}}",
            STANDARD.encode(&self.payload),
            signatures.join(",")
        )
    }

    fn parse(value: Value<'_>) -> Result<Self, &'static str> {
        let envelope = value.as_object().ok_or("is not an object")?;
        let text = |object: Object<'_>, name: &str| object.get(name).and_then(Value::as_str).map(Cow::into_owned);
        if text(envelope, "payloadType").as_deref() != Some(STATEMENT_PAYLOAD_TYPE) {
            return Err("payloadType is not application/vnd.ark-lattice.key+json");
        }
        let payload = text(envelope, "payload").and_then(|text| STANDARD.decode(text).ok());
        let payload = payload.ok_or("payload is not standard, padded base64")?;
        let list = envelope.get("signatures").and_then(Value::as_array).ok_or("signatures is not a list")?;
        let mut signatures: Vec<(PublicKey, [u8; 64])> = Vec::new();
        for entry in list.iter() {
            let entry = entry.as_object().ok_or("a signature is not an object")?;
            let key = text(entry, "keyid").and_then(|text| PublicKey::parse(&text).ok());
            let bytes = text(entry, "sig").and_then(|text| STANDARD.decode(text).ok());
            let bytes = bytes.and_then(|bytes| <[u8; 64]>::try_from(bytes).ok());
            let (key, bytes) = key.zip(bytes).ok_or("a signature is not keyid and sig, base64 of 32 and 64 bytes")?;
            if signatures.iter().any(|(known, _)| *known == key) {
                return Err("one key signed twice");
            }
            signatures.push((key, bytes));
        }
        if signatures.is_empty() || signatures.len() > MAX_SIGNATURES {
            return Err("it has one to three signatures");
        }
        let document =
            Document::parse(Bytes::from(payload.clone()), MAX_DEPTH).map_err(|_| "payload is not strict JSON")?;
        let statement = Statement::parse(document.root().as_object().ok_or("payload is not an object")?)?;
        Ok(Self { statement, payload, signatures })
    }
}

/// The newest statements of one instance, oldest first: each follows the one before it. Signatures are not checked yet.
#[derive(Debug, Clone, Default)]
pub struct KeyLog {
    statements: Vec<SignedStatement>,
}

impl KeyLog {
    /// Reads `{"statements": [envelope, …]}`.
    ///
    /// # Errors
    /// [`StatementError`]: a shape, or a statement that does not follow the one before it.
    pub fn parse(text: Bytes) -> Result<Self, StatementError> {
        let document = Document::parse(text, MAX_DEPTH).map_err(|_| StatementError::List("it is not strict JSON"))?;
        let object = document.root().as_object().ok_or(StatementError::List("it is not an object"))?;
        Self::read(object)
    }

    /// The member `statements` of this object.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn read(object: Object<'_>) -> Result<Self, StatementError> {
        let list = object.get("statements").and_then(Value::as_array);
        let list = list.ok_or(StatementError::List("statements is missing or not a list"))?;
        if list.len() > MAX_STATEMENTS {
            return Err(StatementError::List("there are more than 128 statements; send the newest"));
        }
        let mut log = Self::default();
        for (index, value) in list.iter().enumerate() {
            let number = index.saturating_add(1);
            let statement =
                SignedStatement::parse(value).map_err(|problem| StatementError::Shape { number, problem })?;
            log.push(statement).map_err(|problem| StatementError::Shape { number, problem })?;
        }
        Ok(log)
    }

    /// Adds a statement behind the last.
    fn push(&mut self, next: SignedStatement) -> Result<(), &'static str> {
        if let Some(last) = self.statements.last() {
            let (before, after) = (&last.statement, &next.statement);
            if after.node_id != before.node_id {
                return Err("it is of another id than the one before it");
            }
            if after.previous != Some(last.digest()) || Some(after.seq) != before.seq.checked_add(1) {
                return Err("it does not follow the one before it");
            }
        }
        self.statements.push(next);
        Ok(())
    }

    /// Adds a statement and lets go of the oldest where there are too many.
    ///
    /// # Errors
    /// It does not follow.
    pub fn append(&mut self, next: SignedStatement) -> Result<(), StatementError> {
        let number = self.statements.len().saturating_add(1);
        self.push(next).map_err(|problem| StatementError::Shape { number, problem })?;
        let extra = self.statements.len().saturating_sub(MAX_STATEMENTS);
        self.statements.drain(..extra);
        Ok(())
    }

    /// All of them, oldest first.
    #[must_use]
    pub fn statements(&self) -> &[SignedStatement] {
        &self.statements
    }

    /// The newest.
    #[must_use]
    pub fn last(&self) -> Option<&SignedStatement> {
        self.statements.last()
    }

    /// What the newest says.
    #[must_use]
    pub fn tip(&self) -> Option<&Statement> {
        self.last().map(SignedStatement::statement)
    }

    /// Is there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.statements.is_empty()
    }

    /// As [`Self::parse`] reads it.
    #[must_use]
    pub fn to_json(&self) -> String {
        let envelopes: Vec<String> = self.statements.iter().map(SignedStatement::to_envelope).collect();
        format!("{{\"statements\":[{}]}}", envelopes.join(","))
    }
}

/// DSSE v1 protocol.md; as in `manifest/envelope.rs`, which this room does not know.
fn pre_authentication_encoding(payload: &[u8]) -> Vec<u8> {
    let kind = STATEMENT_PAYLOAD_TYPE;
    let mut out = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
    out.extend_from_slice(payload);
    out
}

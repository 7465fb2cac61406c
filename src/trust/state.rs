//! What the audit log says of keys, entry by entry.

use super::{Entry, TrustLevel};
use crate::types::{PeerId, PublicKey, Timestamp};
use serde_json::Value;
use std::collections::{BTreeSet, HashMap, HashSet};

pub(super) const LEVEL: &str = "level";
pub(super) const ROTATION: &str = "rotation";
pub(super) const QUARANTINE: &str = "quarantine";
pub(super) const RELEASE: &str = "release";
pub(super) const VOUCH: &str = "vouch";

/// What was decided of a key.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The key.
    pub public_key: PublicKey,
    /// The instance that it speaks for.
    pub node_id: PeerId,
    /// What it may do.
    pub level: TrustLevel,
    /// Since when.
    pub changed_at: Timestamp,
    /// Who decided it: `operator`, `challenge`, `certificate`, `statement`, …
    pub by: String,
    /// Why.
    pub reason: String,
    /// The key that took its place.
    pub successor: Option<PublicKey>,
    /// The signature that proved that the peer holds the key, base64.
    pub proof: Option<String>,
    /// Its own owner withdrew it: nobody gives it back.
    pub is_final: bool,
    /// What it was when its owner withdrew it: the key that takes its place is no less.
    pub(super) before_withdrawal: TrustLevel,
}

impl Record {
    /// Nobody here decided it: a stranger asked, or made a statement.
    pub(super) fn is_unasked(&self) -> bool {
        self.by == UNASKED || self.by == UNASKED_STATEMENT
    }

    /// It took the place of a key that is verified by vouchers alone: it has that key's rights, for as long as the vouchers count.
    pub(super) fn is_by_vouchers(&self) -> bool {
        self.by == VOUCHED_STATEMENT
    }
}

/// The state that the entries leave.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) records: HashMap<PublicKey, Record>,
    /// The key that has an id by decision, whoever was there first.
    pub(super) owners: HashMap<PeerId, PublicKey>,
    pub(super) unasked: usize,
    pub(super) quarantined: HashSet<PublicKey>,
    pub(super) vouches: HashMap<(PeerId, PublicKey), BTreeSet<PublicKey>>,
    /// The key in whose place each key came.
    pub(super) replaced: HashMap<PublicKey, PublicKey>,
}

/// Who decided, of those who came by themselves.
pub(super) const UNASKED: &str = "challenge (unasked)";
/// The key's own owner.
pub(super) const STATEMENT: &str = "statement";
/// The key's own owner, of a key that is verified by vouchers alone, or came in the place of one.
pub(super) const VOUCHED_STATEMENT: &str = "statement (vouched)";
/// The key's own owner, of a key without a decision.
pub(super) const UNASKED_STATEMENT: &str = "statement (unasked)";

impl State {
    /// Applies one entry; every other kind tells a story and changes nothing.
    pub(super) fn apply(&mut self, entry: &Entry) -> Result<(), &'static str> {
        let text = |name: &'static str| entry.detail.get(name).and_then(Value::as_str);
        let key = |name: &'static str| text(name).and_then(|text| PublicKey::parse(text).ok()).ok_or(name);
        let peer = |name: &'static str| text(name).and_then(|text| PeerId::parse(text).ok()).ok_or(name);
        let level = || text("level").and_then(TrustLevel::parse).ok_or("level");
        let (by, reason) = (text("by").unwrap_or_default(), text("reason").unwrap_or_default());
        match entry.kind.as_str() {
            LEVEL => self.decide(Record {
                public_key: key("public_key")?,
                node_id: peer("node_id")?,
                level: level()?,
                changed_at: entry.at,
                by: by.to_owned(),
                reason: reason.to_owned(),
                successor: None,
                proof: text("proof").map(str::to_owned),
                is_final: entry.detail.get("final").and_then(Value::as_bool).ok_or("final")?,
                before_withdrawal: text("before").and_then(TrustLevel::parse).unwrap_or(TrustLevel::Pending),
            }),
            ROTATION => {
                let (old, new, node_id, level) = (key("old_key")?, key("public_key")?, peer("node_id")?, level()?);
                let record = |public_key, level, successor, is_final| Record {
                    public_key,
                    node_id: node_id.clone(),
                    level,
                    changed_at: entry.at,
                    by: by.to_owned(),
                    reason: "rotated".to_owned(),
                    successor,
                    proof: None,
                    is_final,
                    before_withdrawal: TrustLevel::Pending,
                };
                self.decide(record(old, TrustLevel::Revoked, Some(new), true));
                self.decide(record(new, level, None, false));
                self.replaced.insert(new, old);
            }
            QUARANTINE => drop(self.quarantined.insert(key("public_key")?)),
            RELEASE => drop(self.quarantined.remove(&key("public_key")?)),
            VOUCH => {
                let peer = PeerId::parse(&entry.subject).map_err(|_| "subject")?;
                self.vouches.entry((peer, key("public_key")?)).or_default().insert(key("voucher")?);
            }
            _ => {}
        }
        Ok(())
    }

    fn decide(&mut self, record: Record) {
        let (key, peer, level) = (record.public_key, record.node_id.clone(), record.level);
        let is_owner = self.owners.get(&peer) == Some(&key);
        match level {
            TrustLevel::Verified => drop(self.owners.insert(peer, key)),
            // The id is anybody's again, but not this key's.
            TrustLevel::Revoked if is_owner => drop(self.owners.remove(&peer)),
            _ => {}
        }
        let unasked = |record: &Record| usize::from(record.is_unasked());
        self.unasked = self.unasked.saturating_add(unasked(&record));
        if let Some(before) = self.records.insert(key, record) {
            self.unasked = self.unasked.saturating_sub(unasked(&before));
        }
    }
}

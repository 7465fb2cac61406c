//! The head: where an instance's lattice stands, in one signed line (DESIGN 4.6 step 0).

use super::{
    EnvelopeError,
    lineage::{Epoch, HeadEpoch, INDEX_ID_DIGITS, Lineage, Position, read_hash},
};
use crate::{
    json::{Object, Value},
    types::{PeerId, SetHash, Timestamp, encode_hex, is_lower_hex},
};
use std::borrow::Cow;

/// The media type of a head inside a DSSE envelope.
pub const HEAD_PAYLOAD_TYPE: &str = "application/vnd.ark-lattice.head+json";

/// Where a lattice stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Whose lattice.
    pub node_id: PeerId,
    /// Random, 32 hex digits; another one after any reset of the journal: positions of the old one say nothing then.
    pub index_id: String,
    /// The journal's newest position.
    pub seq: u64,
    /// The position up to which deletions may be forgotten.
    pub floor: u64,
    /// The hash of the whole set.
    pub manifest_hash: SetHash,
    /// Live nodes.
    pub count: u64,
    /// When it was signed, by the instance's own clock.
    pub issued_at: Timestamp,
    /// When it stops counting.
    pub expires: Timestamp,
    /// The journal's epochs; `None`: the instance is of release 0.1.0, and `index_id` is all that is known of them.
    pub epoch: Option<HeadEpoch>,
}

impl Head {
    pub(super) fn to_json(&self) -> String {
        let Self { index_id, seq, floor, manifest_hash, count, .. } = self;
        let node_id = serde_json::Value::from(self.node_id.as_str());
        let (issued_at, expires) = (self.issued_at.to_seconds_text(), self.expires.to_seconds_text());
        let mut text = format!(
            "{{\"node_id\":{node_id},\"index_id\":\"{index_id}\",\"seq\":{seq},\"floor\":{floor},\
             \"manifest_hash\":\"{manifest_hash}\",\"count\":{count},\"issued_at\":{issued_at},\"expires\":{expires}"
        );
        if let Some(HeadEpoch { epoch, since, lineage_hash, next }) = &self.epoch {
            let hash = encode_hex(lineage_hash);
            text.push_str(&format!(
                ",\"epoch\":\"{epoch}\",\"epoch_since\":{since},\"lineage_hash\":\"sha256:{hash}\""
            ));
            if let Some(next) = next {
                text.push_str(&format!(",\"next_epoch\":\"{next}\""));
            }
        }
        text.push('}');
        text
    }

    /// The epoch in which positions of this journal are recorded: of release 0.1.0 its `index_id`.
    #[must_use]
    pub fn current_epoch(&self) -> Epoch {
        let of_index = || Epoch::parse(&self.index_id).unwrap_or_else(|_| Epoch::from_bytes([0; 8]));
        self.epoch.as_ref().map_or_else(of_index, |it| it.epoch.clone())
    }

    /// The position at which the journal stands.
    #[must_use]
    pub fn position(&self) -> Position {
        Position::new(self.current_epoch(), self.seq)
    }

    /// What this head alone tells of the lineage: the newest epoch.
    #[must_use]
    pub fn newest_epoch(&self) -> Lineage {
        Lineage::of(self.current_epoch(), self.epoch.as_ref().map_or(0, |it| it.since))
    }

    pub(super) fn parse(value: Value<'_>) -> Result<Self, EnvelopeError> {
        let wrong = |field| EnvelopeError::Head { field };
        let object = value.as_object().ok_or(wrong("payload"))?;
        let node_id = text(object, "node_id").and_then(|text| PeerId::parse(&text).ok()).ok_or(wrong("node_id"))?;
        let index_id = text(object, "index_id").filter(|text| is_index_id(text)).ok_or(wrong("index_id"))?;
        let hash = text(object, "manifest_hash").and_then(|text| SetHash::parse(&text).ok());
        let number = |field| object.get(field).and_then(Value::as_number);
        let count = |field| number(field).and_then(|text| text.parse::<u64>().ok()).ok_or(wrong(field));
        let instant = |field| number(field).and_then(Timestamp::from_seconds_text).ok_or(wrong(field));
        Ok(Self {
            node_id,
            index_id: index_id.into_owned(),
            seq: count("seq")?,
            floor: count("floor")?,
            manifest_hash: hash.ok_or(wrong("manifest_hash"))?,
            count: count("count")?,
            issued_at: instant("issued_at")?,
            expires: instant("expires")?,
            epoch: read_epoch(object)?,
        })
    }
}

/// What an instance of release 0.1.0 does not state.
fn read_epoch(object: Object<'_>) -> Result<Option<HeadEpoch>, EnvelopeError> {
    if object.get("epoch").is_none() {
        return Ok(None);
    }
    let wrong = |field| EnvelopeError::Head { field };
    let epoch = |field| text(object, field).and_then(|text| Epoch::parse(&text).ok());
    let since = object.get("epoch_since").and_then(Value::as_number).and_then(|text| text.parse().ok());
    let next = object.get("next_epoch").map(|_| epoch("next_epoch").ok_or(wrong("next_epoch"))).transpose()?;
    Ok(Some(HeadEpoch {
        epoch: epoch("epoch").ok_or(wrong("epoch"))?,
        since: since.ok_or(wrong("epoch_since"))?,
        lineage_hash: text(object, "lineage_hash").and_then(|it| read_hash(&it)).ok_or(wrong("lineage_hash"))?,
        next,
    }))
}

/// Is this text an `index_id`?
fn is_index_id(text: &str) -> bool {
    text.len() == INDEX_ID_DIGITS && is_lower_hex(text.as_bytes())
}

fn text<'a>(object: Object<'a>, field: &str) -> Option<Cow<'a, str>> {
    object.get(field).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        identity::KeyPair,
        manifest::{sign, sign_head, verify, verify_head},
        types::Limits,
    };
    use bytes::Bytes;

    fn head() -> Head {
        Head {
            node_id: PeerId::parse("ark-\"1\"").unwrap(),
            index_id: "0123456789abcdef0123456789abcdef".to_owned(),
            seq: 7,
            floor: 2,
            manifest_hash: SetHash::of(b"set"),
            count: 5,
            issued_at: Timestamp::from_micros(1_763_696_494_123_456),
            expires: Timestamp::from_seconds(1_763_696_594),
            epoch: None,
        }
    }

    fn epoch() -> HeadEpoch {
        HeadEpoch {
            epoch: Epoch::from_bytes([1; 8]),
            since: 7,
            lineage_hash: [2; 32],
            next: Some(Epoch::from_bytes([3; 8])),
        }
    }

    #[test]
    fn a_head_states_its_epochs_or_is_one_of_release_0_1_0() {
        let key = KeyPair::generate().unwrap();
        let read = |head: &Head| {
            let signed = sign_head(head, key.public_key(), |bytes| key.sign(bytes));
            verify_head(Bytes::from(signed), &Limits::default()).unwrap().get().clone()
        };
        let stated = Head { epoch: Some(epoch()), ..head() };
        let settled = Head { epoch: Some(HeadEpoch { next: None, ..epoch() }), ..head() };
        assert_eq!([read(&stated), read(&settled), read(&head())], [stated.clone(), settled, head()]);
        assert_eq!(head().position().to_string(), "0123456789abcdef0123456789abcdef:7");
        assert_eq!(stated.position().to_string(), "0101010101010101:7");
    }

    #[test]
    fn a_head_comes_back_as_it_was_signed_and_any_change_is_noticed() {
        let key = KeyPair::generate().unwrap();
        let limits = Limits::default();
        let signed = sign_head(&head(), key.public_key(), |bytes| key.sign(bytes));
        let verified = verify_head(Bytes::from(signed.clone()), &limits).unwrap();
        assert_eq!((verified.get(), verified.public_key()), (&head(), key.public_key()));
        let other = sign_head(&Head { seq: 8, ..head() }, key.public_key(), |bytes| key.sign(bytes));
        let payload = |text: &str| text.split('"').nth(7).unwrap().to_owned();
        let forged = signed.replace(&payload(&signed), &payload(&other));
        assert!(matches!(verify_head(Bytes::from(forged), &limits), Err(EnvelopeError::BadSignature)));
        // A signature over a head is none over a manifest, and the other way round.
        assert!(verify(Bytes::from(signed), &limits).is_err());
        let manifest = Bytes::from_static(br#"{"node_id":"a"}"#);
        let form = crate::manifest::Canonicalization::Dsse;
        let envelope = sign(manifest, form, &limits, key.public_key(), |bytes| key.sign(bytes)).unwrap();
        assert!(matches!(verify_head(Bytes::from(envelope), &limits), Err(EnvelopeError::PayloadType { .. })));
    }
}

//! The manifest as this service reads it. (fields are final, parse is being written)
use crate::types::{PeerId, SetHash, Timestamp};
/// stub
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// .
    #[error("stub")]
    Stub,
}
/// One instance's statement. Made by parsing only.
#[derive(Debug, Clone)]
pub struct Manifest {
    pub(super) peer: PeerId,
    pub(super) instance_type: Option<Box<str>>,
    pub(super) last_updated: Option<Timestamp>,
    pub(super) seq: Option<u64>,
    pub(super) node_count: usize,
    pub(super) set_hash: SetHash,
    pub(super) fields: Vec<(Box<str>, Box<str>)>,
    pub(super) summary: Box<str>,
}
impl Manifest {
    /// Who speaks: `node_id` on the wire.
    #[must_use]
    pub fn peer(&self) -> &PeerId {
        &self.peer
    }
    /// `instance_type`, where it is a string.
    #[must_use]
    pub fn instance_type(&self) -> Option<&str> {
        self.instance_type.as_deref()
    }
    /// `last_updated`.
    #[must_use]
    pub fn last_updated(&self) -> Option<Timestamp> {
        self.last_updated
    }
    /// `seq`, 0 to 2^53−1.
    #[must_use]
    pub fn seq(&self) -> Option<u64> {
        self.seq
    }
    /// How many nodes it lists.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.node_count
    }
    /// The set hash of the nodes it lists: `manifest_hash` on the wire.
    #[must_use]
    pub fn set_hash(&self) -> SetHash {
        self.set_hash
    }
    /// Top-level fields in the manifest's order: strings as they are, everything else as its JSON text (DESIGN 4.3).
    #[must_use]
    pub fn fields(&self) -> &[(Box<str>, Box<str>)] {
        &self.fields
    }
    /// What `/discover` shows of it: a JSON object's text with the top-level fields without `nodes`,
    /// then `node_count`, `manifest_hash` and `address`. At most `Limits::manifest_field_bytes` and a little.
    #[must_use]
    pub fn summary(&self) -> &str {
        &self.summary
    }
}

#[cfg(test)]
impl Manifest {
    /// A manifest without a text behind it, for tests of what comes after the parse. Lists no nodes.
    pub(crate) fn for_test(
        peer: PeerId,
        instance_type: Option<&str>,
        last_updated: Option<Timestamp>,
        seq: Option<u64>,
        fields: &[(&str, &str)],
        summary: &str,
    ) -> Self {
        Self {
            peer,
            instance_type: instance_type.map(Box::from),
            last_updated,
            seq,
            node_count: 0,
            set_hash: SetHash::of(b""),
            fields: fields.iter().map(|(name, value)| (Box::from(*name), Box::from(*value))).collect(),
            summary: Box::from(summary),
        }
    }
}

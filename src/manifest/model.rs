//! The manifest as this service reads it (DESIGN 4.2): the fields that it gives a meaning, and everything else kept as it came.

use super::set_hash::{self, SetHasher, bucket_of};
use crate::{
    json::{Document, Kind, Object, Value},
    types::{ContentHash, IdError, Limits, NodeId, PeerId, SetHash, Timestamp, UNSIGNED_PREFIX},
};
use bytes::Bytes;
use std::{borrow::Cow, fmt::Write as _};

/// The largest `seq`: the largest integer that every JSON implementation keeps exactly.
pub const MAX_SEQ: u64 = (1 << 53) - 1;

/// A `last_updated` is later than this (in 1684): below it a registry that counts microseconds in doubles, as Redis' scripts do,
/// could not tell a rollback from the same instant. Above, the clock is the bound.
const EARLIEST: Timestamp = Timestamp::from_micros(-(1 << 53));

/// Fields of a peer in `/discover` that are this service's to say: a manifest's fields of these names are not repeated there.
const RESERVED: [&str; 8] =
    ["nodes", "node_count", "manifest_hash", "pubkey", "last_seen", "expires_in", "trust_level", "freshness"];

/// Room for what `/discover` shows of most manifests.
const USUAL_SUMMARY_BYTES: usize = 512;

/// Why a signed document is not a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// The manifest is not a JSON object.
    #[error("the manifest is not a JSON object")]
    NotAnObject,
    /// A field has the wrong shape.
    #[error("the manifest's {field} {problem}")]
    Field {
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// An entry of `nodes` has the wrong shape.
    #[error("the manifest's nodes[{index}] {problem}")]
    Node {
        /// Which entry, from 0.
        index: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// Two entries of `nodes` have the same id.
    #[error("the manifest lists the node {id:?} twice")]
    DuplicateNode {
        /// The id.
        id: String,
    },
    /// `nodes` has more entries than [`Limits::manifest_nodes`].
    #[error("the manifest lists {count} nodes; this instance takes at most {limit}")]
    TooManyNodes {
        /// How many it lists.
        count: usize,
        /// The bound.
        limit: usize,
    },
    /// The other top-level fields exceed [`Limits::manifest_field_bytes`].
    #[error("the manifest's fields other than nodes take {bytes} bytes; this instance takes at most {limit}")]
    FieldsTooLarge {
        /// How many bytes they take.
        bytes: usize,
        /// The bound.
        limit: usize,
    },
}

fn wrong(field: &'static str, problem: impl Into<String>) -> ManifestError {
    ManifestError::Field { field, problem: problem.into() }
}

/// One instance's statement of what its lattice holds. Made by parsing only.
#[derive(Debug, Clone)]
pub struct Manifest {
    peer: PeerId,
    instance_type: Option<Box<str>>,
    last_updated: Option<Timestamp>,
    seq: Option<u64>,
    issued_at: Option<Timestamp>,
    node_count: usize,
    set_hash: SetHash,
    fields: Vec<(Box<str>, Bytes)>,
    summary: Box<str>,
}

impl Manifest {
    /// Reads a manifest from the object that was signed; `document` is what `value` is a part of.
    ///
    /// # Errors
    /// [`ManifestError`] says which rule of DESIGN 4.2 it breaks.
    pub(super) fn parse(document: &Document, value: Value<'_>, limits: &Limits) -> Result<Self, ManifestError> {
        let object = value.as_object().ok_or(ManifestError::NotAnObject)?;
        let peer = parse_peer(object)?;
        let (node_count, set_hash) = parse_nodes(object, limits)?;
        let fields = parse_fields(document, object);
        let summary = summarise(object, node_count, set_hash, limits)?;
        Ok(Self {
            peer,
            instance_type: object.get("instance_type").and_then(Value::as_str).map(Box::from),
            last_updated: parse_last_updated(object)?,
            seq: parse_seq(object)?,
            issued_at: parse_issued_at(object)?,
            node_count,
            set_hash,
            fields,
            summary,
        })
    }

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

    /// `last_updated`: when the instance made this statement, by its own clock.
    #[must_use]
    pub fn last_updated(&self) -> Option<Timestamp> {
        self.last_updated
    }

    /// `seq`, 0 to [`MAX_SEQ`].
    #[must_use]
    pub fn seq(&self) -> Option<u64> {
        self.seq
    }

    /// `issued_at`: when this statement was signed, by the signer's clock. `None`: it is not stated as a number, and the statement can
    /// be repeated for ever.
    #[must_use]
    pub fn issued_at(&self) -> Option<Timestamp> {
        self.issued_at
    }

    /// How many nodes it lists.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.node_count
    }

    /// The set hash of the nodes that it lists: `manifest_hash` on the wire. A hash that is 64 hex digits counts as
    /// `sha256:` + those digits, every other one as it is written.
    #[must_use]
    pub fn set_hash(&self) -> SetHash {
        self.set_hash
    }

    /// Top-level fields in the manifest's order: strings as they are, everything else as its JSON text (DESIGN 4.3).
    #[must_use]
    pub fn fields(&self) -> &[(Box<str>, Bytes)] {
        &self.fields
    }

    /// What `/discover` shows of it: a JSON object's text with the top-level fields except those that are the service's to say,
    /// then `node_count` and `manifest_hash`, with `address` (a string or null) among them.
    #[must_use]
    pub fn summary(&self) -> &str {
        &self.summary
    }
}

fn parse_peer(object: Object<'_>) -> Result<PeerId, ManifestError> {
    let value = object.get("node_id").ok_or_else(|| wrong("node_id", "is missing"))?;
    let text = value.as_str().ok_or_else(|| wrong("node_id", "is not a string"))?;
    let peer = PeerId::parse(&text).map_err(|error| wrong("node_id", format!("is not usable: {error}")))?;
    if peer.is_reserved() {
        return Err(wrong("node_id", format!("begins with {UNSIGNED_PREFIX}, which marks unsigned senders")));
    }
    Ok(peer)
}

fn parse_last_updated(object: Object<'_>) -> Result<Option<Timestamp>, ManifestError> {
    let Some(value) = object.get("last_updated") else { return Ok(None) };
    let text = value.as_number().ok_or_else(|| wrong("last_updated", "is not a number of epoch seconds"))?;
    parse_instant("last_updated", text).map(Some)
}

/// What is no number is another program's member of that name, as any other that this service gives no meaning.
fn parse_issued_at(object: Object<'_>) -> Result<Option<Timestamp>, ManifestError> {
    let stated = object.get("issued_at").and_then(Value::as_number);
    stated.map(|text| parse_instant("issued_at", text)).transpose()
}

fn parse_instant(field: &'static str, text: &str) -> Result<Timestamp, ManifestError> {
    Timestamp::from_seconds_text(text)
        .filter(|instant| *instant > EARLIEST)
        .ok_or_else(|| wrong(field, "is out of range: it is epoch seconds, not milliseconds"))
}

fn parse_seq(object: Object<'_>) -> Result<Option<u64>, ManifestError> {
    let Some(value) = object.get("seq") else { return Ok(None) };
    let seq = value.as_unsigned().filter(|seq| *seq <= MAX_SEQ);
    seq.map(Some).ok_or_else(|| wrong("seq", format!("is not an integer from 0 to {MAX_SEQ}")))
}

/// A node of a manifest as its set hash needs it.
struct Listed<'a> {
    bucket: u16,
    id: Cow<'a, str>,
    hash: Cow<'a, str>,
}

fn parse_nodes(object: Object<'_>, limits: &Limits) -> Result<(usize, SetHash), ManifestError> {
    let Some(value) = object.get("nodes") else { return Ok((0, SetHasher::default().finish())) };
    let array = value.as_array().ok_or_else(|| wrong("nodes", "is not a list"))?;
    let count = array.len();
    if count > limits.manifest_nodes {
        return Err(ManifestError::TooManyNodes { count, limit: limits.manifest_nodes });
    }
    let mut nodes = Vec::with_capacity(count);
    for (index, node) in array.iter().enumerate() {
        nodes.push(parse_node(node).map_err(|problem| ManifestError::Node { index, problem })?);
    }
    nodes.sort_unstable_by(|a, b| (a.bucket, &a.id).cmp(&(b.bucket, &b.id)));
    if let Some(id) = nodes.windows(2).find_map(|pair| match pair {
        [a, b] if a.id == b.id => Some(a.id.to_string()),
        _ => None,
    }) {
        return Err(ManifestError::DuplicateNode { id });
    }
    let mut set = SetHasher::default();
    for group in nodes.chunk_by(|a, b| a.bucket == b.bucket) {
        if let [first, ..] = group {
            let pairs = group.iter().map(|node| (node.id.as_ref(), node.hash.as_bytes()));
            set.bucket(first.bucket, set_hash::bucket_hash(pairs));
        }
    }
    Ok((count, set.finish()))
}

fn parse_node(node: Value<'_>) -> Result<Listed<'_>, String> {
    let object = node.as_object().ok_or("is not an object with id and hash")?;
    let [id, hash, node_type, updated_at] = object.pick(["id", "hash", "type", "updated_at"]);
    let (id, hash) = (id.ok_or("has no id")?, hash.ok_or("has no hash")?);
    let id = id.as_str().ok_or("has an id that is not a string")?;
    let hash = hash.as_str().ok_or("has a hash that is not a string")?;
    if node_type.is_some_and(|value| !matches!(value.kind(), Kind::String | Kind::Null)) {
        return Err("has a type that is not a string".into());
    }
    if updated_at.is_some_and(|value| !matches!(value.kind(), Kind::String | Kind::Number | Kind::Null)) {
        return Err("has an updated_at that is neither a number nor a string".into());
    }
    NodeId::check(&id).map_err(|error: IdError| format!("has an unusable id: {error}"))?;
    // The set hash separates its fields with line feeds, so a hash must not be able to hold one.
    NodeId::check(&hash).map_err(|_| "has a hash that is empty, over 256 characters or holds control characters")?;
    let hash = match ContentHash::parse_bare(&hash) {
        Ok(known) => Cow::Owned(known.to_string()),
        Err(_) => hash,
    };
    Ok(Listed { bucket: bucket_of(&id), id, hash })
}

fn parse_fields(document: &Document, object: Object<'_>) -> Vec<(Box<str>, Bytes)> {
    let text = |value: Value<'_>| match value.as_str() {
        Some(Cow::Owned(unescaped)) => Bytes::from(unescaped),
        // Within the quotes; the source is shared, not copied.
        Some(Cow::Borrowed(plain)) => document.source().slice_ref(plain.as_bytes()),
        None => document.source().slice_ref(value.raw().as_bytes()),
    };
    object.iter().map(|(key, value)| (Box::from(key), text(value))).collect()
}

fn summarise(
    object: Object<'_>,
    node_count: usize,
    set_hash: SetHash,
    limits: &Limits,
) -> Result<Box<str>, ManifestError> {
    // Few are longer; none is grown by and by.
    let mut out = String::with_capacity(USUAL_SUMMARY_BYTES);
    out.push('{');
    for (key, value) in object.iter() {
        let misplaced_address = key == "address" && value.as_str().is_none();
        if RESERVED.contains(&key.as_ref()) || misplaced_address {
            continue;
        }
        match key {
            // As it stands within its quotes: nothing in it needs an escape.
            Cow::Borrowed(plain) => out.extend(["\"", plain, "\":"]),
            Cow::Owned(unescaped) => {
                out.push_str(&serde_json::Value::from(unescaped).to_string());
                out.push(':');
            }
        }
        out.push_str(value.raw());
        out.push(',');
        if out.len() > limits.manifest_field_bytes {
            let bytes =
                object.iter().filter(|(key, _)| key != "nodes").map(|(key, value)| key.len() + value.raw().len());
            return Err(ManifestError::FieldsTooLarge { bytes: bytes.sum(), limit: limits.manifest_field_bytes });
        }
    }
    if object.get("address").and_then(Value::as_str).is_none() {
        out.push_str("\"address\":null,");
    }
    // A string takes everything.
    let _ = write!(out, "\"node_count\":{node_count},\"manifest_hash\":\"{set_hash}\"}}");
    Ok(out.into_boxed_str())
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
            issued_at: None,
            node_count: 0,
            set_hash: SetHash::of(b""),
            fields: fields
                .iter()
                .map(|(name, value)| (Box::from(*name), Bytes::copy_from_slice(value.as_bytes())))
                .collect(),
            summary: Box::from(summary),
        }
    }

    /// With `issued_at`.
    pub(crate) fn issued_for_test(self, issued_at: Option<Timestamp>) -> Self {
        Self { issued_at, ..self }
    }
}

//! What a data directory holds, as a manifest: written, signed, checked.

use crate::{
    identity::KeyPair,
    json::Document,
    lattice::offline::Listing,
    manifest::{self, Canonicalization, EnvelopeError, Manifest, Verified},
    types::{Limits, PeerId, Timestamp},
};
use bytes::Bytes;
use serde_json::Value;
use std::fmt::Write;

/// Who says it, and when.
#[derive(Debug, Clone)]
pub struct Statement {
    /// The instance.
    pub node_id: PeerId,
    /// Its type.
    pub instance_type: &'static str,
    /// When it is said.
    pub now: Timestamp,
    /// Its version number, where the caller counts.
    pub seq: Option<u64>,
}

/// The manifest of these nodes, as JSON text, one node a line.
#[must_use]
pub fn build_manifest(statement: &Statement, listing: &Listing) -> String {
    let text = |text: &str| Value::from(text).to_string();
    let mut out = format!(
        "{{\"node_id\": {}, \"instance_type\": {}, \"version\": \"1.0.0\", \"last_updated\": {}",
        text(statement.node_id.as_str()),
        text(statement.instance_type),
        statement.now.seconds()
    );
    if let Some(seq) = statement.seq {
        let _infallible = write!(out, ", \"seq\": {seq}");
    }
    out.push_str(", \"nodes\": [");
    for (number, node) in listing.nodes.values().enumerate() {
        let entry = &node.entry;
        out.push_str(if number == 0 { "\n" } else { ",\n" });
        let _infallible = write!(out, "{{\"id\": {}", text(entry.id.as_str()));
        if let Some(node_type) = &entry.node_type {
            let _infallible = write!(out, ", \"type\": {}", text(node_type));
        }
        let _infallible = write!(out, ", \"hash\": \"{}\"", entry.content_hash);
        if node.stated.is_some() {
            let _infallible = write!(out, ", \"updated_at\": {}", entry.updated_at.to_seconds_text());
        }
        out.push('}');
    }
    out.push_str("\n]}");
    out
}

/// Signs a manifest's JSON text, with `issued_at` where that is given and the text does not state it: what was signed then counts for 24
/// hours.
///
/// # Errors
/// [`EnvelopeError`] where the text is not a manifest: what is signed here is what a service would take.
pub fn sign_manifest(
    text: Bytes,
    form: Canonicalization,
    key: &KeyPair,
    issued_at: Option<Timestamp>,
    limits: &Limits,
) -> Result<String, EnvelopeError> {
    let text = match issued_at {
        Some(at) => manifest::with_issued_at(text, at, limits)?,
        None => text,
    };
    let envelope = manifest::sign(text, form, limits, key.public_key(), |bytes| key.sign(bytes))?;
    manifest::verify(Bytes::copy_from_slice(envelope.as_bytes()), limits)?;
    Ok(envelope)
}

/// Checks an envelope's signature and shape.
///
/// # Errors
/// [`EnvelopeError`]: the first rule that it breaks.
pub fn verify_manifest(envelope: Bytes, limits: &Limits) -> Result<Verified<Manifest>, EnvelopeError> {
    manifest::verify(envelope, limits)
}

/// Is this text an envelope, rather than a manifest that is to be signed?
#[must_use]
pub fn is_envelope(text: &Bytes, limits: &Limits) -> bool {
    let Ok(document) = Document::parse(text.clone(), limits.json_depth) else { return false };
    let object = document.root().as_object();
    object.is_some_and(|object| object.get("signature").or_else(|| object.get("signatures")).is_some())
}

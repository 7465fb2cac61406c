//! Envelopes: a manifest, its signature and the key (DESIGN 4.1).
//!
//! [`verify`] is the only door: size was bounded before, then strict parse → signature → shape, in this order, and only it makes
//! a [`Verified`].

use super::{
    Manifest, ManifestError,
    head::{HEAD_PAYLOAD_TYPE, Head},
    own_members,
};
use crate::{
    json::{Document, JsonError, Object, Value, jcs, python},
    types::{Limits, PublicKey, Sha256Digest, Timestamp},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use std::{borrow::Cow, sync::Arc};

/// The media type of a manifest inside a DSSE envelope.
pub const PAYLOAD_TYPE: &str = "application/vnd.ark-lattice.manifest+json";

/// The member of a manifest in which its signer states when it was signed, epoch seconds.
const ISSUED_AT: &str = "issued_at";

/// How the signed bytes are made. Declared by the sender, never guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Canonicalization {
    /// The bytes of CPython's `json.dumps(manifest, sort_keys=True)`: what an envelope means that declares nothing.
    Python,
    /// RFC 8785 (JCS).
    Jcs,
    /// DSSE v1: the payload's own bytes; nothing is serialised again.
    Dsse,
}

/// Why an envelope is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// The strict gate refused the envelope.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// The strict gate refused the manifest inside a DSSE payload.
    #[error("the payload: {0}")]
    Payload(JsonError),
    /// A field of the envelope is missing or has the wrong shape.
    #[error("the envelope's {field} {problem}")]
    Field {
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The envelope is not a JSON object.
    #[error("the envelope is not a JSON object")]
    NotAnObject,
    /// `canonicalization` is none of `python`, `jcs`, `dsse`.
    #[error("canonicalization {0:?} is not known; known are python (the default), jcs and dsse")]
    UnknownCanonicalization(String),
    /// A base64 field is not standard, padded, canonical base64, or has the wrong length.
    #[error("the envelope's {field} is not standard, padded base64 of {bytes}")]
    Encoding {
        /// Which field.
        field: &'static str,
        /// How many bytes it should hold.
        bytes: &'static str,
    },
    /// An integer that plain JCS cannot carry (RFC 8785 section 3.2.2.3, RFC 7493 section 2.2).
    #[error("{0}, which the jcs form does not carry: send it as a string, or use the python or dsse form")]
    JcsInteger(#[from] jcs::JcsError),
    /// A DSSE envelope of something else.
    #[error("the envelope's payloadType is not {expected}")]
    PayloadType {
        /// What it should be.
        expected: &'static str,
    },
    /// The signature is right, but what was signed is not a head.
    #[error("the head's {field} is missing or has the wrong shape")]
    Head {
        /// Which field.
        field: &'static str,
    },
    /// The key is not a point of the curve, or the signature does not fit.
    #[error("the signature is invalid: it is not of this manifest by this public key")]
    BadSignature,
    /// The signature is right, but what was signed is not a manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

/// Proof that a signature was checked: only [`verify`] makes one. Cloning it copies nothing of what was signed.
#[derive(Debug)]
pub struct Verified<T> {
    value: Arc<T>,
    public_key: PublicKey,
    digest: Sha256Digest,
    received: Bytes,
}

impl<T> Clone for Verified<T> {
    fn clone(&self) -> Self {
        let Self { value, public_key, digest, received } = self;
        Self { value: Arc::clone(value), public_key: *public_key, digest: *digest, received: received.clone() }
    }
}

impl<T> Verified<T> {
    /// What was signed.
    pub fn get(&self) -> &T {
        &self.value
    }

    /// Who signed.
    pub fn public_key(&self) -> PublicKey {
        self.public_key
    }

    /// The content hash of what was signed, whichever form it was signed in: two envelopes with the same digest say the same. Of a
    /// manifest without `issued_at`, so that a manifest that is signed anew is still the same.
    pub fn digest(&self) -> &Sha256Digest {
        &self.digest
    }

    /// The envelope's bytes as they came, without the members that are not part of its form: nobody signed those.
    pub fn received(&self) -> &Bytes {
        &self.received
    }
}

fn wrong(field: &'static str, problem: &'static str) -> EnvelopeError {
    EnvelopeError::Field { field, problem }
}

fn string<'a>(object: Object<'a>, field: &'static str) -> Result<Cow<'a, str>, EnvelopeError> {
    let value = object.get(field).ok_or(wrong(field, "is missing"))?;
    value.as_str().ok_or(wrong(field, "is not a string"))
}

fn public_key(field: &'static str, text: &str) -> Result<PublicKey, EnvelopeError> {
    PublicKey::parse(text).map_err(|_| EnvelopeError::Encoding { field, bytes: "32 bytes" })
}

fn signature(field: &'static str, text: &str) -> Result<[u8; 64], EnvelopeError> {
    let error = EnvelopeError::Encoding { field, bytes: "64 bytes" };
    match STANDARD.decode(text).map(<[u8; 64]>::try_from) {
        Ok(Ok(bytes)) => Ok(bytes),
        _ => Err(error),
    }
}

fn declared_form(object: Object<'_>) -> Result<Canonicalization, EnvelopeError> {
    let Some(value) = object.get("canonicalization") else { return Ok(Canonicalization::Python) };
    let text = value.as_str().ok_or(wrong("canonicalization", "is not a string"))?;
    match text.as_ref() {
        "python" => Ok(Canonicalization::Python),
        "jcs" => Ok(Canonicalization::Jcs),
        "dsse" => Ok(Canonicalization::Dsse),
        other => Err(EnvelopeError::UnknownCanonicalization(other.chars().take(64).collect())),
    }
}

/// An unsigned field beside the signed one would be served back with it and could be mistaken for it.
fn forbid(object: Object<'_>, fields: &[&'static str]) -> Result<(), EnvelopeError> {
    match fields.iter().find(|field| object.get(field).is_some()) {
        Some(field) => Err(wrong(field, "has no place in an envelope of this canonicalization")),
        None => Ok(()),
    }
}

fn check(key: PublicKey, signed: &[u8], signature: &[u8; 64]) -> Result<(), EnvelopeError> {
    if key.has_signed(signed, signature) { Ok(()) } else { Err(EnvelopeError::BadSignature) }
}

/// Checks an envelope: strict gate, declared form, signature, then the manifest's shape.
///
/// # Errors
/// [`EnvelopeError`], the first rule that is broken in that order. Nothing else was done.
pub fn verify(received: Bytes, limits: &Limits) -> Result<Verified<Manifest>, EnvelopeError> {
    let document = Document::parse(received, limits.json_depth)?;
    let object = document.root().as_object().ok_or(EnvelopeError::NotAnObject)?;
    match declared_form(object)? {
        form @ (Canonicalization::Python | Canonicalization::Jcs) => verify_inline(&document, object, form, limits),
        Canonicalization::Dsse => verify_dsse(&document, object, limits),
    }
}

fn verify_inline(
    document: &Document,
    object: Object<'_>,
    form: Canonicalization,
    limits: &Limits,
) -> Result<Verified<Manifest>, EnvelopeError> {
    forbid(object, &["payload", "payloadType", "signatures"])?;
    let value = object.get("manifest").ok_or(wrong("manifest", "is missing"))?;
    value.as_object().ok_or(wrong("manifest", "is not an object"))?;
    let signature = signature("signature", &string(object, "signature")?)?;
    let key = public_key("pubkey", &string(object, "pubkey")?)?;
    check(key, &canonical_bytes(value, form)?, &signature)?;
    let received = own_members::of_inline(document);
    Ok(seal(Manifest::parse(document, value, limits)?, (key, received), value, limits))
}

fn canonical_bytes(value: Value<'_>, form: Canonicalization) -> Result<Vec<u8>, EnvelopeError> {
    let mut out = Vec::with_capacity(value.raw().len() + value.raw().len() / 8);
    match form {
        Canonicalization::Jcs => jcs::write(value, jcs::Integers::Refuse, &mut out)?,
        Canonicalization::Python | Canonicalization::Dsse => python::write(value, &mut out),
    }
    Ok(out)
}

fn verify_dsse(document: &Document, object: Object<'_>, limits: &Limits) -> Result<Verified<Manifest>, EnvelopeError> {
    forbid(object, &["manifest", "signature"])?;
    let (key, inner) = open_dsse(object, PAYLOAD_TYPE, limits)?;
    let manifest = Manifest::parse(&inner, inner.root(), limits)?;
    Ok(seal(manifest, (key, own_members::of_dsse(document)), inner.root(), limits))
}

/// Checks a signed head: strict gate, signature, shape.
///
/// # Errors
/// [`EnvelopeError`], the first rule that is broken in that order.
pub fn verify_head(received: Bytes, limits: &Limits) -> Result<Verified<Head>, EnvelopeError> {
    let document = Document::parse(received, limits.json_depth)?;
    let object = document.root().as_object().ok_or(EnvelopeError::NotAnObject)?;
    let (key, inner) = open_dsse(object, HEAD_PAYLOAD_TYPE, limits)?;
    let head = Head::parse(inner.root())?;
    let digest = *jcs::content_hash(inner.root()).as_bytes();
    Ok(Verified { value: Arc::new(head), public_key: key, digest, received: own_members::of_dsse(&document) })
}

/// The key that signed a DSSE envelope, and what it signed.
fn open_dsse(
    object: Object<'_>,
    payload_type: &'static str,
    limits: &Limits,
) -> Result<(PublicKey, Document), EnvelopeError> {
    if string(object, "payloadType")? != payload_type {
        return Err(EnvelopeError::PayloadType { expected: payload_type });
    }
    let payload = string(object, "payload")?;
    let payload = STANDARD
        .decode(payload.as_bytes())
        .map_err(|_| EnvelopeError::Encoding { field: "payload", bytes: "what was signed" })?;
    let (key, signature) = dsse_signature(object)?;
    check(key, &pre_authentication_encoding(payload_type, &payload), &signature)?;
    let inner = Document::parse(Bytes::from(payload), limits.json_depth).map_err(EnvelopeError::Payload)?;
    Ok((key, inner))
}

/// Makes a DSSE envelope with one signature.
fn seal_dsse(payload_type: &str, payload: &[u8], key: &str, sign: impl Fn(&[u8]) -> [u8; 64]) -> String {
    let signature = STANDARD.encode(sign(&pre_authentication_encoding(payload_type, payload)));
    let payload = STANDARD.encode(payload);
    format!(
        "{{\"canonicalization\":\"dsse\",\"payload\":\"{payload}\",\"payloadType\":\"{payload_type}\",\
         \"signatures\":[{{\"keyid\":\"{key}\",\"sig\":\"{signature}\"}}]}}"
    )
}

/// Makes a signed head.
#[must_use]
pub fn sign_head(head: &Head, public_key: PublicKey, sign: impl Fn(&[u8]) -> [u8; 64]) -> String {
    seal_dsse(HEAD_PAYLOAD_TYPE, head.to_json().as_bytes(), &public_key.to_base64(), sign)
}

/// The one signature of a DSSE envelope, and its key: `pubkey`, or the `keyid` where that is left out.
fn dsse_signature(object: Object<'_>) -> Result<(PublicKey, [u8; 64]), EnvelopeError> {
    let list =
        object.get("signatures").and_then(Value::as_array).ok_or(wrong("signatures", "is missing or not a list"))?;
    let mut entries = list.iter();
    let (Some(entry), None) = (entries.next().and_then(Value::as_object), entries.next()) else {
        return Err(wrong("signatures", "does not hold exactly one object"));
    };
    let signature = signature("signatures[0].sig", &string(entry, "sig")?)?;
    let keyid = match entry.get("keyid") {
        Some(value) => value.as_str().ok_or(wrong("signatures[0].keyid", "is not a string"))?,
        None => Cow::Borrowed(""),
    };
    let key = match object.get("pubkey") {
        Some(value) => public_key("pubkey", &value.as_str().ok_or(wrong("pubkey", "is not a string"))?)?,
        None => public_key("signatures[0].keyid", &keyid)?,
    };
    if !keyid.is_empty() && keyid != key.to_base64() {
        return Err(wrong("signatures[0].keyid", "is not the envelope's pubkey"));
    }
    Ok((key, signature))
}

/// DSSE v1 protocol.md: `"DSSEv1" SP LEN(type) SP type SP LEN(body) SP body`.
fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    out.extend_from_slice(payload);
    out
}

fn seal(
    manifest: Manifest,
    (public_key, received): (PublicKey, Bytes),
    signed: Value<'_>,
    limits: &Limits,
) -> Verified<Manifest> {
    let undated = manifest.issued_at().and_then(|_| own_members::without(signed, ISSUED_AT, limits));
    let digest = *jcs::content_hash(undated.as_ref().map_or(signed, Document::root)).as_bytes();
    Verified { value: Arc::new(manifest), public_key, digest, received }
}

/// A manifest's JSON text with the member `issued_at`, where it has none.
///
/// # Errors
/// [`EnvelopeError::Json`] for a text that the strict gate refuses, [`EnvelopeError::NotAnObject`].
pub fn with_issued_at(manifest: Bytes, at: Timestamp, limits: &Limits) -> Result<Bytes, EnvelopeError> {
    let document = Document::parse(manifest, limits.json_depth)?;
    let object = document.root().as_object().ok_or(EnvelopeError::NotAnObject)?;
    if object.get(ISSUED_AT).is_some() {
        return Ok(document.source().clone());
    }
    let rest = document.root().raw().strip_prefix('{').unwrap_or_default();
    let comma = if object.is_empty() { "" } else { ", " };
    Ok(Bytes::from(format!("{{\"{ISSUED_AT}\": {}{comma}{rest}", at.seconds())))
}

/// Makes an envelope. `manifest` is the manifest's JSON text (UTF-8), `sign` the key's signing function.
///
/// # Errors
/// [`EnvelopeError::Json`] for a text that the strict gate refuses, [`EnvelopeError::NotAnObject`],
/// [`EnvelopeError::JcsInteger`] for the JCS form.
pub fn sign(
    manifest: Bytes,
    form: Canonicalization,
    limits: &Limits,
    public_key: PublicKey,
    sign: impl Fn(&[u8]) -> [u8; 64],
) -> Result<String, EnvelopeError> {
    let document = Document::parse(manifest, limits.json_depth)?;
    let root = document.root();
    root.as_object().ok_or(EnvelopeError::NotAnObject)?;
    let key = public_key.to_base64();
    if form == Canonicalization::Dsse {
        return Ok(seal_dsse(PAYLOAD_TYPE, document.source(), &key, sign));
    }
    let signature = STANDARD.encode(sign(&canonical_bytes(root, form)?));
    let declared = if form == Canonicalization::Jcs { "\"canonicalization\":\"jcs\"," } else { "" };
    let manifest = root.raw();
    Ok(format!("{{{declared}\"manifest\":{manifest},\"signature\":\"{signature}\",\"pubkey\":\"{key}\"}}"))
}

/// A proof without a signature, for tests of what comes after the check.
#[cfg(test)]
pub(crate) fn verified_for_test<T>(
    value: T,
    public_key: PublicKey,
    digest: Sha256Digest,
    received: Bytes,
) -> Verified<T> {
    Verified { value: Arc::new(value), public_key, digest, received }
}

//! Keys and signed manifests for tests.

#![allow(dead_code, reason = "each test binary uses its own part of it")]

use ark_lattice::{
    identity::KeyPair,
    manifest::{Canonicalization, sign},
    types::Limits,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use secrecy::SecretString;
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// A key that is the same for the same number.
pub(crate) fn key(number: u64) -> KeyPair {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&number.to_be_bytes());
    KeyPair::from_base64(&SecretString::from(STANDARD.encode(seed))).unwrap()
}

/// An envelope in the python form.
pub(crate) fn signed(key: &KeyPair, manifest: &Value) -> String {
    let bytes = Bytes::from(manifest.to_string());
    let form = Canonicalization::Python;
    sign(bytes, form, &Limits::default(), key.public_key(), |bytes| key.sign(bytes)).unwrap()
}

/// A small manifest of `peer`, made now.
pub(crate) fn manifest(peer: &str, seq: u64) -> Value {
    json!({"node_id": peer, "instance_type": "local", "version": "1.0.0", "last_updated": now(), "seq": seq,
        "nodes": [{"id": "a", "type": "t", "hash": "sha256:abc", "updated_at": now()}]})
}

/// Seconds since the epoch.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

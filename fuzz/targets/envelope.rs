//! Envelopes: nothing counts as signed that was not.
//!
//! The first byte says what the rest is: bytes as they come from outside, edits of an envelope that was really signed, or a
//! manifest to sign. In the corpora it is a letter.

use ark_lattice::{
    identity::KeyPair,
    json::{Document, jcs},
    manifest::{Canonicalization, EnvelopeError, sign, verify},
    types::{ContentHash, Limits, PublicKey},
};
use bytes::Bytes;
use ed25519_dalek::VerifyingKey;
use std::sync::LazyLock;

const FORMS: [Canonicalization; 3] = [Canonicalization::Python, Canonicalization::Jcs, Canonicalization::Dsse];

/// What the test key has signed.
const MANIFESTS: [&str; 3] = [
    r#"{"node_id":"ark-1","instance_type":"local","version":"1.0.0","last_updated":1763696494.25,"nodes":[]}"#,
    r#"{"node_id": "ärk ☃ \ud83d\ude00", "seq": 7, "nodes": [{"id": "a", "hash": "sha256:00", "type": "t", "updated_at": 1e3}, {"id": "b", "hash": "x"}], "n": [1.0, -0, 1E2, 0.1, true, null], "\uff61": {"\ud83d\ude00": "\u007f/"}}"#,
    r#"{"nodes":[{"hash":"0","id":"z"},{"hash":"1","id":"y"}],"node_id":"p","last_updated":"2025-11-21T03:41:34Z"}"#,
];

struct Signed {
    envelope: String,
    content: ContentHash,
}

fn key() -> KeyPair {
    KeyPair::from_base64(&"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=".to_owned().into()).expect("a key")
}

static KEY: LazyLock<KeyPair> = LazyLock::new(key);
static SIGNED: LazyLock<Vec<Signed>> = LazyLock::new(|| {
    let each = |manifest: &'static str| {
        FORMS.map(|form| Signed {
            envelope: seal(Bytes::from_static(manifest.as_bytes()), form).expect("it can be signed"),
            content: content_hash(Bytes::from_static(manifest.as_bytes())),
        })
    };
    MANIFESTS.into_iter().flat_map(each).collect()
});

fn seal(manifest: Bytes, form: Canonicalization) -> Result<String, EnvelopeError> {
    sign(manifest, form, &Limits::default(), KEY.public_key(), |bytes| KEY.sign(bytes))
}

fn content_hash(text: Bytes) -> ContentHash {
    jcs::content_hash(Document::parse(text, Limits::default().json_depth).expect("it passes the gate").root())
}

pub fn run(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    match kind % 3 {
        0 => check(Bytes::copy_from_slice(rest)),
        1 => check(Bytes::from(edited(rest))),
        _ => signed_here(rest),
    }
}

/// Verifies, and where that succeeds: is it something that the key has signed?
fn check(received: Bytes) {
    let Ok(verified) = verify(received.clone(), &Limits::default()) else { return };
    assert_eq!(verified.received(), &received, "served as it came");
    let key = verified.public_key();
    assert!(!is_weak(key), "a key whose signatures anybody can make");
    if key == KEY.public_key() {
        let content = ContentHash::from_digest(*verified.digest());
        assert!(SIGNED.iter().any(|signed| signed.content == content), "a forged manifest: {received:?}");
    }
}

fn is_weak(key: PublicKey) -> bool {
    VerifyingKey::from_bytes(key.as_bytes()).is_ok_and(|key| key.is_weak())
}

/// A signed envelope with edits: position, what to do, byte.
fn edited(script: &[u8]) -> Vec<u8> {
    let (which, script) = script.split_first().unwrap_or((&0, &[]));
    let signed = &SIGNED[usize::from(*which) % SIGNED.len()];
    let mut text = signed.envelope.clone().into_bytes();
    for edit in script.chunks_exact(4) {
        let at = usize::from(u16::from_le_bytes([edit[0], edit[1]])) % (text.len() + 1);
        match edit[2] % 4 {
            0 => text.insert(at, edit[3]),
            1 if at < text.len() => text[at] = edit[3],
            2 if at < text.len() => drop(text.remove(at)),
            // A copy of what stands elsewhere: keys and values change places.
            3 => {
                let from = usize::from(edit[3]) * text.len() / 256;
                let piece = text[from..text.len().min(from + 24)].to_vec();
                text.splice(at..at, piece);
            }
            _ => {}
        }
    }
    text
}

/// What is signed here verifies here, whatever it is: only its shape may be wrong.
fn signed_here(rest: &[u8]) {
    let (form, manifest) = rest.split_first().unwrap_or((&0, &[]));
    let manifest = Bytes::copy_from_slice(manifest);
    let Ok(envelope) = seal(manifest.clone(), FORMS[usize::from(*form) % FORMS.len()]) else { return };
    match verify(Bytes::from(envelope), &Limits::default()) {
        Ok(verified) => {
            assert_eq!(ContentHash::from_digest(*verified.digest()), content_hash(manifest));
            assert_eq!(verified.public_key(), KEY.public_key());
            let summary = verified.get().summary();
            Document::parse(Bytes::copy_from_slice(summary.as_bytes()), 64).expect("the summary is JSON");
        }
        // In an envelope the manifest is one level deeper than by itself.
        Err(EnvelopeError::Manifest(_)) => {}
        Err(EnvelopeError::Json(error)) if error.code() == "json_too_deep" => {}
        Err(error) => panic!("signed, but not taken back: {error}"),
    }
}

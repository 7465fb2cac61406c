//! Envelopes for the document that are taken when they are sent as they stand.

use crate::{
    identity::KeyPair,
    manifest::{Canonicalization, sign},
    types::Limits,
};
use bytes::Bytes;
use secrecy::SecretString;
use serde_json::Value;
use utoipa::openapi::{RefOr, example::ExampleBuilder, path::Operation};

/// The key of the examples. Everybody knows it: it speaks for nothing but `ark-example`.
const EXAMPLE_SEED: &str = "ZXhhbXBsZSBrZXksIGtub3duIHRvIGV2ZXJ5Ym9keSE=";

const EXAMPLE_MANIFEST: &str = r#"{"node_id":"ark-example","instance_type":"local","version":"1.0.0","last_updated":1699564800,"nodes":[{"id":"python_flask_basic","type":"framework_node","hash":"sha256:0000000000000000000000000000000000000000000000000000000000000000","updated_at":1699564700}]}"#;

/// Adds one of each form.
pub(super) fn add_envelopes(operation: &mut Operation) {
    let Some(RefOr::T(body)) = operation.request_body.as_mut() else { return };
    let Some(RefOr::T(content)) = body.content.get_mut("application/json") else { return };
    for (form, name, summary) in [
        (Canonicalization::Python, "json-python", "Signed over json.dumps(manifest, sort_keys=True)"),
        (Canonicalization::Jcs, "json-rfc8785", "Signed over the RFC 8785 bytes"),
        (Canonicalization::Dsse, "payload-dsse", "A DSSE envelope"),
    ] {
        let Some(envelope) = example_envelope(form) else { continue };
        let example = ExampleBuilder::new().summary(summary).value(Some(envelope)).build();
        content.examples.insert(name.to_owned(), RefOr::T(example));
    }
}

fn example_envelope(form: Canonicalization) -> Option<Value> {
    let key = KeyPair::from_base64(&SecretString::from(EXAMPLE_SEED)).ok()?;
    let manifest = Bytes::from_static(EXAMPLE_MANIFEST.as_bytes());
    let envelope = sign(manifest, form, &Limits::default(), key.public_key(), |bytes| key.sign(bytes)).ok()?;
    serde_json::from_str(&envelope).ok()
}

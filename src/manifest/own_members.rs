//! What of an envelope is kept and served: the members of its own form. Everything else beside them is signed by nobody, so anybody who
//! repeats a public envelope could say it in its signer's name.

use crate::{
    json::{Document, Object, Value, write_compact},
    types::Limits,
};
use bytes::Bytes;

const INLINE: [&str; 4] = ["canonicalization", "manifest", "signature", "pubkey"];
const DSSE: [&str; 5] = ["canonicalization", "payload", "payloadType", "signatures", "pubkey"];
const SIGNATURE: [&str; 2] = ["keyid", "sig"];

/// White space is not signed either. An envelope of which it makes up more than half, and more than this many bytes, is kept without.
const MOST_SPACE_BYTES: usize = 4 << 10;

/// Of an envelope of the python or the jcs form.
pub(super) fn of_inline(document: &Document) -> Bytes {
    let kept = match document.root().as_object() {
        Some(object) if has_others(object, &INLINE) => rebuilt(object, &INLINE, |value| value.raw().to_owned()),
        _ => return unpadded(document.source()),
    };
    unpadded(&Bytes::from(kept))
}

/// Of a DSSE envelope.
pub(super) fn of_dsse(document: &Document) -> Bytes {
    let Some(object) = document.root().as_object() else { return document.source().clone() };
    let signatures = object.get("signatures").and_then(Value::as_array);
    let is_dressed = |entry: Value<'_>| entry.as_object().is_some_and(|entry| has_others(entry, &SIGNATURE));
    let has_dressed = signatures.is_some_and(|list| list.iter().any(is_dressed));
    if !has_dressed && !has_others(object, &DSSE) {
        return unpadded(document.source());
    }
    let text = |value: Value<'_>| match value.as_array() {
        Some(list) => {
            let entries = list.iter().filter_map(Value::as_object);
            let entries: Vec<String> =
                entries.map(|entry| rebuilt(entry, &SIGNATURE, |value| value.raw().to_owned())).collect();
            format!("[{}]", entries.join(","))
        }
        None => value.raw().to_owned(),
    };
    unpadded(&Bytes::from(rebuilt(object, &DSSE, text)))
}

fn has_others(object: Object<'_>, own: &[&str]) -> bool {
    object.iter().any(|(name, _)| !own.contains(&name.as_ref()))
}

/// The object with these members alone, in their order.
fn rebuilt(object: Object<'_>, own: &[&str], text: impl Fn(Value<'_>) -> String) -> String {
    let members = object.iter().filter(|(name, _)| own.contains(&name.as_ref()));
    let members: Vec<String> = members.map(|(name, value)| format!("\"{name}\":{}", text(value))).collect();
    format!("{{{}}}", members.join(","))
}

fn unpadded(envelope: &Bytes) -> Bytes {
    let space = envelope.iter().filter(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t')).count();
    if space <= MOST_SPACE_BYTES || space <= envelope.len() / 2 {
        return envelope.clone();
    }
    let mut out = Vec::with_capacity(envelope.len().saturating_sub(space));
    write_compact(envelope, &mut out);
    Bytes::from(out)
}

/// The object without one member.
pub(super) fn without(value: Value<'_>, member: &str, limits: &Limits) -> Option<Document> {
    let object = value.as_object()?;
    let others = object.iter().filter(|(name, _)| name != member);
    let others: Vec<String> =
        others.map(|(name, value)| format!("{}:{}", serde_json::Value::from(name.as_ref()), value.raw())).collect();
    Document::parse(Bytes::from(format!("{{{}}}", others.join(","))), limits.json_depth).ok()
}

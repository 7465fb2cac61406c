//! Envelopes: shape, encodings, signatures, forms.

use super::{Row, post_manifest, row};
use crate::app::{key, manifest, signed, signed_as};
use ark_lattice::manifest::{Canonicalization, PAYLOAD_TYPE};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE},
};
use serde_json::{Value, json};

/// A DSSE envelope whose signature is right, whatever it signs.
pub fn dsse(payload: &[u8]) -> Value {
    dsse_of_type(payload, PAYLOAD_TYPE)
}

fn dsse_of_type(payload: &[u8], signed_type: &str) -> Value {
    let mut encoded = format!("DSSEv1 {} {signed_type} {} ", signed_type.len(), payload.len()).into_bytes();
    encoded.extend_from_slice(payload);
    json!({
        "canonicalization": "dsse", "payloadType": PAYLOAD_TYPE, "payload": STANDARD.encode(payload),
        "signatures": [{"keyid": key(9).public_key().to_base64(), "sig": STANDARD.encode(key(9).sign(&encoded))}]
    })
}

fn plain() -> Value {
    serde_json::from_str(&signed(&key(9), &manifest("ark-9"))).unwrap()
}

/// `envelope` with `change` merged into it; null removes, `"<null>"` is null.
fn but(mut envelope: Value, change: Value) -> String {
    for (name, value) in change.as_object().unwrap() {
        let fields = envelope.as_object_mut().unwrap();
        match value {
            Value::Null => drop(fields.remove(name)),
            Value::String(text) if text == "<null>" => drop(fields.insert(name.clone(), Value::Null)),
            _ => drop(fields.insert(name.clone(), value.clone())),
        }
    }
    envelope.to_string()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The same bytes with their unused last bits set: a decoder that is not strict takes both.
fn loose(text: &str) -> String {
    let bare = text.trim_end_matches('=');
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let last = *bare.as_bytes().last().unwrap();
    let at = alphabet.iter().position(|letter| *letter == last).unwrap();
    format!("{}{}{}", &bare[..bare.len() - 1], char::from(alphabet[at + 1]), &text[bare.len()..])
}

/// Ways to write `bytes` that are not standard, padded, canonical base64 of that many bytes.
fn misencoded(bytes: &[u8]) -> Vec<(&'static str, String)> {
    let right = STANDARD.encode(bytes);
    vec![
        ("empty", String::new()),
        ("no base64 at all", "!".repeat(right.len())),
        ("unpadded", STANDARD_NO_PAD.encode(bytes)),
        ("URL-safe", URL_SAFE.encode([&[0xfb, 0xff], &bytes[2..]].concat())),
        ("hex", hex(bytes)),
        ("a byte short", STANDARD.encode(&bytes[1..])),
        ("a byte long", STANDARD.encode([bytes, &[0]].concat())),
        ("a line feed at the end", format!("{right}\n")),
        ("a space within", format!("{} {}", &right[..8], &right[8..])),
        ("padded too much", format!("{right}=")),
        ("loose last bits", loose(&right)),
        ("a data URL", format!("data:;base64,{right}")),
    ]
}

fn refused(rows: &mut Vec<Row>, name: impl Into<String>, body: impl AsRef<[u8]>, code: &'static str) {
    let status = if code == "bad_signature" { 401 } else { 400 };
    rows.push(row(name, post_manifest(body), status, code));
}

fn shapes(rows: &mut Vec<Row>) {
    for text in ["[]", "\"text\"", "null", "7", "true", "{}", "[{}]"] {
        refused(rows, format!("an envelope that is {text}"), text, "invalid_envelope");
    }
    for field in ["manifest", "signature", "pubkey"] {
        refused(rows, format!("no {field}"), but(plain(), json!({ field: null })), "invalid_envelope");
        for value in [json!("<null>"), json!([]), json!(7), json!(true)] {
            let name = format!("{field} is {value}");
            refused(rows, name, but(plain(), json!({ field: value })), "invalid_envelope");
        }
    }
    refused(rows, "manifest is a string", but(plain(), json!({"manifest": "{}"})), "invalid_envelope");
    refused(rows, "signature is an object", but(plain(), json!({"signature": {}})), "invalid_envelope");
    for value in [json!("<null>"), json!(1), json!(["jcs"]), json!({}), json!(true)] {
        let body = but(plain(), json!({"canonicalization": value}));
        refused(rows, format!("canonicalization is {value}"), body, "invalid_envelope");
    }
    for value in ["", "JCS", "python3", "raw", "dsse ", &"x".repeat(9000)] {
        let body = but(plain(), json!({"canonicalization": value}));
        let name = format!("canonicalization is {:?} ({})", &value[..value.len().min(9)], value.len());
        refused(rows, name, body, "unknown_canonicalization");
    }
    for (field, value) in [("payload", json!("e30=")), ("payloadType", json!(PAYLOAD_TYPE)), ("signatures", json!([]))]
    {
        refused(rows, format!("{field} in the python form"), but(plain(), json!({field: value})), "invalid_envelope");
        let jcs = but(plain(), json!({field: value, "canonicalization": "jcs"}));
        refused(rows, format!("{field} in the jcs form"), jcs, "invalid_envelope");
    }
    let undeclared = but(dsse(b"{\"node_id\":\"ark-9\"}"), json!({"canonicalization": null}));
    refused(rows, "a DSSE envelope that does not say so", undeclared, "invalid_envelope");
}

fn encodings(rows: &mut Vec<Row>) {
    for (name, text) in misencoded(&[7; 64]) {
        let body = but(plain(), json!({ "signature": text }));
        refused(rows, format!("signature: {name}"), body, "invalid_encoding");
        let mut envelope = dsse(b"{\"node_id\":\"ark-9\"}");
        envelope["signatures"][0]["sig"] = json!(text);
        refused(rows, format!("sig: {name}"), envelope.to_string(), "invalid_encoding");
    }
    for (name, text) in misencoded(key(9).public_key().as_bytes()) {
        refused(rows, format!("pubkey: {name}"), but(plain(), json!({ "pubkey": text })), "invalid_encoding");
    }
    let payload = b"{\"node_id\":\"ark-9\",\"x\":\"\xc3\xbf\xc3\xbf>?\"}";
    for (name, text) in [
        ("not base64", "{}".to_owned()),
        ("unpadded", STANDARD_NO_PAD.encode(payload)),
        ("loose last bits", loose(&STANDARD.encode(b"{\"node_id\":\"ark-90\"}"))),
        ("URL-safe", "eyJ_-_8=".to_owned()),
        ("hex", format!("{}0", hex(payload))),
        ("with line feeds", STANDARD.encode(payload).replace('b', "b\r\n")),
    ] {
        let body = but(dsse(payload), json!({ "payload": text }));
        refused(rows, format!("payload: {name}"), body, "invalid_encoding");
    }
}

fn point(hex: &str) -> [u8; 32] {
    let byte = |at: usize| u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).unwrap();
    std::array::from_fn(byte)
}

fn signatures(rows: &mut Vec<Row>) {
    let bad = "bad_signature";
    // The points of small order: for some, one signature fits every message unless the check is strict.
    for (name, text) in [
        ("order 1", "0100000000000000000000000000000000000000000000000000000000000000"),
        ("order 2", "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
        ("order 4", "0000000000000000000000000000000000000000000000000000000000000000"),
        ("order 4, the other", "0000000000000000000000000000000000000000000000000000000000000080"),
        ("order 8", "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
        ("order 8, the other", "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
        ("order 1, not canonical", "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
        ("no point", "0200000000000000000000000000000000000000000000000000000000000000"),
        ("y beyond the field", "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"),
    ] {
        let key = STANDARD.encode(point(text));
        let mut signature = [0_u8; 64];
        signature[0] = 1;
        let body = but(plain(), json!({"pubkey": key, "signature": STANDARD.encode(signature)}));
        refused(rows, format!("a public key: {name}"), body, bad);
    }
    let right: [u8; 64] = STANDARD.decode(plain()["signature"].as_str().unwrap()).unwrap().try_into().unwrap();
    let with = |signature: [u8; 64]| but(plain(), json!({"signature": STANDARD.encode(signature)}));
    refused(rows, "a signature of zeros", with([0; 64]), bad);
    refused(rows, "a signature of ones", with([255; 64]), bad);
    for at in [0, 31, 32, 63] {
        let mut changed = right;
        changed[at] ^= 1;
        refused(rows, format!("a signature with a bit changed in byte {at}"), with(changed), bad);
    }
    // S + L is another number for the same signature.
    let order = point("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    let (mut malleable, mut carry) = (right, 0_u16);
    for at in 0..32 {
        let sum = u16::from(right[32 + at]) + u16::from(order[at]) + carry;
        malleable[32 + at] = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    refused(rows, "a signature whose S is not reduced", with(malleable), bad);
    let key_of_another = json!({"pubkey": key(8).public_key().to_base64()});
    refused(rows, "another's public key", but(plain(), key_of_another), bad);
    refused(rows, "a manifest changed", but(plain(), json!({"manifest": manifest("ark-10")})), bad);
    let mut added = manifest("ark-9");
    added["extra"] = json!(null);
    refused(rows, "a field added", but(plain(), json!({ "manifest": added })), bad);
}

fn forms(rows: &mut Vec<Row>) {
    let bad = "bad_signature";
    let float = r#"{"node_id":"ark-9","x":1.0}"#;
    let python: Value = serde_json::from_str(&signed_as(&key(9), float, Canonicalization::Python)).unwrap();
    refused(rows, "signed as python, declared as jcs", but(python, json!({"canonicalization": "jcs"})), bad);
    let jcs: Value = serde_json::from_str(&signed_as(&key(9), float, Canonicalization::Jcs)).unwrap();
    refused(rows, "signed as jcs, declared as nothing", but(jcs.clone(), json!({"canonicalization": null})), bad);
    refused(rows, "signed as jcs, declared as python", but(jcs, json!({"canonicalization": "python"})), bad);
    for (name, text) in [
        ("its compact text", r#"{"node_id":"ark-9","a":1}"#),
        ("its text in the order of the sender", r#"{"node_id": "ark-9", "a": 1}"#),
        ("UTF-8 instead of escapes", "{\"a\": 1, \"b\": \"\u{e9}\", \"node_id\": \"ark-9\"}"),
    ] {
        let manifest: Value = serde_json::from_str(text).unwrap();
        let signature = STANDARD.encode(key(9).sign(text.as_bytes()));
        let pubkey = key(9).public_key().to_base64();
        let body = json!({"manifest": manifest, "signature": signature, "pubkey": pubkey});
        refused(rows, format!("signed over {name}"), body.to_string(), bad);
    }
    for integer in ["9007199254740992", "-9007199254740992", "123456789012345678901234567890"] {
        for place in [format!("{{\"node_id\":\"ark-9\",\"x\":{integer}}}"), format!("{{\"x\":[{{\"y\":{integer}}}]}}")]
        {
            let signature = STANDARD.encode([7; 64]);
            let pubkey = key(9).public_key().to_base64();
            let body = format!(
                "{{\"canonicalization\":\"jcs\",\"manifest\":{place},\"signature\":\"{signature}\",\"pubkey\":\"{pubkey}\"}}"
            );
            refused(rows, format!("jcs: {place}"), body, "jcs_integer_range");
        }
    }
}

fn dsse_envelopes(rows: &mut Vec<Row>) {
    let payload = b"{\"node_id\":\"ark-9\"}";
    let wrong = "invalid_envelope";
    for (name, change) in [
        ("without payloadType", json!({"payloadType": null})),
        ("with payloadType null", json!({"payloadType": "<null>"})),
        ("with payloadType application/json", json!({"payloadType": "application/json"})),
        ("with payloadType in upper case", json!({"payloadType": PAYLOAD_TYPE.to_uppercase()})),
        ("without payload", json!({"payload": null})),
        ("with payload as an object", json!({"payload": {"node_id": "ark-9"}})),
        ("without signatures", json!({"signatures": null})),
        ("with signatures null", json!({"signatures": "<null>"})),
        ("with signatures as an object", json!({"signatures": dsse(payload)["signatures"][0]})),
        ("with no signature", json!({"signatures": []})),
        (
            "with two signatures",
            json!({"signatures": [dsse(payload)["signatures"][0], dsse(payload)["signatures"][0]]}),
        ),
        ("with signatures of text", json!({"signatures": ["c2ln"]})),
        ("with signatures of null", json!({"signatures": [null]})),
        ("with a signature without sig", json!({"signatures": [{"keyid": key(9).public_key().to_base64()}]})),
        ("with sig null", json!({"signatures": [{"sig": null}]})),
        ("with keyid as a number", json!({"signatures": [{"keyid": 9, "sig": STANDARD.encode([7; 64])}]})),
        ("with another's pubkey", json!({"pubkey": key(8).public_key().to_base64()})),
        ("with pubkey null", json!({"pubkey": "<null>"})),
        ("with a manifest", json!({"manifest": {"node_id": "ark-9"}})),
        ("with a signature beside", json!({"signature": STANDARD.encode([7; 64])})),
    ] {
        refused(rows, format!("DSSE {name}"), but(dsse(payload), change), wrong);
    }
    let without_keyid = json!({"signatures": [{"sig": STANDARD.encode([7; 64])}]});
    refused(rows, "DSSE with no key at all", but(dsse(payload), without_keyid.clone()), "invalid_encoding");
    let named = json!({"signatures": [{"keyid": "release-key", "sig": STANDARD.encode([7; 64])}]});
    refused(rows, "DSSE with a keyid that is a name", but(dsse(payload), named), "invalid_encoding");
    let mut keyed = without_keyid;
    keyed["pubkey"] = json!(key(9).public_key().to_base64());
    refused(rows, "DSSE with a wrong signature", but(dsse(payload), keyed), "bad_signature");
    let bare = json!({"signatures": [{"keyid": key(9).public_key().to_base64(),
        "sig": STANDARD.encode(key(9).sign(payload))}]});
    refused(rows, "DSSE signed over the bare payload", but(dsse(payload), bare), "bad_signature");
    refused(
        rows,
        "DSSE signed for another type",
        dsse_of_type(payload, "application/json").to_string(),
        "bad_signature",
    );
    let spaced = json!({"payload": STANDARD.encode(b"{\"node_id\": \"ark-9\"}")});
    refused(rows, "DSSE with the payload written otherwise", but(dsse(payload), spaced), "bad_signature");
}

pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    shapes(&mut rows);
    encodings(&mut rows);
    signatures(&mut rows);
    forms(&mut rows);
    dsse_envelopes(&mut rows);
    rows
}

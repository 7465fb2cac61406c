use super::*;
use crate::{
    identity::KeyPair,
    types::{Limits, Timestamp},
};
use bytes::Bytes;
use secrecy::SecretString;

fn key() -> KeyPair {
    KeyPair::from_base64(&SecretString::from("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")).unwrap()
}

fn signed(manifest: &str, form: Canonicalization) -> String {
    let key = key();
    sign(Bytes::copy_from_slice(manifest.as_bytes()), form, &Limits::default(), key.public_key(), |bytes| {
        key.sign(bytes)
    })
    .unwrap()
}

fn check(envelope: &str) -> Result<Verified<Manifest>, EnvelopeError> {
    verify(Bytes::copy_from_slice(envelope.as_bytes()), &Limits::default())
}

const MANIFEST: &str = r#"{ "node_id": "ark-1", "version":"1.0.0", "x": [1.50, 1e2, -0, "é"], "last_updated": 1699564800,
  "nodes": [{"id":"b","hash":"sha256:abc123"},{"id":"a","hash":"def456"}] }"#;

#[test]
fn every_form_verifies_and_says_the_same() {
    let mut digests = Vec::new();
    for form in [Canonicalization::Python, Canonicalization::Jcs, Canonicalization::Dsse] {
        let verified = check(&signed(MANIFEST, form)).unwrap();
        assert_eq!(verified.get().peer().as_str(), "ark-1");
        assert_eq!(verified.get().node_count(), 2);
        assert_eq!(verified.public_key(), key().public_key());
        digests.push(*verified.digest());
    }
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn one_changed_digit_breaks_every_form() {
    for form in [Canonicalization::Python, Canonicalization::Jcs] {
        let envelope = signed(MANIFEST, form).replace("1699564800", "1699564801");
        assert!(matches!(check(&envelope), Err(EnvelopeError::BadSignature)));
    }
    // The first base64 group of the payload: `{ "` becomes `{ !`.
    let envelope = signed(MANIFEST, Canonicalization::Dsse).replacen("\"eyAi", "\"eyAh", 1);
    assert!(matches!(check(&envelope), Err(EnvelopeError::BadSignature)));
}

#[test]
fn a_form_is_never_guessed() {
    let jcs_as_python = signed(MANIFEST, Canonicalization::Jcs).replace("\"canonicalization\":\"jcs\",", "");
    assert!(matches!(check(&jcs_as_python), Err(EnvelopeError::BadSignature)));
    let unknown = signed(MANIFEST, Canonicalization::Jcs).replace("\"jcs\"", "\"xml\"");
    assert!(matches!(check(&unknown), Err(EnvelopeError::UnknownCanonicalization(_))));
}

#[test]
fn an_unsigned_twin_beside_the_signed_part_is_refused() {
    let dsse = signed(MANIFEST, Canonicalization::Dsse);
    let forged = dsse.replacen('{', "{\"manifest\":{\"node_id\":\"evil\"},", 1);
    assert!(matches!(check(&forged), Err(EnvelopeError::Field { field: "manifest", .. })));
    let python = signed(MANIFEST, Canonicalization::Python).replacen('{', "{\"payload\":\"\",", 1);
    assert!(matches!(check(&python), Err(EnvelopeError::Field { field: "payload", .. })));
}

#[test]
fn small_order_keys_are_refused() {
    // The identity point and an all-zero signature: plain `verify` accepts this pair for every message.
    let key = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, {
        let mut point = [0_u8; 32];
        point[0] = 1;
        point
    });
    let signature = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, {
        let mut bytes = [0_u8; 64];
        bytes[0] = 1;
        bytes
    });
    let envelope = format!("{{\"manifest\":{MANIFEST},\"signature\":\"{signature}\",\"pubkey\":\"{key}\"}}");
    assert!(matches!(check(&envelope), Err(EnvelopeError::BadSignature)));
}

#[test]
fn the_jcs_form_refuses_integers_that_others_would_round() {
    let manifest = r#"{"node_id":"a","big":9007199254740993}"#;
    let key = key();
    let result = sign(
        Bytes::from_static(manifest.as_bytes()),
        Canonicalization::Jcs,
        &Limits::default(),
        key.public_key(),
        |bytes| key.sign(bytes),
    );
    assert!(matches!(result, Err(EnvelopeError::JcsInteger(_))));
    assert!(check(&signed(manifest, Canonicalization::Python)).is_ok());
}

#[test]
fn the_set_hash_does_not_depend_on_order_or_prefix() {
    let hash = "a".repeat(64);
    let one = format!(r#"{{"node_id":"x","nodes":[{{"id":"p","hash":"{hash}"}},{{"id":"q","hash":"h"}}]}}"#);
    let two = format!(r#"{{"node_id":"x","nodes":[{{"id":"q","hash":"h"}},{{"id":"p","hash":"sha256:{hash}"}}]}}"#);
    let of = |text: &str| check(&signed(text, Canonicalization::Python)).unwrap().get().set_hash();
    assert_eq!(of(&one), of(&two));
    let none = check(&signed(r#"{"node_id":"x"}"#, Canonicalization::Python)).unwrap();
    assert_eq!(none.get().set_hash(), crate::types::SetHash::of(b""));
}

#[test]
fn the_services_own_fields_cannot_be_spoken_for() {
    let manifest = r#"{"node_id":"x","pubkey":"evil","trust_level":"verified","address":7,"nodes":[],"note":"é\n"}"#;
    let verified = check(&signed(manifest, Canonicalization::Python)).unwrap();
    let summary: serde_json::Value = serde_json::from_str(verified.get().summary()).unwrap();
    assert_eq!(summary["node_id"], "x");
    assert_eq!(summary["note"], "é\n");
    assert_eq!(summary["node_count"], 0);
    assert!(summary["address"].is_null());
    assert!(summary.get("pubkey").is_none() && summary.get("trust_level").is_none() && summary.get("nodes").is_none());
}

#[test]
fn malformed_manifests_say_where() {
    for (manifest, expected) in [
        (r#"{}"#, "node_id is missing"),
        (r#"{"node_id":7}"#, "node_id is not a string"),
        (r#"{"node_id":""}"#, "node_id is not usable"),
        (r#"{"node_id":"a","last_updated":"now"}"#, "last_updated"),
        (r#"{"node_id":"a","last_updated":1e300}"#, "last_updated"),
        (r#"{"node_id":"a","last_updated":-9007199254.740992}"#, "last_updated"),
        (r#"{"node_id":"a","seq":-1}"#, "seq"),
        (r#"{"node_id":"a","seq":1.5}"#, "seq"),
        (r#"{"node_id":"a","seq":9007199254740992}"#, "seq"),
        (r#"{"node_id":"a","nodes":{}}"#, "nodes is not a list"),
        (r#"{"node_id":"a","nodes":[{"id":"p","hash":"h"},{"id":"q"}]}"#, "nodes[1] has no hash"),
        (r#"{"node_id":"a","nodes":[{"id":"p","hash":"a\nb"}]}"#, "nodes[0] has a hash"),
        (r#"{"node_id":"a","nodes":[{"id":"p","hash":"h","type":1}]}"#, "type"),
        (r#"{"node_id":"a","nodes":[{"id":"p","hash":"h"},{"hash":"i","id":"p"}]}"#, "twice"),
    ] {
        let text = check(&signed(manifest, Canonicalization::Python)).unwrap_err().to_string();
        assert!(text.contains(expected), "{manifest}: {text}");
    }
}

/// What is kept of an envelope.
fn kept(envelope: &str) -> String {
    String::from_utf8(check(envelope).unwrap().received().to_vec()).unwrap()
}

#[test]
fn members_that_nobody_signed_are_not_kept() {
    for form in [Canonicalization::Python, Canonicalization::Jcs, Canonicalization::Dsse] {
        let envelope = signed(MANIFEST, form);
        assert_eq!(kept(&envelope), envelope, "what has none stays byte for byte");
        for dressed in [
            envelope.replacen(
                '{',
                r#"{"address":"http://evil.example","nodes":[{"id":"evil"}],"trust_level":"verified","#,
                1,
            ),
            envelope.replacen('{', r#"{"\u0061":1,"#, 1),
            format!("{},\"pad\":\"{}\"}}", &envelope[..envelope.len() - 1], "x".repeat(100_000)),
            envelope.replacen("\"sig\":", "\"note\":\"pay to me\",\"sig\":", 1),
        ] {
            assert_eq!(kept(&dressed), envelope, "{dressed:.200}");
        }
        let padded = format!(" {}{{{}", " ".repeat(100_000), envelope.strip_prefix('{').unwrap());
        assert!(kept(&padded).len() <= envelope.len());
        assert_eq!(check(&kept(&padded)).unwrap().digest(), check(&envelope).unwrap().digest());
        let pretty = envelope.replace(",\"", ",\n  \"");
        assert_eq!(kept(&pretty), pretty);
    }
}

#[test]
fn a_manifest_that_is_signed_anew_says_the_same() {
    let at = |seconds| with_issued_at(MANIFEST.into(), Timestamp::from_seconds(seconds), &Limits::default()).unwrap();
    let issued = |seconds| String::from_utf8(at(seconds).to_vec()).unwrap();
    assert_eq!(with_issued_at(at(7), Timestamp::from_seconds(8), &Limits::default()).unwrap(), at(7), "it states one");
    let plain = check(&signed(MANIFEST, Canonicalization::Python)).unwrap();
    assert_eq!(plain.get().issued_at(), None);
    for form in [Canonicalization::Python, Canonicalization::Jcs, Canonicalization::Dsse] {
        let (one, two) = (check(&signed(&issued(7), form)).unwrap(), check(&signed(&issued(8), form)).unwrap());
        assert_eq!(one.get().issued_at(), Some(Timestamp::from_seconds(7)));
        assert_eq!((one.digest(), two.digest()), (plain.digest(), plain.digest()));
        assert_ne!(one.received(), two.received());
    }
    // Another program's member of that name is content like any other.
    let worded =
        |text: &str| signed(&MANIFEST.replacen('{', &format!("{{\"issued_at\":\"{text}\","), 1), Canonicalization::Jcs);
    let (one, two) = (check(&worded("today")).unwrap(), check(&worded("tomorrow")).unwrap());
    assert_eq!(one.get().issued_at(), None);
    assert_ne!(one.digest(), two.digest());
}

#[test]
fn no_instance_has_the_name_of_an_unsigned_sender() {
    let envelope = signed(&MANIFEST.replace("ark-1", "unsigned:ark-1"), Canonicalization::Jcs);
    assert!(matches!(check(&envelope), Err(EnvelopeError::Manifest(ManifestError::Field { field: "node_id", .. }))));
}

//! Signatures that a lenient verifier would take: another form of a right one, and those of keys that fit every message.

use crate::{
    attacks::bed::{Attacker, Victim},
    signing::manifest,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

/// The order of the group, little-endian (RFC 8032 section 5.1).
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// `s + L` in place of `s`: the same modulo the order.
fn malleated(envelope: &str) -> String {
    let mut envelope: Value = serde_json::from_str(envelope).unwrap();
    let mut signature = STANDARD.decode(envelope["signature"].as_str().unwrap()).unwrap();
    let mut carry = 0;
    for (byte, order) in signature[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        (*byte, carry) = (sum.to_le_bytes()[0], sum / 256);
    }
    assert_eq!(carry, 0);
    envelope["signature"] = json!(STANDARD.encode(signature));
    envelope.to_string()
}

#[tokio::test]
async fn a_signature_has_one_form_and_a_key_is_a_key() {
    let victim = Victim::start().await;
    let owner = Attacker::new("owner");
    let envelope = owner.manifest(5);
    // Nobody is named: a signature that does not fit says nothing of anybody.
    victim.refuses_manifest(malleated(&envelope), (401, "bad_signature"), "-").await;
    assert_eq!(victim.service.post("/manifest", envelope).await.status(), 200);

    // The neutral point and others of small order; with R the neutral point and s = 0 some messages fit whatever they say.
    let neutral = {
        let mut key = [0; 32];
        key[0] = 1;
        key
    };
    let zero = [0; 32];
    let minus_one = {
        let mut key = [0xff; 32];
        (key[0], key[31]) = (0xec, 0x7f);
        key
    };
    let mut signature = [0; 64];
    signature[0] = 1;
    for key in [neutral, zero, minus_one] {
        let forged = json!({
            "manifest": manifest("small", 1), "signature": STANDARD.encode(signature), "pubkey": STANDARD.encode(key),
        });
        victim.refuses_manifest(forged.to_string(), (401, "bad_signature"), "-").await;
    }
    assert_eq!(victim.service.get_json("/discover").await["count"], 1);
}

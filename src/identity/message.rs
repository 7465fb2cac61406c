//! Signed HTTP requests between instances: RFC 9421 with Ed25519 and RFC 9530 digests, in one fixed shape.
//!
//! Covered are the method, the route (as a header of its own, so that a proxy may put a prefix before the path), the query, the
//! digest of the body, who speaks (`ark-node-id`) and who is meant (`ark-audience`). Another list of components, another order or
//! another algorithm is not read at all: nothing that matters can be left out.

use super::KeyPair;
use crate::types::{PublicKey, Timestamp, content_digest, percent_decode, percent_encode};
use base64::{Engine, engine::general_purpose::STANDARD};
use std::{collections::HashMap, time::Duration};

/// How far the two clocks may be apart, and how long a nonce is remembered.
pub const WINDOW: Duration = Duration::from_secs(300);
/// Bytes of a nonce before encoding.
const NONCE_BYTES: usize = 16;
/// The most characters of a header that is read.
const MAX_HEADER: usize = 1024;

/// The covered components, in order.
const COMPONENTS: &str = "(\"@method\" \"ark-route\" \"@query\" \"content-digest\" \"ark-node-id\" \"ark-audience\")";

/// What a signature is over.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// `GET`, `POST`, …
    pub method: &'a str,
    /// The route, such as `/lattice/changes`, without any prefix.
    pub route: &'a str,
    /// The query with its question mark, as it is sent; `?` where there is none (RFC 9421 section 2.2.7).
    pub query: &'a str,
    /// The body.
    pub body: &'a [u8],
    /// The id of the instance that speaks.
    pub node_id: &'a str,
    /// The id of the instance that is meant.
    pub audience: &'a str,
}

/// Why a signed request is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// There is no signature.
    #[error("the request is not signed")]
    Unsigned,
    /// The header cannot be read, or covers something else than it must.
    #[error("{0} is not as RFC 9421 and this service ask for it")]
    Malformed(&'static str),
    /// It was made too long ago, or is dated ahead.
    #[error("the signature was made too long ago or is dated ahead; both clocks must agree within {} s", WINDOW.as_secs())]
    OutOfTime,
    /// It does not fit.
    #[error("the signature of the request is invalid")]
    Wrong,
}

/// The headers of a signed request: names and values.
pub type SignedHeaders = Vec<(&'static str, String)>;

/// Proof of who sent a request: only [`verify`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    key: PublicKey,
    nonce: [u8; NONCE_BYTES],
    created: Timestamp,
}

impl Sender {
    /// Whose key signed.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.key
    }

    /// What tells this request from every other one of the same key.
    #[must_use]
    pub fn nonce(&self) -> [u8; NONCE_BYTES] {
        self.nonce
    }

    /// When it was signed, by the sender's clock.
    #[must_use]
    pub fn created(&self) -> Timestamp {
        self.created
    }
}

/// The headers that sign a message made at `created`.
///
/// # Errors
/// The machine gives no random bytes.
pub fn sign(message: &Message<'_>, key: &KeyPair, created: Timestamp) -> Result<SignedHeaders, super::KeyError> {
    let mut nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce).map_err(|_| super::KeyError::NoRandomness)?;
    let parameters = parameters(created.seconds(), &STANDARD.encode(nonce), &key.public_key().to_base64());
    let digest = content_digest(message.body);
    let signature = STANDARD.encode(key.sign(base(message, &digest, &parameters).as_bytes()));
    Ok(vec![
        ("ark-route", message.route.to_owned()),
        ("ark-node-id", percent(message.node_id)),
        ("ark-audience", percent(message.audience)),
        ("content-digest", digest),
        ("signature-input", format!("ark={parameters}")),
        ("signature", format!("ark=:{signature}:")),
    ])
}

/// Checks the signature over a message; `signature_input` and `signature` are the headers' values.
///
/// # Errors
/// [`MessageError`].
pub fn verify(
    message: &Message<'_>,
    signature_input: Option<&str>,
    signature: Option<&str>,
    now: Timestamp,
) -> Result<Sender, MessageError> {
    verify_head(message, &content_digest(message.body), signature_input, signature, now)
}

/// As [`verify`], of a body that has not come yet: `digest` is what its header states. Proves who signed the headers, and nothing of the
/// body or of when it was sent first.
///
/// # Errors
/// [`MessageError`].
pub fn verify_head(
    message: &Message<'_>,
    digest: &str,
    signature_input: Option<&str>,
    signature: Option<&str>,
    now: Timestamp,
) -> Result<Sender, MessageError> {
    let (Some(input), Some(signature)) = (signature_input, signature) else { return Err(MessageError::Unsigned) };
    let malformed = MessageError::Malformed("Signature-Input");
    if input.len() > MAX_HEADER || signature.len() > MAX_HEADER {
        return Err(malformed);
    }
    let values = input.strip_prefix("ark=").and_then(|text| text.strip_prefix(COMPONENTS)).ok_or(malformed)?;
    let values: HashMap<&str, &str> = values.split(';').filter_map(|pair| pair.split_once('=')).collect();
    let quoted = |name: &str| values.get(name)?.strip_prefix('"')?.strip_suffix('"');
    let created: i64 = values.get("created").and_then(|text| text.parse().ok()).ok_or(malformed)?;
    let (nonce, keyid) = quoted("nonce").zip(quoted("keyid")).ok_or(malformed)?;
    // Written again from what was understood: a text that differs holds something else as well.
    let parameters = parameters(created, nonce, keyid);
    if input.strip_prefix("ark=") != Some(parameters.as_str()) {
        return Err(malformed);
    }
    let nonce = STANDARD.decode(nonce).ok().and_then(|bytes| bytes.try_into().ok()).ok_or(malformed)?;
    let key = PublicKey::parse(keyid).map_err(|_| malformed)?;
    let created = Timestamp::from_seconds(created);
    if now.since(created) > WINDOW || created.since(now) > WINDOW {
        return Err(MessageError::OutOfTime);
    }
    let encoded = signature.strip_prefix("ark=:").and_then(|text| text.strip_suffix(':'));
    let bytes = encoded.and_then(|text| STANDARD.decode(text).ok()).and_then(|bytes| <[u8; 64]>::try_from(bytes).ok());
    let signature = bytes.ok_or(MessageError::Malformed("Signature"))?;
    let base = base(message, digest, &parameters);
    if !key.has_signed(base.as_bytes(), &signature) {
        return Err(MessageError::Wrong);
    }
    Ok(Sender { key, nonce, created })
}

/// RFC 9421 section 2.3.
fn parameters(created: i64, nonce: &str, keyid: &str) -> String {
    format!("{COMPONENTS};created={created};nonce=\"{nonce}\";keyid=\"{keyid}\";alg=\"ed25519\";tag=\"ark-lattice\"")
}

/// RFC 9421 section 2.5. The digest is computed, never taken from a header, except where the body has not come.
fn base(message: &Message<'_>, digest: &str, parameters: &str) -> String {
    let Message { method, route, query, .. } = message;
    let (node_id, audience) = (percent(message.node_id), percent(message.audience));
    format!(
        "\"@method\": {method}\n\"ark-route\": {route}\n\"@query\": {query}\n\"content-digest\": {digest}\n\
         \"ark-node-id\": {node_id}\n\"ark-audience\": {audience}\n\"@signature-params\": {parameters}"
    )
}

/// Ids may hold any character; headers may not.
fn percent(id: &str) -> String {
    percent_encode(id, b"-._~:")
}

/// Reads an id as `ark-node-id` and `ark-audience` write it; `None` where it is not written so.
#[must_use]
pub fn read_id(text: &str) -> Option<String> {
    let id = String::from_utf8(percent_decode(text)?).ok()?;
    (percent(&id) == text).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_763_696_494);

    fn message() -> Message<'static> {
        Message {
            method: "POST",
            route: "/lattice/changes",
            query: "?",
            body: b"{}",
            node_id: "ark 1/ü",
            audience: "ark-2",
        }
    }

    fn header<'a>(headers: &'a SignedHeaders, name: &str) -> &'a str {
        headers.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str()).unwrap()
    }

    fn check(message: &Message<'_>, headers: &SignedHeaders, now: Timestamp) -> Result<Sender, MessageError> {
        verify(message, Some(header(headers, "signature-input")), Some(header(headers, "signature")), now)
    }

    #[test]
    fn a_signed_request_names_its_sender_and_any_change_is_noticed() {
        let key = KeyPair::generate().unwrap();
        let headers = sign(&message(), &key, NOW).unwrap();
        let sender = check(&message(), &headers, NOW).unwrap();
        assert_eq!((sender.public_key(), sender.created()), (key.public_key(), NOW));
        assert_eq!(read_id(header(&headers, "ark-node-id")).as_deref(), Some("ark 1/ü"));
        for changed in [
            Message { method: "PUT", ..message() },
            Message { route: "/lattice/offer", ..message() },
            Message { query: "?a=b", ..message() },
            Message { body: b"{ }", ..message() },
            Message { node_id: "ark-1", ..message() },
            Message { audience: "ark-3", ..message() },
        ] {
            assert_eq!(check(&changed, &headers, NOW), Err(MessageError::Wrong), "{changed:?}");
        }
        let again = sign(&message(), &key, NOW).unwrap();
        assert_ne!(check(&message(), &again, NOW).unwrap().nonce(), sender.nonce());
    }

    #[test]
    fn old_and_early_signatures_are_refused() {
        let key = KeyPair::generate().unwrap();
        let headers = sign(&message(), &key, NOW).unwrap();
        for (now, expected) in [
            (NOW.plus(WINDOW), true),
            (NOW.minus(WINDOW), true),
            (NOW.plus(WINDOW + Duration::from_secs(1)), false),
            (NOW.minus(WINDOW + Duration::from_secs(1)), false),
        ] {
            assert_eq!(check(&message(), &headers, now).is_ok(), expected);
        }
    }

    #[test]
    fn nothing_that_matters_can_be_left_out_or_added() {
        let key = KeyPair::generate().unwrap();
        let headers = sign(&message(), &key, NOW).unwrap();
        let input = header(&headers, "signature-input");
        let signature = Some(header(&headers, "signature"));
        for wrong in [
            input.replace(" \"content-digest\"", ""),
            input.replace("ark=", "sig=").as_str().to_owned(),
            input.replace("alg=\"ed25519\"", "alg=\"hmac-sha256\""),
            input.replace(";tag=\"ark-lattice\"", ""),
            format!("{input};expires=1"),
            input.replace("created=", "created=0"),
            input.replace("nonce=\"", "nonce=\"A"),
            String::new(),
            "ark=".to_owned(),
            "x".repeat(5000),
        ] {
            let answer = verify(&message(), Some(&wrong), signature, NOW);
            assert!(matches!(answer, Err(MessageError::Malformed(_))), "{wrong}: {answer:?}");
        }
        assert_eq!(verify(&message(), None, signature, NOW), Err(MessageError::Unsigned));
        assert_eq!(verify(&message(), Some(input), Some("ark=:AAAA:"), NOW), Err(MessageError::Malformed("Signature")));
    }

    #[test]
    fn ids_in_headers_have_one_form() {
        assert_eq!(read_id("a%2Fb").as_deref(), Some("a/b"));
        for other in ["a%2fb", "%61", "%", "%2", "a b", "%FF"] {
            assert_eq!(read_id(other), None, "{other}");
        }
    }
}

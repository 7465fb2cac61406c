//! Two instances prove their keys to each other: a question with a nonce, an answer with another, and a proof over both.

use super::{
    client::{Client, ClientError},
    exchange::Signer,
};
use crate::{
    identity::message::Message,
    trust::challenge::{NONCE_BYTES, Nonce, Side, Transcript},
    types::{PeerId, PublicKey},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use reqwest::{Method, Response, tls::TlsInfo};
use serde::Deserialize;
use serde_json::json;

/// Where a conversation begins, and where it ends.
pub const CHALLENGE_ROUTE: &str = "/lattice/trust/challenge";
/// See [`CHALLENGE_ROUTE`].
pub const PROOF_ROUTE: &str = "/lattice/trust/proof";
/// Where a verified peer vouches for another.
pub const VOUCH_ROUTE: &str = "/lattice/trust/vouch";
const MAX_ANSWER_BYTES: usize = 16 << 10;

/// Who the other side proved to be.
#[derive(Debug, Clone)]
pub struct Introduced {
    /// Its key.
    pub key: PublicKey,
    /// Its signature, base64.
    pub proof: String,
    /// The certificate that the connection was made with, DER, where it was asked for.
    pub certificate: Option<Vec<u8>>,
}

#[derive(Deserialize)]
struct Answer {
    node_id: String,
    public_key: String,
    nonce: String,
    signature: String,
}

/// A nonce as the wire writes it.
#[must_use]
pub fn read_nonce(text: &str) -> Option<Nonce> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

/// A signature as the wire writes it.
#[must_use]
pub fn read_signature(text: &str) -> Option<[u8; 64]> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

/// Proves our key to the instance there, and has it prove its own.
///
/// # Errors
/// [`ClientError`]: it does not answer, or does not prove that it is `signer.audience`.
pub async fn introduce(client: &Client, signer: &Signer<'_>) -> Result<Introduced, ClientError> {
    let mut nonce: Nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce).map_err(|_| client.wrong("this machine gives no random bytes"))?;
    let question = json!({ "nonce": STANDARD.encode(nonce) }).to_string();
    let response = ask(client, signer, CHALLENGE_ROUTE, question).await?;
    let certificate = response.extensions().get::<TlsInfo>().and_then(TlsInfo::peer_certificate).map(<[u8]>::to_vec);
    let body = client.body(response, MAX_ANSWER_BYTES).await?;
    let wrong = |problem: &str| client.wrong(&format!("its answer to a challenge: {problem}"));
    let answer: Answer = serde_json::from_slice(&body).map_err(|error| wrong(&error.to_string()))?;
    let asked = PeerId::parse(&answer.node_id).map_err(|error| wrong(&error.to_string()))?;
    let key = PublicKey::parse(&answer.public_key).map_err(|error| wrong(&error.to_string()))?;
    if asked != *signer.audience {
        return Err(wrong("it is another instance"));
    }
    let answer_nonce = read_nonce(&answer.nonce).ok_or_else(|| wrong("its nonce is none"))?;
    let asking = (signer.node_id.clone(), signer.key.public_key());
    let transcript = Transcript { asking, asked: (asked, key), nonce, answer_nonce };
    let signature = read_signature(&answer.signature).ok_or_else(|| wrong("its signature is none"))?;
    if !key.has_signed(&transcript.bytes(Side::Asked), &signature) {
        return Err(wrong("it does not hold the key that it shows"));
    }
    let ours = STANDARD.encode(signer.key.sign(&transcript.bytes(Side::Asking)));
    let response = ask(client, signer, PROOF_ROUTE, json!({ "signature": ours }).to_string()).await?;
    client.body(response, MAX_ANSWER_BYTES).await?;
    Ok(Introduced { key, proof: answer.signature, certificate })
}

/// Vouches for a key.
///
/// # Errors
/// [`ClientError`].
pub async fn vouch(client: &Client, signer: &Signer<'_>, peer: &PeerId, key: PublicKey) -> Result<Bytes, ClientError> {
    let body = json!({ "peer_id": peer.as_str(), "public_key": key.to_base64() }).to_string();
    let response = ask(client, signer, VOUCH_ROUTE, body).await?;
    client.body(response, MAX_ANSWER_BYTES).await
}

async fn ask(client: &Client, signer: &Signer<'_>, route: &str, body: String) -> Result<Response, ClientError> {
    let message = Message {
        method: "POST",
        route,
        query: "?",
        body: body.as_bytes(),
        node_id: signer.node_id.as_str(),
        audience: signer.audience.as_str(),
    };
    let request = || {
        let request = client.request(Method::POST, route.trim_start_matches('/'), None);
        request.header("content-type", "application/json").body(body.clone())
    };
    client.ask_signed(signer, &message, request).await
}

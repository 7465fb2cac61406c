//! Two instances prove their keys to each other: a question with a nonce, an answer with another, and a proof over both.

use super::{
    client::{Client, ClientError},
    exchange::Signer,
};
use crate::{
    identity::message::Message,
    trust::{
        challenge::{NONCE_BYTES, Nonce, Side, Transcript},
        invite::{InviteId, InviteKey, read_proof},
    },
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
/// Where an instance joins with an invite.
pub const JOIN_ROUTE: &str = "/lattice/trust/join";
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

/// The first half of a conversation: the other side proved its key.
#[derive(Debug, Clone)]
pub struct Challenged {
    /// Its key.
    pub key: PublicKey,
    /// Its signature, base64.
    pub proof: String,
    /// The certificate that the connection was made with, DER, where there was one.
    pub certificate: Option<Vec<u8>>,
    transcript: Transcript,
}

/// What this instance shows to join.
#[derive(Debug, Clone, Copy)]
pub struct Joining<'a> {
    /// The invite.
    pub id: InviteId,
    /// What its secret leads to.
    pub key: &'a InviteKey,
    /// Where this instance answers, as far as it knows.
    pub addresses: &'a [String],
}

#[derive(Deserialize)]
struct JoinAnswer {
    proof: String,
    peer_url: Option<String>,
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

/// Has the instance there prove its key.
///
/// # Errors
/// [`ClientError`]: it does not answer, or does not prove that it is `signer.audience`.
pub async fn challenge(client: &Client, signer: &Signer<'_>) -> Result<Challenged, ClientError> {
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
    Ok(Challenged { key, proof: answer.signature, certificate, transcript })
}

/// Proves our key to the instance there, and has it prove its own.
///
/// # Errors
/// [`ClientError`]: it does not answer, or does not prove that it is `signer.audience`.
pub async fn introduce(client: &Client, signer: &Signer<'_>) -> Result<Introduced, ClientError> {
    let Challenged { key, proof, certificate, transcript } = challenge(client, signer).await?;
    let ours = STANDARD.encode(signer.key.sign(&transcript.bytes(Side::Asking)));
    let response = ask(client, signer, PROOF_ROUTE, json!({ "signature": ours }).to_string()).await?;
    client.body(response, MAX_ANSWER_BYTES).await?;
    Ok(Introduced { key, proof, certificate })
}

/// Proves our key and the secret of an invite to the instance that was challenged, and has it prove the secret, too. Answers the address
/// at which that instance reaches this one; `None`: it reaches none.
///
/// # Errors
/// [`ClientError`]: the invite is refused, or the instance there does not know its secret.
pub async fn join(
    client: &Client,
    signer: &Signer<'_>,
    challenged: &Challenged,
    joining: Joining<'_>,
) -> Result<Option<String>, ClientError> {
    let (transcript, Joining { id, key, addresses }) = (&challenged.transcript, joining);
    let body = json!({
        "invite": id.to_string(),
        "signature": STANDARD.encode(signer.key.sign(&transcript.bytes(Side::Asking))),
        "proof": STANDARD.encode(key.prove(id, Side::Asking, transcript)),
        "addresses": addresses,
    });
    let response = ask(client, signer, JOIN_ROUTE, body.to_string()).await?;
    let body = client.body(response, MAX_ANSWER_BYTES).await?;
    let wrong = |problem: &str| client.wrong(&format!("its answer to an invite: {problem}"));
    let answer: JoinAnswer = serde_json::from_slice(&body).map_err(|error| wrong(&error.to_string()))?;
    let proof = read_proof(&answer.proof).ok_or_else(|| wrong("its proof is none"))?;
    if !key.is_proved(id, Side::Asked, transcript, &proof) {
        return Err(wrong("it does not know the secret of the invite"));
    }
    // It says which of ours it uses; anything else is no address of ours.
    Ok(answer.peer_url.filter(|url| addresses.contains(url)))
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

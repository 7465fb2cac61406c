//! The service that is attacked, and what its audit log says; attackers with keys of their own.

use crate::{
    server::{Hostile, now},
    service::{Place, Service, TOKEN, json_of, problem, text},
    signing::{manifest, signed},
};
use ark_lattice::{
    identity::{
        KeyPair,
        message::{self, Message},
    },
    trust::{
        challenge::{NONCE_BYTES, Side, Transcript},
        invite::{InviteId, InviteLine, InviteSecret},
    },
    types::{PeerId, PublicKey, Timestamp},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::{
    Client, RequestBuilder, Response,
    header::{HeaderName, HeaderValue},
};
use serde_json::{Value, json};
use std::{
    fs,
    net::Ipv4Addr,
    time::{Duration, Instant},
};
use tokio::{
    io::AsyncReadExt,
    net::{TcpSocket, TcpStream},
};

pub(crate) const VICTIM: &str = "victim";
/// The route by which an instance joins with an invite.
pub(crate) const JOIN: &str = "/lattice/trust/join";

pub(crate) struct Victim {
    pub(crate) place: Place,
    pub(crate) service: Service,
}

impl Victim {
    pub(crate) async fn start() -> Self {
        Self::start_in(Place::new()).await
    }

    pub(crate) async fn start_in(place: Place) -> Self {
        let place = place.set("ARK_NODE_ID", VICTIM);
        let service = place.serve().await;
        Self { place, service }
    }

    /// With this peer, and no rounds but those that are asked for.
    pub(crate) async fn with_peer(hostile: &Hostile) -> Self {
        let place = Place::new().set("FEDERATION_TRUSTED_PEERS", &hostile.url);
        Self::start_in(place.set("ARK__FEDERATION__PEER_TIMEOUT", "5s")).await
    }

    /// Stops and starts again on the same state.
    pub(crate) async fn restarted(self) -> Self {
        let victim = self.restarted_just_now().await;
        // What is signed in the second of a start that follows a crash is refused.
        tokio::time::sleep(Duration::from_secs(1)).await;
        victim
    }

    /// As [`Self::restarted`], and in the second of the start perhaps.
    pub(crate) async fn restarted_just_now(self) -> Self {
        let Self { place, service } = self;
        service.kill();
        let service = place.serve().await;
        Self { place, service }
    }

    /// As [`Self::restarted`], under another id.
    pub(crate) async fn restarted_as(self, id: &str) -> Self {
        let Self { place, service } = self;
        service.kill();
        let place = place.set("ARK_NODE_ID", id);
        let service = place.serve().await;
        Self { place, service }
    }

    /// Asks as the operator.
    pub(crate) async fn operate(&self, path: &str, body: &Value) -> Value {
        let request = self.service.request(reqwest::Method::POST, path).bearer_auth(TOKEN);
        json_of(request.json(body).send().await.unwrap()).await
    }

    /// The line of a new invite.
    pub(crate) async fn invite(&self) -> InviteLine {
        let made = self.operate("/api/federation/invites", &json!({"addresses": [self.service.url]})).await;
        InviteLine::parse(made["line"].as_str().unwrap()).unwrap()
    }

    pub(crate) async fn operator_sees(&self, path: &str) -> Value {
        json_of(self.service.request(reqwest::Method::GET, path).bearer_auth(TOKEN).send().await.unwrap()).await
    }

    /// One round with its only peer: why it failed, or nothing.
    pub(crate) async fn round(&self) -> String {
        let synced = self.operate("/api/federation/sync", &json!({})).await;
        synced["result"][0]["error"].as_str().unwrap_or_default().to_owned()
    }

    /// Entries of the audit log: kind, subject, detail.
    pub(crate) fn audit(&self) -> Vec<Value> {
        audit(&self.place)
    }

    /// There is a refusal with this code, at this door, of this subject, or soon: nobody who is refused waits for the disk.
    pub(crate) fn has_audited(&self, code: &str, door: &str, subject: &str) -> Value {
        has_audited(&self.place, code, door, subject)
    }

    /// Ends it in order: everything that was counted is in the log.
    pub(crate) async fn stopped(self) -> Place {
        let Self { place, service } = self;
        assert!(service.terminate().await.success());
        place
    }

    /// Refused with this code at `/manifest`, and audited.
    pub(crate) async fn refuses_manifest(&self, envelope: String, expected: (u16, &str), subject: &str) {
        let answer = problem(self.service.post("/manifest", envelope).await).await;
        assert_eq!(answer, (expected.0, expected.1.to_owned()));
        self.has_audited(expected.1, "/manifest", subject);
    }

    /// The newest manifest of an instance that others are shown.
    pub(crate) async fn shows(&self, peer: &str) -> Value {
        self.service.get_json(&format!("/manifest/{peer}")).await["manifest"].clone()
    }
}

/// Every address of 127.0.0.0/8 counts as one of the internet.
pub(crate) fn counted() -> Place {
    Place::new().set("ARK__LIMITS__COUNT_LOOPBACK", "true")
}

/// A client with an address of its own: 127.0.0.`last`.
pub(crate) fn client_from(last: u8) -> Client {
    client_at(Ipv4Addr::new(127, 0, 0, last))
}

pub(crate) fn client_at(from: Ipv4Addr) -> Client {
    let client = Client::builder().no_proxy().local_address(Some(from.into()));
    client.timeout(Duration::from_secs(30)).build().unwrap()
}

/// A connection from 127.0.0.`last`, of which the system buffers as little as it can for a client that does not read.
pub(crate) async fn connect_from(last: u8, port: u16) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.bind((Ipv4Addr::new(127, 0, 0, last), 0).into()).unwrap();
    socket.connect((Ipv4Addr::LOCALHOST, port).into()).await.unwrap()
}

/// What the service sends on a connection until it closes it.
pub(crate) async fn last_words(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let _reset = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// Asks again until this holds.
pub(crate) async fn until(what: &str, holds: impl AsyncFnMut() -> bool) {
    crate::service::until(what, Duration::from_secs(30), holds).await;
}

/// Status and code of an answer; the code of a success is empty.
pub(crate) async fn outcome(answer: Response) -> (u16, String) {
    match answer.status().as_u16() {
        status @ 200..300 => (status, String::new()),
        _ => problem(answer).await,
    }
}

pub(crate) struct Attacker {
    pub(crate) name: &'static str,
    pub(crate) key: KeyPair,
}

impl Attacker {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, key: KeyPair::generate().unwrap() }
    }

    /// A plain manifest of this one, signed as scripts do.
    pub(crate) fn manifest(&self, seq: u64) -> String {
        signed(&self.key, &manifest(self.name, seq))
    }

    pub(crate) fn manifest_with(&self, seq: u64, change: impl FnOnce(&mut Value)) -> String {
        let mut manifest = manifest(self.name, seq);
        change(&mut manifest);
        signed(&self.key, &manifest)
    }

    pub(crate) async fn registered(self, victim: &Victim, seq: u64) -> Self {
        assert_eq!(victim.service.post("/manifest", self.manifest(seq)).await.status(), 200);
        self
    }

    /// How its key is decided on by the victim.
    pub(crate) async fn level(&self, victim: &Victim) -> Option<String> {
        let listed = victim.operator_sees("/v1/trust/relationships").await;
        let of_key = |it: &&Value| it["public_key"] == self.public_key();
        let found = listed["relationships"].as_array().unwrap().iter().find(of_key)?;
        Some(text(&found["trust_level"]))
    }

    /// A signed request, not sent yet.
    pub(crate) fn request(&self, victim: &Victim, route: &str, body: &str) -> RequestBuilder {
        self.request_made(victim, (route, VICTIM, 0), body)
    }

    /// As [`Self::request`], for another audience and so many seconds ago.
    pub(crate) fn request_made(
        &self,
        victim: &Victim,
        (route, audience, seconds_ago): (&str, &str, u64),
        body: &str,
    ) -> RequestBuilder {
        self.request_dated(victim, (route, audience, now().minus(Duration::from_secs(seconds_ago))), body)
    }

    /// As [`Self::request`], for another audience and of another date.
    pub(crate) fn request_dated(
        &self,
        victim: &Victim,
        (route, audience, created): (&str, &str, Timestamp),
        body: &str,
    ) -> RequestBuilder {
        let message =
            Message { method: "POST", route, query: "?", body: body.as_bytes(), node_id: self.name, audience };
        let headers = message::sign(&message, &self.key, created).unwrap().into_iter();
        let lines = route == "/lattice/changes" || route == "/lattice/offer";
        let declared = if lines { "application/x-ndjson" } else { "application/json" };
        let request = victim.service.request(reqwest::Method::POST, route).header("content-type", declared);
        headers.fold(request, |request, (name, value)| request.header(name, value)).body(body.to_owned())
    }

    /// As [`Self::push`], sent by this client.
    pub(crate) async fn push_by(&self, client: &Client, victim: &Victim, line: &Value) -> Response {
        let signed = self.request(victim, "/lattice/changes", &format!("{line}\n")).build().unwrap();
        client.execute(signed).await.unwrap()
    }

    pub(crate) async fn push(&self, victim: &Victim, line: &Value) -> Response {
        self.request(victim, "/lattice/changes", &format!("{line}\n")).send().await.unwrap()
    }

    /// Challenges the service and joins it with an invite.
    pub(crate) async fn join(&self, victim: &Victim, line: &InviteLine, addresses: &[&str]) -> Response {
        let (transcript, _) = challenge_of(self, victim).await;
        join_of(self, victim, line, &transcript, addresses).await
    }

    pub(crate) fn public_key(&self) -> String {
        self.key.public_key().to_base64()
    }
}

/// How the victim judges an instance that joins: it proves its own key, and `secret` as that of the invite.
pub(crate) async fn join(attacker: &Attacker, victim: &Victim, id: InviteId, secret: &InviteSecret) -> (u16, String) {
    let (transcript, _) = challenge_of(attacker, victim).await;
    let proof = secret.key(id).prove(id, Side::Asking, &transcript);
    join_with(attacker, victim, id, (&transcript, &proof)).await
}

/// Joins with this proof, of whatever it is.
pub(crate) async fn join_with(
    attacker: &Attacker,
    victim: &Victim,
    id: InviteId,
    conversation: (&Transcript, &[u8]),
) -> (u16, String) {
    outcome(join_request(attacker, victim, id, conversation, &[]).send().await.unwrap()).await
}

fn join_request(
    asking: &Attacker,
    victim: &Victim,
    id: InviteId,
    (transcript, proof): (&Transcript, &[u8]),
    addresses: &[&str],
) -> RequestBuilder {
    let signature = asking.key.sign(&transcript.bytes(Side::Asking));
    let body = json!({
        "invite": id.to_string(), "signature": STANDARD.encode(signature), "proof": STANDARD.encode(proof),
        "addresses": addresses,
    });
    asking.request(victim, JOIN, &body.to_string())
}

/// The body and the headers of a request.
pub(crate) type Recorded = (String, Vec<(String, String)>);

/// Begins a conversation in which keys are proved; and what a listener records of it.
pub(crate) async fn challenge_of(asking: &Attacker, victim: &Victim) -> (Transcript, Recorded) {
    let mut nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce).unwrap();
    let body = json!({"nonce": STANDARD.encode(nonce)}).to_string();
    let request = asking.request(victim, "/lattice/trust/challenge", &body).build().unwrap();
    let header = |(name, value): (&HeaderName, &HeaderValue)| (name.to_string(), value.to_str().unwrap().to_owned());
    let recorded = (body, request.headers().iter().map(header).collect());
    let answer = json_of(reqwest::Client::new().execute(request).await.unwrap()).await;
    let answer_nonce = STANDARD.decode(text(&answer["nonce"])).unwrap().try_into().unwrap();
    let asked = (PeerId::parse(VICTIM).unwrap(), PublicKey::parse(&text(&answer["public_key"])).unwrap());
    let asking = (PeerId::parse(asking.name).unwrap(), asking.key.public_key());
    (Transcript { asking, asked, nonce, answer_nonce }, recorded)
}

/// Ends it with a proof of the own key.
pub(crate) async fn proof_of(asking: &Attacker, victim: &Victim, transcript: &Transcript) -> Response {
    let signature = STANDARD.encode(asking.key.sign(&transcript.bytes(Side::Asking)));
    let body = json!({"signature": signature}).to_string();
    asking.request(victim, "/lattice/trust/proof", &body).send().await.unwrap()
}

/// Ends it with an invite; not sent yet.
pub(crate) fn join_request_of(
    asking: &Attacker,
    victim: &Victim,
    line: &InviteLine,
    transcript: &Transcript,
    addresses: &[&str],
) -> RequestBuilder {
    let proof = line.secret.key(line.id).prove(line.id, Side::Asking, transcript);
    join_request(asking, victim, line.id, (transcript, &proof), addresses)
}

/// Ends it with an invite.
pub(crate) async fn join_of(
    asking: &Attacker,
    victim: &Victim,
    line: &InviteLine,
    transcript: &Transcript,
    addresses: &[&str],
) -> Response {
    join_request_of(asking, victim, line, transcript, addresses).send().await.unwrap()
}

/// Entries of the audit log of a place, as far as they are whole: another is being written.
pub(crate) fn audit(place: &Place) -> Vec<Value> {
    let log = fs::read_to_string(place.path("state").join("audit.log")).unwrap();
    let whole = log.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    whole.map(|line| serde_json::from_str(line.split_once(' ').unwrap().1).unwrap()).collect()
}

/// See [`Victim::has_audited`].
pub(crate) fn has_audited(place: &Place, code: &str, door: &str, subject: &str) -> Value {
    let fits = |entry: &Value| {
        entry["kind"] == "refused"
            && entry["subject"] == subject
            && entry["detail"]["code"] == code
            && entry["detail"]["door"] == door
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let entries = audit(place);
        if let Some(entry) = entries.iter().find(|entry| fits(entry)) {
            return entry.clone();
        }
        assert!(Instant::now() < deadline, "no entry for {code} at {door} of {subject}: {entries:#?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// How often such a refusal is told of, the first ones and the counted ones together.
pub(crate) fn refusals(place: &Place, code: &str) -> u64 {
    let of_code =
        audit(place).into_iter().filter(|entry| entry["kind"] == "refused" && entry["detail"]["code"] == code);
    of_code.map(|entry| entry["detail"]["more"].as_u64().unwrap_or(1)).sum()
}

/// A node's text on the service.
pub(crate) async fn content(victim: &Victim, id: &str) -> Option<String> {
    let response = victim.service.get(&format!("/nodes/{id}")).await;
    if !response.status().is_success() {
        return None;
    }
    Some(text(&json_of(response).await["content"]))
}

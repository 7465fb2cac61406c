//! Instances with a valid key that send what they should not.

use crate::{
    server::{deleted, now, whole},
    service::{Place, Service, TOKEN, json_of, problem, text},
};
use ark_lattice::{
    identity::{
        KeyPair,
        message::{self, Message},
    },
    manifest::{Canonicalization, sign},
    types::Limits,
};
use bytes::Bytes;
use futures_util::future::join_all;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use std::{
    fs,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

const DEADLINE: Duration = Duration::from_secs(30);
const TARGET: &str = "victim";

fn place() -> Place {
    Place::new()
        .set("ARK_NODE_ID", TARGET)
        .set("ARK__SERVER__BODY_TIMEOUT", "2s")
        .set("ARK__SERVER__HEADER_TIMEOUT", "2s")
}

struct Pusher {
    name: &'static str,
    key: KeyPair,
}

impl Pusher {
    fn new(name: &'static str) -> Self {
        Self { name, key: KeyPair::generate().unwrap() }
    }

    /// One whose manifest the service has: its key may send changes.
    async fn known(name: &'static str, service: &Service) -> Self {
        let pusher = Self::new(name);
        let manifest = json!({"node_id": name, "last_updated": now().seconds()}).to_string();
        let (form, limits, key) = (Canonicalization::Dsse, Limits::default(), &pusher.key);
        let envelope = sign(Bytes::from(manifest), form, &limits, key.public_key(), |bytes| key.sign(bytes)).unwrap();
        assert_eq!(service.post("/manifest", envelope).await.status(), 200);
        pusher
    }

    fn headers(&self, audience: &str, body: &str) -> Vec<(&'static str, String)> {
        let route = "/lattice/changes";
        let message =
            Message { method: "POST", route, query: "?", body: body.as_bytes(), node_id: self.name, audience };
        message::sign(&message, &self.key, now()).unwrap()
    }

    fn request(&self, service: &Service, audience: &str, signed: &str, sent: String) -> RequestBuilder {
        let request = service.request(Method::POST, "/lattice/changes").header("content-type", "application/x-ndjson");
        let headers = self.headers(audience, signed).into_iter();
        headers.fold(request, |request, (name, value)| request.header(name, value)).body(sent)
    }

    async fn push(&self, service: &Service, lines: &[Value]) -> Response {
        let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
        self.request(service, TARGET, &body, body.clone()).send().await.unwrap()
    }
}

fn rss_kb(service: &Service) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", service.process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn a_request_counts_once_for_whom_it_was_meant_and_as_it_was_signed() {
    let place = place();
    let service = place.serve().await;
    let pusher = Pusher::known("pusher", &service).await;
    let body = format!("{}\n", whole(1, "pushed", "once"));
    let once = pusher.request(&service, TARGET, &body, body.clone());
    assert_eq!(once.try_clone().unwrap().send().await.unwrap().status(), 200);
    assert_eq!(problem(once.send().await.unwrap()).await, (409, "replayed".to_owned()));

    let other = format!("{}\n", whole(1, "pushed", "another"));
    for (audience, signed, sent) in [(TARGET, &body, &other), ("somebody", &body, &body), (TARGET, &other, &body)] {
        let answer = pusher.request(&service, audience, signed, sent.clone()).send().await.unwrap();
        assert_eq!(problem(answer).await, (401, "request_signature".to_owned()));
    }
    // Of a stranger nothing is kept, not even that he was here.
    let stranger = Pusher::new("stranger").request(&service, TARGET, &body, body.clone());
    for request in [stranger.try_clone().unwrap(), stranger] {
        assert_eq!(problem(request.send().await.unwrap()).await, (403, "not_trusted".to_owned()));
    }
    let thief = Pusher { name: "pusher", key: KeyPair::generate().unwrap() };
    assert_eq!(problem(thief.push(&service, &[]).await).await, (403, "not_trusted".to_owned()));

    let long = whole(1, "long", &"x".repeat(5 << 20));
    let left_out = json_of(pusher.push(&service, &[long]).await).await;
    assert_eq!((&left_out["too_large"], &left_out["taken"]), (&json!(["long"]), &json!(0)));
    let huge = "\n".repeat(33 << 20);
    assert_eq!(problem(pusher.request(&service, TARGET, &huge, huge.clone()).send().await.unwrap()).await.0, 413);
    assert_eq!(text(&service.get_json("/nodes/pushed").await["content"]), "once");
    assert_eq!(service.nodes().await.len(), 1);
}

#[tokio::test]
async fn what_a_pusher_overrules_is_kept_and_it_is_stopped_before_that_fills_the_disk() {
    const MOST: usize = 5;
    let place = place().set("ARK__LIMITS__PEER_CONFLICTS", &MOST.to_string());
    let service = place.serve().await;
    let pusher = Pusher::known("pusher", &service).await;
    let honest = Pusher::known("honest", &service).await;
    // Just inside of what clocks may differ: it is later than every edit made here.
    let ahead = |number: usize| {
        let mut line = whole(1, "fought-over", &format!("theirs {number}"));
        line["at"] = json!(now().seconds() + 290 + i64::try_from(number).unwrap());
        line
    };
    for number in 0..MOST {
        assert!(service.put("fought-over", &json!({"id": "fought-over", "n": number})).await.status().is_success());
        assert_eq!(pusher.push(&service, &[ahead(number)]).await.status(), 200);
    }
    assert!(service.put("fought-over", &json!({"id": "fought-over", "n": "last"})).await.status().is_success());
    let refused = pusher.push(&service, &[ahead(MOST)]).await;
    assert_eq!(refused.status(), 409);
    let refused: Value = serde_json::from_str(&refused.text().await.unwrap()).unwrap();
    assert_eq!(text(&refused["code"]), "conflicts_full");
    assert!(text(&refused["detail"]).contains("of pusher"), "{refused}");
    assert_eq!(service.get_json("/nodes/fought-over").await["n"], "last", "the edit made here stands");
    assert_eq!(service.get_json("/health").await["status"], "healthy", "it is no fault of the disk");

    // Every edit that lost is there, with its content; others are not held up.
    let kept = service.get_json("/conflicts?contents=true").await;
    let lost: Vec<&Value> = kept["conflicts"].as_array().unwrap().iter().map(|it| &it["node"]["n"]).collect();
    assert_eq!(lost, (0..MOST).map(Value::from).collect::<Vec<_>>().iter().collect::<Vec<_>>());
    assert_eq!(honest.push(&service, &[whole(1, "quiet", "honest")]).await.status(), 200);
}

#[tokio::test]
async fn conflicts_of_senders_that_are_not_verified_count_for_their_address_whatever_ids_they_state() {
    const MOST: usize = 3;
    let place = place().set("ARK__LIMITS__PEER_CONFLICTS", &MOST.to_string()).set("ARK_TRUST_MODE", "open");
    let service = place.serve().await;
    let verified = Pusher::known("verified", &service).await;
    let decision =
        json!({"peer_id": "verified", "public_key": verified.key.public_key().to_base64(), "reason": "mine"});
    let request = service.request(Method::POST, "/v1/trust/verify").bearer_auth(TOKEN);
    assert_eq!(request.json(&decision).send().await.unwrap().status(), 200);
    let ahead = |number: usize| now().seconds() + 200 + i64::try_from(number).unwrap();
    let edit = async |number: usize| {
        let node = json!({"id": "fought-over", "n": number});
        assert!(service.put("fought-over", &node).await.status().is_success());
    };
    // Each under another id, unsigned; then with a fresh key.
    let unsigned = async |number: usize| {
        edit(number).await;
        let node = json!({"id": "fought-over", "n": "theirs", "updated_at": ahead(number)});
        let push = json!({"instanceId": format!("name-{number}"), "nodes": [node]});
        service.post("/federation/sync", push.to_string()).await
    };
    for number in 0..MOST {
        assert_eq!(json_of(unsigned(number).await).await["conflicts"], 1, "{number}");
    }
    assert_eq!(problem(unsigned(MOST).await).await, (409, "conflicts_full".to_owned()));
    let overrules = |number: usize| {
        let mut line = whole(1, "fought-over", &format!("theirs {number}"));
        line["at"] = json!(ahead(number));
        line
    };
    let fresh = Pusher::known("fresh", &service).await;
    assert_eq!(problem(fresh.push(&service, &[overrules(MOST + 1)]).await).await, (409, "conflicts_full".to_owned()));
    assert_eq!(service.get_json("/nodes/fought-over").await["n"], MOST, "the edit made here stands");
    assert_eq!(
        verified.push(&service, &[overrules(MOST + 2)]).await.status(),
        200,
        "a verified sender has its own count"
    );
}

/// Changes that were taken, and that wait.
async fn answered(answer: reqwest::Response) -> (usize, usize) {
    assert_eq!(answer.status(), 200);
    let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    let count = |name: &str| usize::try_from(answer[name].as_u64().unwrap_or_default()).unwrap();
    (count("taken"), count("waiting"))
}

#[tokio::test]
async fn deletions_are_added_up_and_those_of_what_was_never_here_are_bounded() {
    const NODES: usize = 60;
    let place = place();
    for number in 0..NODES {
        let id = format!("n-{number:02}");
        place.write_node(&id, &json!({"id": id, "updated_at": 1_700_000_000}));
    }
    let service = place.serve().await;
    let pusher = Pusher::known("pusher", &service).await;
    let delete = |range: std::ops::Range<usize>| -> Vec<Value> {
        range.map(|number| deleted(1, &format!("n-{number:02}"), now().seconds())).collect()
    };
    let all = pusher.push(&service, &delete(0..NODES)).await;
    assert_eq!(answered(all).await, (0, NODES));
    assert_eq!(service.nodes().await.len(), NODES);
    for part in 0..3 {
        assert_eq!(answered(pusher.push(&service, &delete(part * 5..part * 5 + 5)).await).await, (5, 0));
    }
    let more = pusher.push(&service, &delete(15..20)).await;
    assert_eq!(answered(more).await, (0, 5), "a little at a time is as much in the end");
    // Nor does it help to come with another key: keys cost nothing.
    let fresh = Pusher::known("fresh", &service).await;
    assert_eq!(answered(fresh.push(&service, &delete(15..20)).await).await, (0, 5));
    assert_eq!(service.nodes().await.len(), NODES - 15);
    let edit = pusher.push(&service, &[whole(1, "n-30", "an edit")]).await;
    assert_eq!(edit.status(), 200, "what it does not delete goes on");

    // Older than deletions are remembered: kept, they would soon move everybody's floor.
    let seq = |head: &Value| head["lattice"]["seq"].as_u64();
    let before = service.get_json("/health").await;
    let ancient: Vec<Value> =
        (0..1000).map(|n| deleted(1, &format!("strange-{n}"), now().seconds() - 40 * 86_400)).collect();
    let answer = pusher.push(&service, &ancient).await;
    let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert_eq!((answer["taken"].as_u64(), answer["kept"].as_u64()), (Some(0), Some(1000)), "{answer}");
    assert_eq!(seq(&service.get_json("/health").await), seq(&before));
}

#[tokio::test]
async fn half_requests_and_a_crowd_that_sends_a_byte_a_second_leave_the_others_their_place() {
    const CROWD: usize = 1000;
    let place = place().set("ARK__SERVER__WORKERS", "2");
    let service = place.serve().await;
    let (slow, honest) = (Pusher::known("slow", &service).await, Pusher::known("honest", &service).await);
    assert_eq!(honest.push(&service, &[whole(1, "before", "x")]).await.status(), 200);
    let before = rss_kb(&service);
    let head = |pusher: &Pusher, length: usize| {
        let headers = pusher.headers(TARGET, "");
        let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        format!(
            "POST /lattice/changes HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: {length}\r\n{lines}\r\n"
        )
    };
    let begun = Instant::now();
    let head = head(&slow, 20 << 20);
    let crowd = join_all((0..CROWD).map(|number| {
        let (head, port) = (head.clone(), service.port);
        tokio::spawn(async move {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            // Half of them stop in the middle of the headers, a few send much and then nothing more.
            let part = if number % 2 == 0 { &head[..head.len() / 2] } else { &head[..] };
            let _closed_already = stream.write_all(part.as_bytes()).await;
            if number % 100 == 1 {
                let _closed_already = stream.write_all(&vec![b'\n'; 1 << 20]).await;
            }
            let mut answer = Vec::new();
            loop {
                if stream.write_all(b"\n").await.is_err() {
                    return answer;
                }
                let mut buffer = [0; 4096];
                match timeout(Duration::from_millis(250), stream.read(&mut buffer)).await {
                    Ok(Ok(0) | Err(_)) => return answer,
                    Ok(Ok(read)) => answer.extend_from_slice(&buffer[..read]),
                    Err(_) => {}
                }
            }
        })
    }));
    let during = async {
        sleep(Duration::from_millis(500)).await;
        let (mut peak, mut slowest) = (0, Duration::ZERO);
        for number in 0..10 {
            let asked = Instant::now();
            let id = format!("during-{number}");
            assert_eq!(honest.push(&service, &[whole(1, &id, "x")]).await.status(), 200);
            slowest = slowest.max(asked.elapsed());
            peak = peak.max(rss_kb(&service));
        }
        (peak, slowest)
    };
    let (ended, (peak, slowest)) = tokio::join!(timeout(DEADLINE, crowd), during);
    let answers: Vec<Vec<u8>> = ended.expect("all are sent away").into_iter().map(Result::unwrap).collect();
    let took = begun.elapsed();
    eprintln!(
        "{CROWD} were sent away within {took:?}; an honest push took {slowest:?} at most; {before} kB before, {peak} kB during"
    );
    let too_slow = answers.iter().filter(|answer| answer.starts_with(b"HTTP/1.1 408")).count();
    assert!(too_slow >= CROWD / 4, "{too_slow} of them were told why");
    assert!(peak < before + (192 << 10), "{before} kB before, {peak} kB during");
    assert_eq!(service.nodes().await.len(), 11, "of them nothing is left");
}

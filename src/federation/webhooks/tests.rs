use super::*;
use crate::{
    federation::events::{EventOptions, Events},
    telemetry::{Gauges, Metrics},
    types::{TestClock, Timestamp},
};
use serde_json::Value;
use std::sync::Mutex;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// What a receiver does with a request.
#[derive(Clone, Copy)]
enum Answer {
    /// This status, and this header.
    Status(u16, &'static str),
    /// Nothing, for ever.
    Silence,
}

const TAKEN: Answer = Answer::Status(204, "");

/// A request: its head in small letters, and its body.
type Seen = (String, String);

/// A receiver that gives these answers, and then [`TAKEN`] to all others.
struct Receiver {
    url: Url,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn read(stream: &mut TcpStream) -> Option<Seen> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    let head = head.to_ascii_lowercase();
    let length = header(&head, "content-length")?.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).await.ok()?;
    Some((head, String::from_utf8(body).unwrap()))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

impl Receiver {
    async fn start(answers: &[Answer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/hook?token=hidden", listener.local_addr().unwrap())).unwrap();
        let (seen, answers) = (Arc::<Mutex<Vec<Seen>>>::default(), answers.to_vec());
        let noted = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let mut silent = Vec::new();
            let mut answers = answers.into_iter();
            while let Ok((mut stream, _)) = listener.accept().await {
                let Some(request) = read(&mut stream).await else { continue };
                noted.lock().unwrap().push(request);
                match answers.next().unwrap_or(TAKEN) {
                    Answer::Silence => silent.push(stream),
                    Answer::Status(status, header) => {
                        let answer =
                            format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\nConnection: close\r\n{header}\r\n");
                        let _ = stream.write_all(answer.as_bytes()).await;
                    }
                }
            }
        });
        Self { url, seen, task }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

/// The events of an instance with one webhook, and the metrics of both.
struct Bed {
    events: Events,
    metrics: Metrics,
    running: JoinHandle<()>,
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Bed {
    fn start(url: &Url, change: impl FnOnce(&mut WebhookOptions)) -> Self {
        // The binary does this at its start.
        let _already = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let metrics = Metrics::default();
        let clock: SharedClock = TestClock::at(Timestamp::from_seconds(1_700_000_000));
        let mut options = WebhookOptions {
            url: url.clone(),
            secret: WebhookSecret::parse(SECRET).unwrap(),
            kinds: vec![EventKind::SyncComplete, EventKind::PeerAdded],
            timeout: Duration::from_secs(60),
            patience: Duration::from_secs(600),
            instance: "ark-\"1\"".to_owned(),
            clock: Arc::clone(&clock),
            metrics: metrics.events(),
        };
        change(&mut options);
        let (webhook, mut deliverer) = webhook(options).unwrap();
        deliverer.first_pause = Duration::from_millis(1);
        let running = tokio::spawn(deliverer.run());
        let (metrics_of, webhooks) = (metrics.events(), vec![webhook]);
        let events = Events::new(EventOptions { clock, metrics: metrics_of, webhooks, max_listeners: 1 });
        Self { events, metrics, running }
    }

    fn counted(&self, outcome: &str) -> u64 {
        let text = self.metrics.encode(Gauges::default()).unwrap();
        let label = format!("outcome=\"{outcome}\"}} ");
        let line = text.lines().find(|line| line.starts_with("ark_webhook_deliveries_total") && line.contains(&label));
        line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
    }

    async fn until_counted(&self, outcome: &str, count: u64) {
        let counted = async {
            while self.counted(outcome) < count {
                sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), counted).await.expect("counted in time");
    }
}

#[test]
fn a_signature_is_that_of_the_specification() {
    let secret = WebhookSecret::parse(SECRET).unwrap();
    let signed = signature(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
    assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

#[tokio::test]
async fn events_of_the_wanted_kinds_come_signed_and_in_order_though_some_must_be_tried_again() {
    let failures = [Answer::Status(500, ""), Answer::Status(429, "Retry-After: 0\r\n"), Answer::Status(404, "")];
    let receiver = Receiver::start(&failures).await;
    let bed = Bed::start(&receiver.url, |_| ());
    for n in 0..5 {
        bed.events.tell(EventKind::NodeChanged, json!({}));
        bed.events.tell(EventKind::SyncComplete, json!({ "n": n }));
    }
    bed.until_counted("delivered", 5).await;
    let seen = receiver.seen();
    assert_eq!(seen.len(), 8);
    let bodies: Vec<Value> = seen.iter().map(|(_, body)| serde_json::from_str(body).unwrap()).collect();
    let order: Vec<u64> = bodies.iter().map(|body| body["data"]["n"].as_u64().unwrap()).collect();
    assert_eq!(order, [0, 0, 0, 0, 1, 2, 3, 4]);
    let data = json!({ "at": 1_700_000_000, "n": 0 });
    let whole =
        json!({ "type": "sync-complete", "timestamp": "2023-11-14T22:13:20Z", "instance": "ark-\"1\"", "data": data });
    assert_eq!(bodies[0], whole);
    let secret = WebhookSecret::parse(SECRET).unwrap();
    for (head, body) in &seen {
        assert!(head.starts_with("post /hook?token=hidden "), "{head}");
        let id = header(head, "webhook-id").unwrap();
        assert_eq!(header(head, "webhook-timestamp"), Some("1700000000"));
        let expected = signature(&secret, id, 1_700_000_000, body.as_bytes()).to_ascii_lowercase();
        assert_eq!(header(head, "webhook-signature"), Some(expected.as_str()));
    }
    let ids: Vec<&str> = seen.iter().map(|(head, _)| header(head, "webhook-id").unwrap()).collect();
    assert!(ids[0] == ids[3] && ids[3] != ids[4], "a try more is the same message: {ids:?}");
    assert_eq!((bed.counted("failed"), bed.counted("overflowed")), (0, 0));
}

#[tokio::test]
async fn a_receiver_that_hangs_or_sends_us_elsewhere_or_is_gone_holds_up_the_next_event_for_a_while_only() {
    let elsewhere = Answer::Status(307, "Location: /elsewhere\r\n");
    let receiver = Receiver::start(&[Answer::Silence, elsewhere, Answer::Status(410, "")]).await;
    let bed = Bed::start(&receiver.url, |options| options.timeout = Duration::from_millis(200));
    bed.events.tell(EventKind::PeerAdded, json!({ "n": 1 }));
    bed.events.tell(EventKind::PeerAdded, json!({ "n": 2 }));
    bed.until_counted("delivered", 1).await;
    assert_eq!(bed.counted("failed"), 1, "410 is the last word");
    let seen = receiver.seen();
    assert!(seen.iter().all(|(head, _)| head.starts_with("post /hook?token=hidden ")), "{seen:?}");
    assert!(seen.last().unwrap().1.contains("\"n\":2"), "{seen:?}");
}

#[tokio::test]
async fn what_cannot_be_delivered_is_given_up_and_what_is_too_much_is_counted() {
    let receiver = Receiver::start(&[Answer::Silence]).await;
    let bed = Bed::start(&receiver.url, |_| ());
    for n in 0..QUEUE + 101 {
        bed.events.tell(EventKind::PeerAdded, json!({ "n": n }));
        // The first one is under way, and hangs; nothing else is.
        while n == 0 && receiver.seen().is_empty() {
            sleep(Duration::from_millis(1)).await;
        }
    }
    assert_eq!((bed.counted("overflowed"), bed.counted("delivered")), (100, 0));
    let text = bed.metrics.encode(Gauges::default()).unwrap();
    let waiting = format!("ark_webhook_waiting{{webhook=\"{}\"}} 1001\n", name(&receiver.url));
    assert!(text.contains(&waiting) && !text.contains("hidden"), "{text}");

    let nobody = Url::parse("http://127.0.0.1:1/").unwrap();
    let bed = Bed::start(&nobody, |options| options.patience = Duration::ZERO);
    bed.events.tell(EventKind::PeerAdded, json!({}));
    bed.until_counted("failed", 1).await;
}

#[tokio::test]
async fn what_is_logged_of_a_failure_holds_no_path() {
    let _already = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let http = Client::builder().no_proxy().build().unwrap();
    let error = http.post("http://127.0.0.1:1/services/hidden").send().await.unwrap_err();
    let text = cause(&error);
    assert!(!text.contains("hidden") && !text.is_empty(), "{text}");
}

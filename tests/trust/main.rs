//! What was decided of keys: durable through kill -9, refused where it was changed, and told of by the command line.
//!
//! `ARK_TRUST_KILLS` sets how often the service is killed (20), `ARK_TRUST_SEED` repeats a run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that cannot go on should stop where it stands"
)]

#[path = "../support/certificates.rs"]
mod certificates;
mod establishing;
mod heads;
#[allow(dead_code, reason = "each test binary uses its own part of it")]
#[path = "../hostile/server.rs"]
mod server;
#[path = "../support/service.rs"]
mod service;
#[path = "../support/signing.rs"]
mod signing;

use heads::Teller;
use reqwest::Method;
use serde_json::{Value, json};
use service::{Place, Random, Service, TOKEN, problem};
use signing::{key, manifest, signed};
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::time::sleep;

const KILLS: u64 = 20;
const DECIDERS: u64 = 4;
const PEERS_EACH: u64 = 5;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

async fn relationships(service: &Service) -> BTreeMap<String, String> {
    let asked = service.request(Method::GET, "/v1/trust/relationships").bearer_auth(TOKEN).send().await.unwrap();
    let all: Value = asked.json().await.unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let all = all["relationships"].as_array().unwrap().iter();
    all.map(|it| (text(&it["peer_id"]), text(&it["trust_level"]))).collect()
}

/// What one decider was told, and what it asked for since. `None`: nothing was decided.
#[derive(Debug, Clone, Default)]
struct Expected {
    acknowledged: Option<String>,
    attempted: Vec<String>,
}

/// Decides again and again until the service is gone; two things of each peer in turn.
async fn decide(client: reqwest::Client, url: String, who: u64, start: u64, known: &mut BTreeMap<String, Expected>) {
    for round in start.. {
        let number = who * PEERS_EACH + round % PEERS_EACH;
        let peer = format!("peer-{number}");
        let (path, level) =
            if (round / PEERS_EACH).is_multiple_of(2) { ("verify", "verified") } else { ("revoke", "revoked") };
        let body =
            json!({"peer_id": peer, "public_key": key(number).public_key().to_base64(), "reason": "as it comes"});
        let expected = known.entry(peer).or_default();
        expected.attempted.push(level.to_owned());
        let sent = client.post(format!("{url}/v1/trust/{path}")).bearer_auth(TOKEN).json(&body).send().await;
        match sent {
            Ok(answer) if answer.status().is_success() => {
                (expected.acknowledged, expected.attempted) = (Some(level.to_owned()), Vec::new());
            }
            Ok(answer) => panic!("{:?}", problem(answer).await),
            Err(_) => return,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decisions_that_were_acknowledged_and_heads_that_were_acted_on_survive_kill_9() {
    let kills = variable("ARK_TRUST_KILLS").unwrap_or(KILLS);
    let seed =
        variable("ARK_TRUST_SEED").unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs());
    eprintln!("ARK_TRUST_SEED={seed}");
    let mut random = Random::seeded(seed);
    let teller = Teller::start().await;
    let place = Place::new().set("FEDERATION_TRUSTED_PEERS", &teller.hostile.url);
    let mut known: BTreeMap<String, Expected> = BTreeMap::new();
    let (mut decided, mut entries) = (0, 0);
    for kill in 0..=kills {
        let service = place.launch();
        let found = relationships(&service).await;
        for (peer, expected) in &mut known {
            let level = found.get(peer);
            let acceptable = level == expected.acknowledged.as_ref()
                || level.is_some_and(|level| expected.attempted.contains(level));
            assert!(acceptable, "seed {seed}, kill {kill}, {peer}: {level:?} where {expected:?}");
            (expected.acknowledged, expected.attempted) = (level.cloned(), Vec::new());
        }
        let log = fs::read_to_string(place.path("state").join("audit.log")).unwrap();
        assert!(log.lines().count() >= entries, "seed {seed}, kill {kill}: lines were lost");
        entries = log.lines().count();
        teller.is_remembered(&place, &service, &format!("seed {seed}, kill {kill}")).await;
        if kill == kills {
            break;
        }
        let deciders = (0..DECIDERS).map(|who| {
            let start = random.below(100);
            let mut mine: BTreeMap<String, Expected> = BTreeMap::new();
            for number in who * PEERS_EACH..(who + 1) * PEERS_EACH {
                let peer = format!("peer-{number}");
                mine.insert(peer.clone(), known.get(&peer).cloned().unwrap_or_default());
            }
            let (client, url) = (service.client.clone(), service.url.clone());
            tokio::spawn(async move {
                decide(client, url, who, start, &mut mine).await;
                mine
            })
        });
        let deciders: Vec<_> = deciders.collect();
        let rounds = tokio::spawn(heads::rounds(service.client.clone(), service.url.clone()));
        sleep(Duration::from_millis(random.below(120))).await;
        service.kill();
        rounds.await.unwrap();
        for decider in deciders {
            let mine = decider.await.unwrap();
            decided += mine.values().filter(|it| it.acknowledged.is_some()).count();
            known.extend(mine);
        }
    }
    let acted_on = teller.acted_on();
    eprintln!("{entries} entries and {acted_on} heads after {kills} kills");
    assert!(decided > 0 && entries > 10 && acted_on > 10, "nothing happened");
}

const FILES: [&str; 4] = ["audit.log", "audit.head", "heads.log", "heads.head"];

/// The service does not start, says so in one line and changes nothing.
fn refuses_to_start(place: &Place, what: &str) {
    let state = place.path("state");
    let read = |name: &str| fs::read(state.join(name)).ok();
    let before = FILES.map(read);
    let output = place.command(&["serve", "--port", "0"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{what}: {said}");
    let line = said.lines().last().unwrap_or_default();
    assert!(line.contains("trust: ") && line.contains("restore a copy"), "{what}: {said}");
    assert_eq!(before, FILES.map(read), "{what}: something was changed");
}

#[tokio::test]
async fn trust_state_that_was_changed_stops_the_service() {
    let teller = Teller::start().await;
    let place = Place::new().set("FEDERATION_TRUSTED_PEERS", &teller.hostile.url);
    let service = place.serve().await;
    for number in 0..3 {
        let public_key = key(number).public_key().to_base64();
        let body = json!({"peer_id": format!("peer-{number}"), "public_key": public_key});
        let answer = service.request(Method::POST, "/v1/trust/verify").bearer_auth(TOKEN).json(&body).send().await;
        assert_eq!(answer.unwrap().status(), 200);
    }
    for _ in 0..6 {
        heads::round(&service.client, &service.url).await.unwrap();
    }
    service.kill();
    let state = place.path("state");
    let mut random = Random::seeded(7);
    for name in FILES {
        let path = state.join(name);
        let whole = fs::read(&path).unwrap();
        for _ in 0..12 {
            let at = usize::try_from(random.below(u64::try_from(whole.len()).unwrap())).unwrap();
            let mut changed = whole.clone();
            changed[at] ^= 1 << random.below(8);
            fs::write(&path, &changed).unwrap();
            refuses_to_start(&place, &format!("{name} byte {at}"));
        }
        fs::write(&path, &whole).unwrap();
    }
    let read = |name: &str| fs::read_to_string(state.join(name)).unwrap();
    for (name, end) in [("audit.log", "audit.head"), ("heads.log", "heads.head")] {
        let (log, known) = (read(name), read(end));
        let lines: Vec<&str> = log.split_inclusive('\n').collect();
        let (last, before) = lines.split_last().unwrap();
        assert!(before.len() >= 2, "{name}: {log}");
        let torn = [&before.concat(), &last[..70]].concat();
        for (what, other) in [
            ("cut", before.concat()),
            ("torn where it was whole", torn),
            ("emptied", String::new()),
            ("a line left out", [lines[0], &lines[2..].concat()].concat()),
        ] {
            fs::write(state.join(name), other).unwrap();
            refuses_to_start(&place, &format!("{name}: {what}"));
        }
        fs::remove_file(state.join(name)).unwrap();
        refuses_to_start(&place, &format!("{name} is lost"));
        fs::write(state.join(name), &log).unwrap();
        fs::remove_file(state.join(end)).unwrap();
        refuses_to_start(&place, &format!("{end} is lost"));
        // A line that was not written to its end was told to nobody.
        fs::write(state.join(name), format!("{log}{}", &last[..70])).unwrap();
        fs::write(state.join(end), known).unwrap();
    }
    let service = place.serve().await;
    assert_eq!(relationships(&service).await.len(), 3);
    teller.is_remembered(&place, &service, "after the repair").await;
}

/// Runs a command of the place; its code, what it printed and what it said.
fn run(place: &Place, args: &[&str]) -> (i32, String, String) {
    let output = place.command(args).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn json_of(place: &Place, args: &[&str]) -> Value {
    let (code, printed, said) = run(place, &[args, &["--json"]].concat());
    assert_eq!(code, 0, "{args:?}: {said}");
    serde_json::from_str(&printed).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_operators_compare_words_and_trust_each_other() {
    let (one, two) = (Place::new().set("ARK_NODE_ID", "one"), Place::new().set("ARK_NODE_ID", "two"));
    let (first, second) = (one.serve().await, two.serve().await);
    let added = json_of(&one, &["federation", "trust", "add", "--peer", &second.url, "--url", &first.url]);
    assert_eq!((&added["peer_id"], &added["trust_level"]), (&json!("two"), &json!("pending")), "{added}");
    assert_eq!(added["status"], "pending");
    // The other side has seen the proof, and waits for its operator.
    let shown = json_of(&two, &["federation", "trust", "show", "one", "--url", &second.url]);
    assert_eq!(shown["relationships"][0]["words"], added["words"], "the same words on both sides");
    assert_eq!(shown["relationships"][0]["trust_level"], "pending");
    let words = added["words"].as_str().unwrap();
    let verify =
        |words: &str| run(&one, &["federation", "trust", "verify", "two", "--words", words, "--url", &first.url]);
    let (code, _, said) = verify("abandon ability able about above absent absorb abstract");
    assert!(code == 3 && said.contains("the words differ") && said.lines().count() == 1, "{said}");
    let (code, printed, said) = verify(&words.to_uppercase());
    assert!(code == 0 && printed.starts_with("two is verified"), "{printed}{said}");
    let (_, listed, _) = run(&one, &["federation", "trust", "list", "--url", &first.url]);
    assert!(listed.contains("two") && listed.contains("verified"), "{listed}");
    let revoked = json_of(&one, &["federation", "trust", "revoke", "two", "--reason", "lost", "--url", &first.url]);
    assert_eq!(revoked["relationships"][0]["trust_level"], "revoked");
    let (code, _, said) = run(&one, &["federation", "trust", "show", "nobody", "--url", &first.url]);
    assert!(code == 3 && said.contains("trust add"), "{said}");

    let verified = json_of(&one, &["audit", "verify"]);
    assert_eq!((&verified["entries"], &verified["being_written"]), (&json!(3), &json!(false)), "{verified}");
    let levels = json_of(&one, &["audit", "list", "--kind", "level", "--about", "two"]);
    let levels: Vec<&str> =
        levels["entries"].as_array().unwrap().iter().map(|it| it["detail"]["level"].as_str().unwrap()).collect();
    assert_eq!(levels, ["pending", "verified", "revoked"]);
    let (_, listed, _) = run(&one, &["audit", "list"]);
    assert!(listed.contains("\"reason\":\"lost\"") && listed.contains("\"by\":\"operator\""), "{listed}");
    let log = one.path("state").join("audit.log");
    check_with_a_shell(&log, true);
    let changed = fs::read_to_string(&log).unwrap().replace("\"lost\"", "\"Lost\"");
    fs::write(&log, changed).unwrap();
    let (code, _, said) = run(&one, &["audit", "verify"]);
    assert!(code == 5 && said.contains("does not follow"), "{said}");
    check_with_a_shell(&log, false);
}

/// The lines of docs/SECURITY.md.
fn check_with_a_shell(log: &Path, fits: bool) {
    let document = include_str!("../../docs/SECURITY.md");
    let script = document.split_once("```sh\n").unwrap().1.split_once("```").unwrap().0;
    let output =
        std::process::Command::new("bash").args(["-c", script]).current_dir(log.parent().unwrap()).output().unwrap();
    assert_eq!(output.stdout.is_empty(), fits, "{}", String::from_utf8_lossy(&output.stdout));
}

#[tokio::test]
async fn strangers_push_only_where_nobody_asks_for_verified_keys() {
    let strict = Place::new().set("ARK__TRUST__REQUIRE_VERIFIED", "true");
    let service = strict.serve().await;
    let envelope = signed(&key(1), &manifest("script", 1));
    let answer: Value = service.post("/manifest", envelope).await.json().await.unwrap();
    assert_eq!(answer["trust_level"], "pending", "a script lands there");
    assert_eq!(service.get_json("/discover").await["count"], 1, "is listed");
    assert_eq!(service.get_json("/nodes").await["total"], 0, "and reads");
}

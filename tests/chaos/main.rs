//! Four real instances with auto-sync, a minute of random edits in all the ways in which programs save files, deletions, `kill -9`,
//! SIGSTOP and restarts. Afterwards the lattices are equal within a second, and, since all run by one clock, no document holds an
//! earlier edit than the last one that was made.
//!
//! `CHAOS_SECONDS` (60), `CHAOS_SEED` (random; printed with a failure).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test stops at the first surprise and says which"
)]

#[path = "../support/service.rs"]
mod service;

use serde_json::{Value, json};
use service::{Place, Random, Service, TOKEN, until};
use std::{
    collections::BTreeMap,
    fs::{self, File, FileTimes},
    io::Write as _,
    net::TcpListener,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

const INSTANCES: usize = 4;
const DOCUMENTS: u64 = 60;
/// Two edits of one document on two machines this close cannot be told apart by the times of a file system.
const APART: Duration = Duration::from_millis(50);
/// A deletion by hand is noticed at once and written down after the grace that a vanished file is given. A process that ends before that
/// leaves its date to the directory's last change, which may be a later one.
const WRITTEN_DOWN: Duration = Duration::from_millis(3000);
const OLD_DATE: &str = "moved in with an old date";
/// How long everything may take to settle after the last fault.
const LONG: Duration = Duration::from_secs(90);

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// How one instance stands.
enum Standing {
    Runs(Service),
    /// SIGSTOP.
    Stopped(Service),
    Down,
}

struct Instance {
    place: Place,
    port: u16,
    standing: Standing,
    until: Instant,
}

/// What was done last with a document.
#[derive(Debug, Clone)]
struct Last {
    /// `None`: deleted.
    value: Option<u64>,
    at: Instant,
    /// Not again before then.
    free_at: Instant,
    how: String,
    /// Which instance has to write it down: its date is not in the file system.
    by_hand_on: Option<usize>,
}

impl Instance {
    fn path(&self, id: &str) -> PathBuf {
        self.place.lattice().join(format!("{id}.json"))
    }

    fn runs(&self) -> bool {
        matches!(self.standing, Standing::Runs(_))
    }

    async fn start(&mut self) {
        self.standing = match std::mem::replace(&mut self.standing, Standing::Down) {
            Standing::Down => Standing::Runs(self.place.serve_on(self.port).await),
            Standing::Stopped(service) => {
                service.process.signal("CONT");
                Standing::Runs(service)
            }
            runs @ Standing::Runs(_) => runs,
        };
    }
}

fn text(id: &str, value: u64, random: &mut Random) -> String {
    let padding = "x".repeat(usize::try_from(random.below(300)).unwrap());
    // Each document is kept by one kind of program: a date that appears at once, and is old, would say that the file is an old version.
    match id.bytes().map(u64::from).sum::<u64>() % 4 {
        0 => format!("{{\n  \"id\": \"{id}\",\n  \"value\": {value},\n  \"text\": \"{padding}\"\n}}\n"),
        // A date that the program keeps up to date, and one that nobody ever changes.
        1 => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
            format!("{{\"id\":\"{id}\",\"value\":{value},\"updated_at\":{now:.6}}}")
        }
        2 => format!("{{\"id\":\"{id}\",\"updated_at\":\"2020-01-01T00:00:00Z\",\"value\":{value}}}"),
        _ => format!("{{\"id\":\"{id}\",\"value\":{value},\"text\":\"{padding}\"}}"),
    }
}

/// Saves a file as one kind of program does. Answers which.
fn save(path: &Path, text: &str, random: &mut Random) -> &'static str {
    let write = |path: &Path| File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
    let beside = |suffix: &str| PathBuf::from(format!("{}{suffix}", path.display()));
    match random.below(7) {
        0 => {
            write(path);
            "in place"
        }
        1 => {
            write(&beside(".swp"));
            fs::rename(beside(".swp"), path).unwrap();
            "renamed over"
        }
        2 => {
            let _there_may_be_none = fs::rename(path, beside("~"));
            write(path);
            let _there_may_be_none = fs::remove_file(beside("~"));
            "old one moved aside"
        }
        3 => {
            let _there_may_be_none = fs::remove_file(path);
            write(path);
            "removed and written"
        }
        4 => {
            // In two parts: half written for a moment.
            let mut file = File::create(path).unwrap();
            let (head, tail) = text.as_bytes().split_at(text.len() / 2);
            file.write_all(head).unwrap();
            std::thread::sleep(Duration::from_millis(30));
            file.write_all(tail).unwrap();
            "in two parts"
        }
        5 => {
            write(&beside(".new"));
            File::open(beside(".new")).unwrap().sync_all().unwrap();
            fs::hard_link(path, beside(".bak")).unwrap_or_default();
            fs::rename(beside(".new"), path).unwrap();
            let _there_may_be_none = fs::remove_file(beside(".bak"));
            "linked aside, renamed over"
        }
        _ => {
            // Copied in with an old date, as `mv` brings it from elsewhere.
            write(&beside(".old"));
            let old = SystemTime::now() - Duration::from_secs(1_000_000);
            File::open(beside(".old")).unwrap().set_times(FileTimes::new().set_modified(old)).unwrap();
            fs::rename(beside(".old"), path).unwrap();
            OLD_DATE
        }
    }
}

async fn edit(instance: &Instance, id: &str, value: u64, random: &mut Random) -> Option<&'static str> {
    let text = text(id, value, random);
    if let Standing::Runs(service) = &instance.standing
        && random.below(3) == 0
    {
        let node: Value = serde_json::from_str(&text).unwrap();
        let answer = service.put(id, &node).await;
        return answer.status().is_success().then_some("PUT");
    }
    let path = instance.path(id);
    let Standing::Runs(service) = &instance.standing else {
        // While nobody watches, an old date would say that the file is an older version.
        File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
        return Some("in place, while it is down");
    };
    let how = save(&path, &text, random);
    if how == OLD_DATE {
        // The same where it ends before it noticed.
        let holds = async || {
            let answer = service.get(&format!("/nodes/{id}")).await;
            answer.status().is_success() && service::json_of(answer).await["value"] == value
        };
        until("what was moved in is noticed", LONG, holds).await;
    }
    Some(how)
}

/// What was deleted by hand on this instance and is not written down there yet stays as it is, for the grace after `from`.
fn hold_unwritten(last: &mut BTreeMap<String, Last>, number: usize, from: Instant) {
    for known in last.values_mut().filter(|known| known.by_hand_on == Some(number) && known.free_at > Instant::now()) {
        known.free_at = from + WRITTEN_DOWN;
    }
}

/// Confirms, as an admin does, what the mass-delete guard lets wait: more is deleted in this minute than a peer may delete in an hour.
async fn confirm_deletions(service: &Service) {
    let waiting = service.request(reqwest::Method::GET, "/api/federation/deletions").bearer_auth(TOKEN);
    let waiting = service::json_of(waiting.send().await.unwrap()).await;
    for sender in waiting["senders"].as_array().unwrap() {
        let confirm = service.request(reqwest::Method::POST, "/api/federation/deletions/confirm").bearer_auth(TOKEN);
        let answer = confirm.json(&json!({ "from": sender["from"] })).send().await.unwrap();
        if !answer.status().is_success() {
            // A newer version came meanwhile, or a file is half written; those that still wait are confirmed the next time.
            let code = service::problem(answer).await.1;
            assert!(["no_deletions_wait", "node_unavailable"].contains(&code.as_str()), "{code}");
        }
    }
}

/// Waits until all hold the same; otherwise tells how each one stands.
async fn settle(services: &[&Service]) -> Duration {
    let asked = Instant::now();
    loop {
        let mut hashes = Vec::new();
        for service in services {
            confirm_deletions(service).await;
            hashes.push(service.set_hash().await);
        }
        if hashes.iter().all(|hash| *hash == hashes[0]) {
            return asked.elapsed();
        }
        if asked.elapsed() > LONG {
            for (service, hash) in services.iter().zip(&hashes) {
                let admin = |path| service.request(reqwest::Method::GET, path).bearer_auth(TOKEN).send();
                let status = admin("/api/federation/status").await.unwrap().text().await.unwrap();
                let deletions = admin("/api/federation/deletions").await.unwrap().text().await.unwrap();
                let nodes = service.get("/nodes?limit=1000").await.text().await.unwrap();
                eprintln!("{hash}\nstatus: {status}\ndeletions: {deletions}\nnodes: {nodes}\n");
            }
            panic!("not the same after {LONG:?}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn after_a_minute_of_everything_all_hold_the_last_edit_of_each_document() {
    let seconds = number("CHAOS_SECONDS").unwrap_or(60);
    let seed = number("CHAOS_SEED")
        .unwrap_or_else(|| u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap());
    eprintln!("CHAOS_SEED={seed}");
    let mut random = Random::seeded(seed);
    let ports: Vec<u16> = {
        let held: Vec<_> = (0..INSTANCES).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        held.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
    };
    let mut instances = Vec::new();
    for (number, port) in ports.iter().enumerate() {
        let place = Place::new()
            .set("ARK_NODE_ID", &format!("chaos-{number}"))
            .set("FEDERATION_PORT", &port.to_string())
            .set("ARK_TRUST_MODE", "open")
            .set("ARK__FEDERATION__PRIVATE_PEERS", "true")
            .set("ARK__FEDERATION__AUTO_SYNC", "true")
            .set("ARK__FEDERATION__SYNC_INTERVAL", "1s");
        let standing = Standing::Runs(place.serve_on(*port).await);
        instances.push(Instance { place, port: *port, standing, until: Instant::now() });
    }
    // Each knows the next one, and the first knows all: a mesh with cycles.
    for (from, to) in [(0, 1), (0, 2), (0, 3), (1, 2), (2, 3), (3, 1)] {
        let Standing::Runs(service) = &instances[from].standing else { panic!("it runs") };
        let peer = json!({ "peerUrl": format!("http://127.0.0.1:{}", ports[to]) });
        let added = service.request(reqwest::Method::POST, "/api/federation/peers/add").bearer_auth(TOKEN).json(&peer);
        assert!(added.send().await.unwrap().status().is_success());
    }

    let mut last: BTreeMap<String, Last> = BTreeMap::new();
    let (mut value, mut counts) = (0_u64, BTreeMap::<&'static str, u32>::new());
    let mut told: Vec<String> = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(seconds) {
        let now = Instant::now();
        for (number, instance) in instances.iter_mut().enumerate() {
            if !instance.runs() && instance.until < now {
                instance.start().await;
                told.push(format!("{:?}: {number} runs again", begun.elapsed()));
                hold_unwritten(&mut last, number, Instant::now());
            }
        }
        let number = usize::try_from(random.below(4)).unwrap();
        let down = instances.iter().filter(|instance| !instance.runs()).count();
        match random.below(100) {
            0..2 if down < 2 && instances[number].runs() => {
                let instance = &mut instances[number];
                instance.until = now + Duration::from_millis(200 + random.below(3000));
                let Standing::Runs(service) = std::mem::replace(&mut instance.standing, Standing::Down) else {
                    panic!("it runs")
                };
                hold_unwritten(&mut last, number, instance.until + LONG);
                told.push(format!("{:?}: {number} ends or stops", begun.elapsed()));
                match random.below(3) {
                    0 => {
                        service.kill();
                        *counts.entry("kill -9").or_default() += 1;
                    }
                    1 => {
                        assert!(service.terminate().await.success());
                        *counts.entry("restart").or_default() += 1;
                    }
                    _ => {
                        service.process.signal("STOP");
                        instance.standing = Standing::Stopped(service);
                        *counts.entry("SIGSTOP").or_default() += 1;
                    }
                }
            }
            2..90 => {
                let id = format!("doc-{}", random.below(DOCUMENTS));
                let known = last.get(&id);
                if known.is_some_and(|known| known.free_at > now) {
                    continue;
                }
                let delete = random.below(8) == 0 && known.is_some_and(|known| known.value.is_some());
                let instance = &instances[number];
                // A deletion leaves no date behind: by hand it is made where it is noticed at once.
                if delete && !instance.runs() {
                    continue;
                }
                let (how, value) = if delete {
                    let Standing::Runs(service) = &instance.standing else { panic!("it runs") };
                    let path = instance.path(&id);
                    let how = if random.below(2) == 0 && path.exists() {
                        fs::remove_file(&path).ok().map(|()| "rm")
                    } else {
                        service.delete(&id).await.status().is_success().then_some("DELETE")
                    };
                    (how, None)
                } else {
                    value += 1;
                    (edit(instance, &id, value, &mut random).await, Some(value))
                };
                let Some(how) = how else { continue };
                *counts.entry(how).or_default() += 1;
                let at = Instant::now();
                // Until it is written down, nobody else edits what was deleted by hand.
                let by_hand_on = (how == "rm").then_some(number);
                let apart = if by_hand_on.is_some() { WRITTEN_DOWN } else { APART };
                let how = format!("{how} on {number} after {:?}", begun.elapsed());
                told.push(format!("{id}: {value:?} by {how}"));
                last.insert(id, Last { value, at, free_at: at + apart, how, by_hand_on });
            }
            90..92 => {
                if let Standing::Runs(service) = &instances[number].standing {
                    confirm_deletions(service).await;
                }
            }
            _ => {}
        }
        tokio::time::sleep(Duration::from_millis(2 + random.below(15))).await;
    }
    eprintln!("{counts:?}");

    for instance in &mut instances {
        instance.start().await;
    }
    let services: Vec<&Service> = instances
        .iter()
        .map(|instance| match &instance.standing {
            Standing::Runs(service) => service,
            _ => panic!("all run"),
        })
        .collect();
    // Half-written files are given half a second, vanished ones two; then everything was seen everywhere.
    let seen = Instant::now();
    until("each sees its own edits", LONG, async || {
        for service in &services {
            if service.get_json("/health").await["lattice"]["status"] != "ok" {
                return false;
            }
        }
        seen.elapsed() > Duration::from_millis(2500)
    })
    .await;
    for service in &services {
        let synced = service.request(reqwest::Method::POST, "/api/federation/sync").bearer_auth(TOKEN).json(&json!({}));
        assert!(synced.send().await.unwrap().status().is_success());
    }
    let settled = settle(&services).await;
    eprintln!("equal {settled:?} after the last fault was over and each had synchronized once");
    assert!(settled < Duration::from_secs(1), "equal within a second, not {settled:?}");

    let mut wrong = Vec::new();
    for (id, last) in &last {
        let answer = services[0].get(&format!("/nodes/{id}")).await;
        let held = match answer.status().as_u16() {
            404 => None,
            200 => Some(service::json_of(answer).await["value"].as_u64().unwrap()),
            status => panic!("{id}: {status}"),
        };
        if held != last.value {
            wrong.push(format!(
                "{id}: holds {held:?}, last was {:?} by {} ({:?} ago)",
                last.value,
                last.how,
                last.at.elapsed()
            ));
            let of_it = |line: &&String| line.starts_with(&format!("{id}:")) || !line.starts_with("doc-");
            wrong.extend(told.iter().filter(of_it).rev().take(12).map(|line| format!("    before: {line}")));
        }
    }
    assert!(wrong.is_empty(), "CHAOS_SEED={seed}: of {} documents:\n{}", last.len(), wrong.join("\n"));
}

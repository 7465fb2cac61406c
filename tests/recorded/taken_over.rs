//! This release starts on the directories of a recorded one, and nothing is lost.

use crate::{
    compare::assert_says,
    pair::{Pair, releases},
    redis_server::RedisServer,
    service::{Place, Service, TOKEN, json_of, problem, text, until},
    signing::{key, signed},
};
use ark_lattice::identity::KeyPair;
use reqwest::Method;
use secrecy::SecretString;
use serde_json::{Value, json};
use std::{
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const LIMIT: Duration = Duration::from_secs(20);
/// Members that differ from start to start.
const VOLATILE: &[&str] = &[
    // Of the key that has the id now; release 0.1.0 showed `revoked` for an instance that replaced its key.
    "giver_trust",
    "version",
    "listenPort",
    "index_build_seconds",
    "expires_in",
    "last_seen",
    "peers_connected",
    "lag",
];
/// The same for commands. `since` of a key without statements is the mtime of its file.
const VOLATILE_FOR_COMMANDS: &[&str] = &["being_written", "since"];

/// A service on recorded directories, at the time of the recording.
async fn serve(pair: &Pair) -> (Place, Service) {
    let place = pair.unpack(pair.taken_at() + 1.0, &[]);
    let service = place.serve().await;
    (place, service)
}

async fn operate(service: &Service, method: Method, path: &str) -> (u16, Value) {
    let answer = service.request(method, path).bearer_auth(TOKEN).send().await.unwrap();
    (answer.status().as_u16(), serde_json::from_str(&answer.text().await.unwrap()).unwrap())
}

/// The lines of the changes feed, from position 0.
async fn changes(service: &Service) -> Value {
    let lines = service.get("/lattice/changes?since=0").await.text().await.unwrap();
    lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect()
}

/// The answers are those of the recorded release: nodes with their hashes, versions, tombstones and positions in the journal, conflicts
/// with their contents, peers, trust decisions, live peers, past rounds.
async fn answers_alike(pair: &Pair, place: &Place, service: &Service) {
    let (name, expected) = (&pair.name, pair.expected());
    assert_eq!(service.set_hash().await, text(&expected["set_hash"]), "{name}");
    assert_says(&format!("{name}: changes"), &changes(service).await, &expected["changes"], VOLATILE);
    for (path, then) in expected["answers"].as_object().unwrap() {
        let (status, body) = operate(service, Method::GET, path).await;
        assert_eq!(u64::from(status), then["status"].as_u64().unwrap(), "{name}: {path}: {body}");
        assert_says(&format!("{name}: {path}"), &body, &then["body"], VOLATILE);
    }
    commands_alike(pair, place, service);
}

/// The same for commands.
fn commands_alike(pair: &Pair, place: &Place, service: &Service) {
    for (command, then) in pair.expected()["commands"].as_object().unwrap() {
        let mut words: Vec<&str> = command.split(' ').chain(["--json"]).collect();
        if words[0] == "conflicts" {
            words.extend(["--url", &service.url]);
        }
        let run = place.command(&words).output().unwrap();
        assert!(run.status.success(), "{command}: {}", String::from_utf8_lossy(&run.stderr));
        let now: Value = serde_json::from_slice(&run.stdout).unwrap();
        assert_says(&format!("{}: {command}", pair.name), &now, then, VOLATILE_FOR_COMMANDS);
    }
}

#[tokio::test]
async fn an_instance_with_the_embedded_registry_is_taken_over() {
    for release in releases() {
        // phi has peers with filters, beta was killed and had its key replaced, mu knows a revoked key.
        for name in ["alpha", "beta", "phi", "mu"] {
            let pair = Pair::read(&release, name);
            let (place, service) = serve(&pair).await;
            answers_alike(&pair, &place, &service).await;
            let (_, listed) = operate(&service, Method::GET, "/nodes?limit=1000").await;
            let is_revoked = listed["nodes"].as_array().unwrap().iter().any(|node| node["giver_trust"] == "revoked");
            assert_eq!(is_revoked, name == "mu", "{name}: a giver that replaced its key is none whose key was revoked");
            // And again from what this release wrote.
            assert!(service.terminate().await.success());
            let service = place.serve().await;
            answers_alike(&pair, &place, &service).await;
        }
    }
}

/// Loads the recorded content. Expiry times are moved to this machine's clock, which redis-server reads.
async fn fill(redis: &RedisServer, pair: &Pair) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let then = Duration::from_secs_f64(pair.taken_at()).as_millis();
    let moved = |text: &str| (text.parse::<u128>().unwrap() + now - then).to_string();
    let mut connection = redis::Client::open(redis.url()).unwrap().get_multiplexed_async_connection().await.unwrap();
    for mut words in pair.redis() {
        match words[0].as_str() {
            "PEXPIREAT" => words[2] = moved(&words[2]),
            "ZADD" => words.iter_mut().skip(2).step_by(2).for_each(|score| *score = moved(score)),
            _ => {
                if let Some(at) = words.iter().position(|word| word == "expires_at") {
                    words[at + 1] = moved(&words[at + 1]);
                }
            }
        }
        let mut command = redis::cmd(&words[0]);
        command.arg(&words[1..]);
        command.query_async::<redis::Value>(&mut connection).await.unwrap();
    }
}

#[tokio::test]
async fn an_instance_with_redis_is_taken_over() {
    for release in releases() {
        let (pair, phi) = (Pair::read(&release, "gamma"), Pair::read(&release, "phi"));
        let redis = RedisServer::start().await;
        fill(&redis, &pair).await;
        let place = pair.unpack(pair.taken_at() + 1.0, &[]).set("REDIS_URL", &redis.url());
        let service = place.serve().await;
        answers_alike(&pair, &place, &service).await;
        let bound = key_of(&phi);
        assert_eq!(publish(&service, &bound, "ark-phi", pair.taken_at() + 2.0).await, None);
        let foreign = publish(&service, &key(1), "ark-phi", pair.taken_at() + 3.0).await;
        assert_eq!(foreign.as_deref(), Some("key_mismatch"));
    }
}

fn key_of(pair: &Pair) -> KeyPair {
    read_key(pair.state_text("identity.key"))
}

fn read_key(text: &str) -> KeyPair {
    KeyPair::from_base64(&SecretString::from(text.trim().to_owned())).unwrap()
}

/// The error code of the refusal; `None`: the manifest was accepted.
async fn publish(service: &Service, key: &KeyPair, node_id: &str, at: f64) -> Option<String> {
    let answer = service.post("/manifest", signed(key, &json!({"node_id": node_id, "last_updated": at}))).await;
    if answer.status().is_success() {
        return None;
    }
    Some(problem(answer).await.1)
}

#[tokio::test]
async fn bound_rotated_and_revoked_keys_are_known() {
    for release in releases() {
        let [alpha, beta, lambda, mu] = ["alpha", "beta", "lambda", "mu"].map(|name| Pair::read(&release, name));
        let (_place, service) = serve(&alpha).await;
        let at = |seconds: f64| alpha.taken_at() + seconds;
        // beta's key was rotated: the successor is accepted, the previous key is not.
        assert_eq!(publish(&service, &key_of(&beta), "ark-beta", at(2.0)).await, None);
        let replaced = publish(&service, &read_key(beta.replaced_key()), "ark-beta", at(3.0)).await;
        assert_eq!(replaced.as_deref(), Some("key_mismatch"));
        assert_eq!(publish(&service, &key(1), "ark-beta", at(4.0)).await.as_deref(), Some("key_mismatch"));
        drop(service);

        // lambda's key was revoked: mu, which has the statement, refuses it, and lambda serves no head.
        let (_place, service) = serve(&mu).await;
        let revoked = publish(&service, &key_of(&lambda), "ark-lambda", mu.taken_at() + 2.0).await;
        assert_eq!(revoked.as_deref(), Some("peer_revoked"));
        drop(service);
        let (place, service) = serve(&lambda).await;
        assert_eq!(problem(service.get("/lattice/head").await).await.1, "peer_revoked");
        commands_alike(&lambda, &place, &service);
        let identity = &lambda.expected()["answers"]["/lattice/identity"]["body"];
        assert_eq!(service.get_json("/lattice/identity").await, *identity);
    }
}

#[test]
fn recorded_recovery_words_replace_the_key() {
    for release in releases() {
        let beta = Pair::read(&release, "beta");
        let place = beta.unpack(beta.taken_at() + 1.0, &[]);
        std::fs::write(place.path("words"), beta.words()).unwrap();
        let run = place.command(&["key", "recover", "--words-file", "words", "--json"]).output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        let said: Value = serde_json::from_slice(&run.stdout).unwrap();
        assert_eq!(said["status"], "current");
        assert_ne!(said["public_key"], beta.expected()["commands"]["key show"]["public_key"]);
    }
}

#[tokio::test]
async fn a_recorded_encrypted_key_is_opened() {
    for release in releases() {
        let psi = Pair::read(&release, "psi");
        assert!(psi.state_text("identity.key").contains("argon2id"));
        let (_place, service) = serve(&psi).await;
        assert_eq!(service.get("/lattice/head").await.status(), 200);
    }
}

#[tokio::test]
async fn a_recorded_broken_file_is_reported_and_the_other_nodes_are_served() {
    for release in releases() {
        let lambda = Pair::read(&release, "lambda");
        let (_place, service) = serve(&lambda).await;
        let nodes = service.nodes().await;
        for node in lambda.expected()["answers"]["/nodes?limit=1000"]["body"]["nodes"].as_array().unwrap() {
            assert!(nodes.contains(&(text(&node["id"]), text(&node["hash"]))), "{node} is not among {nodes:?}");
        }
        let broken = &lambda.expected()["answers"]["/health"]["body"]["lattice"]["broken"];
        let named = &service.get_json("/health").await["lattice"]["broken"];
        assert_eq!((broken.as_array().unwrap().len(), &named[0]["file"]), (1, &broken[0]["file"]));
    }
}

#[tokio::test]
async fn a_recorded_conflict_is_restored() {
    for release in releases() {
        let pair = Pair::read(&release, "alpha");
        let (_place, service) = serve(&pair).await;
        let conflicts = &pair.expected()["answers"]["/conflicts?contents=true"]["body"]["conflicts"];
        // Over another version, and over a deletion.
        for conflict in &conflicts.as_array().unwrap()[..2] {
            let path = format!("/conflicts/{}/restore", conflict["number"]);
            assert_eq!(operate(&service, Method::POST, &path).await.0, 200);
            let node = service.get_json(&format!("/nodes/{}", conflict["id"].as_str().unwrap())).await;
            assert_eq!(node["text"], conflict["node"]["text"]);
        }
        let left = service.get_json("/conflicts").await;
        let numbers: Vec<u64> =
            left["conflicts"].as_array().unwrap().iter().map(|it| it["number"].as_u64().unwrap()).collect();
        let before: Vec<u64> = conflicts.as_array().unwrap().iter().map(|it| it["number"].as_u64().unwrap()).collect();
        assert!(!numbers.contains(&before[0]) && !numbers.contains(&before[1]), "{numbers:?}");
        assert!(before[2..].iter().all(|number| numbers.contains(number)), "{numbers:?}");
    }
}

#[tokio::test]
async fn recorded_switches_of_the_admin_are_kept() {
    for release in releases() {
        let alpha = serve(&Pair::read(&release, "alpha")).await;
        let (_, status) = operate(&alpha.1, Method::GET, "/api/federation/status").await;
        assert_eq!((&status["info"]["autoSync"], &status["info"]["syncInterval"]), (&json!(false), &json!(45_000)));
        let (_place, tau) = serve(&Pair::read(&release, "tau")).await;
        assert_eq!(problem(tau.get("/lattice/head").await).await, (503, "federation_stopped".to_owned()));
        assert_eq!(operate(&tau, Method::POST, "/api/federation/start").await.0, 200);
        assert_eq!(tau.get("/lattice/head").await.status(), 200);
    }
}

#[tokio::test]
async fn a_recorded_manifest_json_is_kept_up_to_date() {
    for release in releases() {
        let (place, service) = serve(&Pair::read(&release, "alpha")).await;
        assert_eq!(service.put("added-now", &json!({"id": "added-now"})).await.status(), 201);
        let path = place.lattice().join("manifest.json");
        let names_it = |text: &str| text.contains("\"added-now\"");
        until("manifest.json names it", LIMIT, async || names_it(&std::fs::read_to_string(&path).unwrap())).await;
    }
}

/// The result of a start on a copied or restored pair of directories.
#[derive(Debug, PartialEq, Eq)]
enum Copied {
    /// Refused; the message contains this text.
    Refused(&'static str),
}

/// The expectation of `a_copied_pair_is_refused_with_advice_and_nothing_in_it_changes`, by recorded release. 0.1.0 identifies its data
/// directory by inode and writes no marker, so a copy looks like another directory.
fn copied(release: &Path) -> Copied {
    match release.file_name().unwrap().to_str().unwrap() {
        "0.1.0" => Copied::Refused("run: ark-lattice adopt"),
        other => panic!("what becomes of a copied pair of {other}?"),
    }
}

#[tokio::test]
async fn a_copied_pair_is_refused_with_advice_and_nothing_in_it_changes() {
    for release in releases() {
        let pair = Pair::read(&release, "alpha");
        let place = pair.copy(pair.taken_at() + 1.0, &[]);
        let data = || {
            let mut files: Vec<_> = std::fs::read_dir(place.lattice()).unwrap().map(|it| it.unwrap()).collect();
            files.sort_by_key(std::fs::DirEntry::file_name);
            let content = |it: &std::fs::DirEntry| (it.file_name(), std::fs::read(it.path()).unwrap());
            files.iter().map(content).collect::<Vec<_>>()
        };
        let before = data();
        let run = place.command(&["serve", "--port", "0"]).output().unwrap();
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        let Copied::Refused(advice) = copied(&release);
        assert!(run.status.code() == Some(1) && said.contains(advice), "{said}");
        assert!(data() == before, "the data directory was changed");
        // Nor was the state directory: after the advice was followed, the same pair is served.
        let adopted = place.command(&["adopt"]).output().unwrap();
        assert!(adopted.status.success(), "{}", String::from_utf8_lossy(&adopted.stderr));
        let service = place.serve().await;
        assert_eq!(service.set_hash().await, text(&pair.expected()["set_hash"]));
    }
}

#[tokio::test]
async fn a_recorded_document_keeps_its_digits_and_escapes() {
    for release in releases() {
        let (_place, service) = serve(&Pair::read(&release, "beta")).await;
        let numbers = service.get("/nodes/numbers").await.text().await.unwrap();
        assert!(numbers.contains("12345678901234567890123") && numbers.contains("1.0") && numbers.contains("1e-7"));
        let pretty = json_of(service.get("/nodes/pretty").await).await;
        assert_eq!(pretty["escapes"], "é\n\"\\");
    }
}

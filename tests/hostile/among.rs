//! One instance, an honest peer, and all the others at once.

use crate::{
    misdeeds::{self, BASE, LATE_ID, ODD_IDS, base_id},
    server::Hostile,
    service::{Place, Service, text, until},
};
use reqwest::Method;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

const DEADLINE: Duration = Duration::from_secs(120);
/// What the instance may take more than before all of them came. Eight rounds of some megabytes each are part of that.
const MAY_GROW_KB: u64 = 96 << 10;

fn place(name: &str) -> Place {
    let place = Place::new().set("ARK_NODE_ID", name).set("ARK__FEDERATION__PEER_TIMEOUT", "3s");
    let place = place.set("FEDERATION_SYNC_INTERVAL", "2000").set("FEDERATION_AUTO_SYNC", "true");
    for number in 0..BASE {
        let id = base_id(number);
        place.write_node(&id, &json!({"id": id, "content": "base", "updated_at": 1_700_000_000}));
    }
    place
}

/// All that was said of each peer by now, looked at often: a later round may end with another error, for want of time on a slow machine.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<BTreeMap<String, BTreeSet<String>>>>);

impl Said {
    async fn watch(self, path: PathBuf) {
        let mut beat = tokio::time::interval(Duration::from_millis(20));
        loop {
            beat.tick().await;
            // It is written with the first round.
            let Ok(bytes) = fs::read(&path) else { continue };
            let peers: BTreeMap<String, Value> = serde_json::from_slice(&bytes).unwrap();
            let mut said = self.0.lock().unwrap();
            for (url, peer) in peers {
                said.entry(url).or_default().extend(peer["error"].as_str().map(str::to_owned));
            }
        }
    }

    fn of(&self, peer: &Hostile) -> BTreeSet<String> {
        self.0.lock().unwrap().get(&peer.url).cloned().unwrap_or_default()
    }
}

fn status_kb(service: &Service, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", service.process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
}

/// An edit on the one is seen on the other: how long that took.
async fn edit(from: &Service, (to, place): (&Service, &Place), number: usize) -> Duration {
    let content = format!("edit {number}");
    let begun = Instant::now();
    assert!(from.put("edited", &json!({"id": "edited", "content": content})).await.status().is_success());
    until("an honest edit is on the instance", DEADLINE, async || {
        let answer = to.request(Method::GET, "/nodes/edited").send().await;
        let answer = answer.unwrap_or_else(|error| panic!("the instance is gone: {error:?}\n{}", place.log()));
        answer.status().is_success() && answer.text().await.unwrap().contains(&content)
    })
    .await;
    begun.elapsed()
}

#[tokio::test]
async fn an_instance_among_hostile_peers_stays_in_step_with_the_honest_one() {
    let honest_place = place("honest");
    let honest = honest_place.serve().await;
    let alone_place = place("alone").set("FEDERATION_TRUSTED_PEERS", &honest.url);
    let alone = alone_place.serve().await;
    edit(&honest, (&alone, &alone_place), 0).await;
    let rss_alone = status_kb(&alone, "VmRSS");
    let mut usual = Vec::new();
    for number in 1..6 {
        usual.push(edit(&honest, (&alone, &alone_place), number).await);
    }
    alone.kill();

    let mut hostile = Vec::new();
    for misdeed in misdeeds::all() {
        hostile.push((misdeed.name, misdeed.said, Hostile::start(misdeed.name, misdeed.script).await));
    }
    let urls: Vec<&str> = hostile.iter().map(|(_, _, peer)| peer.url.as_str()).chain([honest.url.as_str()]).collect();
    let victim_place = place("victim").set("FEDERATION_TRUSTED_PEERS", &urls.join(","));
    let begun = Instant::now();
    let mut victim = victim_place.serve().await;

    let said = Said::default();
    let watched = tokio::spawn(said.clone().watch(victim_place.path("state").join("peers.json")));
    let mut among = Vec::new();
    let mut unnamed: Vec<&(&str, &str, Hostile)> = hostile.iter().collect();
    while !unnamed.is_empty() {
        among.push(edit(&honest, (&victim, &victim_place), 100 + among.len()).await);
        assert!(!watched.is_finished(), "what is known of the peers cannot be read");
        unnamed.retain(|(_, expected, peer)| {
            let says = said.of(peer);
            !expected.split('|').any(|expected| says.iter().any(|error| error.contains(expected)))
        });
        let missing = || {
            let tell = |(name, expected, peer): &&(&str, &str, Hostile)| {
                format!("{name}: {expected:?}, but it says {:?}", said.of(peer))
            };
            unnamed.iter().map(tell).collect::<Vec<_>>()
        };
        assert!(begun.elapsed() < DEADLINE, "not all is said of: {:#?}\n{}", missing(), victim_place.log());
    }
    watched.abort();
    let took = begun.elapsed();
    let peak = status_kb(&victim, "VmHWM");
    let slowest = |times: &[Duration]| times.iter().max().copied().unwrap_or_default();
    eprintln!(
        "{} hostile peers named in {took:?}; {peak} kB at the peak, {rss_alone} kB alone; {} honest edits, the slowest after {:?} \
         (alone {:?})",
        hostile.len(),
        among.len(),
        slowest(&among),
        slowest(&usual)
    );
    assert!(peak < rss_alone + MAY_GROW_KB, "{peak} kB at the peak, {rss_alone} kB alone");
    assert!(victim.process.is_running());

    // What is honest is there, what was odd is a file of ours, and nothing else.
    let nodes = victim.nodes().await;
    for number in 0..BASE {
        assert!(nodes.iter().any(|(id, _)| *id == base_id(number)), "{} is gone", base_id(number));
        let node = victim.get_json(&format!("/nodes/{}", base_id(number))).await;
        assert_eq!(text(&node["content"]), "base");
    }
    for id in ODD_IDS {
        assert!(nodes.iter().any(|(known, _)| known == id), "{id} was not taken");
    }
    assert!(!nodes.iter().any(|(id, _)| id == "a-lie"), "a lie was believed, or a version from the future");
    for name in ["outside.json", "etc", "b.json"] {
        assert!(!victim_place.path(name).exists(), "{name} is outside the data directory");
    }
    let files = fs::read_dir(victim_place.lattice()).unwrap().map(|entry| entry.unwrap());
    let strange: Vec<_> = files.filter(|file| !file.file_type().unwrap().is_file()).collect();
    assert!(strange.is_empty(), "{strange:?}");
    until("what was left out at first came later", DEADLINE, async || {
        victim.get(&format!("/nodes/{LATE_ID}")).await.status().is_success()
    })
    .await;
    until("both honest ones hold the same", DEADLINE, async || victim.set_hash().await == honest.set_hash().await)
        .await;

    // Who floods and who begins anew all the time is asked no more often than anybody else who fails.
    for name in ["flood-of-notices", "new-journal-each-time", "endless-notice", "shuts-the-door"] {
        let (_, _, peer) = hostile.iter().find(|(known, _, _)| *known == name).unwrap();
        let rounds = peer.peer.asked("head");
        assert!(rounds < 40, "{name} was asked for its head {rounds} times in {took:?}");
    }
}

//! What people do to an instance, with real processes and real copies of directories: snapshots that are rolled back, edits while the
//! service is stopped, restores of everything or of the state alone. What the others did since must not be lost by it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test stops at the first surprise and says which"
)]

#[path = "../support/service.rs"]
mod service;

use serde_json::{Value, json};
use service::{Place, Service, TOKEN, json_of, text, until};
use std::{collections::BTreeSet, path::Path, process::Command, time::Duration};

/// How long a watcher may take on a busy machine.
const SEEN: Duration = Duration::from_secs(20);

struct Instance {
    place: Place,
    port: u16,
    service: Option<Service>,
}

impl Instance {
    async fn start(name: &str) -> Self {
        let place = Place::new().set("ARK_NODE_ID", name).set("ARK__FEDERATION__PRIVATE_PEERS", "true");
        let service = place.serve().await;
        Self { place, port: service.port, service: Some(service) }
    }

    fn service(&self) -> &Service {
        self.service.as_ref().unwrap()
    }

    async fn stop(&mut self) {
        assert!(self.service.take().unwrap().terminate().await.success());
    }

    async fn start_again(&mut self) {
        self.service = Some(self.place.serve_on(self.port).await);
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        let request = self.service().request(reqwest::Method::POST, path);
        json_of(request.bearer_auth(TOKEN).json(body).send().await.unwrap()).await
    }

    async fn add(&self, peer: &Self, direction: &str) {
        let url = format!("http://127.0.0.1:{}", peer.port);
        self.post("/api/federation/peers/add", &json!({"peerUrl": url, "direction": direction})).await;
    }

    /// A round with every peer, which must report that it succeeded.
    async fn sync(&self) {
        let answer = self.post("/api/federation/sync", &json!({})).await;
        for round in answer["result"].as_array().unwrap() {
            assert!(round["error"].is_null(), "{answer}");
        }
    }

    /// Changes files as an editor does, and waits until that is seen where the service runs.
    async fn write(&self, ids: &[&str], words: &str) {
        for id in ids {
            self.place.write_node(id, &json!({"id": id, "text": words}));
        }
        if self.service.is_some() {
            until("the files are seen", SEEN, async || {
                for id in ids {
                    if self.text_of(id).await.as_deref() != Some(words) {
                        return false;
                    }
                }
                true
            })
            .await;
        }
    }

    async fn text_of(&self, id: &str) -> Option<String> {
        let answer = self.service().get(&format!("/nodes/{id}")).await;
        if answer.status() == 404 { None } else { Some(text(&json_of(answer).await["text"])) }
    }

    async fn ids(&self) -> BTreeSet<String> {
        self.service().nodes().await.into_iter().map(|(id, _)| id).collect()
    }

    /// Copies a directory with everything that is in it, as `cp -a` does.
    fn copy(&self, from: &str, to: &str) {
        copy(&self.place.path(from), &self.place.path(to));
    }

    fn remove(&self, name: &str) {
        std::fs::remove_dir_all(self.place.path(name)).unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

fn set(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

/// A hub is rolled back to a snapshot, and goes on from there.
async fn roll_back(direction: &str) {
    let (mut hub, laptop) = (Instance::start("hub").await, Instance::start("laptop").await);
    laptop.add(&hub, direction).await;
    let pulls = direction == "pull";
    let write = async |hub: &Instance, ids: &[&str]| {
        if pulls { hub.write(ids, "v1").await } else { laptop.write(ids, "v1").await }
    };
    write(&hub, &["n1", "n2", "n3"]).await;
    laptop.sync().await;
    hub.stop().await;
    hub.copy("state", "old-state");
    hub.copy("lattice", "old-lattice");
    hub.start_again().await;
    write(&hub, &["n4", "n5", "n6"]).await;
    laptop.sync().await;
    let all = ["n1", "n2", "n3", "n4", "n5", "n6"];
    assert_eq!((hub.ids().await, laptop.ids().await), (set(&all), set(&all)));

    hub.stop().await;
    for name in ["state", "lattice"] {
        hub.remove(name);
        hub.copy(&format!("old-{name}"), name);
    }
    hub.start_again().await;
    // As many writes as were lost, and more: the positions are reached again by others.
    hub.write(&["hub1", "hub2", "hub3", "hub4"], "v1").await;
    laptop.sync().await;
    write(&hub, &["n7"]).await;
    laptop.sync().await;
    let hubs = ["hub1", "hub2", "hub3", "hub4", "n1", "n2", "n3", "n7"];
    let whole = [&hubs[..], &["n4", "n5", "n6"]].concat();
    let sevens = [&all[..], &["n7"]].concat();
    let expected = match direction {
        "push" => (set(&whole), set(&sevens)),
        "pull" => (set(&hubs), set(&whole)),
        _ => (set(&whole), set(&whole)),
    };
    assert_eq!((hub.ids().await, laptop.ids().await), expected, "{direction}");
}

#[tokio::test]
async fn what_a_hub_lost_by_a_rollback_comes_again_from_who_pushes() {
    roll_back("push").await;
}

#[tokio::test]
async fn what_a_hub_gives_anew_after_a_rollback_comes_to_who_pulls() {
    roll_back("pull").await;
}

#[tokio::test]
async fn both_come_to_the_same_after_a_rollback() {
    roll_back("both").await;
}

/// Two that are in step on one document.
async fn two_with_a_plan() -> (Instance, Instance) {
    let (one, other) = (Instance::start("one").await, Instance::start("other").await);
    one.write(&["plan"], "v1").await;
    one.add(&other, "both").await;
    one.sync().await;
    assert_eq!(other.text_of("plan").await.as_deref(), Some("v1"));
    (one, other)
}

async fn assert_both(one: &Instance, other: &Instance, words: &str) {
    let held = (one.text_of("plan").await, other.text_of("plan").await);
    assert_eq!(held, (Some(words.to_owned()), Some(words.to_owned())));
}

#[tokio::test]
async fn an_edit_of_a_stopped_service_counts_from_when_it_was_made() {
    let (mut one, other) = two_with_a_plan().await;
    one.stop().await;
    one.write(&["plan"], "v2, while its service was stopped").await;
    other.write(&["plan"], "v3, made after v2").await;
    one.start_again().await;
    one.sync().await;
    assert_both(&one, &other, "v3, made after v2").await;
    // What is overruled is kept.
    let lists = [one.service(), other.service()].map(|service| service.request(reqwest::Method::GET, "/conflicts"));
    let mut kept = 0;
    for list in lists {
        kept += json_of(list.bearer_auth(TOKEN).send().await.unwrap()).await["conflicts"].as_array().unwrap().len();
    }
    assert_eq!(kept, 1);
}

#[tokio::test]
async fn a_restored_pair_of_directories_starts_elsewhere_and_keeps_its_deletions() {
    let (mut one, mut other) = (Instance::start("one").await, Instance::start("other").await);
    one.write(&["n1", "n2", "n3"], "v1").await;
    one.add(&other, "both").await;
    one.sync().await;
    other.stop().await;
    std::fs::remove_file(one.place.lattice().join("n3.json")).unwrap();
    until("the deletion is seen", SEEN, async || one.text_of("n3").await.is_none()).await;
    one.stop().await;
    for name in ["state", "lattice"] {
        one.copy(name, &format!("backup-{name}"));
        one.remove(name);
        one.copy(&format!("backup-{name}"), name);
    }
    one.start_again().await;
    other.start_again().await;
    one.sync().await;
    assert_eq!((one.ids().await, other.ids().await), (set(&["n1", "n2"]), set(&["n1", "n2"])));
}

/// An older backup of state and data is restored at one of the two; `met`: it had seen the newer edit before.
async fn restore_an_older_backup(met: bool) {
    let (mut one, other) = two_with_a_plan().await;
    one.stop().await;
    one.copy("state", "backup-state");
    one.copy("lattice", "backup-lattice");
    other.write(&["plan"], "v2, made after the backup").await;
    if met {
        one.start_again().await;
        one.sync().await;
        assert_both(&one, &other, "v2, made after the backup").await;
        one.stop().await;
    }
    for name in ["state", "lattice"] {
        one.remove(name);
        one.copy(&format!("backup-{name}"), name);
    }
    one.start_again().await;
    one.sync().await;
    assert_both(&one, &other, "v2, made after the backup").await;
}

#[tokio::test]
async fn a_restored_backup_does_not_overrule_a_newer_edit_of_a_peer() {
    restore_an_older_backup(false).await;
}

#[tokio::test]
async fn nor_one_that_it_had_taken_before_it_was_restored() {
    restore_an_older_backup(true).await;
}

#[tokio::test]
async fn an_old_state_with_the_current_files_does_not_overrule_a_newer_edit_of_a_peer() {
    let (mut one, other) = two_with_a_plan().await;
    one.stop().await;
    one.copy("state", "old-state");
    one.start_again().await;
    one.write(&["plan"], "v2").await;
    one.sync().await;
    one.stop().await;
    other.write(&["plan"], "v3, the newest").await;
    one.remove("state");
    one.copy("old-state", "state");
    one.start_again().await;
    one.sync().await;
    one.sync().await;
    assert_both(&one, &other, "v3, the newest").await;
}

//! A peer whose position grows with each head that it signs, and what a service remembers of it.

use crate::{
    server::{Hostile, Reply, feed, ok},
    service::{Place, Service, TOKEN},
};
use reqwest::Client;
use serde_json::{Value, json};
use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

const NAME: &str = "teller";
/// Before the first head. More than its nodes: an older head is refused for its age and nothing else.
const FIRST: u64 = 100;

/// See the module. From the first head on nothing that it says was said before.
pub(crate) struct Teller {
    pub(crate) hostile: Hostile,
    told: Arc<Told>,
}

#[derive(Default)]
struct Told {
    newest: AtomicU64,
    /// The newest one that the service did something about: it asked for what the head speaks of.
    acted_on: AtomicU64,
    /// What is shown in its place; 0: nothing older.
    older: AtomicU64,
}

impl Teller {
    pub(crate) async fn start() -> Self {
        let told = Arc::new(Told { newest: AtomicU64::new(FIRST), ..Told::default() });
        let of_peer = Arc::clone(&told);
        let hostile = Hostile::start(NAME, move |peer, request| match request.route {
            "head" => {
                let older = of_peer.older.load(Ordering::Acquire);
                let seq = if older > 0 { older } else { of_peer.newest.fetch_add(1, Ordering::AcqRel) + 1 };
                Some(Reply::Bytes(ok(peer.head(|head| head.seq = seq))))
            }
            "changes" => {
                let seq = of_peer.newest.load(Ordering::Acquire);
                of_peer.acted_on.store(seq, Ordering::Release);
                Some(Reply::Bytes(ok(format!("{}{{\"end\":{seq}}}\n", feed(request, seq, &[])))))
            }
            _ => None,
        });
        Self { hostile: hostile.await, told }
    }

    pub(crate) fn acted_on(&self) -> u64 {
        self.told.acted_on.load(Ordering::Acquire)
    }

    /// The service that was started again knows what it acted on, and takes nothing older.
    pub(crate) async fn is_remembered(&self, place: &Place, service: &Service, when: &str) {
        let acted_on = self.acted_on();
        let log = fs::read_to_string(place.path("state").join("heads.log")).unwrap();
        let heads = log.lines().map(|line| serde_json::from_str::<Value>(line.split_once(' ').unwrap().1).unwrap());
        let known = heads.filter_map(|head| head["accepted"]["seq"].as_u64()).next_back().unwrap_or_default();
        assert!(known >= acted_on, "{when}: acted on {acted_on}, and knows {known}");
        if acted_on == 0 {
            return;
        }
        self.told.older.store(acted_on - 1, Ordering::Release);
        let said = round(&service.client, &service.url).await.unwrap();
        self.told.older.store(0, Ordering::Release);
        assert!(said.contains("older than the newest accepted one (seq)"), "{when}: {said}");
    }
}

/// A round with the only peer: why it failed, or nothing. An error: the service is gone.
pub(crate) async fn round(client: &Client, url: &str) -> reqwest::Result<String> {
    let request = client.post(format!("{url}/api/federation/sync")).bearer_auth(TOKEN).json(&json!({}));
    let synced: Value = request.send().await?.json().await?;
    Ok(synced["result"][0]["error"].as_str().unwrap_or_default().to_owned())
}

/// One round after the other until the service is gone.
pub(crate) async fn rounds(client: Client, url: String) {
    while round(&client, &url).await.is_ok() {}
}

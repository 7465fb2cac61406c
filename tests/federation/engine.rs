use crate::bed::{Instance, provider, until};
use ark_lattice::{
    federation::{
        events::{EventKind, Heard},
        peers::{Added, Direction, PeerOptions},
    },
    trust::TrustMode,
};
use std::time::Duration;

/// An instance that exchanges by itself with these.
async fn spoke(name: &'static str, peers: Vec<String>) -> Instance {
    Instance::start_with(name, |settings| {
        settings.federation.auto_sync = true;
        settings.federation.trusted_peers = peers;
    })
    .await
}

#[tokio::test]
async fn a_change_on_either_side_reaches_the_other_by_itself() {
    provider();
    let hub = Instance::start("hub").await;
    hub.put_many(50).await;
    let spoke = spoke("spoke", vec![hub.url.clone()]).await;
    until("the spoke has what the hub has", async || spoke.set_hash() == hub.set_hash()).await;
    // The spoke listens: nothing but its own connection leads to it.
    until("the spoke listens", async || spoke.engine().peers()[0].is_active()).await;
    hub.clock.advance(Duration::from_secs(1));
    hub.put("node-000001", "edited on the hub").await;
    let down = until("the edit is on the spoke", async || {
        spoke.content("node-000001").await.as_deref() == Some("edited on the hub")
    });
    let down = down.await;
    spoke.clock.advance(Duration::from_secs(2));
    spoke.put("node-000002", "edited on the spoke").await;
    let up = until("the edit is on the hub", async || {
        hub.content("node-000002").await.as_deref() == Some("edited on the spoke")
    });
    let up = up.await;
    eprintln!("an edit was there after {down:?} (hub to spoke) and {up:?} (spoke to hub)");
    // Counted when its round is over.
    until("it is counted", async || {
        let stats = spoke.engine().peers()[0].stats;
        stats.nodes_received >= 51 && stats.nodes_sent >= 1
    })
    .await;
    let peer = spoke.engine().peers().remove(0);
    assert_eq!((peer.node_id.as_deref(), peer.error), (Some("hub"), None));
    spoke.stop().await;
    hub.stop().await;
}

#[tokio::test]
async fn without_auto_sync_rounds_are_made_on_demand_and_kept_in_the_history() {
    provider();
    let (a, b) = (Instance::start("a").await, Instance::start("b").await);
    a.put("x", "from a").await;
    let engine = b.engine();
    let begin = engine.events().listen(None, Vec::new()).unwrap().begins_after();
    let (url, new) = engine.add_peer(&format!("{}/", a.url), PeerOptions::default()).unwrap();
    assert_eq!((new, url == a.url), (Added::New, true));
    assert_eq!(engine.add_peer(&url, PeerOptions::default()).unwrap().1, Added::Same);
    assert_eq!(engine.add_peer(&url, Direction::Pull.into()).unwrap().1, Added::Changed);
    assert!(engine.add_peer("ftp://a", PeerOptions::default()).is_err());
    let synced = engine.sync(None, false).await;
    assert!(synced.len() == 1 && synced[0].error.is_none(), "{synced:?}");
    assert_eq!(b.content("x").await.as_deref(), Some("from a"));
    let past = engine.history().newest(5);
    assert_eq!((past.len(), past[0].outcome.as_str(), past[0].received), (1, "in_step", 1));
    assert!(engine.sync(Some("http://127.0.0.1:1"), false).await.is_empty(), "there is no such peer");

    assert!(engine.remove_peer(&url).unwrap() && !engine.remove_peer(&url).unwrap());
    assert!(engine.sync(None, false).await.is_empty());
    let peers = EventKind::ALL.into_iter().filter(|kind| *kind != EventKind::NodeChanged).collect();
    let mut heard = engine.events().listen(Some(begin), peers).unwrap();
    let kinds = std::iter::from_fn(|| heard.kept()).map(|heard| match heard {
        Heard::Event(event) => event.kind,
        Heard::Missed { .. } => panic!("nothing is missed"),
    });
    let expected = [
        EventKind::PeerAdded,
        EventKind::SyncStarted,
        EventKind::PeerOnline,
        EventKind::SyncComplete,
        EventKind::PeerRemoved,
    ];
    assert_eq!(kinds.collect::<Vec<_>>(), expected);
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_peer_that_is_gone_delays_no_other_and_is_caught_up_with_later() {
    provider();
    let (a, b) = (Instance::start("a").await, Instance::start("b").await);
    a.put("x", "from a").await;
    let gone = "http://127.0.0.1:1".to_owned();
    let c = spoke("c", vec![gone.clone(), a.url.clone(), b.url.clone()]).await;
    until("what a has is on b, through c", async || b.content("x").await.is_some()).await;
    let engine = c.engine();
    until("the one that is gone is known to be", async || {
        engine.peers().iter().any(|peer| peer.url == gone && peer.failed_in_a_row > 0)
    })
    .await;
    until("the others answer", async || engine.peers().iter().filter(|peer| peer.is_active()).count() == 2).await;
    for instance in [c, a, b] {
        instance.stop().await;
    }
}

#[tokio::test]
async fn a_round_that_is_refused_for_a_missing_manifest_registers_and_goes_on() {
    provider();
    for direction in [Direction::Both, Direction::Push] {
        let (hub, laptop) = (Instance::start("hub").await, Instance::start("laptop").await);
        let (hub, before_contact) = hub.copied().await;
        laptop.engine().add_peer(&hub.url, direction.into()).unwrap();
        laptop.put("first", "1").await;
        assert_eq!(laptop.sync(false).await.error, None, "{direction:?}");

        // Its registry never met the laptop.
        let hub = hub.restored(&before_contact, |name| name.starts_with("state/")).await;
        hub.clock.advance(Duration::from_secs(5));
        laptop.put("second", "2").await;
        let synced = laptop.sync(false).await;
        assert_eq!((synced.error, hub.content("second").await.as_deref()), (None, Some("2")), "{direction:?}");

        // The entry expired.
        for instance in [&hub, &laptop] {
            instance.clock.advance(Duration::from_secs(1000));
        }
        laptop.put("third", "3").await;
        let synced = laptop.sync(false).await;
        assert_eq!((synced.error, hub.content("third").await.as_deref()), (None, Some("3")), "{direction:?}");
        laptop.stop().await;
        hub.stop().await;
    }
}

#[tokio::test]
async fn a_round_that_is_refused_for_its_key_is_refused_once() {
    provider();
    let hub = Instance::start_with("hub", |settings| settings.trust.mode = TrustMode::Allowlist).await;
    let laptop = Instance::start("laptop").await;
    laptop.engine().add_peer(&hub.url, Direction::Push.into()).unwrap();
    laptop.put("first", "1").await;
    let synced = laptop.sync(false).await;
    let error = synced.error.unwrap();
    assert!(error.contains("not_trusted") && !error.contains("no live manifest"), "{error}");
    assert_eq!((synced.report.sent, hub.content("first").await), (0, None));
    laptop.stop().await;
    hub.stop().await;
}

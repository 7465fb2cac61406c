//! Nodes whose files are broken at one of two instances.

use crate::bed::{Instance, nothing, provider, stop, until};
use ark_lattice::{
    federation::{
        engine::Synced,
        peers::Direction,
        round::{Outcome, unavailable::LeftOut},
    },
    types::NodeId,
};
use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    time::Duration,
};

/// Two with a few nodes at the first one; nothing was exchanged yet.
async fn two() -> (Instance, Instance) {
    provider();
    let (a, b) = (Instance::start("a").await, Instance::start("b").await);
    for n in 0..5 {
        a.put(&format!("node-{n}"), "first").await;
    }
    b.clock.advance(Duration::from_secs(1));
    (a, b)
}

/// The ways in which a file breaks.
#[derive(Clone, Copy)]
enum Damage {
    HalfWritten,
    Renamed,
    /// It may not be read. Root may read everything: there it is half written.
    Unreadable,
}

const WAYS: [Damage; 3] = [Damage::HalfWritten, Damage::Renamed, Damage::Unreadable];

fn id(text: &str) -> NodeId {
    NodeId::parse(text).unwrap()
}

/// Breaks the file of a node; answers what it held.
async fn damage(instance: &Instance, node: &str, way: Damage) -> Vec<u8> {
    let path = instance.directory().join(format!("{node}.json"));
    let whole = fs::read(&path).unwrap();
    match way {
        Damage::Unreadable => {
            fs::set_permissions(&path, Permissions::from_mode(0o000)).unwrap();
            if fs::read(&path).is_ok() {
                fs::write(&path, &whole[..whole.len() / 2]).unwrap();
            }
        }
        Damage::HalfWritten => fs::write(&path, &whole[..whole.len() / 2]).unwrap(),
        Damage::Renamed => fs::rename(&path, instance.directory().join("another name.json")).unwrap(),
    }
    until("the broken file is noticed", async || instance.lattice().is_unavailable(&id(node))).await;
    whole
}

async fn repair(instance: &Instance, node: &str, way: Damage, whole: &[u8]) {
    let path = instance.directory().join(format!("{node}.json"));
    match way {
        Damage::Unreadable => {
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            fs::write(&path, whole).unwrap();
        }
        Damage::HalfWritten => fs::write(&path, whole).unwrap(),
        Damage::Renamed => fs::rename(instance.directory().join("another name.json"), &path).unwrap(),
    }
    until("the repaired file is noticed", async || !instance.lattice().is_unavailable(&id(node))).await;
}

/// Outcome, what was left out here, and there; the round succeeded and the peer counts as reachable.
fn told(instance: &Instance, synced: &Synced) -> (Option<Outcome>, u64, u64) {
    assert_eq!(synced.error, None);
    let peer = instance.engine().peers().remove(0);
    assert!(peer.is_active() && peer.stats.failures == 0, "{peer:?}");
    let LeftOut { here, there } = synced.report.unavailable;
    (synced.report.outcome, here, there)
}

#[tokio::test]
async fn at_first_contact_a_broken_node_of_the_peer_is_left_out() {
    for way in WAYS {
        let (a, b) = two().await;
        let whole = damage(&a, "node-1", way).await;
        b.engine().add_peer(&a.url, Direction::Both.into()).unwrap();
        for _ in 0..3 {
            assert_eq!(told(&b, &b.sync(false).await), (Some(Outcome::Unavailable), 0, 1));
            assert_eq!(b.lattice().status().nodes, 4);
        }
        assert_eq!(b.engine().peers()[0].positions.unavailable.len(), 1);
        // Edits of both sides go on.
        a.put("node-2", "edited on a").await;
        b.clock.advance(Duration::from_secs(1));
        b.put("node-3", "edited on b").await;
        assert_eq!(told(&b, &b.sync(false).await), (Some(Outcome::Unavailable), 0, 1));
        assert_eq!(b.content("node-2").await.as_deref(), Some("edited on a"));
        assert_eq!(a.content("node-3").await.as_deref(), Some("edited on b"));

        repair(&a, "node-1", way, &whole).await;
        assert_eq!(told(&b, &b.sync(false).await), (Some(Outcome::InStep), 0, 0));
        assert_eq!(b.content("node-1").await.as_deref(), Some("first"));
        assert!(b.engine().peers()[0].positions.unavailable.is_empty());
        assert_eq!(a.set_hash(), b.set_hash());
        stop([a, b]).await;
    }
}

#[tokio::test]
async fn at_first_contact_a_broken_node_here_is_left_out() {
    for way in WAYS {
        let (a, b) = two().await;
        let whole = damage(&a, "node-1", way).await;
        a.engine().add_peer(&b.url, Direction::Both.into()).unwrap();
        assert_eq!(told(&a, &a.sync(false).await), (Some(Outcome::Unavailable), 1, 0));
        assert_eq!(b.lattice().status().nodes, 4);
        b.put("node-2", "edited on b").await;
        a.clock.advance(Duration::from_secs(5));
        a.put("node-3", "edited on a").await;
        assert_eq!(told(&a, &a.sync(false).await), (Some(Outcome::Unavailable), 1, 0));
        assert_eq!(a.content("node-2").await.as_deref(), Some("edited on b"));
        assert_eq!(b.content("node-3").await.as_deref(), Some("edited on a"));
        repair(&a, "node-1", way, &whole).await;
        assert_eq!(told(&a, &a.sync(false).await), (Some(Outcome::InStep), 0, 0));
        assert_eq!(a.set_hash(), b.set_hash());
        stop([a, b]).await;
    }
}

#[tokio::test]
async fn a_node_that_breaks_later_is_as_it_was_on_both_sides() {
    for way in WAYS {
        let (a, b) = two().await;
        b.engine().add_peer(&a.url, Direction::Both.into()).unwrap();
        assert_eq!(told(&b, &b.sync(false).await), (Some(Outcome::InStep), 0, 0));
        let whole = damage(&a, "node-1", way).await;
        a.put("node-2", "edited on a").await;
        assert_eq!(told(&b, &b.sync(false).await), (Some(Outcome::InStep), 0, 0));
        assert_eq!((b.lattice().status().nodes, b.content("node-1").await.as_deref()), (5, Some("first")));
        repair(&a, "node-1", way, &whole).await;
        assert_eq!(told(&b, &b.sync(false).await), (Some(Outcome::InStep), 0, 0));
        assert_eq!(a.lattice().status().nodes, 5);
        stop([a, b]).await;
    }
}

#[tokio::test]
async fn a_broken_node_that_the_other_side_deletes_is_deleted_in_every_direction() {
    for (from_a, direction) in
        [(false, Direction::Both), (true, Direction::Both), (false, Direction::Push), (true, Direction::Pull)]
    {
        let (a, b) = two().await;
        let (asks, other) = if from_a { (&a, &b) } else { (&b, &a) };
        asks.engine().add_peer(&other.url, Direction::Both.into()).unwrap();
        assert_eq!(told(asks, &asks.sync(false).await), (Some(Outcome::InStep), 0, 0));
        asks.engine().add_peer(&other.url, direction.into()).unwrap();
        damage(&a, "node-1", Damage::HalfWritten).await;
        for instance in [&a, &b] {
            instance.clock.advance(Duration::from_secs(10));
        }
        b.delete("node-1").await;
        for n in 0..2 {
            b.put("node-2", &format!("edit {n} on b")).await;
            assert_eq!(told(asks, &asks.sync(false).await), (Some(Outcome::InStep), 0, 0), "{from_a} {direction:?}");
            assert_eq!(a.content("node-2").await, Some(format!("edit {n} on b")));
        }
        assert!(a.lattice().entry(&id("node-1")).unwrap().is_none());
        assert_eq!((a.lattice().status().nodes, a.set_hash()), (4, b.set_hash()));
        stop([a, b]).await;
    }
}

#[tokio::test]
async fn one_way_a_broken_node_is_named_and_comes_when_it_is_repaired() {
    for direction in [Direction::Pull, Direction::Push] {
        let (a, b) = two().await;
        let whole = damage(&a, "node-1", Damage::HalfWritten).await;
        let (asks, other) = if direction == Direction::Pull { (&b, &a) } else { (&a, &b) };
        asks.engine().add_peer(&other.url, direction.into()).unwrap();
        let left_out = if direction == Direction::Pull { (0, 1) } else { (1, 0) };
        assert_eq!(told(asks, &asks.sync(false).await), (Some(Outcome::Exchanged), left_out.0, left_out.1));
        a.put("node-2", "edited on a").await;
        b.clock.advance(Duration::from_secs(1));
        assert_eq!(told(asks, &asks.sync(false).await), (Some(Outcome::Exchanged), left_out.0, left_out.1));
        assert_eq!((b.lattice().status().nodes, b.content("node-2").await.as_deref()), (4, Some("edited on a")));
        repair(&a, "node-1", Damage::HalfWritten, &whole).await;
        asks.sync(false).await;
        assert_eq!(told(asks, &asks.sync(false).await), (Some(Outcome::InStep), 0, 0));
        assert_eq!(b.content("node-1").await.as_deref(), Some("first"));
        stop([a, b]).await;
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_read_for_a_moment_comes_later_without_another_position() {
    for direction in [Direction::Pull, Direction::Push] {
        let (a, b) = two().await;
        a.register_at(&b).await;
        let path = a.directory().join("node-1.json");
        let whole = fs::read(&path).unwrap();
        // An editor writes it anew: for a moment it is not whole, and then as it was.
        fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        let (asks, other) = if direction == Direction::Pull { (&b, &a) } else { (&a, &b) };
        let mut known = nothing(direction);
        let seq = a.lattice().status().seq;
        let end = asks.round(&other.url, &mut known).await;
        assert_eq!(end.report.outcome, Some(Outcome::Exchanged), "{:?}", end.error);
        assert_eq!(b.lattice().status().nodes, 4);
        fs::write(&path, &whole).unwrap();
        a.lattice().rescan().await.unwrap();
        assert_eq!(a.lattice().status().seq, seq);
        let end = asks.round(&other.url, &mut known).await;
        assert!(end.error.is_none() && end.report.outcome.is_some(), "{:?}", end.error);
        let end = asks.round(&other.url, &mut known).await;
        assert_eq!(end.report.outcome, Some(Outcome::InStep), "{:?}", end.error);
        assert_eq!(b.content("node-1").await.as_deref(), Some("first"));
        stop([a, b]).await;
    }
}

#[tokio::test]
async fn where_the_data_directory_is_away_no_round_is_in_step_and_nobody_else_is_accused() {
    let (a, b) = two().await;
    let third = Instance::start("c").await;
    b.engine().add_peer(&a.url, Direction::Both.into()).unwrap();
    a.engine().add_peer(&b.url, Direction::Both.into()).unwrap();
    assert_eq!(told(&b, &b.sync(false).await), (Some(Outcome::InStep), 0, 0));
    a.sync(false).await;
    let away = a.directory().with_extension("away");
    fs::rename(a.directory(), &away).unwrap();
    fs::create_dir(a.directory()).unwrap();

    let own = a.sync(false).await;
    let error = own.error.unwrap();
    assert!(error.starts_with("the lattice here: ") && error.contains("is the disk mounted?"), "{error}");
    assert_eq!(own.report.outcome, None);
    let peer = a.engine().peers().remove(0);
    assert!(peer.is_active() && peer.error.is_none() && peer.failed_in_a_row == 0, "the peer is well: {peer:?}");
    let stand = ark_lattice::ops::stand(&a.context).unwrap();
    assert!(stand.fault.unwrap().contains("is the disk mounted?"));

    third.engine().add_peer(&a.url, Direction::Both.into()).unwrap();
    for other in [&b, &third] {
        let error = other.sync(false).await.error.unwrap();
        assert!(error.contains("503") && error.contains("lattice_unavailable"), "{error}");
    }
    assert_eq!((b.lattice().status().nodes, third.lattice().status().nodes), (5, 0));
    fs::remove_dir_all(a.directory()).unwrap();
    fs::rename(&away, a.directory()).unwrap();
    until("it is well again", async || a.sync(false).await.error.is_none()).await;
    let synced = third.sync(false).await;
    assert_eq!((synced.error, synced.report.outcome), (None, Some(Outcome::InStep)));
    third.stop().await;
    stop([a, b]).await;
}

#[tokio::test]
async fn sets_are_reconciled_but_for_broken_nodes() {
    for broken_at_a in [true, false] {
        let (a, b) = two().await;
        for instance in [&a, &b] {
            instance.put_many(400).await;
            instance.clock.advance(Duration::from_secs(5));
        }
        let (broken, other) = if broken_at_a { (&a, &b) } else { (&b, &a) };
        broken.put("broken", "b").await;
        let whole = damage(broken, "broken", Damage::HalfWritten).await;
        other.put("other", "o").await;
        b.engine().add_peer(&a.url, Direction::Both.into()).unwrap();
        let synced = b.sync(false).await;
        let left_out = if broken_at_a { (0, 1) } else { (1, 0) };
        assert!(synced.report.messages > 0, "{:?}", synced.report);
        assert_eq!(told(&b, &synced), (Some(Outcome::Unavailable), left_out.0, left_out.1));
        assert_eq!(broken.content("other").await.as_deref(), Some("o"));
        repair(broken, "broken", Damage::HalfWritten, &whole).await;
        assert_eq!(told(&b, &b.sync(false).await), (Some(Outcome::InStep), 0, 0));
        assert_eq!(other.content("broken").await.as_deref(), Some("b"));
        stop([a, b]).await;
    }
}

#[tokio::test]
async fn release_0_1_0_gets_no_line_that_it_does_not_know() {
    let (a, b) = two().await;
    damage(&a, "node-1", Damage::HalfWritten).await;
    let lines = async |query: &str| {
        let answer = reqwest::get(format!("{}/lattice/changes?contents=true{query}", a.url)).await.unwrap();
        answer.text().await.unwrap()
    };
    let (old, new) = (lines("").await, lines("&unavailable=true").await);
    assert!(!old.contains("node-1") && old.lines().count() == 6, "{old}");
    let line = new.lines().find(|line| line.contains("node-1")).unwrap();
    assert!(line.contains("\"unavailable\":true") && !line.contains("\"node\""), "{line}");
    stop([a, b]).await;
}

#[tokio::test]
async fn other_edits_flow_at_once_while_a_file_is_broken() {
    provider();
    let a = Instance::start_with("a", |settings| settings.federation.auto_sync = true).await;
    let b = Instance::start_with("b", |settings| settings.federation.auto_sync = true).await;
    for n in 0..5 {
        a.put(&format!("node-{n}"), "first").await;
    }
    b.clock.advance(Duration::from_secs(1));
    b.engine().add_peer(&a.url, Direction::Both.into()).unwrap();
    a.engine().add_peer(&b.url, Direction::Both.into()).unwrap();
    until("all is there", async || b.lattice().status().nodes == 5).await;
    a.put("node-9", "new").await;
    let path = a.directory().join("node-9.json");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..10]).unwrap();
    for n in 0..20 {
        let (from, to) = if n % 2 == 0 { (&a, &b) } else { (&b, &a) };
        for instance in [&a, &b] {
            instance.clock.advance(Duration::from_secs(1));
        }
        from.put("node-2", &format!("edit {n}")).await;
        let took = until("an edit", async || to.content("node-2").await == Some(format!("edit {n}"))).await;
        assert!(took < Duration::from_secs(3), "edit {n} took {took:?}");
    }
    for instance in [&a, &b] {
        let peer = instance.engine().peers().remove(0);
        assert!(peer.is_active() && peer.stats.failures == 0, "{peer:?}");
    }
    stop([a, b]).await;
}

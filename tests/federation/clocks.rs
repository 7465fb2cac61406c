//! Edits that are made while a machine's clock is ahead, and after it is right again.

use crate::bed::{Instance, provider};
use ark_lattice::types::Clock;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3600);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Lets the lattice's own thread do what it does by itself each second: the second look at all files begins after it.
async fn look_around(instance: &Instance) {
    for _ in 0..2 {
        instance.context.lattice.rescan().await.unwrap();
    }
}

#[tokio::test]
async fn after_a_clock_was_ahead_the_next_edit_of_a_node_reaches_the_peer() {
    provider();
    let (hub, pi) = (Instance::start("hub").await, Instance::start("pi").await);
    pi.engine().add_peer(&hub.url, Default::default()).unwrap();
    for id in ["edited", "deleted"] {
        pi.put(id, "at first").await;
    }
    assert_eq!(pi.sync(false).await.error, None);

    let right = pi.clock.now();
    pi.clock.set_wall(right.plus(YEAR));
    for id in ["edited", "deleted"] {
        pi.put(id, "in a year").await;
    }
    assert!(pi.sync(false).await.error.unwrap().contains("clock"));
    let audit = |instance: &Instance| std::fs::read_to_string(instance.state().join("audit.log")).unwrap();
    pi.clock.set_wall(right);
    look_around(&pi).await;
    // It agreed with the hub's before: what was made meanwhile is dated now, without anybody's doing.
    assert_eq!(pi.sync(false).await.error, None);
    assert_eq!(hub.content("edited").await.as_deref(), Some("in a year"));
    assert!(!audit(&pi).contains("\"differs\""), "the peer did nothing wrong");
    assert_eq!(hub.set_hash(), pi.set_hash());

    pi.put("edited", "later").await;
    pi.delete("deleted").await;
    assert_eq!(pi.sync(false).await.error, None);
    assert_eq!((hub.content("edited").await.as_deref(), hub.content("deleted").await), (Some("later"), None));
    assert_eq!(hub.set_hash(), pi.set_hash());
    // And back again: nothing of the wrong date is left.
    hub.clock.advance(Duration::from_secs(5));
    hub.put("edited", "at the hub").await;
    assert_eq!(pi.sync(false).await.error, None);
    assert_eq!(pi.content("edited").await.as_deref(), Some("at the hub"));
    pi.stop().await;
    hub.stop().await;
}

#[tokio::test]
async fn a_hub_that_only_answers_dates_its_edits_by_the_clock_of_those_that_push() {
    provider();
    let (hub, pi) = (Instance::start("hub").await, Instance::start("pi").await);
    pi.engine().add_peer(&hub.url, Default::default()).unwrap();
    let right = hub.clock.now();
    hub.clock.set_wall(right.plus(YEAR));
    hub.put("of-the-hub", "in a year").await;
    hub.clock.set_wall(right);
    pi.put("of-the-pi", "1").await;
    // The push shows the hub that its clock is right, and its version is dated now; this round may have been too early for it.
    let _ = pi.sync(false).await;
    assert_eq!(hub.content("of-the-pi").await.as_deref(), Some("1"));
    look_around(&hub).await;
    assert_eq!(pi.sync(false).await.error, None);
    assert_eq!(pi.content("of-the-hub").await.as_deref(), Some("in a year"));

    hub.put("of-the-hub", "later").await;
    assert_eq!(pi.sync(false).await.error, None);
    assert_eq!(pi.content("of-the-hub").await.as_deref(), Some("later"));
    pi.stop().await;
    hub.stop().await;
}

#[tokio::test]
async fn a_start_with_the_clock_a_month_ahead_forgets_no_deletion() {
    provider();
    let (hub, mut pi) = (Instance::start("hub").await, Instance::start("pi").await);
    pi.engine().add_peer(&hub.url, Default::default()).unwrap();
    for id in ["kept", "a", "b"] {
        pi.put(id, "1").await;
    }
    assert_eq!(pi.sync(false).await.error, None);
    // The hub is away.
    for id in ["a", "b"] {
        pi.delete(id).await;
    }
    let right = pi.clock.now();
    pi.clock.set_wall(right.plus(DAY * 31));
    pi = pi.restart().await;
    look_around(&pi).await;
    assert_eq!(pi.context.lattice.status().tombstones, 2, "the service did not live through that month");
    pi.clock.set_wall(right);
    pi = pi.restart().await;
    assert_eq!(pi.sync(true).await.error, None);
    for id in ["a", "b"] {
        assert_eq!((pi.content(id).await, hub.content(id).await), (None, None), "{id}");
    }
    assert_eq!(hub.content("kept").await.as_deref(), Some("1"));
    assert_eq!(hub.set_hash(), pi.set_hash());
    pi.stop().await;
    hub.stop().await;
}

#[tokio::test]
async fn a_deletion_that_was_made_while_the_clock_was_ahead_reaches_the_peer() {
    provider();
    let (hub, pi) = (Instance::start("hub").await, Instance::start("pi").await);
    pi.engine().add_peer(&hub.url, Default::default()).unwrap();
    for id in ["gone", "kept"] {
        pi.put(id, "1").await;
    }
    assert_eq!(pi.sync(false).await.error, None);
    let right = pi.clock.now();
    pi.clock.set_wall(right.plus(YEAR));
    pi.delete("gone").await;
    // Only another instance shows, after a restart, that the clock is right.
    pi.clock.set_wall(right);
    let pi = pi.restart().await;
    let _ = pi.sync(true).await;
    look_around(&pi).await;
    assert_eq!(pi.sync(true).await.error, None);
    assert_eq!((hub.content("gone").await, pi.content("gone").await), (None, None));
    assert_eq!(hub.set_hash(), pi.set_hash());
    pi.stop().await;
    hub.stop().await;
}

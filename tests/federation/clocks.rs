//! Edits that are made while a machine's clock is ahead, and after it is right again.

use crate::bed::{Instance, provider};
use ark_lattice::types::Clock;
use std::time::Duration;

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

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
    pi.clock.set_wall(right);
    let said = pi.sync(false).await.error.unwrap();
    assert!(said.contains("dated more than 5 minutes ahead"), "{said}");

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
    let said = pi.sync(false).await.error.unwrap();
    assert!(said.contains("ahead"), "{said}");
    assert_eq!(hub.content("of-the-pi").await.as_deref(), Some("1"));

    hub.put("of-the-hub", "later").await;
    assert_eq!(pi.sync(false).await.error, None);
    assert_eq!(pi.content("of-the-hub").await.as_deref(), Some("later"));
    pi.stop().await;
    hub.stop().await;
}

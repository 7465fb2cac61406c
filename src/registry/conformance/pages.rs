//! What lives, and how it is shown in pages.

use super::{Harness, Statement, TTL};
use crate::{
    registry::{PeerCursor, PeerRecord},
    trust::Step,
};
use std::{collections::HashSet, time::Duration};

const SECOND: Duration = Duration::from_secs(1);

/// Reads to the end in pages of at most `limit`.
async fn all(harness: &impl Harness, limit: usize) -> Vec<PeerRecord> {
    let (mut peers, mut after): (Vec<_>, Option<PeerCursor>) = (Vec::new(), None);
    loop {
        let page = harness.registry().list(after.as_ref(), limit).await.unwrap();
        assert!(page.peers.len() <= limit);
        peers.extend(page.peers);
        match page.next {
            Some(next) => after = Some(next),
            None => return peers,
        }
    }
}

fn ids(peers: &[PeerRecord]) -> Vec<&str> {
    peers.iter().map(|record| record.peer.as_str()).collect()
}

pub(in crate::registry) async fn expiry_hides_an_entry_everywhere(harness: &impl Harness) {
    let (registry, statement) = (harness.registry(), Statement::of("a"));
    statement.expect(registry, Step::First).await;
    harness.advance(TTL - Duration::from_millis(1));
    assert_eq!(registry.live().await.unwrap(), 1);
    assert_eq!(all(harness, 10).await[0].expires_in, Duration::from_millis(1));
    assert!(registry.envelope(&statement.peer).await.unwrap().is_some());
    harness.advance(Duration::from_millis(1));
    assert_eq!(registry.live().await.unwrap(), 0);
    assert_eq!(registry.envelope(&statement.peer).await.unwrap(), None);
    let page = registry.list(None, 10).await.unwrap();
    assert_eq!((page.peers.len(), page.total, page.next), (0, 0, None));
}

pub(in crate::registry) async fn pages_come_in_order_of_expiry_then_id(harness: &impl Harness) {
    for id in ["z", "é", "B", "a"] {
        Statement::of(id).expect(harness.registry(), Step::First).await;
    }
    harness.advance(SECOND);
    Statement::of("0").expect(harness.registry(), Step::First).await;
    Statement::of("a").expect(harness.registry(), Step::Heartbeat).await;
    let order = ["B", "z", "é", "0", "a"];
    for limit in 1..=6 {
        assert_eq!(ids(&all(harness, limit).await), order, "pages of {limit}");
    }
}

pub(in crate::registry) async fn three_hundred_peers_in_pages_of_seven(harness: &impl Harness) {
    // All of one expiry: the hard case for a cursor.
    for number in 0..300 {
        Statement::of(&format!("peer {number}")).expect(harness.registry(), Step::First).await;
    }
    let peers = all(harness, 7).await;
    assert_eq!(peers.len(), 300);
    assert_eq!(ids(&peers).iter().collect::<HashSet<_>>().len(), 300);
    assert!(ids(&peers).is_sorted());
    assert_eq!(all(harness, 1000).await, peers);
    let page = harness.registry().list(None, 300).await.unwrap();
    assert_eq!((page.peers.len(), page.total, page.next), (300, 300, None));
    // Every peer can be the end of a page.
    let page = harness.registry().list(Some(&peers[99].cursor()), 1).await.unwrap();
    assert_eq!(page.peers, peers[100..=100]);
}

pub(in crate::registry) async fn a_heartbeat_between_pages_hides_nobody(harness: &impl Harness) {
    for number in 0..20 {
        Statement::of(&format!("{number:02}")).expect(harness.registry(), Step::First).await;
    }
    harness.advance(SECOND);
    let first = harness.registry().list(None, 10).await.unwrap();
    // The cursor's own peer, one already shown and one yet to come move to the end.
    for id in ["09", "03", "15"] {
        Statement::of(id).expect(harness.registry(), Step::Heartbeat).await;
    }
    let rest = harness.registry().list(first.next.as_ref(), 100).await.unwrap();
    let shown: HashSet<_> = first.peers.iter().chain(&rest.peers).map(|record| record.peer.clone()).collect();
    assert_eq!(shown.len(), 20);
    assert_eq!(rest.peers.len(), 12);
}

pub(in crate::registry) async fn a_cursor_whose_peer_is_gone_goes_on(harness: &impl Harness) {
    for id in ["a", "b"] {
        Statement::of(id).expect(harness.registry(), Step::First).await;
    }
    harness.advance(SECOND);
    for id in ["c", "d"] {
        Statement::of(id).expect(harness.registry(), Step::First).await;
    }
    let first = harness.registry().list(None, 1).await.unwrap();
    assert_eq!(ids(&first.peers), ["a"]);
    harness.advance(TTL - SECOND);
    let rest = harness.registry().list(first.next.as_ref(), 10).await.unwrap();
    assert_eq!(ids(&rest.peers), ["c", "d"]);
    assert_eq!((rest.total, rest.next), (2, None));
}

pub(in crate::registry) async fn a_page_of_nothing_still_counts(harness: &impl Harness) {
    Statement::of("a").expect(harness.registry(), Step::First).await;
    let page = harness.registry().list(None, 0).await.unwrap();
    assert_eq!((page.peers.len(), page.total), (0, 1));
}

pub(in crate::registry) async fn odd_ids_are_kept_apart(harness: &impl Harness) {
    let long = "ü".repeat(256);
    let odd = [
        " ",
        "  ",
        "a b",
        "a:b",
        "peer:a",
        "pin:a",
        "{a}",
        "{}",
        "}{",
        "a*",
        "?",
        "[a]",
        "\\",
        "\"",
        "'",
        "%00",
        "/",
        "..",
        "☃",
        "\u{1F600}",
        "\u{FF61}",
        "e\u{301}",
        "é",
        "null",
        "0",
        "-1",
        "peers:by_expiry",
        "ARGV[1]",
        "\u{202e}",
        &long,
    ];
    for (number, id) in (0..).zip(odd) {
        Statement::of(id).seq(number).expect(harness.registry(), Step::First).await;
    }
    for (number, id) in (0..).zip(odd) {
        let statement = Statement::of(id).seq(number);
        let envelope = harness.registry().envelope(&statement.peer).await.unwrap();
        assert_eq!(envelope, Some(statement.envelope()), "{id:?}");
        statement.expect(harness.registry(), Step::Heartbeat).await;
    }
    let mut sorted = odd;
    sorted.sort_unstable();
    assert_eq!(ids(&all(harness, 4).await), sorted);
}

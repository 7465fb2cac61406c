use super::*;
use crate::types::TestClock;
use std::time::Duration;

fn events_at(clock: &Arc<TestClock>) -> Events {
    let clock: SharedClock = Arc::<TestClock>::clone(clock);
    Events::new(EventOptions { clock, metrics: EventMetrics::default(), webhooks: Vec::new(), max_listeners: 3 })
}

fn events() -> Events {
    events_at(&TestClock::at(Timestamp::from_seconds(1_700_000_000)))
}

fn ids(listening: &mut Listening) -> Vec<Result<u64, Option<u64>>> {
    std::iter::from_fn(|| listening.kept())
        .map(|heard| match heard {
            Heard::Event(event) => Ok(event.id),
            Heard::Missed { count, .. } => Err(count),
        })
        .collect()
}

#[tokio::test]
async fn who_comes_late_gets_what_was_missed_and_then_what_comes() {
    let events = events();
    let base = 1_700_000_000_000_000;
    for n in 0..KEPT + 5 {
        events.tell(EventKind::NodeChanged, json!({ "seq": n }));
    }
    let newest = base + 1005;
    let mut late = events.listen(Some(newest - 2), Vec::new()).unwrap();
    assert_eq!(ids(&mut late), [Ok(newest - 1), Ok(newest)]);
    let mut too_late = events.listen(Some(base + 2), Vec::new()).unwrap();
    let heard = ids(&mut too_late);
    assert_eq!((heard[0], heard[1], heard.len()), (Err(Some(3)), Ok(base + 6), KEPT + 1), "three are gone");
    let mut fresh = events.listen(None, Vec::new()).unwrap();
    assert_eq!((fresh.begins_after(), ids(&mut fresh)), (newest, Vec::new()));
    assert!(events.listen(None, Vec::new()).is_err(), "three are as many as may");
    drop(too_late);
    events.tell(EventKind::PeerAdded, json!({ "peer": "http://a" }));
    for listening in [&mut late, &mut fresh] {
        let Some(Heard::Event(event)) = listening.next().await else { panic!("an event") };
        assert_eq!((event.id, &*event.data), (newest + 1, r#"{"at":1700000000,"peer":"http://a"}"#));
    }
    assert!(events.listen(None, Vec::new()).is_ok(), "a place is free again");
}

#[tokio::test]
async fn who_listened_to_an_earlier_run_is_told_that_nobody_knows_what_was_missed() {
    let clock = TestClock::at(Timestamp::from_seconds(1_700_000_000));
    let before = events_at(&clock);
    (0..10).for_each(|_| before.tell(EventKind::PeerOnline, json!({})));
    let last = ids(&mut before.listen(Some(1_700_000_000_000_000), Vec::new()).unwrap()).pop().unwrap().unwrap();
    clock.advance(Duration::from_secs(1));
    let after = events_at(&clock);
    assert_eq!(ids(&mut after.listen(Some(last), Vec::new()).unwrap()), [Err(None)]);
    after.tell(EventKind::PeerOnline, json!({}));
    let mut listening = after.listen(Some(last), Vec::new()).unwrap();
    let heard = ids(&mut listening);
    assert!(heard.len() == 2 && heard[0] == Err(None) && heard[1].unwrap() > last, "{heard:?}");
    // The clock was set back since: the number is one of the future.
    assert_eq!(ids(&mut after.listen(Some(u64::MAX), Vec::new()).unwrap()), heard);
}

#[tokio::test]
async fn a_slow_listener_is_told_what_it_missed_and_delays_nobody() {
    let events = events();
    let mut slow = events.listen(None, Vec::new()).unwrap();
    let mut only_peers = events.listen(None, vec![EventKind::PeerRemoved]).unwrap();
    for n in 0..KEPT * 2 {
        events.tell(EventKind::NodeChanged, json!({ "seq": n }));
    }
    events.tell(EventKind::PeerRemoved, json!({}));
    let Some(Heard::Missed { count: Some(count), until }) = slow.next().await else { panic!("it missed some") };
    let Some(Heard::Event(next)) = slow.next().await else { panic!("an event") };
    // The channel keeps a power of two.
    assert!(count >= 977 && next.id == until + 1, "{count} {until} {}", next.id);
    assert_eq!(next.id, slow.begins_after() + count + 1, "what is missed is counted exactly");
    assert!(matches!(only_peers.next().await, Some(Heard::Missed { .. })), "the kind of what was missed is not known");
    let Some(Heard::Event(event)) = only_peers.next().await else { panic!("an event") };
    assert_eq!(event.kind, EventKind::PeerRemoved);
}

#[test]
fn a_round_that_begins_has_an_end() {
    let events = events();
    let kinds = |events: &Events| {
        let mut listening = events.listen(Some(1_700_000_000_000_000), Vec::new()).unwrap();
        let heard = std::iter::from_fn(|| listening.kept());
        let kinds = heard.map(|heard| match heard {
            Heard::Event(event) => (event.kind, event.data.contains("stopped")),
            Heard::Missed { .. } => panic!("nothing is missed"),
        });
        kinds.collect::<Vec<_>>()
    };
    drop(Exchange::new(&events, "http://a"));
    assert!(kinds(&events).is_empty(), "nothing was exchanged");
    let exchange = Exchange::new(&events, "http://a");
    exchange.begin();
    exchange.begin();
    assert!(exchange.end() && !exchange.end());
    drop(exchange);
    assert_eq!(kinds(&events), [(EventKind::SyncStarted, false)], "whoever asked tells of the end");
    let exchange = Exchange::new(&events, "http://a");
    exchange.begin();
    drop(exchange);
    assert_eq!(kinds(&events)[1..], [(EventKind::SyncStarted, false), (EventKind::SyncComplete, true)]);
}

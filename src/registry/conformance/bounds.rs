//! What an entry keeps, and how many there may be.

use super::{Harness, LIMITS, MAX_PEERS, Statement, TTL, is_full, no_place, versions::shown};
use crate::{
    registry::{RegistryError, Share},
    trust::Step,
};
use bytes::Bytes;
use std::time::Duration;

pub(in crate::registry) async fn envelopes_come_back_byte_for_byte(harness: &impl Harness) {
    let every_byte: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    for (id, bytes) in [
        ("empty", Bytes::new()),
        ("every byte", Bytes::from(every_byte)),
        ("not UTF-8", Bytes::from_static(b"{\"a\":\"\xff\xfe\xed\xa0\x80\"}\r\n$-1\r\n\0")),
        ("white space", Bytes::from_static(b" \t{ \"b\" : 1.0 ,\n\"a\":1}\n\n")),
    ] {
        let mut statement = Statement::of(id);
        statement.envelope = Some(bytes.clone());
        statement.expect(harness.registry(), Step::First).await;
        let envelope = harness.registry().envelope(&statement.peer).await.unwrap();
        assert_eq!(envelope, Some(bytes), "{id}");
    }
}

pub(in crate::registry) async fn manifest_fields_cannot_stand_in_for_ours(harness: &impl Harness) {
    let mut statement = Statement::of("a");
    for name in ["pubkey", "envelope", "last_seen", "summary", "expires_at", "ark_instance_type", "digest", "seq", ""] {
        statement.fields.push((name.to_owned(), "9999999999999".to_owned()));
    }
    statement.expect(harness.registry(), Step::First).await;
    let honest = shown(harness, &statement).await.unwrap();
    assert_eq!(honest.public_key, statement.public_key());
    assert_eq!(honest.summary, statement.summary());
    assert_eq!(honest.expires_in, TTL);
    assert_eq!(honest.instance_type.as_deref(), Some("laptop"));
    assert_eq!(honest.last_seen.seconds(), super::START.seconds());
    let envelope = harness.registry().envelope(&statement.peer).await.unwrap();
    assert_eq!(envelope, Some(statement.envelope()));
    harness.advance(TTL);
    assert_eq!(harness.registry().envelope(&statement.peer).await.unwrap(), None);
}

pub(in crate::registry) async fn instance_type_is_shown_where_it_is_text(harness: &impl Harness) {
    let mut number = Statement::of("number");
    number.instance_type = None;
    number.fields.push(("instance_type".to_owned(), "5".to_owned()));
    let mut text = Statement::of("text");
    text.instance_type = Some("5".to_owned());
    let mut empty = Statement::of("empty");
    empty.instance_type = Some(String::new());
    for statement in [&number, &text, &empty] {
        statement.expect(harness.registry(), Step::First).await;
    }
    assert_eq!(shown(harness, &number).await.unwrap().instance_type, None);
    assert_eq!(shown(harness, &text).await.unwrap().instance_type.as_deref(), Some("5"));
    assert_eq!(shown(harness, &empty).await.unwrap().instance_type.as_deref(), Some(""));
    // A newer statement without it takes it away.
    let mut without = Statement::of("text").content("newer");
    without.instance_type = None;
    without.expect(harness.registry(), Step::Newer).await;
    assert_eq!(shown(harness, &without).await.unwrap().instance_type, None);
}

pub(in crate::registry) async fn many_fields_are_taken(harness: &impl Harness) {
    let mut statement = Statement::of("a");
    statement.fields = (0..20_000).map(|number| (format!("f{number}"), number.to_string())).collect();
    statement.expect(harness.registry(), Step::First).await;
    assert_eq!(shown(harness, &statement).await.unwrap().summary, statement.summary());
}

async fn fill(harness: &impl Harness) {
    for number in 0..MAX_PEERS {
        Statement::of(&number.to_string()).seq(1).expect(harness.registry(), Step::First).await;
    }
}

pub(in crate::registry) async fn a_full_registry_refuses_new_ids_only(harness: &impl Harness) {
    let registry = harness.registry();
    fill(harness).await;
    assert!(is_full(&Statement::of("one more").register(registry).await));
    Statement::of("7").seq(1).expect(registry, Step::Heartbeat).await;
    Statement::of("8").seq(2).expect(registry, Step::Newer).await;
    Statement::of("9").key(2).open().expect(registry, Step::First).await;
    assert_eq!(registry.live().await.unwrap(), MAX_PEERS);
    // The refused id left no binding behind.
    harness.advance(TTL);
    Statement::of("one more").key(3).expect(registry, Step::First).await;
}

pub(in crate::registry) async fn room_comes_back_with_expiry(harness: &impl Harness) {
    let registry = harness.registry();
    Statement::of("early").seq(1).expect(registry, Step::First).await;
    harness.advance(Duration::from_secs(1));
    for number in 1..MAX_PEERS {
        Statement::of(&number.to_string()).expect(registry, Step::First).await;
    }
    assert!(is_full(&Statement::of("late").register(registry).await));
    harness.advance(TTL - Duration::from_secs(1));
    Statement::of("late").expect(registry, Step::First).await;
    // The expired one is a new one now.
    assert!(is_full(&Statement::of("early").seq(1).register(registry).await));
    assert!(is_full(&Statement::of("early").seq(2).register(registry).await));
    harness.advance(TTL);
    // A refusal for want of room changed nothing: this is still the newest version.
    Statement::of("early").seq(1).expect(registry, Step::Heartbeat).await;
}

/// Registers strangers from different addresses and of different keys until there is no place for one more.
async fn fill_with_strangers(harness: &impl Harness) -> (u64, Option<Share>) {
    for number in 0..MAX_PEERS {
        let (key, address) = (u8::try_from(10 + number % 20).unwrap(), format!("4:{:08x}", number % 10));
        let stranger = Statement::of(&format!("s{number}")).key(key).stranger(Some(&address));
        let outcome = stranger.register(harness.registry()).await;
        if outcome.is_err() {
            return (number, no_place(&outcome));
        }
    }
    (MAX_PEERS, None)
}

pub(in crate::registry) async fn strangers_leave_places_to_known_peers(harness: &impl Harness) {
    let registry = harness.registry();
    let of_strangers = LIMITS.of_strangers(0);
    assert_eq!(of_strangers, 300);
    assert_eq!(fill_with_strangers(harness).await, (of_strangers, Some(Share::Strangers)));
    for number in 0..MAX_PEERS - of_strangers {
        Statement::of(&format!("known {number}")).seq(1).expect(registry, Step::First).await;
    }
    assert!(is_full(&Statement::of("one more").register(registry).await));
    // Who is live stays, by heartbeats in each way, and with a newer statement.
    let live = Statement::of("s7").key(17).stranger(Some("4:00000007"));
    live.expect(registry, Step::Heartbeat).await;
    live.clone().content("newer").expect(registry, Step::Newer).await;
    // With the admin's decisions more places are left.
    harness.advance(TTL);
    let mut one = Statement::of("one").key(50).stranger(None);
    one.standing.known_peers = MAX_PEERS;
    assert_eq!(no_place(&one.register(registry).await), Some(Share::Strangers));
    one.standing.known_peers = 0;
    one.expect(registry, Step::First).await;
}

pub(in crate::registry) async fn a_key_and_an_address_have_a_share_of_the_places(harness: &impl Harness) {
    let registry = harness.registry();
    for number in 0..LIMITS.of_one_key() {
        let id = format!("k{number}");
        Statement::of(&id).stranger(Some("4:0000000a")).expect(registry, Step::First).await;
    }
    let over = Statement::of("over").stranger(Some("4:0000000b"));
    assert_eq!(no_place(&over.register(registry).await), Some(Share::Key));
    over.key(2).expect(registry, Step::First).await;
    for number in LIMITS.of_one_key()..LIMITS.from_one_address() {
        let id = format!("a{number}");
        Statement::of(&id)
            .key(u8::try_from(number).unwrap())
            .stranger(Some("4:0000000a"))
            .expect(registry, Step::First)
            .await;
    }
    let over = Statement::of("over it").key(3).stranger(Some("4:0000000a"));
    assert_eq!(no_place(&over.register(registry).await), Some(Share::Address));
    over.clone().stranger(None).expect(registry, Step::First).await;
    Statement::of("known").expect(registry, Step::First).await;
    // Renewed entries keep their places; expired ones leave them.
    harness.advance(TTL / 2);
    for number in 0..LIMITS.of_one_key() {
        let statement = Statement::of(&format!("k{number}")).stranger(Some("4:0000000a"));
        if registry.renew(&statement.admitted()).await.unwrap().is_none() {
            statement.expect(registry, Step::Heartbeat).await;
        }
    }
    harness.advance(TTL / 2);
    let over = Statement::of("late").stranger(Some("4:0000000a"));
    assert_eq!(no_place(&over.register(registry).await), Some(Share::Key));
    over.key(4).expect(registry, Step::First).await;
}

pub(in crate::registry) async fn a_stranger_that_becomes_known_leaves_their_places(harness: &impl Harness) {
    let registry = harness.registry();
    for number in 0..LIMITS.of_one_key() {
        Statement::of(&format!("k{number}")).stranger(None).expect(registry, Step::First).await;
    }
    let over = Statement::of("over").stranger(None);
    assert_eq!(no_place(&over.register(registry).await), Some(Share::Key));
    Statement::of("k0").content("known now").expect(registry, Step::Newer).await;
    harness.advance(TTL);
    for number in 1..=LIMITS.of_one_key() {
        Statement::of(&format!("n{number}")).stranger(None).expect(registry, Step::First).await;
    }
    Statement::of("k0").content("known again").expect(registry, Step::Newer).await;
    assert_eq!(no_place(&over.register(registry).await), Some(Share::Key));
}

pub(in crate::registry) async fn a_closed_registry_answers_unavailable(harness: &impl Harness) {
    let (registry, statement) = (harness.registry(), Statement::of("a"));
    statement.expect(registry, Step::First).await;
    registry.ping().await.unwrap();
    registry.close().await;
    registry.close().await;
    assert!(matches!(statement.register(registry).await, Err(RegistryError::Unavailable(_))));
    assert!(matches!(registry.envelope(&statement.peer).await, Err(RegistryError::Unavailable(_))));
    assert!(matches!(registry.list(None, 1).await, Err(RegistryError::Unavailable(_))));
    assert!(matches!(registry.live().await, Err(RegistryError::Unavailable(_))));
    assert!(matches!(registry.ping().await, Err(RegistryError::Unavailable(_))));
}

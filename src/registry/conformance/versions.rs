//! Who may follow whom.

use super::{Harness, START, Statement, TTL, is_key_mismatch, keys::line};
use crate::{
    registry::{PeerRecord, Registered, RegistryError},
    trust::{KeyLine, MAX_SUPERSEDED, Pin, Step, VersionError, freshness::MAX_SEQ_JUMP},
    types::{PeerId, PublicKey},
};
use futures_util::future::join_all;
use std::{collections::HashMap, time::Duration};

const ROLLBACK_TIME: VersionError = VersionError::Rollback { field: "last_updated" };
const ROLLBACK_SEQ: VersionError = VersionError::Rollback { field: "seq" };

/// The entry of a peer, if it is live.
pub(super) async fn shown(harness: &impl Harness, statement: &Statement) -> Option<PeerRecord> {
    let page = harness.registry().list(None, 1000).await.unwrap();
    page.peers.into_iter().find(|record| record.peer == statement.peer)
}

async fn envelope_is(harness: &impl Harness, statement: &Statement) {
    let envelope = harness.registry().envelope(&statement.peer).await.unwrap();
    assert_eq!(envelope, Some(statement.envelope()));
}

pub(in crate::registry) async fn first_registration_is_seen_everywhere(harness: &impl Harness) {
    let (registry, statement) = (harness.registry(), Statement::of("a"));
    assert_eq!(registry.live().await.unwrap(), 0);
    assert_eq!(registry.envelope(&statement.peer).await.unwrap(), None);
    statement.expect(registry, Step::First).await;
    assert_eq!(registry.live().await.unwrap(), 1);
    envelope_is(harness, &statement).await;
    let page = registry.list(None, 10).await.unwrap();
    assert_eq!((page.total, page.next), (1, None));
    let [record] = page.peers.as_slice() else { panic!("one peer") };
    assert_eq!(record.peer, statement.peer);
    assert_eq!(record.public_key, statement.public_key());
    assert_eq!(record.instance_type.as_deref(), Some("laptop"));
    assert_eq!(record.summary, statement.summary());
    assert_eq!(record.last_seen.seconds(), START.seconds());
    assert_eq!(record.expires_in, TTL);
}

pub(in crate::registry) async fn heartbeat_renews_and_changes_nothing_else(harness: &impl Harness) {
    let (registry, statement) = (harness.registry(), Statement::of("a").seq(1));
    statement.expect(registry, Step::First).await;
    harness.advance(Duration::from_secs(100));
    statement.expect(registry, Step::Heartbeat).await;
    harness.advance(Duration::from_secs(100));
    let record = shown(harness, &statement).await.unwrap();
    assert_eq!(record.expires_in, Duration::from_secs(20));
    assert_eq!(record.last_seen.seconds(), START.seconds() + 100);
    assert_eq!(record.summary, statement.summary());
    envelope_is(harness, &statement).await;
    assert_eq!(registry.live().await.unwrap(), 1);
}

/// Whether a statement was renewed.
async fn is_renewed(harness: &impl Harness, statement: &Statement) -> bool {
    let renewed = harness.registry().renew(&statement.admitted()).await.unwrap();
    assert!(renewed.is_none_or(|it| it == Registered { step: Step::Heartbeat, expires_in: TTL }));
    renewed.is_some()
}

pub(in crate::registry) async fn only_the_newest_statement_of_a_live_entry_is_renewed(harness: &impl Harness) {
    let (registry, older, newer) = (harness.registry(), Statement::of("a").seq(1), Statement::of("a").seq(2));
    assert!(!is_renewed(harness, &older).await, "nobody registered");
    older.expect(registry, Step::First).await;
    harness.advance(Duration::from_secs(100));
    assert_eq!(is_renewed(harness, &older).await, harness.renews());
    if harness.renews() {
        let record = shown(harness, &older).await.unwrap();
        assert_eq!((record.expires_in, record.last_seen.seconds()), (TTL, START.seconds() + 100));
        assert_eq!(record.summary, older.summary());
        envelope_is(harness, &older).await;
    }
    newer.expect(registry, Step::Newer).await;
    harness.advance(Duration::from_secs(10));
    for other in [older, newer.clone().key(2), newer.clone().content("other"), Statement::of("b").seq(2)] {
        assert!(!is_renewed(harness, &other).await, "{other:?}");
    }
    let left = Duration::from_secs(110);
    assert_eq!(shown(harness, &newer).await.unwrap().expires_in, left, "what is refused renews nothing");
    harness.advance(left);
    assert!(!is_renewed(harness, &newer).await, "it expired");
    assert_eq!(registry.live().await.unwrap(), 0);
    newer.expect(registry, Step::Heartbeat).await;
    assert_eq!(is_renewed(harness, &newer).await, harness.renews());
    // A key that is revoked or replaced renews nothing.
    let bound = registry.bound(&newer.peer).await.unwrap();
    let line = KeyLine { revoked: true, ..line(newer.key, &[]) };
    assert!(registry.bind(&newer.peer, bound.as_ref(), &line, "").await.unwrap());
    assert!(!is_renewed(harness, &newer).await, "it is revoked");
}

pub(in crate::registry) async fn many_are_renewed_at_once(harness: &impl Harness) {
    let registry = harness.registry();
    let statements: Vec<_> = (0..300).map(|number| Statement::of(&format!("peer {number}")).seq(1)).collect();
    for outcome in join_all(statements.iter().step_by(2).map(|statement| statement.register(registry))).await {
        assert_eq!(outcome.unwrap().step, Step::First);
    }
    harness.advance(Duration::from_secs(100));
    let renewed = join_all(statements.iter().map(|statement| is_renewed(harness, statement))).await;
    assert!(renewed.iter().enumerate().all(|(number, renewed)| *renewed == (harness.renews() && number % 2 == 0)));
    harness.advance(Duration::from_secs(30));
    assert_eq!(registry.live().await.unwrap(), if harness.renews() { 150 } else { 0 });
}

pub(in crate::registry) async fn newer_statement_replaces_the_older(harness: &impl Harness) {
    let registry = harness.registry();
    let mut older = Statement::of("a").seq(1).updated(10);
    older.fields.push(("only_in_the_older".to_owned(), "1".to_owned()));
    let newer = Statement::of("a").seq(2).updated(11);
    older.expect(registry, Step::First).await;
    newer.expect(registry, Step::Newer).await;
    assert_eq!(shown(harness, &newer).await.unwrap().summary, newer.summary());
    envelope_is(harness, &newer).await;
    assert_eq!(registry.live().await.unwrap(), 1);
}

pub(in crate::registry) async fn rollback_by_last_updated_is_refused(harness: &impl Harness) {
    let newest = Statement::of("a").updated(10);
    newest.expect(harness.registry(), Step::First).await;
    Statement::of("a").updated(9).expect_refused(harness.registry(), ROLLBACK_TIME).await;
    envelope_is(harness, &newest).await;
}

pub(in crate::registry) async fn rollback_by_seq_is_refused(harness: &impl Harness) {
    let newest = Statement::of("a").seq(10);
    newest.expect(harness.registry(), Step::First).await;
    Statement::of("a").seq(9).expect_refused(harness.registry(), ROLLBACK_SEQ).await;
    envelope_is(harness, &newest).await;
}

pub(in crate::registry) async fn leaving_a_version_out_is_a_rollback(harness: &impl Harness) {
    let registry = harness.registry();
    Statement::of("a").seq(1).updated(10).expect(registry, Step::First).await;
    Statement::of("a").updated(11).expect_refused(registry, ROLLBACK_SEQ).await;
    Statement::of("a").seq(2).expect_refused(registry, ROLLBACK_TIME).await;
    Statement::of("a").content("none").expect_refused(registry, ROLLBACK_SEQ).await;
    // Zero and below the epoch are versions too, not absence.
    Statement::of("b").seq(0).updated(-5).expect(registry, Step::First).await;
    Statement::of("b").updated(-5).expect_refused(registry, ROLLBACK_SEQ).await;
    Statement::of("b").seq(1).expect_refused(registry, ROLLBACK_TIME).await;
    Statement::of("b").seq(1).updated(-6).expect_refused(registry, ROLLBACK_TIME).await;
    Statement::of("b").seq(1).updated(-4).expect(registry, Step::Newer).await;
}

pub(in crate::registry) async fn equal_seq_with_other_content_is_equivocation(harness: &impl Harness) {
    let newest = Statement::of("a").seq(3).updated(10);
    newest.expect(harness.registry(), Step::First).await;
    let refusal = VersionError::Equivocation;
    Statement::of("a").content("other").seq(3).updated(10).expect_refused(harness.registry(), refusal).await;
    Statement::of("a").content("other").seq(3).updated(11).expect_refused(harness.registry(), refusal).await;
    envelope_is(harness, &newest).await;
}

pub(in crate::registry) async fn a_seq_that_jumps_too_far_is_refused(harness: &impl Harness) {
    let (registry, refusal) = (harness.registry(), VersionError::FastForward);
    Statement::of("a").seq(3).expect(registry, Step::First).await;
    Statement::of("a").seq((1 << 53) - 1).expect_refused(registry, refusal).await;
    Statement::of("a").seq(4 + MAX_SEQ_JUMP).expect_refused(registry, refusal).await;
    Statement::of("a").seq(3 + MAX_SEQ_JUMP).expect(registry, Step::Newer).await;
    // Without a number before there is nothing to jump from.
    Statement::of("b").expect(registry, Step::First).await;
    Statement::of("b").seq((1 << 53) - 1).expect(registry, Step::Newer).await;
}

pub(in crate::registry) async fn equal_last_updated_alone_is_newer(harness: &impl Harness) {
    Statement::of("a").updated(10).expect(harness.registry(), Step::First).await;
    Statement::of("a").content("other").updated(10).expect(harness.registry(), Step::Newer).await;
    Statement::of("b").expect(harness.registry(), Step::First).await;
    Statement::of("b").content("other").expect(harness.registry(), Step::Newer).await;
    Statement::of("b").content("third").seq(1).updated(1).expect(harness.registry(), Step::Newer).await;
}

pub(in crate::registry) async fn seq_is_judged_before_last_updated(harness: &impl Harness) {
    Statement::of("a").seq(5).updated(10).expect(harness.registry(), Step::First).await;
    Statement::of("a").seq(4).updated(9).expect_refused(harness.registry(), ROLLBACK_SEQ).await;
    Statement::of("a").content("x").seq(5).updated(9).expect_refused(harness.registry(), ROLLBACK_TIME).await;
    Statement::of("a").key(2).seq(4).updated(9).expect_refused(harness.registry(), VersionError::KeyMismatch).await;
}

pub(in crate::registry) async fn another_key_is_refused(harness: &impl Harness) {
    let owner = Statement::of("a").seq(1);
    owner.expect(harness.registry(), Step::First).await;
    Statement::of("a").key(2).seq(9).expect_refused(harness.registry(), VersionError::KeyMismatch).await;
    // Not even with the owner's own content.
    Statement::of("a").key(2).seq(1).expect_refused(harness.registry(), VersionError::KeyMismatch).await;
    assert_eq!(shown(harness, &owner).await.unwrap().public_key, owner.public_key());
    envelope_is(harness, &owner).await;
}

pub(in crate::registry) async fn bindings_outlive_expiry(harness: &impl Harness) {
    let registry = harness.registry();
    Statement::of("a").seq(5).expect(registry, Step::First).await;
    harness.advance(TTL * 1000);
    assert_eq!(registry.live().await.unwrap(), 0);
    Statement::of("a").key(2).seq(6).expect_refused(registry, VersionError::KeyMismatch).await;
    Statement::of("a").seq(4).expect_refused(registry, ROLLBACK_SEQ).await;
    Statement::of("a").seq(6).expect(registry, Step::Newer).await;
    assert_eq!(registry.live().await.unwrap(), 1);
}

pub(in crate::registry) async fn any_key_takes_over_and_starts_a_new_history(harness: &impl Harness) {
    let registry = harness.registry();
    Statement::of("a").seq(9).updated(90).expect(registry, Step::First).await;
    let taker = Statement::of("a").key(2).seq(1).updated(10).open();
    taker.expect(registry, Step::First).await;
    assert_eq!(shown(harness, &taker).await.unwrap().public_key, taker.public_key());
    envelope_is(harness, &taker).await;
    // Within one history the rules hold in every mode.
    Statement::of("a").key(2).seq(0).updated(10).open().expect_refused(registry, ROLLBACK_SEQ).await;
    Statement::of("a").seq(10).updated(91).expect_refused(registry, VersionError::KeyMismatch).await;
    assert_eq!(registry.live().await.unwrap(), 1);
}

pub(in crate::registry) async fn an_expired_statement_comes_back_as_a_heartbeat(harness: &impl Harness) {
    let statement = Statement::of("a").seq(1);
    statement.expect(harness.registry(), Step::First).await;
    harness.advance(TTL);
    assert_eq!(harness.registry().live().await.unwrap(), 0);
    statement.expect(harness.registry(), Step::Heartbeat).await;
    assert_eq!(shown(harness, &statement).await.unwrap().expires_in, TTL);
    envelope_is(harness, &statement).await;
}

pub(in crate::registry) async fn one_winner_of_concurrent_first_keys(harness: &impl Harness) {
    let rivals: Vec<_> = (1..=20).map(|key| Statement::of("a").key(key)).collect();
    let outcomes = join_all(rivals.iter().map(|rival| rival.register(harness.registry()))).await;
    let winners: Vec<_> = rivals.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok()).collect();
    assert_eq!(winners.len(), 1, "{outcomes:?}");
    assert!(outcomes.iter().filter(|outcome| outcome.is_err()).all(is_key_mismatch), "{outcomes:?}");
    let winner = winners[0].0;
    assert_eq!(shown(harness, winner).await.unwrap().public_key, winner.public_key());
    envelope_is(harness, winner).await;
}

pub(in crate::registry) async fn concurrent_versions_leave_the_newest(harness: &impl Harness) {
    let versions: Vec<_> = (1..=20).map(|seq| Statement::of("a").seq(seq)).collect();
    let outcomes = join_all(versions.iter().rev().map(|version| version.register(harness.registry()))).await;
    assert!(outcomes[0].is_ok());
    assert_eq!(outcomes.iter().flatten().filter(|registered| registered.step == Step::First).count(), 1);
    envelope_is(harness, &versions[19]).await;
    let twins: Vec<_> = ["x", "y", "z"].iter().map(|content| Statement::of("a").content(content).seq(21)).collect();
    let outcomes = join_all(twins.iter().map(|twin| twin.register(harness.registry()))).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
}

pub(in crate::registry) async fn versions_to_the_last_digit_are_told_apart(harness: &impl Harness) {
    let registry = harness.registry();
    let (top, micros) = ((1 << 53) - 1, 1_763_696_494_000_001);
    Statement::of("a").seq(top - 1).updated_micros(micros).expect(registry, Step::First).await;
    Statement::of("a").seq(top).updated_micros(micros - 1).expect_refused(registry, ROLLBACK_TIME).await;
    Statement::of("a").seq(top - 2).updated_micros(micros).expect_refused(registry, ROLLBACK_SEQ).await;
    Statement::of("a").seq(top).updated_micros(micros + 1).expect(registry, Step::Newer).await;
    let refusal = VersionError::Equivocation;
    Statement::of("a").content("x").seq(top).updated_micros(micros + 1).expect_refused(registry, refusal).await;
}

/// The rules as `Pin::step` words them, against the adapter's answers, for statements that collide often.
pub(in crate::registry) async fn random_histories_are_judged_as_by_the_rules(harness: &impl Harness) {
    // Fixed, so that a failure can be repeated.
    let mut state: u64 = 0x5EED;
    let mut below = |bound: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    let mut pins: HashMap<PeerId, Pin> = HashMap::new();
    for round in 0..800 {
        let content = format!("content {}", below(3));
        let mut next = Statement::of(&format!("peer {}", below(8))).key(u8::from(below(8) == 0)).content(&content);
        if below(8) != 0 {
            next = next.seq(below(6));
        }
        if below(8) != 0 {
            next = next.updated(i64::try_from(below(6)).unwrap() - 2);
        }
        if below(3) == 0 {
            next = next.issued(i64::try_from(below(4)).unwrap());
        }
        if below(4) == 0 {
            next = next.open();
        }
        if below(200) == 0 {
            harness.advance(TTL);
        }
        let admitted = next.admitted();
        let pin = Pin::of(admitted.manifest());
        let expected = Pin::step(pins.get(&next.peer), &pin, admitted.binding());
        let outcome = match harness.registry().register(&admitted).await {
            Ok(registered) => Ok(registered.step),
            Err(RegistryError::Refused(refusal)) => Err(refusal),
            Err(error) => panic!("round {round}: {error}"),
        };
        assert_eq!(outcome, expected, "round {round}: {next:?} after {:?}", pins.get(&next.peer));
        if let Ok(step) = outcome {
            let after = Pin::after(pins.get(&next.peer), &pin, step);
            pins.insert(next.peer.clone(), after);
            assert_eq!(shown(harness, &next).await.unwrap().summary, next.summary());
        }
    }
}

pub(in crate::registry) async fn a_superseded_statement_of_the_same_date_is_refused(harness: &impl Harness) {
    let registry = harness.registry();
    let of = |number: usize| Statement { content: format!("content {number}"), ..Statement::of("a").updated(10) };
    of(0).expect(registry, Step::First).await;
    for number in 1..=MAX_SUPERSEDED {
        of(number).expect(registry, Step::Newer).await;
        of(number - 1).expect_refused(registry, VersionError::Superseded).await;
        of(0).expect_refused(registry, VersionError::Superseded).await;
    }
    harness.advance(TTL * 2);
    of(1).expect_refused(registry, VersionError::Superseded).await;
    of(MAX_SUPERSEDED).expect(registry, Step::Heartbeat).await;
    envelope_is(harness, &of(MAX_SUPERSEDED)).await;
    // One more than is remembered.
    of(MAX_SUPERSEDED + 1).expect(registry, Step::Newer).await;
    of(1).expect_refused(registry, VersionError::Superseded).await;
    of(0).expect(registry, Step::Newer).await;
    // Of another date its date alone tells.
    Statement::of("a").content("x").updated(11).expect(registry, Step::Newer).await;
    of(5).expect_refused(registry, ROLLBACK_TIME).await;
    // Undated ones cannot be told from later ones.
    Statement::of("b").content("x").expect(registry, Step::First).await;
    Statement::of("b").content("y").expect(registry, Step::Newer).await;
    Statement::of("b").content("x").expect(registry, Step::Newer).await;
}

pub(in crate::registry) async fn a_statement_that_is_signed_anew_takes_the_place_of_the_older(harness: &impl Harness) {
    const OLDER: VersionError = VersionError::Rollback { field: "issued_at" };
    let registry = harness.registry();
    let (plain, at) =
        (Statement::of("a").seq(1).updated(10), |issued| Statement::of("a").seq(1).updated(10).issued(issued));
    plain.expect(registry, Step::First).await;
    assert_eq!(shown(harness, &plain).await.unwrap().issued_at, None);
    at(100).expect(registry, Step::Reissued).await;
    envelope_is(harness, &at(100)).await;
    assert_eq!(shown(harness, &plain).await.unwrap().issued_at, at(100).issued_at);
    assert_eq!(is_renewed(harness, &at(100)).await, harness.renews());
    at(200).expect(registry, Step::Reissued).await;
    harness.advance(Duration::from_secs(100));
    assert!(!is_renewed(harness, &at(100)).await);
    at(100).expect_refused(registry, OLDER).await;
    assert_eq!(shown(harness, &plain).await.unwrap().expires_in, Duration::from_secs(20), "it renewed nothing");
    at(200).expect(registry, Step::Heartbeat).await;
    // What never said when it was signed is as good as it was, and changes nothing.
    plain.expect(registry, Step::Heartbeat).await;
    envelope_is(harness, &at(200)).await;
    harness.advance(TTL * 2);
    at(100).expect_refused(registry, OLDER).await;
    at(200).expect(registry, Step::Heartbeat).await;
    Statement::of("a").seq(2).updated(11).issued(150).expect_refused(registry, OLDER).await;
    Statement::of("a").seq(2).updated(11).issued(201).expect(registry, Step::Newer).await;
    // Signed anew it is no repetition, also of what was replaced within the second.
    let of = |content: &str, issued| {
        Statement { content: content.to_owned(), ..Statement::of("b").updated(10) }.issued(issued)
    };
    of("x", 1).expect(registry, Step::First).await;
    of("y", 2).expect(registry, Step::Newer).await;
    of("x", 2).expect_refused(registry, VersionError::Superseded).await;
    of("x", 3).expect(registry, Step::Newer).await;
}

pub(in crate::registry) async fn an_unclaimed_id_is_claimed_once(harness: &impl Harness) {
    let (registry, statement) = (harness.registry(), Statement::of("own"));
    let (own, other) = (statement.public_key(), PublicKey::from_bytes([9; 32]));
    assert_eq!(registry.claim(&statement.peer, own).await.unwrap(), own);
    assert_eq!(registry.claim(&statement.peer, other).await.unwrap(), own);
    assert_eq!(registry.live().await.unwrap(), 0);
    assert_eq!(registry.bound(&statement.peer).await.unwrap().map(|bound| bound.public_key), Some(own));
    assert!(is_key_mismatch(&Statement::of("own").key(9).register(registry).await));
    statement.expect(registry, Step::Newer).await;
    Statement::of("taken").key(9).expect(registry, Step::First).await;
    assert_eq!(registry.claim(&Statement::of("taken").peer, own).await.unwrap(), other);
}

pub(in crate::registry) async fn bindings_are_known_and_counted(harness: &impl Harness) {
    let registry = harness.registry();
    let bindings = async |id: &str, key: u8| {
        let bindings = registry.bindings(&PeerId::parse(id).unwrap(), PublicKey::from_bytes([key; 32])).await.unwrap();
        (bindings.known, bindings.of_key)
    };
    assert_eq!(bindings("a", 1).await, (false, 0));
    Statement::of("a").seq(1).expect(registry, Step::First).await;
    Statement::of("b{1}").seq(1).expect(registry, Step::First).await;
    Statement::of("a").seq(2).expect(registry, Step::Newer).await;
    Statement::of("a").seq(2).expect(registry, Step::Heartbeat).await;
    assert!(is_key_mismatch(&Statement::of("a").key(2).register(registry).await));
    assert_eq!(
        (bindings("a", 1).await, bindings("c", 1).await, bindings("b{1}", 2).await),
        ((true, 2), (false, 2), (true, 0))
    );
    harness.advance(TTL + Duration::from_secs(1));
    assert_eq!(bindings("a", 1).await, (true, 2), "also when it is not live any more");
}

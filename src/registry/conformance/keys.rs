//! Which key an id is bound to, once its key has statements.

use super::{Harness, Statement, versions::shown};
use crate::{
    registry::Bound,
    trust::{KeyLine, Step, VersionError},
    types::{PeerId, PublicKey},
};

fn key(number: u8) -> PublicKey {
    PublicKey::from_bytes([number; 32])
}

/// What statements led to that ended with `number`.
pub(in crate::registry) fn line(number: u8, retired: &[u8]) -> KeyLine {
    KeyLine {
        public_key: key(number),
        recovery_key: Some(key(99)),
        epoch: 3,
        seq: u64::from(number),
        tip: [number; 32],
        revoked: false,
        retired: retired.iter().map(|number| key(*number)).collect(),
    }
}

async fn bound(harness: &impl Harness, statement: &Statement) -> Option<Bound> {
    harness.registry().bound(&statement.peer).await.unwrap()
}

async fn bind(harness: &impl Harness, statement: &Statement, before: Option<&Bound>, line: &KeyLine) -> bool {
    harness.registry().bind(&statement.peer, before, line, "").await.unwrap()
}

pub(in crate::registry) async fn statements_bind_an_id_to_another_key(harness: &impl Harness) {
    let (registry, old) = (harness.registry(), Statement::of("a").seq(7).updated(100));
    assert_eq!(bound(harness, &old).await, None);
    old.expect(registry, Step::First).await;
    let before = bound(harness, &old).await;
    assert_eq!(before, Some(Bound { public_key: key(1), line: None }));
    // The same key, which now has a recovery key: nothing else changes.
    let enrolled = line(1, &[]);
    assert!(bind(harness, &old, before.as_ref(), &enrolled).await);
    assert!(shown(harness, &old).await.is_some());
    old.expect(registry, Step::Heartbeat).await;
    let before = Some(Bound { public_key: key(1), line: Some(enrolled) });
    assert_eq!(bound(harness, &old).await, before);

    assert!(bind(harness, &old, before.as_ref(), &line(2, &[1])).await);
    let left = (shown(harness, &old).await, registry.live().await.unwrap());
    assert_eq!(left, (None, 0), "what the old key said is gone");
    assert_eq!(registry.envelope(&old.peer).await.unwrap(), None);
    old.expect_refused(registry, VersionError::KeyMismatch).await;
    // A new history: the versions of the old key say nothing any more.
    Statement::of("a").key(2).seq(1).updated(1).expect(registry, Step::Newer).await;
    assert_eq!(bound(harness, &old).await, Some(Bound { public_key: key(2), line: Some(line(2, &[1])) }));
    old.expect_refused(registry, VersionError::KeyMismatch).await;
}

pub(in crate::registry) async fn a_binding_that_changed_meanwhile_is_left(harness: &impl Harness) {
    let statement = Statement::of("a");
    statement.expect(harness.registry(), Step::First).await;
    let before = bound(harness, &statement).await;
    assert!(!bind(harness, &statement, None, &line(2, &[1])).await);
    assert!(bind(harness, &statement, before.as_ref(), &line(2, &[1])).await);
    assert!(!bind(harness, &statement, before.as_ref(), &line(3, &[1])).await);
    let now = bound(harness, &statement).await;
    assert_eq!(now.as_ref().unwrap().public_key, key(2));
    // Many at once: one of them counts.
    let tries = (3..11).map(|number| {
        let (now, statement) = (now.clone(), statement.clone());
        async move { bind(harness, &statement, now.as_ref(), &line(number, &[1, 2])).await }
    });
    let taken = futures_util::future::join_all(tries).await;
    assert_eq!(taken.into_iter().filter(|taken| *taken).count(), 1);
}

pub(in crate::registry) async fn a_revoked_or_replaced_key_speaks_in_no_mode(harness: &impl Harness) {
    let (registry, statement) = (harness.registry(), Statement::of("a"));
    statement.expect(registry, Step::First).await;
    let before = bound(harness, &statement).await;
    assert!(bind(harness, &statement, before.as_ref(), &line(2, &[1])).await);
    Statement::of("a").open().expect_refused(registry, VersionError::KeyMismatch).await;
    let before = bound(harness, &statement).await;
    assert!(bind(harness, &statement, before.as_ref(), &KeyLine { revoked: true, ..line(2, &[1]) }).await);
    for statement in [Statement::of("a").key(2), Statement::of("a").key(2).open()] {
        statement.expect_refused(registry, VersionError::Revoked).await;
    }
    Statement::of("a").key(3).expect_refused(registry, VersionError::KeyMismatch).await;
    Statement::of("a").open().expect_refused(registry, VersionError::KeyMismatch).await;
    // Where any key may speak for any id, one that was never replaced may.
    Statement::of("a").key(3).open().expect(registry, Step::First).await;
    assert_eq!(bound(harness, &statement).await, Some(Bound { public_key: key(3), line: None }));
}

pub(in crate::registry) async fn a_binding_can_begin_with_statements(harness: &impl Harness) {
    let statement = Statement::of("odd {id} ☃");
    assert!(bind(harness, &statement, None, &line(4, &[3])).await);
    let other = PeerId::parse("odd").unwrap();
    assert_eq!(harness.registry().bound(&other).await.unwrap(), None);
    assert_eq!(bound(harness, &statement).await, Some(Bound { public_key: key(4), line: Some(line(4, &[3])) }));
    statement.clone().key(3).expect_refused(harness.registry(), VersionError::KeyMismatch).await;
    statement.key(4).expect(harness.registry(), Step::Newer).await;
}

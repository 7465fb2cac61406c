use super::*;
use crate::types::{PublicKey, Timestamp};

fn pin(key: u8, last_updated: Option<i64>, seq: Option<u64>, content: u8) -> Pin {
    Pin {
        public_key: PublicKey::from_bytes([key; 32]),
        last_updated: last_updated.map(Timestamp::from_seconds),
        seq,
        digest: [content; 32],
        issued_at: None,
        superseded: Vec::new(),
    }
}

#[test]
fn every_step_of_an_ids_history() {
    use VersionError::{Equivocation, KeyMismatch, Rollback};
    let newest = pin(1, Some(100), Some(5), 1);
    let cases = [
        (pin(1, Some(100), Some(5), 1), Ok(Step::Heartbeat)),
        (pin(1, Some(101), Some(6), 2), Ok(Step::Newer)),
        (pin(1, Some(100), Some(6), 2), Ok(Step::Newer)),
        (pin(1, Some(99), Some(6), 2), Err(Rollback { field: "last_updated" })),
        (pin(1, Some(101), Some(4), 2), Err(Rollback { field: "seq" })),
        (pin(1, None, Some(6), 2), Err(Rollback { field: "last_updated" })),
        (pin(1, Some(101), None, 2), Err(Rollback { field: "seq" })),
        (pin(1, Some(101), Some(5), 2), Err(Equivocation)),
        (pin(2, Some(101), Some(6), 2), Err(KeyMismatch)),
        (pin(2, Some(100), Some(5), 1), Err(KeyMismatch)),
    ];
    for (next, expected) in cases {
        assert_eq!(Pin::step(Some(&newest), &next, Binding::FirstKey), expected, "{next:?}");
    }
    assert_eq!(Pin::step(None, &newest, Binding::FirstKey), Ok(Step::First));
    assert_eq!(Pin::step(Some(&newest), &pin(2, None, None, 9), Binding::AnyKey), Ok(Step::First));
}

#[test]
fn two_statements_of_one_second_may_follow_each_other_without_seq() {
    let newest = pin(1, Some(100), None, 1);
    assert_eq!(Pin::step(Some(&newest), &pin(1, Some(100), None, 2), Binding::FirstKey), Ok(Step::Newer));
}

//! A peer that may push overrules edits made here again and again, so that the versions that lost fill the disk: beyond
//! `limits.peer_conflicts` nothing that would add to them is taken, and the edit made here stands.

use crate::{
    attacks::bed::{Attacker, Victim, content, outcome},
    server::{now, whole},
    service::Place,
};
use serde_json::json;

#[tokio::test]
async fn edits_made_here_are_not_overruled_without_end() {
    const MOST: i64 = 3;
    let place = Place::new().set("ARK__LIMITS__PEER_CONFLICTS", &MOST.to_string());
    let victim = Victim::start_in(place).await;
    let attacker = Attacker::new("overruler").registered(&victim, 1).await;
    let mut outcomes = Vec::new();
    for number in 0..=MOST {
        let mine = json!({"id": "fought-over", "content": format!("mine {number}")});
        assert!(victim.service.put("fought-over", &mine).await.status().is_success());
        let mut line = whole(1, "fought-over", &format!("theirs {number}"));
        // Just inside of what clocks may differ: it is later than every edit made here.
        line["at"] = json!(now().seconds() + 280 + number);
        outcomes.push(outcome(attacker.push(&victim, &line).await).await);
    }
    let (last, taken) = outcomes.split_last().unwrap();
    assert!(taken.iter().all(|(status, _)| *status == 200), "{taken:?}");
    assert_eq!(*last, (409, "conflicts_full".to_owned()));
    victim.has_audited("conflicts_full", "/lattice/changes", "-");
    assert_eq!(content(&victim, "fought-over").await, Some(format!("mine {MOST}")));
}

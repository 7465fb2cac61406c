//! A stranger that may push sends empty pushes, each of which is remembered for ten minutes: it uses up its own share of that memory.

use crate::{
    attacks::bed::{Attacker, Victim, outcome},
    server::whole,
    service::Place,
};
use std::sync::atomic::{AtomicU32, Ordering};

const ROUTE: &str = "/lattice/changes";

#[tokio::test]
async fn empty_pushes_of_one_key_leave_room_for_all_others() {
    let victim = Victim::start_in(Place::new()).await;
    let flood = Attacker::new("flood").registered(&victim, 1).await;
    let honest = Attacker::new("honest").registered(&victim, 1).await;
    let taken = AtomicU32::default();
    let burn = async || {
        loop {
            match outcome(flood.request(&victim, ROUTE, "").send().await.unwrap()).await {
                (200, _) => taken.fetch_add(1, Ordering::Relaxed),
                other => break other,
            };
        }
    };
    let ends = futures_util::future::join_all((0..16).map(|_| burn())).await;
    assert!(ends.iter().all(|end| *end == (429, "rate_limited".to_owned())), "{ends:?}");
    assert_eq!(taken.load(Ordering::Relaxed), 20_000);
    victim.has_audited("rate_limited", ROUTE, "-");
    assert_eq!(honest.push(&victim, &whole(1, "h", "h")).await.status(), 200);
}

//! Conflicts at their limit.

use crate::bed::{Instance, provider};
use std::time::Duration;

/// Both sides edit the same nodes; those of `loser`, which holds two conflicts at most, are older.
async fn two_at_the_limit(loser_pulls: bool) -> (Instance, Instance) {
    let most = |settings: &mut ark_lattice::settings::Settings| settings.limits.peer_conflicts = 2;
    let (loser, winner) = (Instance::start_with("loser", most).await, Instance::start("winner").await);
    let (from, to) = if loser_pulls { (&loser, &winner) } else { (&winner, &loser) };
    from.engine().add_peer(&to.url, Default::default()).unwrap();
    for id in ["a", "b", "c", "d"] {
        loser.put(id, "of the loser").await;
    }
    winner.clock.advance(Duration::from_secs(60));
    loser.clock.advance(Duration::from_secs(60));
    for id in ["a", "b", "c", "d"] {
        winner.put(id, "of the winner").await;
    }
    (loser, winner)
}

#[tokio::test]
async fn conflicts_at_their_limit_stop_nothing_but_conflicts() {
    provider();
    for loser_pulls in [true, false] {
        let (loser, winner) = two_at_the_limit(loser_pulls).await;
        let asking = if loser_pulls { &loser } else { &winner };
        let full = asking.sync(false).await.error.unwrap();
        assert!(full.contains("everything else is"), "{full}");
        assert_eq!(loser.lattice().conflict_count().unwrap(), 2);
        // What comes new goes, both ways, round after round.
        for round in ["1", "2"] {
            loser.put("new-of-loser", round).await;
            winner.put("new-of-winner", round).await;
            asking.sync(false).await.error.unwrap();
            assert_eq!(winner.content("new-of-loser").await.as_deref(), Some(round), "pulls: {loser_pulls}");
            assert_eq!(loser.content("new-of-winner").await.as_deref(), Some(round), "pulls: {loser_pulls}");
        }
        let kept = loser.lattice().conflicts(0, 9).unwrap();
        assert_eq!(kept.len(), 2, "no edit of the loser is lost");
        let peers = asking.engine().peers();
        assert!(peers.iter().all(|peer| peer.error.is_some()), "it is shown as failing");
        for conflict in kept {
            loser.lattice().dismiss_conflict(conflict.number).await.unwrap();
        }
        assert_eq!(asking.sync(false).await.error, None, "pulls: {loser_pulls}");
        assert_eq!(loser.set_hash(), winner.set_hash());
        assert_eq!(loser.lattice().conflict_count().unwrap(), 2);
        loser.stop().await;
        winner.stop().await;
    }
}

//! What follows where a side has forgotten deletions.

use super::*;
use crate::federation::round::confirmed::ForgottenBefore;

/// One that forgot deletions after the position that the two know.
fn with_floor(journal: &Journal, floor: u64) -> Stand {
    let Stand { head, lineage } = Journal { seq: floor, ..journal.clone() }.stand();
    Stand { head: Head { floor, ..head }, lineage }
}

#[test]
fn nodes_count_as_deleted_only_where_that_side_held_them_and_forgot_deletions_since() {
    let (theirs, ours, positions) = in_step();
    for ways in ways() {
        let mut it = Round::new(theirs.stand(), ours.stand(), positions.clone(), ways);
        it.end(Outcome::InStep, Refused { here: true, there: true });
        let known = it.positions.clone();
        assert!(known.held_here.is_some() && known.held_here == known.held_there, "equal sets prove it");
        let before = |theirs: Stand, ours: Stand| Round::new(theirs, ours, known.clone(), ways).forgotten_before();
        let nothing = ForgottenBefore::default();
        assert_eq!(before(theirs.stand(), ours.stand()), nothing);
        assert_eq!(before(with_floor(&theirs, 20), with_floor(&ours, 30)), nothing, "these deletions were exchanged");
        let there = ForgottenBefore { there: Some(30), given_there: Some(30), here: None };
        assert_eq!(before(with_floor(&theirs, 25), ours.stand()), there);
        assert_eq!(before(theirs.stand(), with_floor(&ours, 35)), ForgottenBefore { here: Some(20), ..nothing });
        // What a restored journal lacks was not deleted.
        // The epoch of the copy goes on in no restored journal.
        let floor = |restored: &Journal, begun: &Journal, floor: u64| {
            if restored.starts == begun.starts { restored.seq } else { restored.seq.max(floor) }
        };
        for (restored, _) in restored(&theirs) {
            let stand = with_floor(&restored, floor(&restored, &theirs, 25));
            assert_eq!(before(stand, ours.stand()), nothing, "{restored:?}");
        }
        for (restored, _) in restored(&ours) {
            let stand = with_floor(&restored, floor(&restored, &ours, 35));
            assert_eq!(before(with_floor(&theirs, 25), stand), nothing, "{restored:?}");
        }
    }
}

#[test]
fn without_equal_sets_everything_must_have_gone_with_nothing_refused() {
    let (of_peer, own, positions) = in_step();
    let filtered = Directions { filtered: true, ..BOTH };
    let end = |positions: &Positions, (theirs, ours): (u64, u64), refused: Refused| {
        let stands = |seq: u64, journal: &Journal| Journal { seq, ..journal.clone() }.stand();
        let ours = stands(ours, &own);
        let mut it = Round::new(stands(theirs, &of_peer), ours.clone(), positions.clone(), filtered);
        it.pulled(ours);
        it.pushed();
        it.end(Outcome::Exchanged, refused);
        it.positions
    };
    let held = |positions: &Positions| {
        let seqs = |it: &Option<Confirmed>| it.as_ref().map(|it| (it.theirs.seq, it.ours.seq));
        (seqs(&positions.held_here), seqs(&positions.held_there))
    };
    // Nobody knows what was refused before these positions.
    assert_eq!(held(&end(&positions, (22, 33), Refused::default())), (None, None));
    let first = end(&Positions::default(), (20, 30), Refused::default());
    assert_eq!(held(&first), (Some((20, 30)), Some((20, 30))));
    let next = end(&first, (22, 33), Refused { here: true, there: false });
    assert_eq!(held(&next), (Some((20, 30)), Some((22, 33))));
    let last = end(&next, (24, 36), Refused::default());
    assert_eq!(held(&last), (Some((20, 30)), Some((24, 36))), "what was refused may be lacking still");
}

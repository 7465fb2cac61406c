use super::*;
use crate::types::{PeerId, SetHash, Timestamp};

const BOTH: Directions = Directions { pull: true, push: true, filtered: false, by_priority: false };

fn head(index_id: &str, seq: u64, set: &str) -> Head {
    Head {
        node_id: PeerId::parse("ark").unwrap(),
        index_id: index_id.to_owned(),
        seq,
        floor: 0,
        manifest_hash: SetHash::of(set.as_bytes()),
        count: 3,
        issued_at: Timestamp::EPOCH,
        expires: Timestamp::EPOCH,
    }
}

fn at(index_id: &str, seq: u64) -> Option<Position> {
    Some(Position { index_id: index_id.to_owned(), seq })
}

/// A round of two that know each other up to these positions.
fn round(pulled: u64, pushed: u64) -> Round {
    let positions = Positions {
        pulled: at("t", pulled),
        pulled_into: Some("o".to_owned()),
        pulled_floor: 0,
        pushed: at("o", pushed),
        pushed_to: Some("t".to_owned()),
        in_step: None,
    };
    Round::new(head("t", 9, "x"), head("o", 5, "y"), positions, BOTH)
}

fn pull(since: u64, mode: Mode, reset: Option<Reset>) -> Step {
    Step::Pull { since, mode, reset }
}

fn push(since: u64, mode: Mode, reset: Option<Reset>) -> Step {
    Step::Push { since, mode, reset }
}

#[test]
fn who_is_in_step_says_nothing_more() {
    let mut round = round(9, 5);
    round.ours.manifest_hash = round.theirs.manifest_hash;
    assert_eq!(round.next(), Step::Done(Outcome::InStep));
}

#[test]
fn what_they_have_comes_before_what_we_have_goes() {
    let mut it = round(7, 4);
    assert_eq!(it.next(), pull(7, Mode::Inline, None));
    it.pulled(head("o", 7, "z"));
    assert_eq!(it.next(), push(4, Mode::Inline, None), "also what came meanwhile, from others");
    it.pushed();
    assert_eq!((it.positions.pulled.clone(), it.positions.pushed.clone()), (at("t", 9), at("o", 7)));
    assert_eq!(it.next(), Step::Ask);
    it.asked(head("t", 11, "z"));
    assert_eq!(
        it.next(),
        pull(9, Mode::Inline, None),
        "our own changes come back as theirs, as positions without contents"
    );
    it.pulled(head("o", 7, "z"));
    assert_eq!(it.next(), Step::Done(Outcome::InStep));
}

#[test]
fn equal_sets_do_not_end_a_round_before_its_positions_are_known() {
    // Deletions of what one side never had, and later times, are no part of the hash.
    let mut it = round(7, 5);
    it.ours.manifest_hash = it.theirs.manifest_hash;
    assert_eq!(it.next(), pull(7, Mode::Inline, None));
}

#[test]
fn every_lost_position_starts_from_the_beginning_and_says_why() {
    let reset = |change: &dyn Fn(&mut Round)| {
        let mut it = round(7, 4);
        change(&mut it);
        it = Round::new(it.theirs, it.ours, it.positions, it.directions);
        it.next()
    };
    let from_zero = |reason| pull(0, Mode::List, Some(reason));
    assert_eq!(reset(&|it| it.positions.pulled = None), from_zero(Reset::FirstContact));
    assert_eq!(reset(&|it| it.theirs.index_id = "t2".into()), from_zero(Reset::NewIndex));
    assert_eq!(reset(&|it| it.ours.index_id = "o2".into()), from_zero(Reset::NewIndex));
    assert_eq!(reset(&|it| it.theirs.seq = 6), from_zero(Reset::WentBack));
    assert_eq!(reset(&|it| it.theirs.floor = 8), from_zero(Reset::BelowFloor));
    assert_eq!(
        reset(&|it| (it.positions.pulled, it.ours.count) = (None, 0)),
        pull(0, Mode::Inline, Some(Reset::FirstContact))
    );

    // What went to them was lost: what they have comes once more as well.
    let reset = |change: &dyn Fn(&mut Round)| {
        let mut it = round(9, 4);
        change(&mut it);
        it = Round::new(it.theirs, it.ours, it.positions, it.directions);
        let first = it.next();
        it.pulled(it.ours.clone());
        (first, it.next())
    };
    let from_zero = |reason| (pull(0, Mode::List, Some(reason)), push(0, Mode::List, Some(reason)));
    assert_eq!(reset(&|it| it.positions.pushed_to = Some("t2".into())), from_zero(Reset::NewIndex));
    assert_eq!(reset(&|it| it.positions.pushed = at("o2", 4)), from_zero(Reset::NewIndex));
    assert_eq!(reset(&|it| it.positions.pushed = at("o", 6)), from_zero(Reset::WentBack));
    assert_eq!(reset(&|it| it.ours.floor = 5), from_zero(Reset::BelowFloor));
}

#[test]
fn a_way_that_was_never_gone_begins_alone() {
    // The first exchange was cut between its two halves: what came need not come again.
    let mut it = round(9, 4);
    it.positions.pushed = None;
    let it = Round::new(it.theirs, it.ours, it.positions, it.directions);
    assert_eq!(it.next(), push(0, Mode::List, Some(Reset::FirstContact)));
}

#[test]
fn what_a_forgotten_deletion_outweighed_comes_again() {
    let mut it = round(9, 4);
    (it.positions.pushed, it.ours.seq, it.ours.floor) = (None, 7, 6);
    let it = Round::new(it.theirs, it.ours, it.positions, it.directions);
    assert_eq!(it.next(), pull(0, Mode::List, Some(Reset::BelowFloor)));
}

#[test]
fn a_way_that_is_closed_loses_nothing() {
    let mut it = round(7, 4);
    it.directions.push = false;
    it.positions.pushed_to = Some("t2".to_owned());
    let it = Round::new(it.theirs, it.ours, it.positions, it.directions);
    assert_eq!(it.next(), pull(7, Mode::Inline, None));
}

#[test]
fn one_way_and_partial_exchanges_end_without_equal_sets() {
    let mut mirror = round(7, 0);
    mirror.directions.push = false;
    assert_eq!(mirror.next(), pull(7, Mode::Inline, None));
    mirror.pulled(head("o", 6, "y"));
    assert_eq!(mirror.next(), Step::Done(Outcome::Exchanged));

    let mut source = round(0, 4);
    source.directions.pull = false;
    assert_eq!(source.next(), push(4, Mode::Inline, None));
    source.pushed();
    assert_eq!(source.next(), Step::Done(Outcome::Exchanged));

    let mut partial = round(9, 5);
    partial.directions.filtered = true;
    assert_eq!(partial.next(), Step::Done(Outcome::Exchanged));
}

#[test]
fn a_difference_that_nothing_explains_is_named() {
    let mut it = round(9, 5);
    assert_eq!(it.next(), Step::Ask, "perhaps something moved just then");
    it.asked(it.theirs.clone());
    assert_eq!(it.next(), Step::Done(Outcome::Unexplained));
}

#[test]
fn two_that_never_stop_changing_end_their_round() {
    let mut it = round(7, 4);
    for step in 0..100_u64 {
        match it.next() {
            Step::Pull { .. } => it.pulled(head("o", 10 + step, "a")),
            Step::Push { .. } => it.pushed(),
            Step::Reconcile { .. } => panic!("it is not asked for"),
            Step::Ask => it.asked(head("t", 20 + step, "b")),
            Step::Done(outcome) => {
                assert_eq!((outcome, it.asked), (Outcome::Moving, MAX_ASKED));
                return;
            }
        }
    }
    panic!("it goes on for ever");
}

#[test]
fn every_state_leads_to_an_end() {
    // Whatever the positions and directions: carried out faithfully, a round ends after a few steps.
    let some = [None, at("t", 0), at("t", 9), at("t", 99), at("o", 5), at("o", 9), at("z", 3)];
    for pulled in &some {
        for pushed in &some {
            for to in [None, Some("t".to_owned()), Some("z".to_owned())] {
                for bits in 0..32_u8 {
                    let mut it = round(0, 0);
                    it.reconciles = (bits & 16 > 0).then_some(3);
                    let into = to.clone().map(|_| "o".to_owned());
                    let (pulled, pushed) = (pulled.clone(), pushed.clone());
                    it.positions = Positions {
                        pulled,
                        pulled_into: into,
                        pulled_floor: 0,
                        pushed,
                        pushed_to: to.clone(),
                        in_step: None,
                    };
                    it.directions = Directions {
                        pull: bits & 1 > 0,
                        push: bits & 2 > 0,
                        filtered: bits & 4 > 0,
                        by_priority: bits & 8 > 0,
                    };
                    let mut steps = 0;
                    while !matches!(it.next(), Step::Done(_)) {
                        match it.next() {
                            Step::Pull { .. } => it.pulled(it.ours.clone()),
                            Step::Push { .. } => it.pushed(),
                            Step::Reconcile { .. } => {
                                let (index_id, seq) = (it.ours.index_id.clone(), it.ours.seq);
                                it.pulled(head("o", 7, "after the pull"));
                                if it.directions.push {
                                    it.sent(index_id, seq);
                                }
                            }
                            Step::Ask => it.asked(it.theirs.clone()),
                            Step::Done(_) => {}
                        }
                        steps += 1;
                        assert!(steps < 8, "{it:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn who_is_far_behind_or_minds_the_order_gets_a_list_first() {
    let mut it = round(7, 4);
    it.theirs.seq = 7 + FAR + 1;
    assert_eq!(it.next(), pull(7, Mode::List, None), "some of it may be here already");
    it.ours.count = 0;
    assert_eq!(it.next(), pull(7, Mode::Inline, None), "nothing is");
    let mut it = round(7, 4);
    it.directions.by_priority = true;
    assert_eq!(it.next(), pull(7, Mode::List, None));
}

/// Two that both hold this many nodes and begin from the beginning.
fn both_hold(theirs: u64, ours: u64) -> Round {
    let mut it = round(7, 4);
    (it.theirs.count, it.ours.count, it.reconciles) = (theirs, ours, Some(256));
    it.positions = Positions::default();
    it
}

#[test]
fn two_that_hold_much_and_know_no_position_reconcile_their_sets() {
    let reconcile = |reason| Step::Reconcile { reset: reason };
    for counts in [(256, 256), (256, 1024), (4000, 1000)] {
        assert_eq!(both_hold(counts.0, counts.1).next(), reconcile(Reset::FirstContact), "{counts:?}");
    }
    for counts in [(255, 256), (256, 1025), (0, 0), (0, 1000), (4001, 1000)] {
        assert!(matches!(both_hold(counts.0, counts.1).next(), Step::Pull { since: 0, .. }), "{counts:?}");
    }
    // Every way in which a position is lost.
    let lost = |change: &dyn Fn(&mut Round)| {
        let mut it = round(7, 4);
        (it.theirs.count, it.ours.count) = (300, 300);
        change(&mut it);
        it = Round::new(it.theirs, it.ours, it.positions, it.directions);
        it.reconciles = Some(256);
        it.next()
    };
    assert_eq!(lost(&|_| ()), pull(7, Mode::Inline, None), "nothing is lost");
    assert_eq!(lost(&|it| it.theirs.index_id = "t2".into()), reconcile(Reset::NewIndex));
    assert_eq!(lost(&|it| it.ours.index_id = "o2".into()), reconcile(Reset::NewIndex));
    assert_eq!(lost(&|it| it.theirs.seq = 6), reconcile(Reset::WentBack));
    assert_eq!(lost(&|it| it.theirs.floor = 8), reconcile(Reset::BelowFloor));
    assert_eq!(lost(&|it| it.positions.pushed = at("o", 6)), reconcile(Reset::WentBack));
    assert_eq!(lost(&|it| it.ours.floor = 5), reconcile(Reset::BelowFloor));
    assert_eq!(lost(&|it| it.positions.pushed = None), reconcile(Reset::FirstContact), "cut between its two halves");
}

#[test]
fn sets_are_not_reconciled_where_only_a_part_or_only_ours_goes() {
    let changes: [fn(&mut Round); 4] = [
        |it| it.directions.filtered = true,
        |it| it.directions.by_priority = true,
        |it| it.directions.pull = false,
        |it| it.reconciles = None,
    ];
    for change in changes {
        let mut it = both_hold(1000, 1000);
        change(&mut it);
        assert!(!matches!(it.next(), Step::Reconcile { .. }), "{:?}", it.directions);
    }
    // Who only takes does not mind that nothing went.
    let mut it = both_hold(1000, 1000);
    it.directions.push = false;
    assert!(matches!(it.next(), Step::Reconcile { .. }));
    it.pulled(it.ours.clone());
    assert_eq!(it.next(), Step::Done(Outcome::Exchanged));
}

#[test]
fn after_sets_were_reconciled_only_what_came_since_goes() {
    let mut it = both_hold(1000, 1000);
    let (index_id, seq) = (it.ours.index_id.clone(), it.ours.seq);
    it.pulled(Head { count: 1000, ..head("o", 8, "both") });
    it.sent(index_id, seq);
    assert_eq!((it.positions.pulled.clone(), it.positions.pushed.clone()), (at("t", 9), at("o", 5)));
    assert_eq!(it.next(), push(5, Mode::Inline, None), "of which what came from there is left out");
    it.pushed();
    it.asked(Head { count: 1000, ..head("t", 9, "both") });
    assert_eq!(it.next(), Step::Done(Outcome::InStep));
}

use super::*;
use crate::{
    manifest::{HeadEpoch, lineage::tests::epoch as numbered},
    types::{PeerId, SetHash, Timestamp},
};
use proptest::prelude::*;

#[path = "tests_confirmed.rs"]
mod confirmed;

const BOTH: Directions = Directions { pull: true, push: true, filtered: false, by_priority: false };

/// A journal of release 0.1.0.
fn epoch(name: &str) -> Epoch {
    let digits: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
    Epoch::parse(&format!("{digits:0>32}")).unwrap()
}

fn head(index_id: &str, seq: u64, set: &str) -> Head {
    Head {
        node_id: PeerId::parse("ark").unwrap(),
        index_id: epoch(index_id).to_string(),
        seq,
        floor: 0,
        manifest_hash: SetHash::of(set.as_bytes()),
        count: 3,
        issued_at: Timestamp::EPOCH,
        expires: Timestamp::EPOCH,
        epoch: None,
    }
}

fn stand(head: Head) -> Stand {
    Stand { lineage: Arc::new(head.newest_epoch()), head }
}

fn at(index_id: &str, seq: u64) -> Option<Position> {
    Some(Position::new(epoch(index_id), seq))
}

/// The same once more, as the next round begins.
fn anew(it: Round) -> Round {
    let reconciles = it.reconciles;
    let mut it = Round::new(stand(it.theirs), stand(it.ours), it.positions, it.directions);
    it.reconciles = reconciles;
    it
}

/// A round of two that know each other up to these positions.
fn round(pulled: u64, pushed: u64) -> Round {
    let positions = Positions {
        pulled: at("t", pulled),
        pulled_into: at("o", 5),
        pulled_floor: 0,
        pushed: at("o", pushed),
        pushed_to: at("t", 9),
        ..Positions::default()
    };
    Round::new(stand(head("t", 9, "x")), stand(head("o", 5, "y")), positions, BOTH)
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
    it.pulled(stand(head("o", 7, "z")));
    assert_eq!(it.next(), push(4, Mode::Inline, None), "also what came meanwhile, from others");
    it.pushed();
    assert_eq!((it.positions.pulled.clone(), it.positions.pushed.clone()), (at("t", 9), at("o", 7)));
    assert_eq!(it.next(), Step::Ask);
    it.asked(stand(head("t", 11, "z")));
    assert_eq!(
        it.next(),
        pull(9, Mode::Inline, None),
        "our own changes come back as theirs, as positions without contents"
    );
    it.pulled(stand(head("o", 7, "z")));
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
        it = anew(it);
        it.next()
    };
    let from_zero = |reason| pull(0, Mode::List, Some(reason));
    assert_eq!(reset(&|it| it.positions.pulled = None), from_zero(Reset::FirstContact));
    assert_eq!(reset(&|it| it.theirs.index_id = epoch("t2").to_string()), from_zero(Reset::NewIndex));
    assert_eq!(reset(&|it| it.ours.index_id = epoch("o2").to_string()), from_zero(Reset::NewIndex));
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
        it = anew(it);
        let first = it.next();
        it.pulled(stand(it.ours.clone()));
        (first, it.next())
    };
    let from_zero = |reason| (pull(0, Mode::List, Some(reason)), push(0, Mode::List, Some(reason)));
    assert_eq!(reset(&|it| it.positions.pushed_to = at("t2", 9)), from_zero(Reset::NewIndex));
    assert_eq!(reset(&|it| it.positions.pushed = at("o2", 4)), from_zero(Reset::NewIndex));
    assert_eq!(reset(&|it| it.positions.pushed = at("o", 6)), from_zero(Reset::WentBack));
    assert_eq!(reset(&|it| it.ours.floor = 5), from_zero(Reset::BelowFloor));
}

#[test]
fn a_way_that_was_never_gone_begins_alone() {
    // The first exchange was cut between its two halves: what came need not come again.
    let mut it = round(9, 4);
    it.positions.pushed = None;
    let it = anew(it);
    assert_eq!(it.next(), push(0, Mode::List, Some(Reset::FirstContact)));
}

#[test]
fn what_a_forgotten_deletion_outweighed_comes_again() {
    let mut it = round(9, 4);
    (it.positions.pushed, it.ours.seq, it.ours.floor) = (None, 7, 6);
    let it = anew(it);
    assert_eq!(it.next(), pull(0, Mode::List, Some(Reset::BelowFloor)));
}

#[test]
fn a_way_that_is_closed_loses_nothing() {
    let mut it = round(7, 4);
    it.directions.push = false;
    it.positions.pushed_to = at("t2", 9);
    let it = anew(it);
    assert_eq!(it.next(), pull(7, Mode::Inline, None));
}

#[test]
fn one_way_and_partial_exchanges_end_without_equal_sets() {
    let mut mirror = round(7, 0);
    mirror.directions.push = false;
    assert_eq!(mirror.next(), pull(7, Mode::Inline, None));
    mirror.pulled(stand(head("o", 6, "y")));
    assert_eq!(mirror.next(), Step::Done(Outcome::Exchanged));

    let mut source = round(0, 4);
    source.directions.pull = false;
    assert_eq!(source.next(), push(4, Mode::Inline, None));
    source.pushed();
    assert_eq!(source.next(), Step::Ask, "what they hold since is to be compared");
    source.asked(stand(head("t", 9, "z")));
    assert_eq!(source.next(), Step::Done(Outcome::Exchanged));

    let mut partial = round(9, 5);
    partial.directions.filtered = true;
    assert_eq!(partial.next(), Step::Done(Outcome::Exchanged));
}

#[test]
fn a_difference_that_nothing_explains_is_named() {
    let mut it = round(9, 5);
    assert_eq!(it.next(), Step::Ask, "perhaps something moved just then");
    it.asked(stand(it.theirs.clone()));
    assert_eq!(it.next(), Step::Done(Outcome::Unexplained));
}

#[test]
fn two_that_never_stop_changing_end_their_round() {
    let mut it = round(7, 4);
    for step in 0..100_u64 {
        match it.next() {
            Step::Pull { .. } => it.pulled(stand(head("o", 10 + step, "a"))),
            Step::Push { .. } => it.pushed(),
            Step::Reconcile { .. } => panic!("it is not asked for"),
            Step::Ask => it.asked(stand(head("t", 20 + step, "b"))),
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
            for to in [None, at("t", 1), at("t", 99), at("z", 1)] {
                for bits in 0..32_u8 {
                    let mut it = round(0, 0);
                    it.reconciles = (bits & 16 > 0).then_some(3);
                    let into = to.clone().and_then(|_| at("o", 1));
                    let (pulled, pushed) = (pulled.clone(), pushed.clone());
                    it.positions = Positions {
                        pulled,
                        pulled_into: into,
                        pulled_floor: 0,
                        pushed,
                        pushed_to: to.clone(),
                        ..Positions::default()
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
                            Step::Pull { .. } => it.pulled(stand(it.ours.clone())),
                            Step::Push { .. } => it.pushed(),
                            Step::Reconcile { .. } => {
                                let begun = it.ours.position();
                                it.pulled(stand(head("o", 7, "after the pull")));
                                if it.directions.push {
                                    it.sent(begun);
                                }
                            }
                            Step::Ask => it.asked(stand(it.theirs.clone())),
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
        it = anew(it);
        it.reconciles = Some(256);
        it.next()
    };
    assert_eq!(lost(&|_| ()), pull(7, Mode::Inline, None), "nothing is lost");
    assert_eq!(lost(&|it| it.theirs.index_id = epoch("t2").to_string()), reconcile(Reset::NewIndex));
    assert_eq!(lost(&|it| it.ours.index_id = epoch("o2").to_string()), reconcile(Reset::NewIndex));
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
    it.pulled(stand(it.ours.clone()));
    assert_eq!(it.next(), Step::Done(Outcome::Exchanged));
}

#[test]
fn after_sets_were_reconciled_only_what_came_since_goes() {
    let mut it = both_hold(1000, 1000);
    let begun = it.ours.position();
    it.pulled(stand(Head { count: 1000, ..head("o", 8, "both") }));
    it.sent(begun);
    assert_eq!((it.positions.pulled.clone(), it.positions.pushed.clone()), (at("t", 9), at("o", 5)));
    assert_eq!(it.next(), push(5, Mode::Inline, None), "of which what came from there is left out");
    it.pushed();
    it.asked(stand(Head { count: 1000, ..head("t", 9, "both") }));
    assert_eq!(it.next(), Step::Done(Outcome::InStep));
}

/// A journal with epochs, as one side of a round has it.
#[derive(Debug, Clone)]
struct Journal {
    starts: Vec<EpochStart>,
    seq: u64,
}

impl Journal {
    fn new(number: u64) -> Self {
        let starts = vec![EpochStart { epoch: numbered(number), since: 0 }];
        Self { starts, seq: 0 }
    }

    fn begin(&mut self, number: u64) {
        // What a restored copy does not know.
        self.starts.retain(|start| start.since <= self.seq);
        self.starts.push(EpochStart { epoch: numbered(number), since: self.seq + 1 });
    }

    fn stand(&self) -> Stand {
        let lineage = Lineage::new(self.starts.clone()).unwrap();
        let epoch = HeadEpoch::of(&lineage, None);
        let set = format!("{:?} {}", self.starts, self.seq);
        Stand { head: Head { epoch, ..head("j", self.seq, &set) }, lineage: Arc::new(lineage) }
    }

    fn at(&self) -> Position {
        self.stand().head.position()
    }
}

/// Two that exchanged everything when one stood at 20 and the other at 30, in their second epochs.
fn in_step() -> (Journal, Journal, Positions) {
    let (mut theirs, mut ours) = (Journal::new(10), Journal::new(20));
    theirs.begin(11);
    ours.begin(21);
    (theirs.seq, ours.seq) = (20, 30);
    let positions = Positions {
        pulled: Some(theirs.at()),
        pulled_into: Some(ours.at()),
        pushed: Some(ours.at()),
        pushed_to: Some(theirs.at()),
        ..Positions::default()
    };
    (theirs, ours, positions)
}

/// The journal as it was restored from a copy of when it stood at 10, and as it went on since: not, by less than was lost, by more.
fn restored(journal: &Journal) -> Vec<(Journal, Reset)> {
    let copy = Journal { seq: 10, ..journal.clone() };
    let mut continued = copy.clone();
    continued.begin(u64::try_from(journal.stand().lineage.starts().len()).unwrap() + 700);
    let later = [15, 90].map(|seq| (Journal { seq, ..continued.clone() }, Reset::WentBack));
    // From a copy that is older than the epoch.
    let mut older = Journal { starts: journal.starts[..1].to_vec(), seq: 0 };
    older.begin(900);
    let older = [1, 90].map(|seq| (Journal { seq, ..older.clone() }, Reset::NewIndex));
    [vec![(copy, Reset::WentBack)], later.to_vec(), older.to_vec()].concat()
}

fn ways() -> Vec<Directions> {
    let open = [(true, false), (false, true), (true, true)];
    let way = |filtered| open.map(|(pull, push)| Directions { pull, push, filtered, by_priority: false });
    [way(false), way(true)].concat()
}

#[test]
fn what_a_restored_journal_lost_is_exchanged_again_in_every_direction() {
    let (theirs, ours, positions) = in_step();
    let begin = |theirs: &Journal, ours: &Journal, ways: Directions| {
        Round::new(theirs.stand(), ours.stand(), positions.clone(), ways)
    };
    for ways in ways() {
        let mut cases: Vec<(Journal, Journal, Reset)> = Vec::new();
        cases.extend(restored(&theirs).into_iter().map(|(theirs, reset)| (theirs, ours.clone(), reset)));
        cases.extend(restored(&ours).into_iter().map(|(ours, reset)| (theirs.clone(), ours, reset)));
        for ((theirs, reset), (ours, _)) in restored(&theirs).into_iter().zip(restored(&ours)) {
            cases.push((theirs, ours, reset));
        }
        for (theirs, ours, reset) in cases {
            let mut it = begin(&theirs, &ours, ways);
            let case = format!("{theirs:?} {ours:?} {ways:?}");
            if ways.pull {
                assert_eq!(it.next(), pull(0, Mode::List, Some(reset)), "{case}");
                it.pulled(ours.stand());
            }
            if ways.push {
                assert_eq!(it.next(), push(0, Mode::List, Some(reset)), "{case}");
                it.pushed();
            }
            // The next round has nothing to say, and needs no lineage for that.
            assert!(!it.positions.need_lineage(&it.theirs), "{case}");
            let it = Round::new(theirs.stand(), ours.stand(), it.positions, ways);
            assert!(matches!(it.next(), Step::Done(_) | Step::Ask), "{case}");
        }
        assert!(matches!(begin(&theirs, &ours, ways).next(), Step::Done(_) | Step::Ask), "nothing was restored");
    }
}

#[test]
fn positions_that_were_restored_themselves_are_only_older() {
    // peers.json of an earlier day: less is known than happened.
    let (theirs, ours, positions) = in_step();
    let (mut later_theirs, mut later_ours) = (theirs.clone(), ours.clone());
    later_theirs.begin(12);
    later_ours.begin(22);
    (later_theirs.seq, later_ours.seq) = (44, 55);
    for ways in ways() {
        let mut it = Round::new(later_theirs.stand(), later_ours.stand(), positions.clone(), ways);
        if ways.pull {
            assert_eq!(it.next(), pull(20, Mode::Inline, None));
            it.pulled(later_ours.stand());
        }
        if ways.push {
            assert_eq!(it.next(), push(30, Mode::Inline, None));
        }
    }
    // And with the journal of that day as well: what came since is lost here, and what was made since goes.
    let mut it = Round::new(later_theirs.stand(), ours.stand(), positions, BOTH);
    assert_eq!(it.next(), pull(20, Mode::Inline, None));
    it.pulled(ours.stand());
    assert!(!matches!(it.next(), Step::Push { .. }), "all of it went before");
}

#[test]
fn positions_are_recorded_in_the_newest_epochs() {
    let (theirs, ours, positions) = in_step();
    let (mut later_theirs, mut later_ours) = (theirs.clone(), ours.clone());
    later_theirs.begin(12);
    later_ours.begin(22);
    assert!(positions.need_lineage(&later_theirs.stand().head));
    let mut it = Round::new(later_theirs.stand(), later_ours.stand(), positions, BOTH);
    let Positions { pulled, pulled_into, pushed, pushed_to, .. } = it.positions.clone();
    assert_eq!((pulled, pushed_to), (Some(later_theirs.at()), Some(later_theirs.at())));
    assert_eq!((pulled_into, pushed), (Some(later_ours.at()), Some(later_ours.at())));
    assert!(it.end(Outcome::InStep, Refused::default()) && !it.positions.need_lineage(&it.theirs));
    let mut it = Round::new(later_theirs.stand(), later_ours.stand(), it.positions, BOTH);
    assert!(!it.end(Outcome::InStep, Refused::default()), "there is nothing new to note then");
}

#[test]
fn positions_of_release_0_1_0_count_in_its_journals_and_in_what_they_became() {
    let text = format!(
        r#"{{"pulled":{{"index_id":"{t}","seq":9}},"pulled_into":"{o}","pulled_floor":0,
            "pushed":{{"index_id":"{o}","seq":5}},"pushed_to":"{t}","in_step":[9,5]}}"#,
        t = epoch("t"),
        o = epoch("o"),
    );
    let old: Positions = serde_json::from_str(&text).unwrap();
    assert_eq!((old.pulled_into.clone(), old.pushed_to.clone()), (at("o", 0), at("t", 0)));
    let again: Positions = serde_json::from_str(&serde_json::to_string(&old).unwrap()).unwrap();
    assert_eq!(again, old);
    let it = Round::new(stand(head("t", 9, "x")), stand(head("o", 5, "y")), old.clone(), BOTH);
    assert_eq!(it.next(), Step::Ask);
    assert_eq!((it.positions.pulled_into, it.positions.pushed_to), (at("o", 5), at("t", 9)));
    // Both became instances with epochs, and wrote since.
    let upgraded = |name: &str, seq: u64, number: u64| {
        let first = EpochStart { epoch: epoch(name), since: 0 };
        let starts = vec![first, EpochStart { epoch: numbered(number), since: seq + 1 }];
        Journal { starts, seq: seq + 2 }
    };
    let mut it = Round::new(upgraded("t", 9, 1).stand(), upgraded("o", 5, 2).stand(), old.clone(), BOTH);
    assert_eq!(it.next(), pull(9, Mode::Inline, None));
    it.pulled(upgraded("o", 5, 2).stand());
    assert_eq!(it.next(), push(5, Mode::Inline, None));
    let it = Round::new(stand(head("u", 9, "x")), stand(head("o", 5, "y")), old, BOTH);
    assert_eq!(it.next(), pull(0, Mode::List, Some(Reset::NewIndex)));
}

#[test]
fn an_epoch_that_begins_during_a_round_continues_what_the_head_said() {
    let (theirs, ours, positions) = in_step();
    let mut it = Round::new(theirs.stand(), ours.stand(), positions, BOTH);
    assert!(it.they_stood(EpochStart { epoch: numbered(11), since: 1 }, 20));
    assert!(it.they_stood(EpochStart { epoch: numbered(12), since: 21 }, 25));
    assert_eq!((it.they_stand.clone(), it.theirs.current_epoch()), (Position::new(numbered(12), 25), numbered(12)));
    it.pushed();
    assert_eq!(it.positions.pushed_to, Some(Position::new(numbered(12), 25)));
    assert_eq!(it.next(), Step::Ask, "what their answers said counts in this round");
    assert!(!it.they_stood(EpochStart { epoch: numbered(13), since: 15 }, 30), "that one was restored");
}

proptest! {
    /// Whatever is restored on either side, and whatever was written since: what a side lost comes again, before the round ends.
    #[test]
    fn no_restored_journal_keeps_a_gap(
        (back, ahead) in (0..20_u64, 0..60_u64),
        (ours_back, ours_ahead) in (0..30_u64, 0..60_u64),
        which in 1..4_u8,
        way in 0..6_usize,
    ) {
        let (mut theirs, mut ours, positions) = in_step();
        if which & 1 > 0 {
            theirs.seq = back;
            theirs.begin(500);
            theirs.seq += ahead;
        }
        if which & 2 > 0 {
            ours.seq = ours_back;
            ours.begin(600);
            ours.seq += ours_ahead;
        }
        let ways = ways()[way];
        let it = Round::new(theirs.stand(), ours.stand(), positions, ways);
        let from_the_beginning = match it.next() {
            Step::Pull { since, .. } | Step::Push { since, .. } => since == 0,
            Step::Reconcile { .. } => true,
            Step::Ask | Step::Done(_) => false,
        };
        prop_assert!(from_the_beginning, "{it:?}");
    }
}

#[test]
fn unexplained_rounds_begin_anew_ever_more_seldom_and_at_once_when_the_clocks_agree_again() {
    let mut rounds = UnexplainedRounds::default();
    let anew: Vec<u32> = (1..=16).filter(|_| rounds.next_begins_anew(true)).collect();
    assert_eq!(anew, [1, 2, 4, 8, 16]);
    assert!(rounds.next_begins_anew(false), "nothing lies ahead any more");
    assert!(rounds.next_begins_anew(false) && !rounds.next_begins_anew(false) && rounds.next_begins_anew(false));
}

//! Set reconciliation: bytes and round trips by how much is held and how much differs; what the index costs in memory, to make and
//! to keep. In one process, messages only: what is found is fetched on top of it.
//!
//! `ARK_BENCH_VERSIONS` sets the greatest number of versions (default 1,000,000).
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::as_conversions,
    clippy::disallowed_methods,
    reason = "a benchmark stops at the first surprise, prints its table, and reads its size from the environment"
)]

use ark_lattice::{
    federation::reconcile::{
        index::SetIndex,
        item::ItemId,
        message::{self, Differences},
    },
    types::{ContentHash, NodeId, Timestamp},
};
use std::time::{Duration, Instant};

const SIZES: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];
const DIFFERENCES: [u64; 4] = [0, 1, 100, 1_000];

fn item(number: u64, version: u64) -> ItemId {
    let id = NodeId::parse(&format!("node-{number:08}")).unwrap();
    let content = ContentHash::of(&[number.to_be_bytes(), version.to_be_bytes()].concat());
    ItemId::of(&id, Timestamp::from_micros(1_763_696_494_000_000), Some(&content))
}

fn index_of(count: u64) -> SetIndex {
    let mut index = SetIndex::default();
    (0..count).for_each(|number| index.insert(item(number, 0), number));
    index
}

/// Resident bytes of this process.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[derive(Default)]
struct Cost {
    out: usize,
    back: usize,
    round_trips: usize,
    beginner: Duration,
    responder: Duration,
}

fn reconcile(ours: &SetIndex, theirs: &SetIndex) -> (Differences, Cost) {
    let (mut differences, mut cost) = (Differences::default(), Cost::default());
    let begun = Instant::now();
    let mut next = Some(message::open(ours));
    cost.beginner += begun.elapsed();
    while let Some(message) = next {
        cost.out += message.len();
        cost.round_trips += 1;
        let begun = Instant::now();
        let answer = message::respond(theirs, &message).unwrap();
        cost.responder += begun.elapsed();
        cost.back += answer.len();
        let begun = Instant::now();
        next = message::go_on(ours, &answer, &mut differences).unwrap();
        cost.beginner += begun.elapsed();
    }
    (differences, cost)
}

fn main() {
    let most: u64 = std::env::var("ARK_BENCH_VERSIONS").ok().map_or(1_000_000, |text| text.parse().unwrap());
    println!("versions  differ  bytes out  bytes back  bytes both  round trips  beginner  responder");
    for size in SIZES.into_iter().filter(|size| *size <= most) {
        let before = resident();
        let begun = Instant::now();
        let ours = index_of(size);
        let made = begun.elapsed();
        let memory = resident().saturating_sub(before);
        let mut theirs = index_of(size);
        for (at, differ) in DIFFERENCES.into_iter().filter(|differ| *differ <= size).enumerate() {
            let changed = (0..differ).map(|number| number * (size / differ.max(1)));
            for number in changed.clone() {
                theirs.remove(&item(number, 0));
                theirs.insert(item(number, 1), size + number);
            }
            let (found, cost) = reconcile(&ours, &theirs);
            let count = usize::try_from(differ).unwrap();
            assert_eq!((found.have.len(), found.need.len()), (count, count), "{size} {differ} {at}");
            let Cost { out, back, round_trips, beginner, responder } = cost;
            println!(
                "{size:>8} {differ:>7} {out:>10} {back:>11} {:>11} {round_trips:>12} {:>6.1} ms {:>7.1} ms",
                out + back,
                beginner.as_secs_f64() * 1e3,
                responder.as_secs_f64() * 1e3
            );
            for number in changed {
                theirs.remove(&item(number, 1));
                theirs.insert(item(number, 0), number);
            }
        }
        println!(
            "{size:>8} made in {:.0} ms, {:.1} MB resident, {:.0} bytes a version",
            made.as_secs_f64() * 1e3,
            memory as f64 / 1e6,
            memory as f64 / size as f64
        );
    }
}

//! What a seed stands for: how many instances, who speaks with whom, and how bad the world is.

use crate::random::Random;
use ark_lattice::federation::{
    filter::Filter,
    peers::{Direction, PeerOptions},
};
use std::collections::BTreeSet;

/// One instance knows another as its peer.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) options: PeerOptions,
}

#[derive(Debug)]
pub(crate) struct Plan {
    /// For people.
    #[allow(dead_code, reason = "shown with a seed that fails")]
    pub(crate) shape: &'static str,
    pub(crate) sites: usize,
    pub(crate) links: Vec<Link>,
    /// The longest way between two instances, over links that go both ways and leave nothing out.
    pub(crate) diameter: usize,
    /// No link need carry everything: instances may end with different sets.
    pub(crate) partial: bool,
    pub(crate) ids: usize,
    pub(crate) steps: usize,
    /// How likely each thing is that may go wrong with a message, percent.
    pub(crate) faults: usize,
    /// How likely something happens while a round is under way, percent.
    pub(crate) meanwhile: usize,
    /// How likely a process ends at a message, percent.
    pub(crate) kills: usize,
    /// How far clocks are off, seconds.
    pub(crate) skew: usize,
    pub(crate) torn: bool,
    pub(crate) state_loss: bool,
    pub(crate) months: bool,
    pub(crate) reuse: bool,
    pub(crate) broken_files: bool,
}

impl Plan {
    pub(crate) fn new(random: &mut Random, seed: u64) -> Self {
        let partial = seed % 8 == 7;
        // Small ones find most, and fast.
        let sites = 3 + [random.below(10), random.below(10), random.below(10)].into_iter().min().unwrap();
        let (shape, mut edges) = shape(random, sites);
        random.shuffle(&mut edges);
        let mut groups: Vec<usize> = (0..sites).collect();
        let (mut links, mut backbone) = (Vec::new(), Vec::new());
        for (one, other) in edges {
            let joins = groups[one] != groups[other];
            if joins {
                let (from, to) = (groups[one], groups[other]);
                groups.iter_mut().filter(|group| **group == from).for_each(|group| *group = to);
                backbone.push((one, other));
            }
            let ends = match random.below(3) {
                0 => vec![(one, other)],
                1 => vec![(other, one)],
                _ => vec![(one, other), (other, one)],
            };
            // Of two that know each other one is enough to carry everything.
            let whole = random.below(ends.len());
            for (number, (from, to)) in ends.into_iter().enumerate() {
                let mut options = PeerOptions { priority: random.percent(15), ..PeerOptions::default() };
                if partial || !joins || number != whole {
                    options.direction = *random.pick(&[Direction::Both, Direction::Pull, Direction::Push]);
                    if random.percent(20) {
                        options.filter = Filter { ids: vec!["n?".to_owned(), "*1".to_owned()], ..Filter::ALL };
                    }
                }
                links.push(Link { from, to, options });
            }
        }
        let mild = random.percent(20);
        Self {
            shape,
            sites,
            links,
            diameter: if partial { sites } else { diameter(sites, &backbone) },
            partial,
            // More than ten: so many files of one start tell a backup from edits that were undone.
            ids: 2 + random.below(12) + if random.percent(15) { 12 } else { 0 },
            steps: 20 + random.below(60),
            faults: if mild { 0 } else { *random.pick(&[1, 3, 8, 15]) },
            meanwhile: *random.pick(&[0, 5, 15, 30]),
            kills: if mild { 0 } else { *random.pick(&[0, 1, 3]) },
            skew: *random.pick(&[0, 20, 140, 300]),
            torn: random.percent(40),
            state_loss: random.percent(40),
            months: random.percent(15),
            reuse: random.percent(30),
            broken_files: random.percent(20),
        }
    }
}

fn shape(random: &mut Random, sites: usize) -> (&'static str, Vec<(usize, usize)>) {
    let line = || (1..sites).map(|site| (site - 1, site)).collect::<Vec<_>>();
    let hub = || (1..sites).map(|site| (0, site)).collect::<Vec<_>>();
    match random.below(5) {
        0 => {
            let all = (0..sites).flat_map(|one| (one + 1..sites).map(move |other| (one, other)));
            let all: Vec<_> = all.collect();
            // All with all where they are few; otherwise each with some.
            let mut some: Vec<_> = all.into_iter().filter(|_| sites < 6 || random.percent(30)).collect();
            some.extend(line());
            some.sort_unstable();
            some.dedup();
            ("mesh", some)
        }
        1 => ("ring", line().into_iter().chain([(0, sites - 1)]).collect()),
        2 => ("line", line()),
        3 => ("hub", hub()),
        _ => {
            // Two hubs, each with its spokes, and some spokes that know each other.
            let mut edges = vec![(0, 1)];
            edges.extend((2..sites).map(|site| (site % 2, site)));
            edges.extend((3..sites).filter(|_| random.percent(40)).map(|site| (site - 1, site)));
            ("hybrid", edges)
        }
    }
}

fn diameter(sites: usize, edges: &[(usize, usize)]) -> usize {
    let farthest = |start: usize| {
        let (mut seen, mut edge, mut steps) = (BTreeSet::from([start]), vec![start], 0);
        while seen.len() < sites {
            let neighbours = edges.iter().flat_map(|(one, other)| [(*one, *other), (*other, *one)]);
            edge =
                neighbours.filter(|(one, other)| edge.contains(one) && !seen.contains(other)).map(|it| it.1).collect();
            seen.extend(edge.iter().copied());
            steps += 1;
        }
        steps
    };
    (0..sites).map(farthest).max().unwrap()
}

//! How much each other instance took away lately: pure. A lattice that is emptied by accident, or by somebody who got hold of a
//! key, is emptied by whoever is believed; so the greater part of it stands until the operator has said so (DESIGN 4.7).

use std::{collections::HashMap, time::Duration};

/// So few deletions are never looked at twice.
pub const FEW_DELETIONS: usize = 10;
/// What an instance deletes within this time counts together.
const WINDOW: Duration = Duration::from_secs(60 * 60);
/// Instances that are kept in mind: more than anybody has. Beyond it the one that began first is forgotten.
const MOST_INSTANCES: usize = 10_000;

/// Does it look like an accident to delete so many of so many?
#[must_use]
pub fn is_mass(deletions: usize, nodes: usize) -> bool {
    deletions > FEW_DELETIONS && deletions.saturating_mul(4) > nodes
}

#[derive(Debug)]
struct Lately {
    since: Duration,
    deletions: usize,
    nodes: usize,
    /// The operator said that it is right.
    confirmed: bool,
}

/// What each of them deleted lately.
#[derive(Debug, Default)]
pub struct Deletions(HashMap<String, Lately>);

impl Deletions {
    /// How many nodes `from` would have deleted lately with `more`, and of how many; where that looks like an accident. `nodes`:
    /// how many there are now; `elapsed`: by the process's own clock.
    #[must_use]
    pub fn mass(&self, from: &str, more: usize, nodes: usize, elapsed: Duration) -> Option<(usize, usize)> {
        let lately = self.0.get(from).filter(|lately| elapsed.saturating_sub(lately.since) < WINDOW);
        if lately.is_some_and(|lately| lately.confirmed) {
            return None;
        }
        let (before, nodes) = lately.map_or((0, nodes), |lately| (lately.deletions, lately.nodes.max(nodes)));
        let deletions = before.saturating_add(more);
        is_mass(deletions, nodes).then_some((deletions, nodes))
    }

    /// Notes that `from` deleted so many of `nodes`.
    pub fn add(&mut self, from: &str, more: usize, nodes: usize, elapsed: Duration) {
        if more == 0 {
            return;
        }
        let lately = self.lately(from, nodes, elapsed);
        lately.deletions = lately.deletions.saturating_add(more);
    }

    /// The operator knows of what `from` deletes: within the hour nothing of it is too much.
    pub fn confirm(&mut self, from: &str, elapsed: Duration) {
        self.0.remove(from);
        self.lately(from, 0, elapsed).confirmed = true;
    }

    fn lately(&mut self, from: &str, nodes: usize, elapsed: Duration) -> &mut Lately {
        self.0.retain(|_, lately| elapsed.saturating_sub(lately.since) < WINDOW);
        if self.0.len() >= MOST_INSTANCES
            && let Some(oldest) = self.0.iter().min_by_key(|(_, lately)| lately.since).map(|(from, _)| from.clone())
        {
            self.0.remove(&oldest);
        }
        let new = Lately { since: elapsed, deletions: 0, nodes, confirmed: false };
        self.0.entry(from.to_owned()).or_insert(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_away_in_small_parts_is_added_up() {
        let at = Duration::from_secs;
        let mut lately = Deletions::default();
        assert_eq!(lately.mass("a", 10, 12, at(0)), None, "so few are nobody's loss");
        assert_eq!(lately.mass("a", 26, 100, at(0)), Some((26, 100)));
        for n in 0..5 {
            assert_eq!(lately.mass("a", 5, 100 - 5 * n, at(1)), None);
            lately.add("a", 5, 100 - 5 * n, at(1));
        }
        assert_eq!(lately.mass("a", 5, 75, at(2)), Some((30, 100)));
        assert_eq!(lately.mass("b", 5, 75, at(2)), None, "somebody else did not");
        assert_eq!(lately.mass("a", 5, 75, at(1 + 3600)), None, "that was long ago");
        lately.confirm("a", at(2));
        assert_eq!(lately.mass("a", 75, 75, at(3)), None);
        lately.add("a", 70, 75, at(3));
        assert_eq!(lately.mass("a", 5, 75, at(4)), None);
        assert_eq!(lately.mass("a", 26, 100, at(2 + 3600)), Some((26, 100)), "not for ever");
        for n in 0..MOST_INSTANCES + 10 {
            lately.add(&n.to_string(), 1, 9, at(3));
        }
        assert_eq!(lately.0.len(), MOST_INSTANCES);
    }
}

//! How many connections are open: one address that opens them and sends nothing must leave places for the others (slow loris), and all of
//! them together must leave descriptors for the files and connections of this instance itself.

use super::{Holder, Pool, PoolBounds, PoolFull, PoolPart};
use std::sync::Arc;

/// Descriptors for this instance's own: two parts of a batch of files that is written (256 each), the journal and the registry, rounds,
/// Redis. A quarter of all where there are more.
const OWN_LEAST: u64 = 640;
const OWN_MOST: u64 = 8192;

/// How many connections fit into so many descriptors beside this instance's own.
#[must_use]
pub fn connections_within(descriptors: u64) -> u64 {
    let own = (descriptors / 4).clamp(OWN_LEAST, OWN_MOST).min(descriptors - descriptors / 4);
    descriptors.saturating_sub(own).max(1)
}

/// The descriptors into which so many connections and this instance's own fit.
#[must_use]
pub fn descriptors_for(connections: u64) -> u64 {
    let quarter = connections.div_ceil(3);
    connections.saturating_add(quarter.clamp(OWN_LEAST, OWN_MOST))
}

/// The open connections.
#[derive(Debug, Clone)]
pub struct Connections(Arc<Pool>);

/// A connection, counted as long as this lives.
#[derive(Debug)]
pub struct OpenConnection(#[expect(dead_code, reason = "held, not read")] PoolPart);

impl Connections {
    /// As many as fit into so many descriptors beside this instance's own. One address has half of them at most, and `of_one` (0: no
    /// other bound); a sixteenth is left for programs of this machine.
    #[must_use]
    pub fn new(descriptors: u64, of_one: u32) -> Self {
        let all = connections_within(descriptors);
        let half = (all / 2).max(1);
        let of_one = if of_one == 0 { half } else { u64::from(of_one).min(half) };
        Self(Pool::new(PoolBounds { all, of_one, reserve: all / 16, oldest_passes: false }))
    }

    /// How many there may be together.
    #[must_use]
    pub fn most(&self) -> u64 {
        self.0.bounds().all
    }

    /// Counts a connection.
    ///
    /// # Errors
    /// [`PoolFull`]: its address, or all together, have as many as they may.
    pub fn open(&self, holder: Holder) -> Result<OpenConnection, PoolFull> {
        self.0.take(holder, 1).map(OpenConnection)
    }
}

/// On this connection a certificate was shown, and one of our authorities issued it.
#[derive(Debug, Clone, Copy)]
pub struct Certified;

#[cfg(test)]
mod tests {
    use super::{super::Payer, *};

    fn address(last: u8) -> Holder {
        Holder::Address(Payer::of([192, 0, 2, last].into()))
    }

    #[test]
    fn each_address_has_its_own_and_gets_them_back() {
        let connections = Connections::new(1 << 20, 2);
        let first = connections.open(address(1)).unwrap();
        let second = connections.open(address(1)).unwrap();
        assert_eq!(connections.open(address(1)).unwrap_err(), PoolFull::OfOne);
        let third = connections.open(address(2)).unwrap();
        drop(first);
        let fourth = connections.open(address(1)).unwrap();
        assert!(connections.open(address(1)).is_err());
        drop((second, third, fourth));
        assert_eq!(connections.0.held(), 0);
    }

    #[test]
    fn stated_descriptors_are_enough_and_few() {
        for connections in [1, 100, 1000, 1920, 1921, 5000, 20_000, 24_576, 24_577, 1_000_000] {
            let descriptors = descriptors_for(connections);
            assert!(connections_within(descriptors) >= connections, "{connections}");
            let fewer = connections_within(descriptors - 3);
            assert!(fewer < connections || connections < 1000, "{connections}: {descriptors}");
        }
    }

    #[test]
    fn all_together_leave_descriptors_for_files_and_places_for_this_machine() {
        for (descriptors, least_own) in [(64, 48), (1024, OWN_LEAST), (4096, 1024), (1 << 20, OWN_MOST)] {
            let connections = Connections::new(descriptors, 0);
            let mut open = Vec::new();
            for last in 1..=3 {
                while let Ok(connection) = connections.open(address(last)) {
                    open.push(connection);
                }
            }
            let of_strangers = open.len();
            while let Ok(connection) = connections.open(Holder::Known) {
                open.push(connection);
            }
            let all = u64::try_from(open.len()).unwrap();
            assert_eq!(all + least_own, descriptors);
            assert_eq!(open.len() - of_strangers, usize::try_from(all / 16).unwrap(), "{descriptors}");
        }
    }
}

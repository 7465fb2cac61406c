//! Bindings that nobody uses: those of peers that are not known go, so that a stranger cannot fill the disk for ever. All bindings are
//! looked at in turn, some of them each minute.

use super::{failure::StoreError, mirror::millis, store::IdleRow, tables::Tables, writer::Shared};
use crate::types::{PeerId, PublicKey, Timestamp};

/// How often some of them are looked at, and how many.
const EVERY_MS: i64 = 60_000;
const PART: usize = 20_000;
/// So many bindings are kept for the whole time. With each further so many unused ones go in a quarter of it, so that a flood of ids ends
/// in a few times as many, however fast it is.
const MOST_BINDINGS: u64 = 250_000;

/// After how long an unused binding goes where there are so many.
fn unused_ttl_ms(ttl_ms: i64, bindings: u64) -> i64 {
    let quarters = u32::try_from(bindings / MOST_BINDINGS).unwrap_or(u32::MAX).min(31);
    ttl_ms >> quarters.saturating_mul(2)
}

/// How far the turn is.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    /// The last id that was looked at.
    after: String,
    /// By the registry's own clock; `None`: not since the start.
    swept_ms: Option<i64>,
}

/// What is to be written.
#[derive(Debug)]
pub(super) struct Part {
    unused: Vec<(PeerId, PublicKey)>,
    /// Nothing says when they were used: they count as used now.
    undated: Vec<PeerId>,
    now: Timestamp,
}

impl Sweep {
    pub(super) fn is_due(&self, shared: &Shared) -> bool {
        self.swept_ms.is_none_or(|swept_ms| shared.clock.now_ms().saturating_sub(swept_ms) >= EVERY_MS)
    }

    /// The next ones.
    pub(super) fn next(&mut self, shared: &Shared) -> Result<Part, StoreError> {
        self.swept_ms = Some(shared.clock.now_ms());
        let (rows, last) = shared.store.idle(&self.after, PART)?;
        self.after = last.unwrap_or_default();
        let mut part = Part { unused: Vec::new(), undated: Vec::new(), now: shared.clock.wall() };
        let used_before_ms =
            part.now.millis().saturating_sub(unused_ttl_ms(millis(shared.bounds.unused_ttl), shared.ids()));
        let now_ms = shared.clock.now_ms();
        for IdleRow { peer, key, used_until_ms } in rows {
            if shared.mirror().is_live(&peer, now_ms) || shared.bounds.known.is_known(&peer, key) {
                continue;
            }
            match used_until_ms {
                None => part.undated.push(peer),
                Some(until_ms) if until_ms < used_before_ms => part.unused.push((peer, key)),
                Some(_) => {}
            }
        }
        Ok(part)
    }
}

impl Part {
    pub(super) fn is_empty(&self) -> bool {
        self.unused.is_empty() && self.undated.is_empty()
    }

    pub(super) fn write(&self, tables: &mut Tables<'_>) -> Result<(), StoreError> {
        for (peer, _) in &self.unused {
            tables.erase(peer)?;
        }
        self.undated.iter().try_for_each(|peer| tables.put_renewed(peer, self.now, self.now))
    }

    /// Once that is durable: their keys may have as many ids more.
    pub(super) fn forget(&self, shared: &Shared) {
        self.unused.iter().for_each(|(_, key)| shared.forget_id_of(*key));
        if !self.unused.is_empty() {
            let bindings = self.unused.len();
            tracing::info!(registry.kind = "embedded", bindings, "bindings of ids were not used for long and are gone");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_ids_ends_in_a_few_times_as_many_as_are_kept_for_long() {
        let day_ms = 86_400_000;
        assert_eq!(unused_ttl_ms(90 * day_ms, MOST_BINDINGS - 1), 90 * day_ms);
        assert_eq!(unused_ttl_ms(90 * day_ms, MOST_BINDINGS * 2), 90 * day_ms / 16);
        assert_eq!(unused_ttl_ms(90 * day_ms, u64::MAX), 0);
        // At a steady rate there are as many as come within the time for which they are kept.
        let end = |ids_a_day: i64| {
            (1..).find(|bindings| {
                i64::try_from(*bindings).unwrap() * day_ms >= ids_a_day * unused_ttl_ms(90 * day_ms, *bindings)
            })
        };
        assert!(end(600 * 1440).unwrap() <= 1_000_000, "one address at its full rate");
        assert!(end(100 * 600 * 1440).unwrap() <= 2_000_000, "a hundred of them");
    }
}

//! How often the keys of ids may be changed by statements. Each change costs a durable row, an entry of the audit log and a record of
//! the trust store, and a key that nobody decided on can sign any number of statements. Pure: the process's own clock is handed in.

use crate::types::PeerId;
use std::{collections::HashMap, time::Duration};

/// An allowance: so many at once, then one more after each span.
#[derive(Debug, Clone, Copy)]
struct Rate {
    at_once: u32,
    one_more_after: Duration,
}

const TEN_MINUTES: Duration = Duration::from_secs(600);
/// Of one id whose key nobody decided on,
const OF_ONE: Rate = Rate { at_once: 8, one_more_after: TEN_MINUTES };
/// and of one whose key is verified.
const OF_ONE_VERIFIED: Rate = Rate { at_once: 64, one_more_after: TEN_MINUTES };
/// From one address, of keys that nobody decided on,
const FROM_ONE: Rate = Rate { at_once: 32, one_more_after: TEN_MINUTES };
/// and of all of them together. Withdrawals of keys have an allowance of their own: each ends what an id may do.
const OF_ALL: Rate = Rate { at_once: 240, one_more_after: Duration::from_secs(60) };
/// Ids and addresses that are remembered. The rates above leave fewer; beyond it a new one is refused.
const MOST_REMEMBERED: usize = 20_000;

/// Too many statements came. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many changes of keys {of}; try again in {} s", .wait.as_secs().saturating_add(1))]
pub struct TooManyChanges {
    /// Of which allowance.
    pub of: &'static str,
    /// When there is one again.
    pub wait: Duration,
}

/// Where statements came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatementSource<'a> {
    /// This instance's own key life.
    Own,
    /// A request or a round; of a request from another machine its address, or the network of that.
    Other(Option<&'a str>),
}

/// A change that is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change<'a> {
    pub(super) peer: &'a PeerId,
    pub(super) verified: bool,
    pub(super) withdraws: bool,
    pub(super) address: Option<&'a str>,
}

/// When an allowance is full again, by the process's own clock.
#[derive(Debug, Clone, Copy, Default)]
struct FullAt(Duration);

impl FullAt {
    /// What holds after one more; or when there is one.
    fn after_one(self, rate: Rate, now: Duration) -> Result<Self, Duration> {
        let full_at = self.0.max(now).saturating_add(rate.one_more_after);
        let most = rate.one_more_after.saturating_mul(rate.at_once);
        let wait = full_at.saturating_sub(now).saturating_sub(most);
        if wait > Duration::ZERO { Err(wait) } else { Ok(Self(full_at)) }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct KeyChanges {
    of_id: HashMap<PeerId, FullAt>,
    of_verified: HashMap<PeerId, FullAt>,
    from_address: HashMap<Box<str>, FullAt>,
    changes: FullAt,
    withdrawals: FullAt,
}

impl KeyChanges {
    /// Takes one from each allowance that it counts against, or from none.
    pub(super) fn take(&mut self, change: Change<'_>, now: Duration) -> Result<(), TooManyChanges> {
        let Change { peer, verified, withdraws, address } = change;
        let limited = |of| move |wait| TooManyChanges { of, wait };
        if verified {
            forget_full(&mut self.of_verified, now);
            let of_id = self.of_verified.get(peer).copied().unwrap_or_default();
            let of_id = of_id.after_one(OF_ONE_VERIFIED, now).map_err(limited("of this id"))?;
            self.of_verified.insert(peer.clone(), of_id);
            return Ok(());
        }
        forget_full(&mut self.of_id, now);
        forget_full(&mut self.from_address, now);
        let of_id = self.of_id.get(peer).copied().unwrap_or_default();
        let of_id = of_id.after_one(OF_ONE, now).map_err(limited("of this id"))?;
        let from = address.and_then(|address| self.from_address.get(address)).copied().unwrap_or_default();
        let from = from.after_one(FROM_ONE, now).map_err(limited("from this address"))?;
        let all = if withdraws { &mut self.withdrawals } else { &mut self.changes };
        let of_all = all.after_one(OF_ALL, now).map_err(limited("of ids that are not verified"))?;
        if self.of_id.len() >= MOST_REMEMBERED || self.from_address.len() >= MOST_REMEMBERED {
            return Err(TooManyChanges { of: "of ids that are not verified", wait: OF_ONE.one_more_after });
        }
        *all = of_all;
        self.of_id.insert(peer.clone(), of_id);
        if let Some(address) = address {
            self.from_address.insert(address.into(), from);
        }
        Ok(())
    }
}

fn forget_full<K>(allowances: &mut HashMap<K, FullAt>, now: Duration) {
    allowances.retain(|_, full_at| full_at.0 > now);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(changes: &mut KeyChanges, ids: &str, count: u32, address: Option<&str>, at: u64) -> u32 {
        let one = |number| {
            let peer = PeerId::parse(&ids.replace('#', &format!("{number}"))).unwrap();
            let change = Change { peer: &peer, verified: false, withdraws: false, address };
            changes.take(change, Duration::from_secs(at)).is_ok()
        };
        u32::try_from((0..count).map(one).filter(|taken| *taken).count()).unwrap()
    }

    fn verified(changes: &mut KeyChanges, count: usize, at: u64) -> usize {
        let peer = PeerId::parse("verified").unwrap();
        let change = Change { peer: &peer, verified: true, withdraws: false, address: Some("flood") };
        (0..count).filter(|_| changes.take(change, Duration::from_secs(at)).is_ok()).count()
    }

    #[test]
    fn one_id_one_address_and_all_strangers_have_their_allowances_and_verified_ids_their_own() {
        let mut changes = KeyChanges::default();
        assert_eq!(taken(&mut changes, "one", 100, None, 0), OF_ONE.at_once);
        assert_eq!(taken(&mut changes, "one", 100, None, 600), 1);
        assert_eq!(taken(&mut changes, "a-#", 100, Some("flood"), 600), FROM_ONE.at_once);
        assert_eq!(taken(&mut changes, "b-#", 1, Some("other"), 600), 1);
        let left = OF_ALL.at_once - FROM_ONE.at_once - 2;
        assert_eq!(taken(&mut changes, "c-#", 1000, None, 600), left);
        assert_eq!(verified(&mut changes, 1000, 600), 64);
        let peer = PeerId::parse("b-0").unwrap();
        let withdrawal = Change { peer: &peer, verified: false, withdraws: true, address: Some("other") };
        assert_eq!(changes.take(withdrawal, Duration::from_secs(600)), Ok(()), "a key is withdrawn in a flood, too");
        assert_eq!(taken(&mut changes, "d-#", 1000, None, 660), 1, "one more a minute");
        let refused = changes.take(Change { withdraws: false, ..withdrawal }, Duration::from_secs(660)).unwrap_err();
        assert_eq!(refused.wait, Duration::from_secs(60));
        assert_eq!(verified(&mut changes, 1000, 100_000), 64);
        assert_eq!(taken(&mut changes, "e-#", 1, None, 100_000), 1);
        assert_eq!((changes.of_id.len(), changes.from_address.len()), (1, 0), "what is full again is forgotten");
    }

    #[test]
    fn allowances_take_the_memory_that_is_stated() {
        let (mut changes, mut most, mut all) = (KeyChanges::default(), 0, 0);
        // A day in which statements of new ids, the longest there are, come from ever new addresses.
        for second in (0..86_400_u64).step_by(20) {
            for withdraws in [false, true].repeat(if second == 0 { 1000 } else { 2 }) {
                all += 1;
                let peer = PeerId::parse(&format!("{all:08}{}", "\u{1F600}".repeat(248))).unwrap();
                let address = format!("4:{all:08x}");
                let change = Change { peer: &peer, verified: false, withdraws, address: Some(&address) };
                let _refused = changes.take(change, Duration::from_secs(second));
            }
            let ids = changes.of_id.keys().map(|peer| peer.as_str().len() + 16).sum::<usize>();
            let addresses = changes.from_address.keys().map(|address| address.len()).sum::<usize>();
            let rows = changes.of_id.capacity() * (size_of::<(PeerId, FullAt)>() + 1)
                + changes.from_address.capacity() * (size_of::<(Box<str>, FullAt)>() + 1);
            most = most.max(ids + addresses + rows);
        }
        eprintln!("allowances of changes of keys: {} KiB at most in a day", most >> 10);
        // SECURITY.md.
        assert!(most <= 1 << 20, "{most} bytes");
    }
}

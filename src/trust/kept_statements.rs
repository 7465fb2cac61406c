//! The signed statements that a registry keeps next to a key line, so that another process can check the line instead of believing it.
//! Not done here: storing them.

use super::{KeyLine, Known};
use crate::{
    identity::{KeyLog, SignedStatement},
    types::{PeerId, PublicKey, Timestamp},
};
use bytes::Bytes;

/// The most bytes that are kept of one id: about 15 rotations. Of more the newest stay.
pub const MAX_KEPT_BYTES: usize = 16 << 10;

/// What a series takes beside its statements: `{"statements":[]}` and a line feed.
const SERIES_BYTES: usize = 18;

/// Unbroken series of statements, the oldest first. A recovery may begin a new series: its key may speak without the statements before.
/// Signatures are checked where a line is made from them, not here.
#[derive(Debug, Clone, Default)]
pub struct KeptStatements(Vec<KeyLog>);

impl KeptStatements {
    /// Reads what [`Self::to_text`] writes; nothing of a text that is longer, or a series that is malformed.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        if text.len() > MAX_KEPT_BYTES {
            return Self::default();
        }
        let series = text.lines().filter_map(|line| KeyLog::parse(Bytes::copy_from_slice(line.as_bytes())).ok());
        Self(series.filter(|log| !log.is_empty()).collect())
    }

    /// One series a line, as JSON.
    #[must_use]
    pub fn to_text(&self) -> String {
        let lines: Vec<String> = self.0.iter().map(KeyLog::to_json).collect();
        lines.join("\n")
    }

    /// Adds statements that were accepted, within [`MAX_KEPT_BYTES`].
    #[must_use]
    pub fn with(mut self, log: &KeyLog) -> Self {
        if !self.0.last_mut().is_some_and(|last| extend(last, log)) {
            self.0.push(log.clone());
        }
        self.newest()
    }

    /// As many of the newest as fit.
    fn newest(self) -> Self {
        let (mut room, mut kept) = (MAX_KEPT_BYTES, Vec::new());
        for log in self.0.iter().rev() {
            room = room.saturating_sub(SERIES_BYTES);
            let statements = log.statements();
            let fits = |signed: &&SignedStatement| {
                let left = room.checked_sub(signed.to_envelope().len().saturating_add(1));
                room = left.unwrap_or_default();
                left.is_some()
            };
            let count = statements.iter().rev().take_while(fits).count();
            let mut newest = KeyLog::default();
            let from = statements.len().saturating_sub(count);
            let all_follow = statements.iter().skip(from).all(|signed| newest.append(signed.clone()).is_ok());
            if all_follow && !newest.is_empty() {
                kept.push(newest);
            }
            if from > 0 || !all_follow {
                break;
            }
        }
        kept.reverse();
        Self(kept)
    }

    /// The key line to which the statements lead from a key that is known; `None`: to none. Checks up to 50 signatures.
    #[must_use]
    pub fn line_from(&self, known: PublicKey, peer: &PeerId, now: Timestamp) -> Option<KeyLine> {
        self.0.iter().fold(None, |line, log| {
            let from = line.as_ref().map_or(Known::Key(known), Known::Line);
            KeyLine::follow(from, log, peer, now).ok().or(line)
        })
    }
}

/// Adds what is newer in `log` behind `series`; `false`, and nothing was changed: it does not follow.
fn extend(series: &mut KeyLog, log: &KeyLog) -> bool {
    let digest = series.last().map(|last| last.digest());
    let known = log.statements().iter().rposition(|signed| Some(signed.digest()) == digest);
    let mut longer = series.clone();
    let newer = log.statements().iter().skip(known.map_or(0, |at| at.saturating_add(1)));
    let follows = newer.cloned().all(|signed| longer.append(signed).is_ok());
    if follows {
        *series = longer;
    }
    follows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{KeyPair, Statement, StatementKind};

    const NOW: Timestamp = Timestamp::from_seconds(1_000_000);

    fn peer() -> PeerId {
        PeerId::parse("ark-1").unwrap()
    }

    /// The statement after those of `log` that makes `key` the one that speaks.
    fn next(log: &KeyLog, kind: StatementKind, key: &KeyPair, by: &[&KeyPair], recovery: &KeyPair) -> SignedStatement {
        let tip = log.tip();
        let recovers = kind == StatementKind::Recover;
        let statement = Statement {
            kind,
            node_id: peer(),
            epoch: tip.map_or(0, |tip| tip.epoch) + u64::from(recovers),
            seq: tip.map_or(0, |tip| tip.seq + 1),
            previous: log.last().map(SignedStatement::digest),
            old_key: (kind == StatementKind::Rotate).then(|| tip.unwrap().public_key),
            public_key: key.public_key(),
            recovery_key: Some(recovery.public_key()),
            issued_at: NOW,
            reason: None,
        };
        SignedStatement::sign(statement, by)
    }

    /// `keys[0]` enrols and gives its place to the next, and so on.
    fn rotations(keys: &[KeyPair], recovery: &KeyPair) -> KeyLog {
        let mut log = KeyLog::default();
        log.append(next(&log, StatementKind::Enroll, &keys[0], &[&keys[0], recovery], recovery)).unwrap();
        for pair in keys.windows(2) {
            log.append(next(&log, StatementKind::Rotate, &pair[1], &[&pair[0], &pair[1]], recovery)).unwrap();
        }
        log
    }

    fn keys(count: usize) -> Vec<KeyPair> {
        (0..count).map(|_| KeyPair::generate().unwrap()).collect()
    }

    fn read_again(kept: &KeptStatements) -> KeptStatements {
        KeptStatements::parse(&kept.to_text())
    }

    #[test]
    fn statements_lead_from_each_key_of_theirs_and_from_no_other() {
        let (all, recovery) = (keys(3), KeyPair::generate().unwrap());
        let log = rotations(&all, &recovery);
        let kept = read_again(&KeptStatements::default().with(&log));
        for key in &all {
            let line = kept.line_from(key.public_key(), &peer(), NOW).unwrap();
            assert!(line.speaks(all[2].public_key()));
        }
        let stranger = KeyPair::generate().unwrap();
        assert_eq!(kept.line_from(stranger.public_key(), &peer(), NOW), None);
        assert_eq!(kept.line_from(all[0].public_key(), &PeerId::parse("ark-2").unwrap(), NOW), None);
        let forged = kept.to_text().replace("\"sig\":\"", "\"sig\":\"AA");
        assert_eq!(KeptStatements::parse(&forged).line_from(all[0].public_key(), &peer(), NOW), None);
    }

    #[test]
    fn later_statements_are_added_and_the_newest_stay_within_the_bound() {
        let (all, recovery) = (keys(60), KeyPair::generate().unwrap());
        let log = rotations(&all, &recovery);
        let (mut part, mut kept) = (KeyLog::default(), KeptStatements::default());
        for signed in log.statements() {
            part.append(signed.clone()).unwrap();
            kept = read_again(&kept.with(&part));
            assert!(kept.to_text().len() <= MAX_KEPT_BYTES);
        }
        let newest = all[59].public_key();
        assert!(kept.line_from(all[55].public_key(), &peer(), NOW).unwrap().speaks(newest));
        assert_eq!(kept.line_from(all[0].public_key(), &peer(), NOW), None, "that one is too old");
        // One statement alone, as a peer sends it that knows what is known.
        let (first, second) = (
            rotations(&all[..2], &recovery),
            next(&rotations(&all[..2], &recovery), StatementKind::Rotate, &all[2], &[&all[1], &all[2]], &recovery),
        );
        let mut alone = KeyLog::default();
        alone.append(second).unwrap();
        let kept = read_again(&KeptStatements::default().with(&first).with(&alone));
        assert!(kept.line_from(all[0].public_key(), &peer(), NOW).unwrap().speaks(all[2].public_key()));
    }

    #[test]
    fn a_recovery_without_the_statements_before_begins_a_series() {
        let (all, recovery) = (keys(3), KeyPair::generate().unwrap());
        let first = rotations(&all[..1], &recovery);
        let recover = Statement {
            kind: StatementKind::Recover,
            node_id: peer(),
            epoch: 1,
            seq: 0,
            previous: None,
            old_key: None,
            public_key: all[1].public_key(),
            recovery_key: Some(recovery.public_key()),
            issued_at: NOW,
            reason: None,
        };
        let mut alone = KeyLog::default();
        alone.append(SignedStatement::sign(recover, &[&all[1], &recovery])).unwrap();
        let kept = read_again(&KeptStatements::default().with(&first).with(&alone));
        let line = kept.line_from(all[0].public_key(), &peer(), NOW).unwrap();
        assert!(line.speaks(all[1].public_key()) && line.is_retired(all[0].public_key()));
        assert_eq!(KeptStatements::default().with(&alone).line_from(all[0].public_key(), &peer(), NOW), None);
    }
}

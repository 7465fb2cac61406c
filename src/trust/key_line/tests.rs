use super::*;
use crate::identity::{KeyPair, Statement};
use bytes::Bytes;

const NOW: Timestamp = Timestamp::from_seconds(1_000);

/// Writes statements as their owners would, and as nobody should.
struct Pen {
    log: KeyLog,
    peer: PeerId,
}

impl Pen {
    fn new() -> Self {
        Self { log: KeyLog::default(), peer: PeerId::parse("ark-1").unwrap() }
    }

    fn copy(&self) -> Self {
        Self { log: self.log.clone(), peer: self.peer.clone() }
    }

    /// The next statement, before it is signed.
    fn next(&self, kind: StatementKind, key: &KeyPair) -> Statement {
        let tip = self.log.tip();
        Statement {
            kind,
            node_id: self.peer.clone(),
            epoch: tip.map_or(0, |tip| tip.epoch),
            seq: tip.map_or(0, |tip| tip.seq + 1),
            previous: self.log.last().map(SignedStatement::digest),
            old_key: None,
            public_key: key.public_key(),
            recovery_key: tip.and_then(|tip| tip.recovery_key),
            issued_at: NOW,
            reason: None,
        }
    }

    fn say(mut self, statement: Statement, signers: &[&KeyPair]) -> Self {
        self.log.append(SignedStatement::sign(statement, signers)).unwrap();
        self
    }

    fn enroll(self, key: &KeyPair, words: &KeyPair) -> Self {
        let statement = Statement { recovery_key: Some(words.public_key()), ..self.next(StatementKind::Enroll, key) };
        self.say(statement, &[key, words])
    }

    fn rotate(self, old: &KeyPair, new: &KeyPair) -> Self {
        let statement = Statement { old_key: Some(old.public_key()), ..self.next(StatementKind::Rotate, new) };
        self.say(statement, &[old, new])
    }

    fn recover(self, words: &KeyPair, new: &KeyPair) -> Self {
        let statement = self.next(StatementKind::Recover, new);
        let epoch = statement.epoch + 1;
        self.say(Statement { epoch, recovery_key: Some(words.public_key()), ..statement }, &[words, new])
    }

    fn revoke(self, key: &KeyPair) -> Self {
        let statement = self.next(StatementKind::Revoke, key);
        self.say(statement, &[key])
    }

    fn read(&self, known: Known<'_>) -> Result<KeyLine, KeyLineError> {
        // As a peer reads it.
        let log = KeyLog::parse(Bytes::from(self.log.to_json()))?;
        KeyLine::follow(known, &log, &self.peer, NOW)
    }
}

fn keys<const N: usize>() -> [KeyPair; N] {
    std::array::from_fn(|_| KeyPair::generate().unwrap())
}

fn refused(problem: &str) -> impl Fn(&Result<KeyLine, KeyLineError>) -> bool {
    move |outcome| matches!(outcome, Err(KeyLineError::NotAllowed { problem: said, .. }) if said.contains(problem))
}

#[test]
fn who_knows_any_of_the_keys_follows_to_the_newest() {
    let [a, b, c, words] = keys();
    let pen = Pen::new().enroll(&a, &words).rotate(&a, &b).rotate(&b, &c);
    for known in [&a, &b, &c] {
        let line = pen.read(Known::Key(known.public_key())).unwrap();
        assert_eq!((line.public_key, line.recovery_key, line.seq), (c.public_key(), Some(words.public_key()), 2));
        assert!(
            line.succeeds(c.public_key(), known.public_key()) && !line.succeeds(known.public_key(), words.public_key())
        );
        assert_eq!(line.is_retired(known.public_key()), known.public_key() != c.public_key());
        assert_eq!(KeyLine::from_row(&line.to_row()), Some(line.clone()));
        assert_eq!(pen.read(Known::Line(&line)).unwrap(), line, "again is the same");
    }
    assert_eq!(pen.read(Known::Key(words.public_key())), Err(KeyLineError::OtherKey));
    let other = PeerId::parse("ark-2").unwrap();
    assert!(matches!(
        KeyLine::follow(Known::Key(a.public_key()), &pen.log, &other, NOW),
        Err(KeyLineError::OtherId(_))
    ));
    assert_eq!(KeyLine::follow(Known::Key(a.public_key()), &KeyLog::default(), &other, NOW), Err(KeyLineError::Empty));
    let early = Timestamp::from_seconds(1_000 - 301);
    let outcome = KeyLine::follow(Known::Key(a.public_key()), &pen.log, &pen.peer, early);
    assert_eq!(outcome, Err(KeyLineError::ClockSkew { ahead_seconds: 301 }));
}

#[test]
fn older_statements_and_other_ones_change_nothing() {
    let [a, b, c, words] = keys();
    let first = Pen::new().enroll(&a, &words);
    let (ours, theirs) = (first.copy().rotate(&a, &b), first.copy().rotate(&a, &c));
    let line = ours.read(Known::Key(a.public_key())).unwrap();
    assert_eq!(first.read(Known::Line(&line)), Err(KeyLineError::Rollback));
    assert_eq!(theirs.read(Known::Line(&line)), Err(KeyLineError::Fork));
    let [d] = keys();
    assert_eq!(theirs.rotate(&c, &d).read(Known::Line(&line)), Err(KeyLineError::Fork), "a longer one too");
}

#[test]
fn the_recovery_key_stands_above_a_thief() {
    let [a, thief, own, words] = keys();
    let first = Pen::new().enroll(&a, &words);
    let stolen = first.copy().rotate(&a, &thief);
    let line = stolen.read(Known::Key(a.public_key())).unwrap();
    let recovered = first.recover(&words, &own);
    let line = recovered.read(Known::Line(&line)).unwrap();
    assert_eq!((line.public_key, line.is_retired(thief.public_key())), (own.public_key(), true));
    // Whatever he says now is of an epoch that is over.
    let [more] = keys();
    let outcome = stolen.rotate(&thief, &more).read(Known::Line(&line));
    assert_eq!(outcome, Err(KeyLineError::Rollback));
    // The words alone, without any statement of before.
    let [newest] = keys();
    let alone = Pen::new();
    let statement = Statement {
        epoch: line.epoch + 1,
        recovery_key: Some(words.public_key()),
        ..alone.next(StatementKind::Recover, &newest)
    };
    let alone = alone.say(statement, &[&words, &newest]);
    assert_eq!(alone.read(Known::Line(&line)).unwrap().public_key, newest.public_key());
    assert_eq!(alone.read(Known::Key(a.public_key())), Err(KeyLineError::OtherKey), "who never saw the recovery key");
}

#[test]
fn a_thief_can_neither_change_the_recovery_key_nor_recover_without_it() {
    let [a, thief, words, own_words] = keys();
    let first = Pen::new().enroll(&a, &words);
    let known = Known::Key(a.public_key());
    let rotation = Statement { old_key: Some(a.public_key()), ..first.next(StatementKind::Rotate, &thief) };
    for recovery_key in [Some(own_words.public_key()), None] {
        let pen = first.copy().say(Statement { recovery_key, ..rotation.clone() }, &[&a, &thief, &own_words]);
        assert!(refused("only the recovery key can name another")(&pen.read(known)));
    }
    let pen = first.copy().say(Statement { epoch: 1, ..rotation.clone() }, &[&a, &thief]);
    assert!(refused("an epoch ends")(&pen.read(known)));
    let recovery = Statement { epoch: 1, ..first.next(StatementKind::Recover, &thief) };
    let pen = first.copy().say(recovery.clone(), &[&own_words, &thief]);
    assert!(matches!(pen.read(known), Err(KeyLineError::Statement(StatementError::Signature { .. }))));
    let pen = first.copy().say(Statement { epoch: 0, ..recovery }, &[&words, &thief]);
    assert!(refused("an epoch ends")(&pen.read(known)));
}

#[test]
fn every_key_that_has_a_say_must_have_signed() {
    let [a, b, words] = keys();
    let known = Known::Key(a.public_key());
    let missing = |outcome: Result<KeyLine, KeyLineError>| {
        matches!(outcome, Err(KeyLineError::Statement(StatementError::Signature { .. })))
    };
    let pen = Pen::new();
    let enrolment = Statement { recovery_key: Some(words.public_key()), ..pen.next(StatementKind::Enroll, &a) };
    assert!(missing(pen.copy().say(enrolment.clone(), &[&a]).read(known)), "the recovery key that is named");
    assert!(missing(pen.copy().say(enrolment, &[&words]).read(known)));
    let first = Pen::new().enroll(&a, &words);
    let rotation = Statement { old_key: Some(a.public_key()), ..first.next(StatementKind::Rotate, &b) };
    for signers in [[&a], [&b], [&words]] {
        assert!(missing(first.copy().say(rotation.clone(), &signers).read(known)));
    }
    let [c] = keys();
    assert!(refused("does not speak")(&first.copy().rotate(&c, &b).read(known)), "forged");
    // Any bit of any statement.
    let text = first.rotate(&a, &b).log.to_json();
    let mut refusals = 0;
    for at in (0..text.len()).step_by(7) {
        let mut changed = text.clone().into_bytes();
        changed[at] ^= 1;
        let read = KeyLog::parse(Bytes::from(changed)).map_err(KeyLineError::from);
        let line = read.and_then(|log| KeyLine::follow(known, &log, &PeerId::parse("ark-1").unwrap(), NOW));
        // What is not signed is the order and the number of signatures, and those are all needed.
        assert!(line.is_err(), "byte {at}");
        refusals += 1;
    }
    assert!(refusals > 100);
}

#[test]
fn a_revoked_key_speaks_no_more_and_only_the_recovery_key_goes_on() {
    let [a, b, words] = keys();
    let revoked = Pen::new().enroll(&a, &words).revoke(&a);
    let line = revoked.read(Known::Key(a.public_key())).unwrap();
    assert!(line.revoked && !line.speaks(a.public_key()));
    assert!(refused("a revoked key")(&revoked.copy().rotate(&a, &b).read(Known::Line(&line))));
    assert!(refused("does not speak")(&revoked.copy().revoke(&a).read(Known::Line(&line))));
    let back = revoked.copy().recover(&words, &b).read(Known::Line(&line)).unwrap();
    assert!(back.speaks(b.public_key()) && back.is_retired(a.public_key()));
    assert!(refused("spoke before")(&revoked.recover(&words, &a).read(Known::Line(&line))), "the stolen one again");
}

#[test]
fn who_was_away_for_longer_than_statements_are_kept_follows_from_the_first_that_is_left() {
    let [words] = keys();
    let mut all = keys::<131>().into_iter();
    let first = all.next().unwrap();
    let mut pen = Pen::new().enroll(&first, &words);
    let (mut last, mut known) = (first, Vec::new());
    for next in all {
        pen = pen.rotate(&last, &next);
        known.push(std::mem::replace(&mut last, next));
    }
    assert_eq!(pen.log.statements().len(), crate::identity::MAX_STATEMENTS);
    let newest = |key: &KeyPair| pen.read(Known::Key(key.public_key())).map(|line| line.public_key);
    assert_eq!(newest(&known[2]), Ok(last.public_key()), "the first that is left replaces it");
    assert_eq!(newest(&known[129]), Ok(last.public_key()));
    assert_eq!(newest(&known[1]), Err(KeyLineError::OtherKey));
}

#[test]
fn what_lies_between_must_be_there_and_nothing_else() {
    let [a, b, c, d, words] = keys();
    let first = Pen::new().enroll(&a, &words);
    let known = first.read(Known::Key(a.public_key())).unwrap();
    let all = first.rotate(&a, &b).rotate(&b, &c).rotate(&c, &d);
    let from = |at: usize| {
        let mut log = KeyLog::default();
        all.log.statements()[at..].iter().for_each(|signed| log.append(signed.clone()).unwrap());
        KeyLine::follow(Known::Line(&known), &log, &all.peer, NOW).map(|line| line.public_key)
    };
    assert_eq!(from(1), Ok(d.public_key()), "what is known already may be left out");
    assert_eq!((from(2), from(3)), (Err(KeyLineError::Gap), Err(KeyLineError::Gap)), "a rotation is skipped");
}

#[test]
fn no_replaced_key_is_forgotten_and_a_thief_who_fills_the_list_keeps_nobody_out() {
    let [thief, more, own, words] = keys();
    let pen = Pen::new().enroll(&thief, &words);
    let filler = |number: usize| {
        let mut bytes = [7; 32];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        PublicKey::from_bytes(bytes)
    };
    let retired: Vec<PublicKey> = (0..MAX_RETIRED).map(filler).collect();
    let line = KeyLine { retired, ..pen.read(Known::Key(thief.public_key())).unwrap() };
    assert!(refused("too many keys")(&pen.copy().rotate(&thief, &more).read(Known::Line(&line))));
    let line = pen.recover(&words, &own).read(Known::Line(&line)).unwrap();
    assert!(line.speaks(own.public_key()) && line.is_retired(thief.public_key()) && line.is_retired(filler(0)));
    assert_eq!(line.retired.len(), MAX_RETIRED);
}

#[test]
fn the_words_alone_revoke_also_what_a_thief_put_in_the_keys_place() {
    let [a, thief, more, own, words] = keys();
    let first = Pen::new().enroll(&a, &words);
    let stolen = first.copy().rotate(&a, &thief);
    let known = stolen.read(Known::Key(a.public_key())).unwrap();
    let revocation = Statement { epoch: 1, ..first.next(StatementKind::Revoke, &a) };
    let forged = first.copy().say(revocation.clone(), &[&a]);
    assert!(refused("an epoch ends")(&forged.read(Known::Key(a.public_key()))), "the key begins no epoch");
    let revoked = first.say(revocation, &[&words]);
    let line = revoked.read(Known::Line(&known)).unwrap();
    assert!(line.revoked && [&a, &thief].iter().all(|key| !line.speaks(key.public_key())));
    assert!(line.is_retired(thief.public_key()));
    let outcome = stolen.rotate(&thief, &more).read(Known::Line(&line));
    assert_eq!(outcome, Err(KeyLineError::Rollback));
    let line = revoked.recover(&words, &own).read(Known::Line(&line)).unwrap();
    assert!(line.speaks(own.public_key()) && line.is_retired(a.public_key()) && line.is_retired(thief.public_key()));
}

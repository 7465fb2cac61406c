use super::*;
use secrecy::ExposeSecret;

fn change(seconds: i64) -> Change {
    Change { node_id: PeerId::parse("ark-1").unwrap(), now: Timestamp::from_seconds(seconds) }
}

fn place(folder: &Path) -> KeyPlace {
    KeyPlace::new(folder.join("identity.key"))
}

fn with_key(folder: &Path) -> (KeyPlace, KeyPair) {
    let (place, key) = (place(folder), KeyPair::generate().unwrap());
    key_file::write_new(place.path(), &key).unwrap();
    (place, key)
}

fn pass(text: &str) -> SecretString {
    SecretString::from(text)
}

#[test]
fn a_rotated_key_is_in_the_file_with_the_statements_that_name_it() {
    let folder = tempfile::tempdir().unwrap();
    let (place, first) = with_key(folder.path());
    let second = place.rotate(&change(100), None, None, None).unwrap();
    assert_ne!(second.key.public_key(), first.public_key());
    let third = place.rotate(&change(90), None, None, None).unwrap();
    let held = place.load(None).unwrap().unwrap();
    assert_eq!(held.key.public_key(), third.key.public_key());
    let said: Vec<_> = held.log.statements().iter().map(|it| (it.statement().kind, it.statement().seq)).collect();
    assert_eq!(said, [(StatementKind::Enroll, 0), (StatementKind::Rotate, 1), (StatementKind::Rotate, 2)]);
    // The clock was set back in between.
    assert_eq!(held.log.tip().unwrap().issued_at, Timestamp::from_seconds(100));
    assert!(!place.next().exists());
}

/// What a process leaves that is killed behind each of the three steps.
#[test]
fn a_rotation_that_was_killed_leaves_a_key_that_works() {
    let folder = tempfile::tempdir().unwrap();
    let (place, first) = with_key(folder.path());
    let old_text = std::fs::read(place.path()).unwrap();
    let second = place.rotate(&change(100), None, None, None).unwrap();
    let (new_text, log) = (std::fs::read(place.path()).unwrap(), std::fs::read(place.statements()).unwrap());

    // Behind the first: the new key is there, nobody spoke of it.
    std::fs::remove_file(place.statements()).unwrap();
    key_file::replace(place.path(), &old_text).unwrap();
    key_file::replace(&place.next(), &new_text).unwrap();
    assert_eq!(place.load(None).unwrap().unwrap().key.public_key(), first.public_key());
    place.finish().unwrap();
    assert!(!place.next().exists());
    assert_eq!(place.load(None).unwrap().unwrap().key.public_key(), first.public_key());

    // Behind the second: it was spoken of.
    key_file::replace(&place.next(), &new_text).unwrap();
    key_file::replace(&place.statements(), &log).unwrap();
    for _ in 0..2 {
        assert_eq!(place.load(None).unwrap().unwrap().key.public_key(), second.key.public_key());
        place.finish().unwrap();
    }
    assert!(!place.next().exists());
    assert_eq!(std::fs::read(place.path()).unwrap(), new_text);

    // A draft that was not finished is nobody's.
    let mut draft = File::create(folder.path().join("identity.key.next.tmp")).unwrap();
    io::Write::write_all(&mut draft, b"half a k").unwrap();
    place.rotate(&change(101), None, None, None).unwrap();
}

#[test]
fn a_key_under_a_passphrase_stays_under_it() {
    let folder = tempfile::tempdir().unwrap();
    let (place, first) = with_key(folder.path());
    place.reseal(None, Some(&pass("correct horse"))).unwrap();
    assert!(place.is_encrypted().unwrap());
    assert!(matches!(place.load(None), Err(KeyFileError::Locked(_))));
    assert_eq!(place.shown().unwrap().unwrap().public_key, first.public_key());
    let second = place.rotate(&change(100), None, Some(&pass("correct horse")), Some(&pass("correct horse"))).unwrap();
    let text = std::fs::read_to_string(place.path()).unwrap();
    assert!(!text.contains(second.key.to_base64().expose_secret()), "{text}");
    place.reseal(Some(&pass("correct horse")), None).unwrap();
    assert_eq!(place.load(None).unwrap().unwrap().key.public_key(), second.key.public_key());
}

#[test]
fn words_replace_a_key_that_is_lost_and_no_others_do() {
    let folder = tempfile::tempdir().unwrap();
    let (place, _) = with_key(folder.path());
    let (words, wrong) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    place.enroll(&change(100), &words, None).unwrap();
    assert!(matches!(place.enroll(&change(100), &wrong, None), Err(KeyChangeError::HasWords(_))));
    std::fs::remove_file(place.path()).unwrap();
    assert!(place.load(None).unwrap().is_none());
    assert!(matches!(place.recover(&change(101), &wrong, None, None), Err(KeyChangeError::OtherWords(_))));
    let held = place.recover(&change(101), &words, None, None).unwrap();
    assert_eq!(place.load(None).unwrap().unwrap().key.public_key(), held.key.public_key());

    // Of a machine of which nothing is left.
    let empty = tempfile::tempdir().unwrap();
    let elsewhere = KeyPlace::new(empty.path().join("identity.key"));
    let again = elsewhere.recover(&change(200), &words, Some(&wrong), None).unwrap();
    let tip = again.log.tip().unwrap();
    assert_eq!(
        (tip.kind, tip.seq, tip.epoch, tip.recovery_key),
        (StatementKind::Recover, 0, 200, Some(wrong.public_key()))
    );
}

#[test]
fn a_revoked_key_changes_nothing_any_more_but_the_words_do() {
    let folder = tempfile::tempdir().unwrap();
    let (place, first) = with_key(folder.path());
    let words = KeyPair::generate().unwrap();
    place.enroll(&change(100), &words, None).unwrap();
    let log = place.revoke(&change(101), None, Some("stolen".to_owned()), None).unwrap();
    assert_eq!(log.tip().unwrap().reason.as_deref(), Some("stolen"));
    let held = place.load(None).unwrap().unwrap();
    assert!(held.is_revoked() && held.key.public_key() == first.public_key());
    assert!(matches!(place.rotate(&change(102), None, None, None), Err(KeyChangeError::Revoked)));
    assert!(!place.recover(&change(103), &words, None, None).unwrap().is_revoked());
}

#[test]
fn what_does_not_fit_is_an_error_and_not_another_identity() {
    let folder = tempfile::tempdir().unwrap();
    let (place, _) = with_key(folder.path());
    place.rotate(&change(100), None, None, None).unwrap();
    let other = Change { node_id: PeerId::parse("ark-2").unwrap(), ..change(101) };
    assert!(matches!(place.rotate(&other, None, None, None), Err(KeyChangeError::OtherId(_))));

    let log = std::fs::read_to_string(place.statements()).unwrap();
    // One character of a payload, so that one bit of what was signed.
    let at = log.find("payload").unwrap() + 14;
    let mut flipped = log.clone().into_bytes();
    flipped[at] = if flipped[at] == b'A' { b'B' } else { b'A' };
    key_file::replace(&place.statements(), &flipped).unwrap();
    assert!(place.load(None).is_err());
    key_file::replace(&place.statements(), log.as_bytes()).unwrap();

    std::fs::remove_file(place.path()).unwrap();
    key_file::write_new(place.path(), &KeyPair::generate().unwrap()).unwrap();
    assert!(matches!(place.load(None), Err(KeyFileError::Place { .. })));
}

#[test]
fn a_running_ring_takes_the_new_key_once_it_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let (place, first) = with_key(folder.path());
    let ring = Keyring::in_files(place.load(None).unwrap().unwrap(), place.clone(), None);
    assert!(!ring.reload().unwrap());
    let second = place.rotate(&change(100), None, None, None).unwrap();
    assert_eq!(ring.public_key(), first.public_key());
    assert!(ring.reload().unwrap() && !ring.reload().unwrap());
    assert_eq!(ring.public_key(), second.key.public_key());
}

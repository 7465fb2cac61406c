//! Another key in the place of the old one, between instances that exchange: nobody loses his identity, and no old key passes.

use crate::bed::{Instance, NOW, nothing, provider, stop, until};
use ark_lattice::{
    federation::{
        client::{Client, ClientError},
        deletions::Account,
        peers::Direction,
        run::{Parties, run},
    },
    identity::{Change, Held, KeyLog, KeyPair, KeyPlace, SignedStatement, Statement, StatementKind, write_new},
    manifest::{Canonicalization, sign},
    ops::{DiscoverFilter, discover},
    settings::ListedPeer,
    trust::{TrustLevel, TrustMode},
    types::{Clock, Limits, PeerId, PublicKey, SharedClock, Timestamp},
};
use bytes::Bytes;

fn change(instance: &Instance) -> Change {
    Change { node_id: PeerId::parse(instance.name).unwrap(), now: instance.clock.now() }
}

fn copy(key: &KeyPair) -> KeyPair {
    KeyPair::from_base64(&key.to_base64()).unwrap()
}

/// Waits until the running instance has taken what is in its files.
async fn takes(instance: &Instance, key: PublicKey, statements: usize) {
    until("the service takes its key", async || {
        let held = instance.context.signer.as_ref().unwrap().held();
        held.key.public_key() == key && held.log.statements().len() == statements
    })
    .await;
}

async fn enrolled(instance: &Instance) -> KeyPair {
    let words = KeyPair::generate().unwrap();
    instance.place().enroll(&change(instance), &words, None).unwrap();
    takes(instance, instance.key.public_key(), 1).await;
    words
}

pub async fn rotated(instance: &Instance) -> Held {
    let held = instance.place().rotate(&change(instance), None, None, None).unwrap();
    takes(instance, held.key.public_key(), held.log.statements().len()).await;
    held
}

/// One round of `instance` with the peer at `url`, by its engine.
async fn synced(instance: &Instance, url: &str) -> Option<String> {
    let engine = instance.context.engine.as_ref().unwrap();
    let rounds = engine.sync(Some(url), false).await;
    rounds.into_iter().next().expect("no such peer").error
}

fn knows(instance: &Instance, other: &Instance, direction: Direction) {
    instance.context.engine.as_ref().unwrap().add_peer(&other.url, direction.into()).unwrap();
}

fn pinned(instance: &Instance, other: &Instance) -> Option<String> {
    let peers = instance.context.engine.as_ref().unwrap().peers();
    peers.into_iter().find(|peer| peer.url == other.url).unwrap().public_key
}

fn envelope(name: &str, key: &KeyPair, at: Timestamp) -> String {
    let manifest = format!("{{\"node_id\":\"{name}\",\"last_updated\":{}}}", at.seconds());
    let limits = Limits::default();
    sign(Bytes::from(manifest), Canonicalization::Dsse, &limits, key.public_key(), |bytes| key.sign(bytes)).unwrap()
}

fn client(instance: &Instance) -> Client {
    Client::new(&instance.url, &instance.context.limits).unwrap()
}

fn code<T: std::fmt::Debug>(outcome: Result<T, ClientError>) -> String {
    match outcome {
        Err(ClientError::Refused { code, .. }) => code,
        other => panic!("{other:?}"),
    }
}

/// Another instance of this name, at another address, which has only the key.
async fn thief(name: &'static str, key: &KeyPair) -> Instance {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("lattice")).unwrap();
    std::fs::create_dir(folder.path().join("state")).unwrap();
    write_new(&folder.path().join("state/identity.key"), key).unwrap();
    Instance::open(name, folder, copy(key), Timestamp::from_seconds(NOW), |_| {}).await
}

/// Tries a key of `name` on every door of `instance`: registering, pushing, being pulled from.
async fn every_door_is_shut(instance: &Instance, name: &'static str, key: &KeyPair, [register, push]: [&str; 2]) {
    instance.clock.advance(std::time::Duration::from_secs(1));
    let refused = client(instance).publish(envelope(name, key, instance.clock.now())).await;
    assert_eq!(code(refused), register);

    let thief = thief(name, key).await;
    thief.put("of-a-thief", "x").await;
    let clock: SharedClock = thief.clock.clone();
    let client = client(instance);
    let parties = Parties {
        lattice: thief.lattice(),
        client: &client,
        sets: &thief.context.sets,
        deletions: &thief.context.deletions,
        account: &|peer, _| Account::own(peer.as_str()),
        key,
        node_id: &thief.context.identity.node_id,
        clock: &clock,
        limits: thief.context.limits,
        rates: Default::default(),
    };
    let end = run(&parties, nothing(Direction::Push), |_| {}).await;
    let error = end.error.expect("an old key pushed").to_string();
    assert!(error.contains(push), "{error}");

    // At his own address, where nobody was met before.
    knows(instance, &thief, Direction::Pull);
    let error = synced(instance, &thief.url).await.expect("a head of an old key was believed");
    assert!(error.contains("another key") || error.contains("revoked"), "{error}");
    assert_eq!(instance.content("of-a-thief").await, None);
    instance.context.engine.as_ref().unwrap().remove_peer(&thief.url).unwrap();
    thief.stop().await;
}

#[tokio::test]
async fn a_key_is_rotated_while_both_are_connected_and_the_old_one_is_shut_out() {
    provider();
    let (a, b) = (Instance::start("a").await, Instance::start("b").await);
    enrolled(&a).await;
    knows(&a, &b, Direction::Both);
    knows(&b, &a, Direction::Both);
    a.put("x", "before").await;
    assert_eq!((synced(&a, &b.url).await, synced(&b, &a.url).await), (None, None));

    let new = rotated(&a).await.key.public_key();
    a.put("x", "after").await;
    assert_eq!((synced(&a, &b.url).await, synced(&b, &a.url).await), (None, None));
    assert_eq!(b.content("x").await.as_deref(), Some("after"));
    assert_eq!(pinned(&b, &a), Some(new.to_base64()));
    every_door_is_shut(&b, "a", &a.key, ["key_mismatch", "not_trusted"]).await;

    // Nothing of it is only in memory.
    let b = b.restart().await;
    a.put("x", "later").await;
    assert_eq!(synced(&b, &a.url).await, None);
    every_door_is_shut(&b, "a", &a.key, ["key_mismatch", "not_trusted"]).await;
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_peer_that_was_away_or_only_pulls_follows_two_rotations() {
    provider();
    let (a, b) = (Instance::start("a").await, Instance::start("b").await);
    knows(&b, &a, Direction::Pull);
    a.put("x", "before").await;
    assert_eq!(synced(&b, &a.url).await, None);
    assert_eq!(pinned(&b, &a), Some(a.key.public_key().to_base64()));
    let folder_of_b = b.restart();
    rotated(&a).await;
    let new = rotated(&a).await.key.public_key();
    a.put("x", "after").await;
    let b = folder_of_b.await;
    assert_eq!(synced(&b, &a.url).await, None);
    assert_eq!((pinned(&b, &a), b.content("x").await.as_deref()), (Some(new.to_base64()), Some("after")));
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn statements_that_do_not_count_are_refused_with_the_reason() {
    provider();
    let (a, b) = (Instance::start("a").await, Instance::start("b").await);
    let words = enrolled(&a).await;
    let stranger = KeyPair::generate().unwrap();
    let older = a.place().log().unwrap();
    assert_eq!(code(client(&b).rotate(older.to_json()).await), "peer_not_found");
    a.register_at(&b).await;
    client(&b).rotate(older.to_json()).await.unwrap();
    let newer = rotated(&a).await.log;
    let (first, second) = (newer.statements()[0].clone(), newer.tip().unwrap().clone());

    // Forged: the stranger signs for the old key.
    let mut forged = KeyLog::default();
    forged.append(first.clone()).unwrap();
    let statement = Statement { public_key: stranger.public_key(), ..second.clone() };
    forged.append(SignedStatement::sign(statement, &[&stranger])).unwrap();
    assert_eq!(code(client(&b).rotate(forged.to_json()).await), "bad_signature");
    // A signature that does not fit.
    let envelope = newer.to_json();
    let at = envelope.rfind("\"sig\":\"").unwrap() + 10;
    let other = if envelope.as_bytes()[at] == b'A' { "B" } else { "A" };
    let spoilt = format!("{}{other}{}", &envelope[..at], &envelope[at + 1..]);
    assert_eq!(code(client(&b).rotate(spoilt).await), "bad_signature");
    // For another id.
    b.register_at(&b).await;
    let mut of_another = KeyLog::default();
    let enrolment = Statement { node_id: PeerId::parse("b").unwrap(), ..first.statement().clone() };
    of_another.append(SignedStatement::sign(enrolment, &[&a.key, &words])).unwrap();
    assert_eq!(code(client(&b).rotate(of_another.to_json()).await), "key_mismatch");
    // Of the far future.
    let mut ahead = KeyLog::default();
    ahead.append(first.clone()).unwrap();
    let later = Statement { issued_at: Timestamp::from_seconds(NOW + 3600), ..second.clone() };
    ahead.append(SignedStatement::sign(later, &[&a.key, &stranger])).unwrap();
    assert_eq!(code(client(&b).rotate(ahead.to_json()).await), "clock_skew");
    for (body, wanted) in [("{}", "invalid_statement"), ("[]", "invalid_statement"), ("{", "json_syntax")] {
        assert_eq!(code(client(&b).rotate(body.to_owned()).await), wanted);
    }
    assert_eq!(code(client(&b).rotate("{\"statements\":[]}".to_owned()).await), "invalid_statement");

    // The right ones, twice; then back to the older, and to others of the same age.
    client(&b).rotate(newer.to_json()).await.unwrap();
    client(&b).rotate(newer.to_json()).await.unwrap();
    assert_eq!(code(client(&b).rotate(older.to_json()).await), "rollback");
    let mut fork = KeyLog::default();
    fork.append(first).unwrap();
    let statement = Statement { public_key: stranger.public_key(), ..second };
    fork.append(SignedStatement::sign(statement, &[&a.key, &stranger])).unwrap();
    assert_eq!(code(client(&b).rotate(fork.to_json()).await), "equivocation");
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn the_words_take_an_instance_back_from_a_thief_and_from_a_lost_disk() {
    provider();
    let (a, b) = (Instance::start("a").await, Instance::start("b").await);
    let words = enrolled(&a).await;
    knows(&a, &b, Direction::Both);
    knows(&b, &a, Direction::Both);
    a.put("x", "before").await;
    assert_eq!((synced(&a, &b.url).await, synced(&b, &a.url).await), (None, None));

    // The thief has the key and the statements, and is first to put another key in its place.
    let his_folder = tempfile::tempdir().unwrap();
    let his = KeyPlace::new(his_folder.path().join("identity.key"));
    write_new(his.path(), &a.key).unwrap();
    std::fs::copy(a.place().statements(), his.statements()).unwrap();
    let stolen = his.rotate(&change(&a), None, None, None).unwrap();
    client(&b).rotate(stolen.log.to_json()).await.unwrap();
    b.clock.advance(std::time::Duration::from_secs(1));
    client(&b).publish(envelope("a", &stolen.key, b.clock.now())).await.unwrap();
    assert!(synced(&b, &a.url).await.unwrap().contains("another key"));

    // Words that are not a's do not help, and say so.
    let other = KeyPair::generate().unwrap();
    assert!(
        a.place().recover(&change(&a), &other, None, None).unwrap_err().to_string().contains("not the recovery words")
    );
    let back = a.place().recover(&change(&a), &words, None, None).unwrap();
    takes(&a, back.key.public_key(), 2).await;
    a.put("x", "after").await;
    assert_eq!((synced(&a, &b.url).await, synced(&b, &a.url).await), (None, None));
    assert_eq!(b.content("x").await.as_deref(), Some("after"));
    for key in [&a.key, &stolen.key] {
        every_door_is_shut(&b, "a", key, ["key_mismatch", "not_trusted"]).await;
    }
    assert_eq!(code(client(&b).rotate(stolen.log.to_json()).await), "rollback");

    // The disk is lost with everything on it; the id and the words are left.
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("lattice")).unwrap();
    std::fs::create_dir(folder.path().join("state")).unwrap();
    let place = KeyPlace::new(folder.path().join("state/identity.key"));
    a.clock.advance(std::time::Duration::from_secs(2));
    let anew = place.recover(&change(&a), &words, None, None).unwrap();
    a.stop().await;
    let now = Timestamp::from_seconds(NOW + 2);
    let a = Instance::open("a", folder, copy(&anew.key), now, |_| {}).await;
    knows(&a, &b, Direction::Both);
    assert_eq!(synced(&a, &b.url).await, None);
    assert_eq!(a.content("x").await.as_deref(), Some("after"));
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_revoked_key_is_refused_on_every_door_and_its_nodes_stay() {
    provider();
    let (a, b) = (Instance::start("a").await, Instance::start("b").await);
    let words = enrolled(&a).await;
    knows(&a, &b, Direction::Both);
    knows(&b, &a, Direction::Both);
    a.put("x", "before").await;
    assert_eq!((synced(&a, &b.url).await, synced(&b, &a.url).await), (None, None));
    a.place().revoke(&change(&a), None, Some("stolen".to_owned()), None).unwrap();
    takes(&a, a.key.public_key(), 2).await;
    a.put("x", "after").await;
    // A peer that only asks learns of it too.
    let c = Instance::start("c").await;
    knows(&c, &a, Direction::Pull);
    assert!(synced(&c, &a.url).await.unwrap().contains("revoked"));
    assert!(synced(&a, &b.url).await.unwrap().contains("revoked"), "it exchanges with nobody by itself");
    assert!(synced(&b, &a.url).await.unwrap().contains("revoked"));
    assert_eq!(b.content("x").await.as_deref(), Some("before"));
    assert!(b.context.registry.envelope(&PeerId::parse("a").unwrap()).await.unwrap().is_none(), "no longer live");
    every_door_is_shut(&b, "a", &a.key, ["peer_revoked", "is revoked"]).await;

    let back = a.place().recover(&change(&a), &words, None, None).unwrap();
    assert_eq!(back.log.tip().unwrap().kind, StatementKind::Recover);
    takes(&a, back.key.public_key(), 3).await;
    assert_eq!((synced(&a, &b.url).await, synced(&b, &a.url).await), (None, None));
    assert_eq!(b.content("x").await.as_deref(), Some("after"));
    for instance in [a, b, c] {
        instance.stop().await;
    }
}

#[tokio::test]
async fn a_listed_key_may_be_rotated_and_is_then_no_longer_one() {
    provider();
    let a = Instance::start("a").await;
    let listed = ListedPeer { node_id: "a".to_owned(), pubkey: a.key.public_key().to_base64() };
    let b = Instance::start_with("b", |settings| {
        settings.trust.mode = TrustMode::Allowlist;
        settings.trust.listed = vec![listed];
    })
    .await;
    knows(&a, &b, Direction::Push);
    a.put("x", "before").await;
    assert_eq!(synced(&a, &b.url).await, None);
    rotated(&a).await;
    a.put("x", "after").await;
    assert_eq!(synced(&a, &b.url).await, None);
    assert_eq!(b.content("x").await.as_deref(), Some("after"));
    let found = discover(&b.context, &DiscoverFilter::default(), None, 10).await.unwrap();
    let levels: Vec<_> = found.peers.iter().map(|peer| (peer.record.peer.as_str(), peer.trust_level)).collect();
    assert_eq!(levels, [("a", TrustLevel::Verified)]);
    every_door_is_shut(&b, "a", &a.key, ["key_mismatch", "not_trusted"]).await;
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_replaced_key_is_refused_at_its_owners_own_door() {
    provider();
    let a = Instance::start("a").await;
    a.register_at(&a).await;
    let new = rotated(&a).await.key;
    binds_itself_to(&a, &new).await;
    a.clock.advance(std::time::Duration::from_secs(1));
    assert_eq!(code(client(&a).publish(envelope("a", &a.key, a.clock.now())).await), "key_mismatch");
    client(&a).publish(envelope("a", &new, a.clock.now())).await.unwrap();

    // Stopped between the change of the files and that of the registry.
    let newest = a.place().rotate(&change(&a), None, None, None).unwrap().key;
    let a = a.restart().await;
    binds_itself_to(&a, &newest).await;
    a.clock.advance(std::time::Duration::from_secs(1));
    for old in [&a.key, &new] {
        assert_eq!(code(client(&a).publish(envelope("a", old, a.clock.now())).await), "key_mismatch");
    }
    a.stop().await;
}

async fn binds_itself_to(instance: &Instance, key: &KeyPair) {
    let id = PeerId::parse(instance.name).unwrap();
    until("its own registry follows", async || {
        let bound = instance.context.registry.bound(&id).await.unwrap();
        bound.is_some_and(|bound| bound.public_key == key.public_key())
    })
    .await;
}

#[tokio::test]
async fn who_says_that_he_is_us_does_not_bind_our_id() {
    provider();
    let (a, key) = (Instance::start("a").await, KeyPair::generate().unwrap());
    let thief = thief("a", &key).await;
    let words = KeyPair::generate().unwrap();
    thief.place().enroll(&change(&thief), &words, None).unwrap();
    takes(&thief, key.public_key(), 1).await;
    knows(&a, &thief, Direction::Pull);
    let error = synced(&a, &thief.url).await.unwrap();
    assert!(error.contains("another instance, with another key, has the id of this one: a"), "{error}");
    let bound = a.context.registry.bound(&PeerId::parse("a").unwrap()).await.unwrap();
    assert_eq!(bound.map(|bound| bound.public_key), Some(a.key.public_key()), "our own key");
    a.stop().await;
    thief.stop().await;
}

#[tokio::test]
async fn a_key_that_the_settings_name_counts_from_the_first_contact_and_follows_its_own_statements() {
    provider();
    let (hub, laptop) = (Instance::start("hub").await, Instance::start("laptop").await);
    let engine = laptop.engine();
    let named = |id: &str, key| engine.name_peer(&hub.url, &PeerId::parse(id).unwrap(), key).unwrap();
    hub.put("x", "of the hub").await;
    // Whoever answers there with another key, or as somebody else, is not the one that was named.
    let other = KeyPair::generate().unwrap().public_key();
    for (id, key) in [("hub", other), ("another", hub.key.public_key())] {
        named(id, key);
        assert!(synced(&laptop, &hub.url).await.is_some(), "{id}");
        assert_eq!(laptop.content("x").await, None, "{id}");
    }
    named("hub", hub.key.public_key());
    assert_eq!(synced(&laptop, &hub.url).await, None);
    assert_eq!(laptop.content("x").await.as_deref(), Some("of the hub"));

    // After a rotation the setting still says the old key, at each start.
    let words = enrolled(&hub).await;
    assert_ne!(words.public_key(), hub.key.public_key());
    let held = rotated(&hub).await;
    assert_eq!(synced(&laptop, &hub.url).await, None);
    named("hub", hub.key.public_key());
    assert_eq!(pinned(&laptop, &hub), Some(held.key.public_key().to_base64()));
    assert_eq!(synced(&laptop, &hub.url).await, None);
    stop([laptop, hub]).await;
}

//! Sets that are reconciled: what it costs, that it finds everything, and what somebody gains who lies.

use crate::bed::{Instance, nothing, provider, stop, until};
use ark_lattice::{
    federation::{
        client::{Client, ClientError},
        exchange::Signer,
        filter::Filter,
        lines::Lines,
        peers::Direction,
        reconcile::{
            Answer, Sets, digest,
            index::SetIndex,
            item::ItemId,
            message::{self, Differences, FRAME_BYTES},
        },
        remote::{ChangesQuery, Knowing, OfferAnswer, PushAnswer, Remote},
        round::{Outcome, Reset},
        run::RunEnd,
    },
    lattice::{NodeDocument, Precondition},
    manifest::{Head, Lineage, Verified},
    types::{Clock, Limits, NodeId, SharedClock, Timestamp, encode_hex},
};
use async_trait::async_trait;
use bytes::Bytes;
use negentropy::{Id, Negentropy, NegentropyStorageVector};
use sha2::{Digest, Sha256};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

fn id(text: &str) -> NodeId {
    NodeId::parse(text).unwrap()
}

fn node(id: &str, at: Option<i64>) -> NodeDocument {
    let mut node = serde_json::json!({ "id": id, "content": "x".repeat(200) });
    if let Some(at) = at {
        node["updated_at"] = at.into();
    }
    NodeDocument::parse(Bytes::from(node.to_string()), 64).unwrap()
}

/// So many nodes that say when they were made.
async fn fill(instance: &Instance, count: i64) {
    let nodes = (0..count).map(|n| node(&format!("node-{n:06}"), Some(1_700_000_000 + n))).collect();
    instance.lattice().put_many(nodes).await.unwrap();
}

async fn two(nodes: i64) -> (Instance, Instance) {
    provider();
    let (a, b) = (Instance::start("a").await, Instance::start("b").await);
    a.register_at(&b).await;
    b.register_at(&a).await;
    fill(&a, nodes).await;
    fill(&b, nodes).await;
    (a, b)
}

/// All versions and deletions of an instance, read anew.
async fn versions(instance: &Instance) -> BTreeSet<ItemId> {
    instance.lattice().changes(0, usize::MAX).unwrap().iter().map(ItemId::of_change).collect()
}

async fn are_alike(a: &Instance, b: &Instance) -> bool {
    a.set_hash() == b.set_hash() && versions(a).await == versions(b).await
}

#[tokio::test]
async fn after_a_state_directory_was_lost_only_what_differs_moves() {
    let (a, b) = two(2000).await;
    a.lattice().put(node("undated", None), Precondition::None).await.unwrap();
    a.delete("node-000001").await;
    let mut known = nothing(Direction::Both);
    assert_eq!(a.round(&b.url, &mut known).await.report.outcome, Some(Outcome::InStep));
    assert!(are_alike(&a, &b).await);

    b.clock.advance(Duration::from_secs(60));
    a.clock.advance(Duration::from_secs(60));
    let b = b.lose_state().await;
    a.register_at(&b).await;
    a.put("node-000002", "edited on a").await;
    a.delete("node-000003").await;
    b.put("only-b", "new on b").await;
    b.put("node-000004", "edited on b").await;
    let undated = |instance: &Instance| instance.lattice().entry(&id("undated")).unwrap().unwrap().updated_at;
    assert_eq!(undated(&a), undated(&b), "its file was dated like the version that came");

    let end = a.round(&b.url, &mut known).await;
    let report = &end.report;
    assert_eq!((report.outcome, report.reset), (Some(Outcome::InStep), Some(Reset::NewIndex)), "{:?}", end.error);
    // A list of both would have some 600,000 bytes.
    let bytes = report.bytes_in + report.bytes_out;
    eprintln!("{bytes} bytes, {} messages, {} requests", report.messages, report.requests);
    assert!(report.messages > 0 && bytes < 30_000, "{report:?}");
    assert_eq!((report.received.taken, report.received.same, report.sent_taken), (2, 0, 3), "{report:?}");
    assert!(are_alike(&a, &b).await);
    assert_eq!(b.content("node-000002").await.as_deref(), Some("edited on a"));
    assert_eq!(b.content("node-000003").await, None);
    assert_eq!(a.content("only-b").await.as_deref(), Some("new on b"));
    assert_eq!(a.content("node-000004").await.as_deref(), Some("edited on b"));

    let end = a.round(&b.url, &mut known).await;
    assert_eq!((end.report.outcome, end.report.requests), (Some(Outcome::InStep), 1), "{:?}", end.report);
    stop([a, b]).await;
}

#[tokio::test]
async fn who_only_takes_reconciles_as_well_and_gives_nothing() {
    let (a, b) = two(300).await;
    a.put("node-000001", "edited on a").await;
    b.put("only-b", "new on b").await;
    let end = b.round(&a.url, &mut nothing(Direction::Pull)).await;
    assert_eq!((end.report.outcome, end.report.received.taken), (Some(Outcome::Exchanged), 1), "{:?}", end.error);
    assert!(end.report.messages > 0 && end.report.sent == 0);
    assert_eq!((a.content("only-b").await, b.content("only-b").await.is_some()), (None, true));
    stop([a, b]).await;
}

#[tokio::test]
async fn many_deletions_that_are_found_so_wait_until_they_are_confirmed() {
    let (a, b) = two(400).await;
    for n in 0..101 {
        a.delete(&format!("node-{n:06}")).await;
    }
    let mut known = nothing(Direction::Both);
    let end = b.round(&a.url, &mut known).await;
    assert_eq!((end.report.outcome, end.report.waiting_here), (Some(Outcome::Waiting), 101), "{:?}", end.error);
    assert!(end.report.messages > 0 && b.lattice().status().nodes == 400 && known.positions.pulled.is_some());
    known.deletions_confirmed = true;
    let end = b.round(&a.url, &mut known).await;
    assert_eq!((end.report.outcome, end.report.deleted), (Some(Outcome::InStep), 101), "{:?}", end.error);
    assert!(are_alike(&a, &b).await);
    stop([a, b]).await;
}

#[tokio::test]
async fn a_version_that_is_found_so_and_not_believed_yet_comes_again() {
    let (a, b) = two(300).await;
    a.clock.advance(Duration::from_secs(200));
    let ahead = a.clock.now().plus(Duration::from_secs(250)).seconds();
    a.lattice().put(node("early", Some(ahead)), Precondition::None).await.unwrap();
    let mut known = nothing(Direction::Pull);
    let end = b.round(&a.url, &mut known).await;
    assert!(end.report.messages > 0, "{:?}", end.error);
    assert_eq!((end.report.received.ahead, known.positions.pulled.clone().unwrap().seq), (1, 300));
    b.clock.advance(Duration::from_secs(200));
    let end = b.round(&a.url, &mut known).await;
    assert_eq!((end.report.messages, end.report.received.taken), (0, 1), "{:?}", end.error);
    stop([a, b]).await;
}

async fn post(instance: &Instance, message: Vec<u8>) -> reqwest::Response {
    let request = reqwest::Client::new().post(format!("{}/lattice/reconcile", instance.url)).body(message);
    request.header("content-type", "application/octet-stream").send().await.unwrap()
}

#[tokio::test]
async fn another_implementation_finds_what_it_lacks() {
    provider();
    let a = Instance::start("a").await;
    fill(&a, 1000).await;
    a.delete("node-000005").await;
    let there = versions(&a).await;
    let mut list = NegentropyStorageVector::new();
    let lacking: BTreeSet<ItemId> = there.iter().copied().step_by(170).collect();
    for item in there.difference(&lacking) {
        list.insert(0, Id::from_byte_array(*item.as_bytes())).unwrap();
    }
    let own = [9; 32];
    list.insert(0, Id::from_byte_array(own)).unwrap();
    list.seal().unwrap();
    let mut client = Negentropy::owned(list, 4096).unwrap();
    let (mut have, mut need) = (Vec::new(), Vec::new());
    let mut message = client.initiate().unwrap();
    loop {
        let answer = post(&a, message.clone()).await;
        assert_eq!(answer.status(), 200);
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("ark-index-id"), a.lattice().status().index_id);
        assert_eq!(header("ark-position"), "1001");
        assert_eq!(header("ark-answers"), encode_hex(&digest(&message)));
        let answer = answer.bytes().await.unwrap();
        match client.reconcile_with_ids(&answer, &mut have, &mut need).unwrap() {
            Some(next) => message = next,
            None => break,
        }
    }
    assert_eq!(have, [Id::from_byte_array(own)]);
    let need: BTreeSet<ItemId> = need.iter().map(|id| ItemId::from_bytes(**id)).collect();
    assert_eq!(need, lacking);

    // And gets it, deletions too; of what is not here any more, what the node became.
    let old = ItemId::of(&id("node-000007"), Timestamp::EPOCH, None);
    let gone = there
        .iter()
        .copied()
        .find(|item| item.node_part() == ItemId::of(&id("node-000005"), Timestamp::EPOCH, None).node_part());
    let wanted = [old, old, gone.unwrap(), ItemId::from_bytes(own)];
    let lines = Client::new(&a.url, &Limits::default()).unwrap().versions(&wanted, true).await.unwrap();
    let text = all_lines(lines).await;
    let ids: Vec<&str> = text.iter().map(|line| line["id"].as_str().unwrap_or("end")).collect();
    assert_eq!(ids, ["node-000007", "node-000005", "end"], "{text:?}");
    assert!(text[0]["node"]["content"].is_string() && text[1]["deleted"].is_string());
    a.stop().await;
}

async fn all_lines(mut lines: Lines) -> Vec<serde_json::Value> {
    let mut all = Vec::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        all.push(serde_json::from_slice(&line).unwrap());
    }
    all
}

#[tokio::test]
async fn what_is_kept_follows_the_journal_and_is_given_up_unused() {
    provider();
    let a = Instance::start("a").await;
    fill(&a, 50).await;
    let sets = &a.context.sets;
    let clock: SharedClock = a.clock.clone();
    let check = async |what: &str, count: usize| {
        let opened = sets.open(a.lattice()).await.unwrap();
        assert_eq!(opened, Sets::new(Arc::clone(&clock), 1).open(a.lattice()).await.unwrap(), "{what}");
        assert_eq!(sets.kept().await, Some(count), "{what}");
    };
    assert_eq!(sets.kept().await, None, "nobody asked");
    check("at first", 50).await;
    a.put("new", "1").await;
    a.put("node-000001", "2").await;
    a.delete("node-000002").await;
    check("after changes", 51).await;
    a.put("node-000002", "3").await;
    check("after one came back", 51).await;
    // What changes without a new version.
    std::fs::write(a.directory().join("node-000003.json"), "{").unwrap();
    a.lattice().rescan().await.unwrap();
    // Its last good version stays.
    check("after a file broke", 51).await;
    std::fs::write(a.directory().join("node-000003.json"), "{\"id\":\"node-000003\"}").unwrap();
    a.lattice().rescan().await.unwrap();
    a.delete("new").await;
    check("after it was repaired", 51).await;
    a.clock.advance(Duration::from_secs(31 * 24 * 60 * 60));
    until("the deletion is forgotten", async || {
        a.lattice().rescan().await.unwrap();
        a.lattice().floor().unwrap() > 0
    })
    .await;
    check("after a deletion was forgotten", 50).await;

    a.clock.advance(Duration::from_secs(4 * 60));
    sets.release_unused().await;
    assert_eq!(sets.kept().await, Some(50));
    a.clock.advance(Duration::from_secs(60));
    sets.release_unused().await;
    assert_eq!(sets.kept().await, None);
    a.stop().await;
}

type Lie = Box<dyn Fn(Answer) -> Option<Answer> + Send + Sync>;

/// An honest instance behind somebody who changes its answers.
struct Liar {
    client: Client,
    lie: Lie,
    /// What comes for versions is something else.
    other_versions: bool,
}

#[async_trait]
impl Remote for Liar {
    async fn head(&self, limits: &Limits) -> Result<Verified<Head>, ClientError> {
        self.client.head(limits).await
    }

    async fn lineage(&self, head: &Verified<Head>) -> Result<Lineage, ClientError> {
        self.client.lineage(head).await
    }

    async fn changes(&self, query: &ChangesQuery<'_>) -> Result<Lines, ClientError> {
        self.client.changes(query).await
    }

    async fn nodes(&self, ids: &[NodeId]) -> Result<Lines, ClientError> {
        self.client.nodes(ids).await
    }

    async fn reconcile(&self, message: &[u8]) -> Result<Option<Answer>, ClientError> {
        Ok(self.client.reconcile(message).await?.and_then(|answer| (self.lie)(answer)))
    }

    async fn versions(&self, items: &[ItemId], contents: bool) -> Result<Lines, ClientError> {
        if self.other_versions {
            return self.client.nodes(&[id("node-000009")]).await;
        }
        self.client.versions(items, contents).await
    }

    async fn unavailable(&self) -> Result<Option<Lines>, ClientError> {
        self.client.unavailable().await
    }

    async fn offer(&self, signer: &Signer<'_>, knowing: Knowing<'_>, lines: Bytes) -> Result<OfferAnswer, ClientError> {
        self.client.offer(signer, knowing, lines).await
    }

    async fn push(
        &self,
        signer: &Signer<'_>,
        knowing: Knowing<'_>,
        filter: &Filter,
        lines: Bytes,
    ) -> Result<PushAnswer, ClientError> {
        self.client.push(signer, knowing, filter, lines).await
    }
}

async fn lied_to(a: &Instance, b: &Instance, lie: impl Fn(Answer) -> Option<Answer> + Send + Sync + 'static) -> RunEnd {
    let client = Client::new(&a.url, &Limits::default()).unwrap();
    let liar = Liar { client, lie: Box::new(lie), other_versions: false };
    b.round_with(&liar, &mut nothing(Direction::Both)).await
}

/// Ids that nobody has, after all that anybody has.
fn made_up(count: u32) -> Bytes {
    let mut message = vec![0x61, 0, 0, 2];
    message.extend([0x80 | u8::try_from(count >> 7).unwrap(), u8::try_from(count & 0x7F).unwrap()]);
    for n in 0..count {
        message.extend(<[u8; 32]>::from(Sha256::digest(n.to_be_bytes())));
    }
    message.into()
}

#[tokio::test]
async fn who_lies_in_his_messages_is_named_and_costs_little() {
    let (a, b) = two(300).await;
    a.put("only-a", "a").await;
    let named = async |said: &str, lie: fn(Answer) -> Answer| {
        let end = lied_to(&a, &b, move |answer| Some(lie(answer))).await;
        let error = end.error.expect(said).to_string();
        assert!(error.contains(said), "{said}: {error}");
        assert!(end.report.requests < 12 && b.content("only-a").await.is_none(), "{:?}", end.report);
    };
    named("ends too early", |answer| Answer { message: Bytes::new(), ..answer }).await;
    named("none of its versions", |answer| Answer { message: Bytes::from_static(b"<html>"), ..answer }).await;
    named("does not speak version 1", |answer| Answer { message: Bytes::from_static(b"\x62"), ..answer }).await;
    named("ends too early", |answer| Answer { message: answer.message.slice(..20), ..answer }).await;
    named("answers another message", |answer| Answer { answers: digest(b"another"), ..answer }).await;
    named("another journal", |answer| Answer { index_id: "0".repeat(32), ..answer }).await;
    named("another position", |answer| Answer { seq: answer.seq - 1, ..answer }).await;
    named("another position", |answer| Answer { seq: u64::MAX, ..answer }).await;
    named("more versions than", |answer| Answer { message: made_up(1000), ..answer }).await;

    // Versions that are nowhere are asked for, and do not come: that is not the set that was signed.
    named("nothing of it was taken", |answer| Answer { message: made_up(200), ..answer }).await;
    // Nor is it with one of them left out.
    named("nothing of it was taken", |answer| Answer { message: Bytes::from_static(&[0x61]), ..answer }).await;
    let client = Client::new(&a.url, &Limits::default()).unwrap();
    let liar = Liar { client, lie: Box::new(Some), other_versions: true };
    let end = b.round_with(&liar, &mut nothing(Direction::Both)).await;
    assert!(end.error.unwrap().to_string().contains("not asked for"));
    stop([a, b]).await;
}

#[tokio::test]
async fn who_cannot_reconcile_or_comes_to_no_end_gets_a_list() {
    for endless in [false, true] {
        let (a, b) = two(300).await;
        a.put("only-a", "a").await;
        let end = lied_to(&a, &b, move |answer| {
            // All of it differs, always.
            let message = Bytes::from([[0x61, 0, 0, 1].as_slice(), &[7; 16]].concat());
            endless.then_some(Answer { message, ..answer })
        })
        .await;
        assert_eq!(end.report.outcome, Some(Outcome::InStep), "{:?}", end.error);
        assert!(end.report.requests < 90 && (end.report.messages > 0) == endless, "{:?}", end.report);
        assert!(b.content("only-a").await.is_some() && are_alike(&a, &b).await);
        stop([a, b]).await;
    }
}

#[tokio::test]
async fn what_strangers_send_is_answered_or_refused() {
    provider();
    let a = Instance::start("a").await;
    fill(&a, 400).await;
    let right = {
        let sets = Sets::new(a.clock.clone(), 1);
        sets.open(a.lattice()).await.unwrap()
    };
    let mut seed = 7_u64;
    let mut random = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 40).unwrap()
    };
    for round in 0..150 {
        let mut message = right.clone();
        for _ in 0..round % 7 {
            let at = random() % message.len();
            message[at] = u8::try_from(random() % 256).unwrap();
        }
        message.truncate(1 + random() % message.len());
        let answer = post(&a, message.clone()).await;
        let status = answer.status().as_u16();
        let body = answer.bytes().await.unwrap();
        match status {
            200 => assert!(body.len() <= FRAME_BYTES),
            400 => assert!(body.windows(22).any(|part| part == b"invalid_reconciliation"), "{message:?}"),
            _ => panic!("{status} to {message:?}"),
        }
    }
    let answer = post(&a, right).await.bytes().await.unwrap();
    assert_eq!(message::go_on(&index_of(&a).await, &answer, &mut Differences::default()), Ok(None), "it still answers");
    a.stop().await;
}

async fn index_of(instance: &Instance) -> SetIndex {
    let mut index = SetIndex::default();
    versions(instance).await.into_iter().for_each(|item| index.insert(item, 1));
    index
}

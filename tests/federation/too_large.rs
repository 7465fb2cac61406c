//! Nodes that are larger than one of two instances takes.

use crate::bed::{Instance, nothing, provider, stop};
use ark_lattice::{
    federation::{
        client::{Client, ClientError},
        engine::Synced,
        exchange::Signer,
        filter::Filter,
        lines::Lines,
        peers::{Direction, PeerOptions},
        reconcile::{Answer, item::ItemId},
        remote::{ChangesQuery, Knowing, OfferAnswer, PushAnswer, ReceiverBounds, Remote},
        round::{Outcome, unavailable::LeftOut},
    },
    manifest::{Head, Lineage, Verified},
    settings::Settings,
    types::{Limits, NodeId},
};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use std::time::Duration;

/// More than the smaller limit and the room around a node in a line; and more than what is skipped of it at once.
const LARGE: usize = 600_000;
/// More than the smaller limit, and within the room around it.
const SLIGHTLY: usize = 20_000;
const LIMIT: usize = 10_000;

fn small(settings: &mut Settings) {
    settings.limits.node_bytes = LIMIT;
}

/// One takes large nodes and holds some, the other takes small ones; nothing was exchanged yet.
async fn two() -> (Instance, Instance) {
    provider();
    let (a, b) = (Instance::start("a").await, Instance::start_with("b", small).await);
    a.put("gone", "soon").await;
    for n in 0..5 {
        a.put(&format!("node-{n}"), "first").await;
    }
    a.put("node-large", &"x".repeat(LARGE)).await;
    a.put("node-slightly", &"y".repeat(SLIGHTLY)).await;
    a.put("node-last", "first").await;
    b.put("of-b", "first").await;
    a.clock.advance(Duration::from_secs(1));
    b.clock.advance(Duration::from_secs(2));
    (a, b)
}

/// Outcome, nodes that are too large here, and there; the round succeeded, and the peer counts as reachable.
fn told(instance: &Instance, synced: &Synced) -> (Option<Outcome>, u64, u64) {
    assert_eq!(synced.error, None);
    let peer = instance.engine().peers().remove(0);
    assert!(peer.is_active() && peer.stats.failures == 0, "{peer:?}");
    assert_eq!(synced.report.unavailable, LeftOut::default());
    let LeftOut { here, there } = synced.report.too_large;
    (synced.report.outcome, here, there)
}

/// Edits of both, and a deletion, after the first round.
async fn edit(a: &Instance, b: &Instance) {
    for instance in [a, b] {
        instance.clock.advance(Duration::from_secs(5));
    }
    a.put("node-2", "edited on a").await;
    a.delete("gone").await;
    b.clock.advance(Duration::from_secs(1));
    b.put("node-3", "edited on b").await;
}

/// Raises the limit of `b`, which keeps its address.
async fn raised(b: Instance) -> Instance {
    b.restart_with(|_| {}).await
}

#[tokio::test]
async fn what_is_too_large_here_is_left_out_and_comes_when_the_limit_is_raised() {
    let (a, b) = two().await;
    b.engine().add_peer(&a.url, Direction::Both.into()).unwrap();
    for _ in 0..3 {
        assert_eq!(told(&b, &b.sync(false).await), (Some(Outcome::Unavailable), 2, 0));
        assert_eq!((b.lattice().status().nodes, a.lattice().status().nodes), (8, 10));
    }
    edit(&a, &b).await;
    let synced = b.sync(false).await;
    assert_eq!(told(&b, &synced), (Some(Outcome::Unavailable), 2, 0));
    assert_eq!((synced.report.messages, synced.report.reset), (0, None), "nothing begins anew");
    assert!(synced.report.bytes_in < 5000, "what is too large does not come: {:?}", synced.report);
    assert_eq!(b.content("node-2").await.as_deref(), Some("edited on a"));
    assert_eq!(b.content("gone").await, None);
    assert_eq!(a.content("node-3").await.as_deref(), Some("edited on b"));

    let b = raised(b).await;
    assert_eq!(told(&b, &b.sync(false).await), (Some(Outcome::InStep), 0, 0));
    assert_eq!(b.content("node-large").await.map(|it| it.len()), Some(LARGE));
    assert_eq!(a.set_hash(), b.set_hash());
    stop([a, b]).await;
}

#[tokio::test]
async fn what_is_too_large_there_is_left_out_and_goes_when_the_limit_is_raised() {
    let (a, b) = two().await;
    a.engine().add_peer(&b.url, Direction::Both.into()).unwrap();
    for n in 0..3 {
        let synced = a.sync(false).await;
        assert_eq!(told(&a, &synced), (Some(Outcome::Unavailable), 0, 2));
        assert_eq!((b.lattice().status().nodes, a.lattice().status().nodes), (8, 10));
        assert!(n == 0 || synced.report.bytes_out < 5000, "it is not sent again: {:?}", synced.report);
    }
    edit(&a, &b).await;
    let synced = a.sync(false).await;
    assert_eq!(told(&a, &synced), (Some(Outcome::Unavailable), 0, 2));
    assert_eq!((synced.report.messages, synced.report.reset), (0, None), "nothing begins anew");
    assert_eq!(b.content("node-2").await.as_deref(), Some("edited on a"));
    assert_eq!(b.content("gone").await, None);
    assert_eq!(a.content("node-3").await.as_deref(), Some("edited on b"));

    let b = raised(b).await;
    assert_eq!(told(&a, &a.sync(false).await), (Some(Outcome::InStep), 0, 0));
    assert_eq!(b.content("node-slightly").await.map(|it| it.len()), Some(SLIGHTLY));
    assert_eq!(a.set_hash(), b.set_hash());
    assert!(a.engine().peers()[0].positions.too_large_there.is_empty());
    stop([a, b]).await;
}

#[tokio::test]
async fn one_way_and_filtered_too_the_rest_is_exchanged() {
    let filter = Filter { ids: vec!["node-*".to_owned()], ..Filter::ALL };
    for filter in [Filter::ALL, filter] {
        for direction in [Direction::Pull, Direction::Push] {
            let is_filtered = !filter.is_all();
            let (a, b) = two().await;
            let (asks, other) = if direction == Direction::Pull { (&b, &a) } else { (&a, &b) };
            let options = PeerOptions { filter: filter.clone(), ..direction.into() };
            asks.engine().add_peer(&other.url, options).unwrap();
            let left_out = if direction == Direction::Pull { (2, 0) } else { (0, 2) };
            for n in 0..2 {
                let synced = asks.sync(false).await;
                assert_eq!(told(asks, &synced), (Some(Outcome::Exchanged), left_out.0, left_out.1));
                assert!(n == 0 || synced.report.bytes_in + synced.report.bytes_out < 5000, "{:?}", synced.report);
            }
            a.put("node-2", "edited on a").await;
            a.delete("node-4").await;
            b.clock.advance(Duration::from_secs(1));
            assert_eq!(told(asks, &asks.sync(false).await), (Some(Outcome::Exchanged), left_out.0, left_out.1));
            assert_eq!((b.content("node-2").await.as_deref(), b.content("node-4").await), (Some("edited on a"), None));
            assert_eq!(b.content("gone").await.is_some(), !is_filtered);
            assert_eq!(b.content("node-large").await, None);

            let b = raised(b).await;
            let asks = if direction == Direction::Pull { &b } else { &a };
            assert_eq!(told(asks, &asks.sync(false).await), (Some(Outcome::Exchanged), 0, 0));
            assert_eq!(b.content("node-large").await.map(|it| it.len()), Some(LARGE));
            stop([a, b]).await;
        }
    }
}

#[tokio::test]
async fn a_node_that_grows_beyond_the_limit_stays_as_it_was_until_it_shrinks_or_is_deleted() {
    for from_a in [false, true] {
        let (a, b) = two().await;
        a.delete("node-large").await;
        a.delete("node-slightly").await;
        let (asks, other) = if from_a { (&a, &b) } else { (&b, &a) };
        let left_out = |count: u64| if from_a { (0, count) } else { (count, 0) };
        asks.engine().add_peer(&other.url, Direction::Both.into()).unwrap();
        assert_eq!(told(asks, &asks.sync(false).await), (Some(Outcome::InStep), 0, 0));
        for instance in [&a, &b] {
            instance.clock.advance(Duration::from_secs(5));
        }
        for node in ["node-1", "node-2"] {
            a.put(node, &"z".repeat(LARGE)).await;
        }
        let outcome = Some(Outcome::Unavailable);
        assert_eq!(told(asks, &asks.sync(false).await), (outcome, left_out(2).0, left_out(2).1));
        assert_eq!(b.content("node-1").await.as_deref(), Some("first"));
        a.put("node-1", "small again").await;
        assert_eq!(told(asks, &asks.sync(false).await), (outcome, left_out(1).0, left_out(1).1));
        assert_eq!(b.content("node-1").await.as_deref(), Some("small again"));
        a.delete("node-2").await;
        assert_eq!(told(asks, &asks.sync(false).await), (Some(Outcome::InStep), 0, 0));
        assert_eq!(a.set_hash(), b.set_hash());
        stop([a, b]).await;
    }
}

#[tokio::test]
async fn sets_are_reconciled_but_for_nodes_that_are_too_large() {
    for from_a in [false, true] {
        let (a, b) = two().await;
        for instance in [&a, &b] {
            instance.put_many(400).await;
            instance.clock.advance(Duration::from_secs(5));
        }
        let (asks, other) = if from_a { (&a, &b) } else { (&b, &a) };
        asks.engine().add_peer(&other.url, Direction::Both.into()).unwrap();
        let synced = asks.sync(false).await;
        assert!(synced.report.messages > 0, "{:?}", synced.report);
        let left_out = if from_a { (0, 2) } else { (2, 0) };
        assert_eq!(told(asks, &synced), (Some(Outcome::Unavailable), left_out.0, left_out.1));
        assert_eq!(b.content("node-last").await.as_deref(), Some("first"));
        let synced = asks.sync(false).await;
        assert_eq!(told(asks, &synced), (Some(Outcome::Unavailable), left_out.0, left_out.1));
        assert_eq!((synced.report.messages, synced.report.reset), (0, None));
        stop([a, b]).await;
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_there_is_sent_in_parts_and_one_node_blocks_nothing() {
    provider();
    let bound = |bytes: usize| move |settings: &mut Settings| settings.limits.sync_bytes = bytes;
    let a = Instance::start("a").await;
    let b = Instance::start_with("b", bound(100_000)).await;
    for n in 0..20 {
        a.put(&format!("node-{n}"), &"x".repeat(SLIGHTLY)).await;
    }
    a.put("node-large", &"x".repeat(LARGE)).await;
    a.put("node-last", "first").await;
    a.clock.advance(Duration::from_secs(1));
    a.engine().add_peer(&b.url, Direction::Both.into()).unwrap();
    for n in 0..3 {
        let synced = a.sync(false).await;
        assert_eq!(told(&a, &synced), (Some(Outcome::Unavailable), 0, 1));
        assert_eq!((b.lattice().status().nodes, b.content("node-last").await.as_deref()), (21, Some("first")));
        assert!(n == 0 || synced.report.bytes_out < 5000, "it is not sent again: {:?}", synced.report);
    }
    let b = b.restart_with(bound(2_000_000)).await;
    assert_eq!(told(&a, &a.sync(false).await), (Some(Outcome::InStep), 0, 0));
    assert_eq!(b.content("node-large").await.map(|it| it.len()), Some(LARGE));
    stop([a, b]).await;
}

/// An instance of before: it sends whatever its size, refuses a whole request for one node, and states no bounds.
struct OldPeer {
    client: Client,
    most: usize,
}

impl OldPeer {
    /// The lines as a reader with the smaller limit gets them.
    async fn read_small(&self, lines: Lines) -> Lines {
        let (mut lines, mut parts) = (lines, Vec::new());
        while let Some(line) = lines.next_line().await.unwrap() {
            parts.push(Ok([&line[..], b"\n"].concat().into()));
        }
        Lines::new("a".to_owned(), stream::iter(parts).boxed(), LIMIT + (64 << 10))
    }
}

#[async_trait]
impl Remote for OldPeer {
    async fn head(&self, limits: &Limits) -> Result<Verified<Head>, ClientError> {
        self.client.head(limits).await
    }

    async fn lineage(&self, head: &Verified<Head>) -> Result<Lineage, ClientError> {
        self.client.lineage(head).await
    }

    async fn changes(&self, query: &ChangesQuery<'_>) -> Result<Lines, ClientError> {
        Ok(self.read_small(self.client.changes(query).await?).await)
    }

    async fn nodes(&self, ids: &[NodeId]) -> Result<Lines, ClientError> {
        Ok(self.read_small(self.client.nodes(ids).await?).await)
    }

    async fn reconcile(&self, _: &[u8]) -> Result<Option<Answer>, ClientError> {
        Ok(None)
    }

    async fn versions(&self, items: &[ItemId], contents: bool) -> Result<Lines, ClientError> {
        Ok(self.read_small(self.client.versions(items, contents).await?).await)
    }

    async fn offer(&self, signer: &Signer<'_>, knowing: Knowing<'_>, lines: Bytes) -> Result<OfferAnswer, ClientError> {
        let answer = self.client.offer(signer, knowing, lines).await?;
        Ok(OfferAnswer { bounds: ReceiverBounds::default(), ..answer })
    }

    async fn push(
        &self,
        signer: &Signer<'_>,
        knowing: Knowing<'_>,
        filter: &Filter,
        lines: Bytes,
    ) -> Result<PushAnswer, ClientError> {
        if lines.split(|byte| *byte == b'\n').any(|line| line.len() > self.most) {
            let detail = "line 3: the node \"x\" has many bytes, more than limits.node_bytes here".to_owned();
            let code = "invalid_change".to_owned();
            return Err(ClientError::Refused { status: 400, code, detail, retry_after: None });
        }
        let answer = self.client.push(signer, knowing, filter, lines).await?;
        Ok(PushAnswer { bounds: ReceiverBounds::default(), ..answer })
    }
}

#[tokio::test]
async fn of_a_sender_that_knows_no_bound_a_long_line_is_skipped_once() {
    let (a, b) = two().await;
    b.register_at(&a).await;
    let old = OldPeer { client: Client::new(&a.url, &a.context.limits).unwrap(), most: usize::MAX };
    let mut known = nothing(Direction::Both);
    for n in 0..3 {
        let end = b.round_with(&old, &mut known).await;
        assert!(end.error.is_none(), "{:?}", end.error);
        let LeftOut { here, there } = end.report.too_large;
        assert_eq!((end.report.outcome, here, there), (Some(Outcome::Unavailable), 2, 0));
        assert_eq!((b.content("node-last").await.as_deref(), b.content("node-large").await), (Some("first"), None));
        assert!(n == 0 || end.report.bytes_in < 5000, "it is not sent again: {:?}", end.report);
        b.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(a.content("of-b").await.as_deref(), Some("first"));
    let b = raised(b).await;
    b.clock.advance(Duration::from_secs(1));
    let end = b.round(&a.url, &mut known).await;
    assert_eq!(end.report.outcome, Some(Outcome::InStep), "{:?}", end.error);
    assert_eq!(b.content("node-large").await.map(|it| it.len()), Some(LARGE));
    stop([a, b]).await;
}

#[tokio::test]
async fn a_receiver_that_refuses_a_whole_request_gets_the_rest_and_the_node_once_an_hour() {
    let (a, b) = two().await;
    let mut old = OldPeer { client: Client::new(&b.url, &a.context.limits).unwrap(), most: SLIGHTLY };
    let mut known = nothing(Direction::Both);
    let mut sent = Vec::new();
    for minutes in [0, 1, 30, 61, 1] {
        a.clock.advance(Duration::from_secs(60 * minutes));
        b.clock.advance(Duration::from_secs(60 * minutes));
        a.register_at(&b).await;
        let end = a.round_with(&old, &mut known).await;
        assert!(end.error.is_none(), "{:?}", end.error);
        let LeftOut { here, there } = end.report.too_large;
        assert_eq!((end.report.outcome, here, there), (Some(Outcome::Unavailable), 0, 2));
        assert_eq!(b.content("node-last").await.as_deref(), Some("first"));
        sent.push(end.report.bytes_out > 100_000);
    }
    assert_eq!(sent, [true, false, false, true, false]);
    let b = raised(b).await;
    old.most = usize::MAX;
    a.clock.advance(Duration::from_secs(61 * 60));
    b.clock.advance(Duration::from_secs(61 * 60));
    a.register_at(&b).await;
    let end = a.round_with(&old, &mut known).await;
    assert_eq!(end.report.outcome, Some(Outcome::InStep), "{:?}", end.error);
    stop([a, b]).await;
}

//! A peer whose positions hold from one round to the next only as long as it likes.

use crate::{
    bed::{Instance, provider},
    server::{Hostile, Reply, feed, ok, set_of},
};
use ark_lattice::{
    federation::peers::{Direction, PeerOptions},
    types::{Clock, Timestamp},
};

#[tokio::test]
async fn a_journal_that_begins_anew_each_time_is_the_peers_fault() {
    provider();
    let mirror = Instance::start("mirror").await;
    let now: Timestamp = mirror.clock.now();
    let hostile = Hostile::start("anew", move |peer, request| match request.route {
        "head" => {
            let before = request.before;
            let head = peer.head(|head| {
                (head.issued_at, head.expires) = (now, now);
                head.index_id = format!("{before:032x}");
                head.manifest_hash = set_of(&[]);
            });
            Some(Reply::Bytes(ok(head)))
        }
        "changes" => Some(Reply::Bytes(ok(feed(request, 9, &[]) + "{\"end\":9}\n"))),
        _ => None,
    })
    .await;
    let engine = mirror.context.engine.clone().unwrap();
    let options = PeerOptions { direction: Direction::Pull, ..PeerOptions::default() };
    engine.add_peer(&hostile.url, options).unwrap();
    let mut said = Vec::new();
    for _ in 0..4 {
        said.push(engine.sync(Some(&hostile.url), false).await.remove(0).error.unwrap_or_default());
    }
    assert_eq!(said[..3], ["", "", ""], "the first contact, and an accident or two");
    assert!(said[3].contains("begins anew again and again"), "{said:?}");
    let state = engine.peers().remove(0);
    assert_eq!((state.error.as_ref(), state.failed_in_a_row), (said.last(), 1), "it waits longer from now on");
    mirror.stop().await;
}

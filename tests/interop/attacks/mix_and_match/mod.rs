//! Whoever stands before a peer shows its newest head, and of its nodes some as they are and some as they were. Nothing of it is taken,
//! at the first contact and later, and what was there stays.

use crate::{
    attacks::bed::{Victim, content},
    server::{Hostile, Reply, deleted, feed, now, ok, set_of, whole},
};
use serde_json::Value;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// What the peer holds and signs, and what is shown of it, from one time to the next.
fn shown(turn: u64) -> (Vec<Value>, Vec<Value>) {
    let end = 2 * turn.max(1);
    let change = |seq: u64, id: &str, turn: u64| whole(seq, id, &format!("{id}-{turn}"));
    let signed = vec![change(end - 1, "price", turn.max(1)), change(end, "stock", turn.max(1))];
    let shown = match turn {
        // At the first contact one of two nodes is an old one.
        0 => vec![change(1, "price", 1), change(2, "stock", 0)],
        // Later one of two changes is left out, or goes back, or a deletion is added.
        2 => vec![change(end, "stock", turn)],
        3 => vec![change(end - 1, "price", 1), change(end, "stock", turn)],
        4 => vec![change(end - 1, "price", turn), deleted(end, "stock", now().seconds())],
        _ => signed.clone(),
    };
    (signed, shown)
}

#[tokio::test]
async fn nothing_is_taken_of_what_was_not_signed_together() {
    let turn = Arc::new(AtomicU64::new(0));
    let now_shown = Arc::clone(&turn);
    let hostile = Hostile::start("peer", move |peer, request| {
        let (signed, shown) = shown(now_shown.load(Ordering::Acquire));
        let end = signed.last().unwrap()["seq"].as_u64().unwrap();
        match request.route {
            "head" => Some(Reply::Bytes(ok(peer.head(|head| {
                (head.seq, head.count, head.manifest_hash) = (end, 2, set_of(&signed));
            })))),
            "changes" => {
                let after: Vec<Value> =
                    shown.into_iter().filter(|line| line["seq"].as_u64() > Some(request.since)).collect();
                Some(Reply::Bytes(ok(feed(request, end, &after) + &format!("{{\"end\":{end}}}\n"))))
            }
            "nodes" => {
                let lines: String = signed.iter().map(|line| format!("{line}\n")).collect();
                Some(Reply::Bytes(ok(lines + &format!("{{\"end\":{end}}}\n"))))
            }
            _ => None,
        }
    })
    .await;
    let victim = Victim::with_peer(&hostile).await;
    let holds = async |price: Option<&str>, stock: Option<&str>| {
        assert_eq!(content(&victim, "price").await.as_deref(), price);
        assert_eq!(content(&victim, "stock").await.as_deref(), stock);
    };
    let refused = async || {
        let said = victim.round().await;
        assert!(said.contains("does not lead to the set that it signed"), "{said}");
    };
    refused().await;
    victim.has_audited("mixed", "round", "peer");
    holds(None, None).await;
    // It shows what it signed, and all is well.
    turn.store(1, Ordering::Release);
    assert_eq!(victim.round().await, "");
    holds(Some("price-1"), Some("stock-1")).await;
    for later in 2..=4 {
        turn.store(later, Ordering::Release);
        refused().await;
        holds(Some("price-1"), Some("stock-1")).await;
    }
    turn.store(5, Ordering::Release);
    assert_eq!(victim.round().await, "");
    holds(Some("price-5"), Some("stock-5")).await;
}

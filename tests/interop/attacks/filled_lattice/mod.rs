//! A peer that may push adds nodes without end: beyond `limits.lattice_nodes` and `limits.lattice_bytes` they are refused, and edits and
//! deletions go on.

use crate::{
    attacks::bed::{Attacker, Victim, content, outcome},
    server::{now, whole},
    service::Place,
};
use serde_json::json;

#[tokio::test]
async fn nodes_beyond_the_bounds_are_refused_and_edits_go_on() {
    let place = Place::new().set("ARK__LIMITS__LATTICE_NODES", "50").set("ARK__LIMITS__LATTICE_BYTES", "20000");
    let victim = Victim::start_in(place).await;
    let filler = Attacker::new("filler").registered(&victim, 1).await;
    let full = (409, "lattice_full".to_owned());
    let push =
        async |number: u64, id: &str, text: &str| outcome(filler.push(&victim, &whole(number, id, text)).await).await;
    let mut taken = 0;
    for number in 0..80 {
        match push(number, &format!("junk-{number}"), "x").await {
            (200, _) => taken += 1,
            other => assert_eq!(other, full),
        }
    }
    assert_eq!(taken, 50);
    let lines: Vec<String> = (0..500).map(|it| whole(it, &format!("many-{it}"), "x").to_string()).collect();
    let body = format!("{}\n", lines.join("\n"));
    assert_eq!(outcome(filler.request(&victim, "/lattice/changes", &body).send().await.unwrap()).await, full);
    // Within one second the greater hash wins, and an edit that loses is not refused.
    let mut edit = whole(100, "junk-1", &"y".repeat(20_000));
    edit["at"] = json!(now().seconds() + 1);
    assert_eq!(outcome(filler.push(&victim, &edit).await).await, full, "an edit beyond the bytes");
    victim.has_audited("lattice_full", "/lattice/changes", "-");
    assert_eq!(victim.service.get_json("/nodes").await["total"], 50);
    // Who is there still edits and deletes, and there is room again.
    assert_eq!(victim.service.put("junk-2", &json!({"id": "junk-2", "content": "mine"})).await.status(), 200);
    assert_eq!(content(&victim, "junk-2").await.as_deref(), Some("mine"));
    assert_eq!(victim.service.delete("junk-3").await.status(), 200);
    assert_eq!(victim.service.put("honest", &json!({"id": "honest"})).await.status(), 201);
}

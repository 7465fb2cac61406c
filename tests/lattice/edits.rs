//! Edits that a command makes by the lattice.

use crate::bed::{Bed, id, node, put};
use ark_lattice::{
    lattice::{Lattice, NodeDocument, Written, directory::DirectoryLattice},
    ops::{EditTarget, OfflineDirectory},
    types::Limits,
};
use std::{fs, sync::Arc};

/// By a lattice that takes smaller nodes than `limits` says.
async fn target(bed: &Bed, limits: Limits) -> EditTarget {
    EditTarget::Lattice(bed.open().await, OfflineDirectory::open(&bed.path("data"), limits).unwrap())
}

#[tokio::test]
async fn a_node_that_the_lattice_refuses_is_refused_alone_and_the_others_are_answered_as_if_it_were_not_there() {
    let mut bed = Bed::new();
    bed.limits.node_bytes = 100;
    bed.write("b.json", r#"{"id":"b","v":1}"#);
    bed.write("same.json", r#"{"id":"same"}"#);
    let large = format!(r#"{{"id":"large","x":"{}"}}"#, "x".repeat(100));
    let texts = [r#"{"id":"a"}"#, r#"{"id":"b","v":2}"#, r#"{"id":"same"}"#, r#"{"id":"a"}"#, &large, r#"{"id":"c"}"#];
    // Of a the second write comes after the first is in place: what follows is written by a second attempt.
    let nodes: Vec<NodeDocument> = texts.into_iter().map(node).collect();
    let target = target(&bed, Limits::default()).await;
    let written = target.put_many(nodes).await.unwrap();
    assert!(matches!(written[0], Ok(Written::Created(_))), "{written:?}");
    assert!(matches!(written[1], Ok(Written::Replaced(_))), "{written:?}");
    assert!(matches!(written[2], Ok(Written::Unchanged(_))), "{written:?}");
    assert!(written[4].as_ref().unwrap_err().to_string().contains("large"), "{written:?}");
    assert!(matches!(written[5], Ok(Written::Created(_))), "{written:?}");
    assert_eq!(bed.names(), ["a.json", "b.json", "c.json", "same.json"]);
    target.close().await;
}

#[tokio::test]
async fn a_node_is_deleted_with_a_tombstone_also_where_its_file_is_broken() {
    let bed = Bed::new();
    for name in ["sound", "broken"] {
        bed.write(&format!("{name}.json"), &format!(r#"{{"id":"{name}"}}"#));
    }
    bed.open().await.close().await;
    bed.write("broken.json", "{half");
    let lattice = bed.open().await;
    let directory = OfflineDirectory::open(&bed.path("data"), bed.limits).unwrap();
    let shared: Arc<dyn Lattice> = Arc::<DirectoryLattice>::clone(&lattice);
    let edits = EditTarget::Lattice(shared, directory);
    assert!(lattice.is_unavailable(&id("broken")));
    for name in ["sound", "broken"] {
        assert!(edits.remove(&id(name)).await.unwrap());
        assert!(lattice.tombstone(&id(name)).unwrap().is_some(), "{name}");
        assert!(!edits.remove(&id(name)).await.unwrap());
    }
    assert_eq!(fs::read_dir(bed.path("data")).unwrap().count(), 1, "the marker");
    put(&lattice, node(r#"{"id":"broken"}"#)).await;
    bed.check(&lattice);
    edits.close().await;
}

//! Copies of many small nodes in one file: read in the place of the files, and never believed more than these.

use crate::bed::{Bed, DEADLINE, Random, id, node, until};
use ark_lattice::lattice::{Lattice, Precondition, directory::DirectoryLattice};
use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    os::unix::fs::FileExt as _,
    path::PathBuf,
    sync::Arc,
};

/// Enough for a lattice to have a pack.
const NODES: usize = 1200;

fn pack(bed: &Bed) -> PathBuf {
    bed.journal().with_extension("pack")
}

fn unfinished(bed: &Bed) -> PathBuf {
    bed.journal().with_extension("pack.new")
}

fn text(number: usize, version: usize) -> String {
    // Some are too large for a pack, and some even to be read in one go.
    let filler = match number % 100 {
        50 => 10_000,
        99 => 20_000,
        other => other * 7,
    };
    serde_json::json!({"id": name(number), "version": version, "filler": "x".repeat(filler)}).to_string()
}

fn name(number: usize) -> String {
    format!("node-{number:05}")
}

fn fill(bed: &Bed) {
    for number in 0..NODES {
        bed.write(&format!("{}.json", name(number)), &text(number, 0));
    }
}

/// Everything, as a full delta reads it.
async fn read_all(lattice: &DirectoryLattice) -> BTreeMap<String, String> {
    let entries: Vec<_> = lattice.snapshot().unwrap().iter_after(None).cloned().collect();
    let mut nodes = BTreeMap::new();
    for batch in entries.chunks(500) {
        for node in lattice.read_many(batch.to_vec()).await.unwrap() {
            nodes.insert(node.entry.id.to_string(), String::from_utf8(node.bytes.to_vec()).unwrap());
        }
    }
    nodes
}

fn files(bed: &Bed) -> BTreeMap<String, String> {
    let names = bed.names().into_iter().filter(|name| name.ends_with(".json"));
    names
        .map(|name| (name.trim_end_matches(".json").to_owned(), fs::read_to_string(bed.data(&name)).unwrap()))
        .collect()
}

/// Opens a lattice of many nodes that was read as a whole before.
async fn packed(bed: &Bed) -> Arc<DirectoryLattice> {
    fill(bed);
    let lattice = bed.open().await;
    assert!(!pack(bed).exists(), "nobody asked for the nodes yet");
    assert_eq!(read_all(&lattice).await, files(bed));
    until("copies are made", DEADLINE, || pack(bed).exists()).await;
    lattice
}

#[tokio::test]
async fn reading_with_a_pack_equals_reading_without_it_whatever_happens() {
    let bed = Bed::new();
    let mut lattice = packed(&bed).await;
    let mut random = Random(7);
    for round in 1..=24 {
        // Sometimes so many that a new one is made.
        let edits = if round % 6 == 0 { NODES / 2 } else { random.below(20) };
        for _ in 0..edits {
            let number = random.below(NODES + 50);
            bed.write(&format!("{}.json", name(number)), &text(number, round));
        }
        for _ in 0..random.below(4) {
            let _no_such_node = fs::remove_file(bed.data(&format!("{}.json", name(random.below(NODES)))));
        }
        lattice.rescan().await.unwrap();
        for _ in 0..3 {
            let number = random.below(NODES);
            lattice.put(node(&text(number, round + 1000)), Precondition::None).await.unwrap();
            lattice.delete(&id(&name(random.below(NODES))), Precondition::None).await.unwrap();
        }
        if round % 4 == 0 {
            // Beneath an open file, as a disk does it.
            let file = OpenOptions::new().write(true).open(pack(&bed)).unwrap();
            let length = usize::try_from(file.metadata().unwrap().len()).unwrap();
            file.write_all_at(&[0xff; 100], u64::try_from(random.below(length)).unwrap()).unwrap();
        }
        match round % 8 {
            5 => {
                lattice.close().await;
                lattice = bed.open().await;
            }
            7 => OpenOptions::new().write(true).open(pack(&bed)).unwrap().set_len(100_000).unwrap(),
            _ => {}
        }
        let expected = files(&bed);
        assert_eq!(read_all(&lattice).await, expected, "round {round}");
        assert_eq!(read_all(&lattice).await, expected, "round {round}, again");
    }
    bed.check(&lattice);
}

#[tokio::test]
async fn a_directory_that_is_gone_is_not_answered_for_by_copies() {
    let bed = Bed::new();
    let lattice = packed(&bed).await;
    let entries: Vec<_> = lattice.snapshot().unwrap().iter_after(None).take(100).cloned().collect();
    assert_eq!(lattice.read_many(entries.clone()).await.unwrap().len(), 100);
    fs::rename(bed.path("data"), bed.path("away")).unwrap();
    lattice.read_many(entries.clone()).await.unwrap_err();
    fs::rename(bed.path("away"), bed.path("data")).unwrap();
    until("the fault is over", DEADLINE, || lattice.status().fault.is_none()).await;
    assert_eq!(lattice.read_many(entries).await.unwrap().len(), 100);
}

#[tokio::test]
async fn a_small_lattice_has_no_pack() {
    let bed = Bed::new();
    for number in 0..900 {
        bed.write(&format!("{}.json", name(number)), &text(number, 0));
    }
    let lattice = bed.open().await;
    for _ in 0..4 {
        read_all(&lattice).await;
    }
    lattice.close().await;
    assert!(!pack(&bed).exists() && !unfinished(&bed).exists());
}

#[tokio::test]
async fn closing_leaves_a_pack_or_none_and_nothing_between() {
    let bed = Bed::new();
    fill(&bed);
    for _ in 0..5 {
        let lattice = bed.open().await;
        read_all(&lattice).await;
        lattice.close().await;
        assert!(!unfinished(&bed).exists());
        let _not_made = fs::remove_file(pack(&bed));
    }
    fs::File::create(unfinished(&bed)).unwrap();
    let lattice = bed.open().await;
    assert!(!unfinished(&bed).exists());
    assert_eq!(read_all(&lattice).await, files(&bed));
}

use super::{super::index::tests::entry, *};
use crate::types::ContentHash;

pub(super) fn put(id: &str, content: &str, seq: u64) -> Op {
    let record = Record {
        entry: Arc::new(Entry { seq, ..Entry::clone(&entry(id, content)) }),
        name: format!("{id}.json").into(),
        stamp: FileStamp { mtime_ns: 1, ctime_ns: 2, size: 3, inode: 4 },
        read_at_ns: 5,
        stated: Some(None),
        live: true,
    };
    Op::Put(record, Source::Edit)
}

pub(super) fn deleted(id: &str, at: i64, seq: u64) -> Op {
    let tombstone = Tombstone {
        id: NodeId::parse(id).unwrap(),
        deleted_at: Timestamp::from_seconds(at),
        content_hash: ContentHash::of(b"1"),
        seq,
    };
    Op::Deleted(tombstone, Source::Edit)
}

fn nothing_known(rows: &[(u64, String)]) -> Vec<Option<Arc<Entry>>> {
    vec![None; rows.len()]
}

fn positions(journal: &Journal, since: u64) -> Vec<(u64, bool)> {
    let position = |change| match change {
        Change::Put { seq, .. } => (seq, true),
        Change::Deleted(tombstone, _) => (tombstone.seq, false),
    };
    journal.changes(since, 100, nothing_known).unwrap().into_iter().map(position).collect()
}

#[test]
fn each_node_stands_once_at_its_last_change() {
    let root = tempfile::tempdir().unwrap();
    let (journal, head) = Journal::open(&root.path().join("deep/j.redb")).unwrap();
    assert_eq!((head.seq, head.index_id.len()), (0, 32));
    journal.commit(&[put("a", "1", 1), put("b", "1", 2), put("c", "1", 3)], 3).unwrap();
    journal.commit(&[put("a", "2", 4), deleted("b", 100, 5)], 5).unwrap();
    assert_eq!(positions(&journal, 0), [(3, true), (4, true), (5, false)]);
    journal.commit(&[Op::Broke(NodeId::parse("c").unwrap()), put("b", "2", 6)], 6).unwrap();
    assert_eq!(
        positions(&journal, 0),
        [(3, true), (4, true), (6, true)],
        "the last good version of a broken file stays"
    );
    assert_eq!(positions(&journal, 4), [(6, true)]);
    assert_eq!((journal.tombstones().unwrap(), journal.changes(u64::MAX, 1, nothing_known).unwrap()), (0, vec![]));
    journal.commit(&[put("c", "1", 7)], 7).unwrap();
    assert_eq!(positions(&journal, 6), [(7, true)]);
    let mut records = Vec::new();
    let mut entries = Vec::new();
    let keep = |it: Loaded<'_>| {
        records.push((it.name.to_owned(), it.entry.seq, it.live));
        entries.push(Entry { node_type: it.node_type.and_then(crate::lattice::NodeType::parse), ..it.entry });
    };
    journal.load(keep).unwrap();
    let expected = [("a.json", 4, true), ("b.json", 6, true), ("c.json", 7, true)];
    assert_eq!(records, expected.map(|(name, seq, live)| (name.to_owned(), seq, live)));
    assert_eq!(entries[0], Entry { seq: 4, size_bytes: 3, ..Entry::clone(&entry("a", "2")) });
    assert_eq!(journal.recover().unwrap(), 7, "opened again, it is where it was");
    assert_eq!(positions(&journal, 6), [(7, true)]);
}

#[test]
fn old_tombstones_go_with_their_positions() {
    let root = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(&root.path().join("j.redb")).unwrap();
    journal.commit(&[deleted("a", 0, 1), deleted("b", 1, 2)], 2).unwrap();
    journal.live(TOMBSTONE_AGE * 2);
    journal.prune(Timestamp::EPOCH.plus(TOMBSTONE_AGE + Duration::from_micros(1))).unwrap();
    assert_eq!(positions(&journal, 0), [(2, false)]);
    assert_eq!(journal.tombstone(&NodeId::parse("a").unwrap()).unwrap(), None);
    assert_eq!(journal.floor().unwrap(), 1, "who stands before it does not hear of that deletion any more");
}

#[test]
fn a_deletion_that_came_to_be_known_late_is_kept_as_long_as_others() {
    let root = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(&root.path().join("j.redb")).unwrap();
    let (a, later) = (NodeId::parse("a").unwrap(), Timestamp::EPOCH.plus(2 * TOMBSTONE_AGE));
    journal.commit(&[deleted("a", 0, 1), Op::Buried(a.clone(), later), deleted("b", 0, 2)], 2).unwrap();
    journal.live(TOMBSTONE_AGE * 2);
    journal.prune(later.plus(TOMBSTONE_AGE)).unwrap();
    assert_eq!((positions(&journal, 0), journal.floor().unwrap()), (vec![(1, false)], 2));
    journal.prune(later.plus(TOMBSTONE_AGE + Duration::from_micros(1))).unwrap();
    assert_eq!((positions(&journal, 0), journal.floor().unwrap()), (vec![], 2));
    // What is noted goes with the tombstone: another one of the node has its own date.
    journal.commit(&[deleted("a", 0, 3), Op::Buried(a, later.plus(9 * TOMBSTONE_AGE)), put("a", "1", 4)], 4).unwrap();
    journal.commit(&[deleted("a", 0, 5)], 5).unwrap();
    journal.live(TOMBSTONE_AGE * 4);
    journal.prune(later).unwrap();
    assert_eq!(positions(&journal, 0), []);
}

#[test]
fn a_version_knows_what_it_came_from() {
    let root = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(&root.path().join("j.redb")).unwrap();
    let id = NodeId::parse("a").unwrap();
    let of = |content: &str| entry("a", content).content_hash;
    journal.commit(&[put("a", "1", 1)], 1).unwrap();
    assert_eq!(journal.lineage(&id).unwrap(), Lineage::default());
    journal.commit(&[put("a", "2", 2)], 2).unwrap();
    journal.commit(&[put("a", "3", 3)], 3).unwrap();
    let lineage = journal.lineage(&id).unwrap();
    assert!(lineage.made_here && lineage.ancestry == Ancestry::default().after(&of("1")).after(&of("2")));
    assert!(
        matches!(&journal.changes(0, 9, nothing_known).unwrap()[..], [Change::Put { ancestry, .. }] if *ancestry == lineage.ancestry)
    );

    let given = Ancestry::default().after(&of("7"));
    let Op::Put(record, _) = put("a", "8", 4) else { panic!() };
    journal.commit(&[Op::Put(record, Source::Given { ancestry: given.clone(), from: "p".into() })], 4).unwrap();
    let from_elsewhere = Lineage { from: Some("p".into()), ancestry: given.clone(), ..Lineage::default() };
    assert_eq!(journal.lineage(&id).unwrap(), Lineage { made_here: false, ..from_elsewhere });
    journal.commit(&[deleted("a", 100, 5)], 5).unwrap();
    assert_eq!(journal.lineage(&id).unwrap(), Lineage { ancestry: given.after(&of("1")), ..Lineage::default() });
    journal.commit(&[put("a", "9", 6)], 6).unwrap();
    assert!(journal.lineage(&id).unwrap().ancestry.names(&of("7")), "also over a deletion");
}

#[test]
fn a_journal_of_another_schema_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("j.redb");
    Journal::open(&path).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let database = Database::create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(META).unwrap().insert("schema", "2").unwrap();
    transaction.commit().unwrap();
    drop(database);
    assert!(matches!(Journal::open(&path), Err(JournalError::Schema(text)) if text == "2"));
}

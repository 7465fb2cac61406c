use super::*;
use negentropy::{Id, Negentropy, NegentropyStorageVector};
use proptest::prelude::*;
use sha2::{Digest, Sha256};
use std::sync::LazyLock;

const LIMIT: u64 = 256 << 10;

fn item(number: u32) -> ItemId {
    ItemId::from_bytes(Sha256::digest(number.to_be_bytes()).into())
}

fn index_of(items: &BTreeSet<ItemId>) -> SetIndex {
    let mut index = SetIndex::default();
    items.iter().for_each(|item| index.insert(*item, 1));
    index
}

/// The same for the other implementation.
fn list_of(items: &BTreeSet<ItemId>) -> NegentropyStorageVector {
    let mut list = NegentropyStorageVector::new();
    items.iter().for_each(|item| list.insert(0, Id::from_byte_array(*item.as_bytes())).unwrap());
    list.seal().unwrap();
    list
}

fn sorted(ids: &[Id]) -> BTreeSet<ItemId> {
    ids.iter().map(|id| ItemId::from_bytes(**id)).collect()
}

/// What only one of them has, and how many messages went. Each message is the one that the other implementation makes.
fn reconcile(ours: &BTreeSet<ItemId>, theirs: &BTreeSet<ItemId>, alike: bool) -> (Differences, usize) {
    let (index, their_index) = (index_of(ours), index_of(theirs));
    let (list, their_list) = (list_of(ours), list_of(theirs));
    let mut beginner = Negentropy::borrowed(&list, LIMIT).unwrap();
    let mut message = open(&index);
    assert_eq!(beginner.initiate().unwrap(), message);
    let (mut differences, mut messages) = (Differences::default(), 0);
    loop {
        assert!(message.len() <= FRAME_BYTES && messages < 1000);
        let answer = respond(&their_index, &message).unwrap();
        let other = Negentropy::borrowed(&their_list, LIMIT).unwrap().reconcile(&message).unwrap();
        assert!(answer.len() <= FRAME_BYTES);
        messages += 2;
        if alike {
            assert_eq!(answer, other);
        }
        let (before_have, before_need) = (differences.have.len(), differences.need.len());
        let next = go_on(&index, &answer, &mut differences).unwrap();
        let (mut have, mut need) = (Vec::new(), Vec::new());
        let other = beginner.reconcile_with_ids(&answer, &mut have, &mut need).unwrap();
        assert_eq!(sorted(&have), differences.have[before_have..].iter().copied().collect());
        assert_eq!(sorted(&need), differences.need[before_need..].iter().copied().collect());
        if alike {
            assert_eq!(next, other);
        }
        match next {
            Some(next) => message = next,
            None => return (differences, messages),
        }
    }
}

fn check(ours: &BTreeSet<ItemId>, theirs: &BTreeSet<ItemId>, alike: bool) -> usize {
    let (differences, messages) = reconcile(ours, theirs, alike);
    let have: BTreeSet<ItemId> = differences.have.iter().copied().collect();
    let need: BTreeSet<ItemId> = differences.need.iter().copied().collect();
    assert!(have.iter().eq(ours.difference(theirs)) && need.iter().eq(theirs.difference(ours)));
    messages
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn all_differences_are_found_in_the_messages_of_the_other_implementation(
        common in 0..3000_u32, ours in 0..60_u32, theirs in 0..60_u32, few in any::<bool>(),
    ) {
        let common = if few { common / 100 } else { common };
        let all: BTreeSet<ItemId> = (0..common).map(item).collect();
        let mut one = all.clone();
        one.extend((10_000..10_000 + ours).map(item));
        let mut other = all;
        other.extend((20_000..20_000 + theirs).map(item));
        check(&one, &other, true);
    }
}

#[test]
fn what_does_not_fit_into_one_message_comes_in_the_next_ones() {
    let common: BTreeSet<ItemId> = (0..10_000).map(item).collect();
    let mut ours: BTreeSet<ItemId> = common.clone();
    ours.extend((100_000..110_000).map(item));
    let messages = check(&ours, &common, false);
    assert!(messages > 4, "{messages}");
    check(&common, &ours, false);
    check(&BTreeSet::new(), &ours, false);
    check(&ours, &BTreeSet::new(), false);
    let theirs = (200_000..210_000).map(item).collect();
    check(&ours, &theirs, false);
}

#[test]
fn ids_that_are_neighbours_are_told_apart() {
    // All in one bucket, the last byte only: the longest bounds.
    let at = |last: u8| {
        let mut bytes = [7; ITEM_BYTES];
        bytes[ITEM_BYTES - 1] = last;
        ItemId::from_bytes(bytes)
    };
    let ours: BTreeSet<ItemId> = (0..=255).map(at).collect();
    let theirs = ours.iter().copied().filter(|item| *item != at(77)).collect();
    check(&ours, &theirs, true);
    check(&theirs, &ours, true);
}

/// Who hears, and a message that is meant for him.
static HEARD: LazyLock<(SetIndex, Vec<u8>)> = LazyLock::new(|| {
    let index = index_of(&(0..500).map(item).collect());
    let other = index_of(&(100..900).map(item).collect());
    let message = respond(&other, &open(&index)).unwrap();
    (index, message)
});

proptest! {
    #[test]
    fn whatever_comes_is_answered_or_refused(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let (index, right) = &*HEARD;
        let mut right = right.clone();
        for (at, byte) in flips {
            let at = at.index(right.len());
            right[at] ^= byte;
        }
        right.truncate(cut.index(right.len()) + 1);
        let mut headed = vec![VERSION];
        headed.extend(&bytes);
        for message in [&bytes, &right, &headed] {
            let mut differences = Differences::default();
            for answer in [respond(index, message), go_on(index, message, &mut differences).map(Option::unwrap_or_default)] {
                prop_assert!(answer.is_err() || answer.is_ok_and(|answer| answer.len() <= FRAME_BYTES));
            }
            // Ranges do not overlap, whatever their bounds: nothing is found twice.
            prop_assert!(differences.have.len() <= index.len());
        }
    }
}

#[test]
fn a_message_that_is_none_says_why() {
    let index = index_of(&(0..100).map(item).collect());
    let refused = |message: &[u8]| respond(&index, message).unwrap_err();
    assert_eq!(refused(b""), MessageError::Ends);
    assert_eq!(refused(b"{}"), MessageError::NoVersion);
    assert_eq!(respond(&index, &[0x62, 1, 2]), Ok(vec![VERSION]), "which one is spoken here");
    assert_eq!(go_on(&index, &[0x62], &mut Differences::default()), Err(MessageError::OtherVersion));
    assert_eq!(refused(&[VERSION, 0, 0, 3]), MessageError::Mode);
    assert_eq!(refused(&[VERSION, 0, 33]), MessageError::Bound);
    assert_eq!(refused(&[VERSION, 0, 0, 1, 9]), MessageError::Ends);
    assert_eq!(refused(&[VERSION, 0, 0, 2, 0xC0, 0x80, 0x80, 0x80, 0]), MessageError::Ends, "no room for so many");
    assert_eq!(refused(&[[VERSION].as_slice(), &[0xFF; 20]].concat()), MessageError::Number);
}

#[test]
fn what_is_alike_costs_one_short_message_each_way() {
    let all: BTreeSet<ItemId> = (0..10_000).map(item).collect();
    let index = index_of(&all);
    let message = open(&index);
    let answer = respond(&index, &message).unwrap();
    assert_eq!(go_on(&index, &answer, &mut Differences::default()), Ok(None));
    assert!(message.len() + answer.len() < 400, "{} and {}", message.len(), answer.len());
}

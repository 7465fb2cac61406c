use super::*;
use negentropy::{Id, NegentropyStorageBase, NegentropyStorageVector};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Like hashes; now and then two that share their first bytes.
fn item(number: u16) -> ItemId {
    let mut bytes: [u8; 32] = Sha256::digest(number.to_be_bytes()).into();
    if number.is_multiple_of(5) {
        let shared: [u8; 32] = Sha256::digest((number / 50).to_be_bytes()).into();
        bytes[..8].copy_from_slice(&shared[..8]);
    }
    ItemId::from_bytes(bytes)
}

fn index_of(numbers: impl IntoIterator<Item = u16>) -> SetIndex {
    let mut index = SetIndex::default();
    numbers.into_iter().for_each(|number| index.insert(item(number), u64::from(number)));
    index
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn it_says_what_a_sorted_list_says_whatever_was_changed(
        changes in proptest::collection::vec((0..400_u16, any::<bool>()), 0..300),
        cuts in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 4),
        bound in 0..400_u16,
    ) {
        let (mut index, mut model) = (SetIndex::default(), BTreeMap::new());
        for (at, (number, put)) in changes.into_iter().enumerate() {
            let seq = u64::try_from(at).unwrap();
            if put {
                index.insert(item(number), seq);
                model.insert(item(number), seq);
            } else {
                index.remove(&item(number));
                model.remove(&item(number));
            }
        }
        let mut list = NegentropyStorageVector::new();
        for item in model.keys() {
            list.insert(0, Id::from_byte_array(*item.as_bytes())).unwrap();
        }
        list.seal().unwrap();
        prop_assert_eq!((index.len(), index.is_empty()), (model.len(), model.is_empty()));
        prop_assert_eq!(index.rank(&item(bound)), model.range(..item(bound)).count());
        prop_assert_eq!(index.get(&item(bound)), model.get(&item(bound)).copied());
        let part = item(bound).node_part();
        let alike: Vec<_> = model.iter().filter(|(item, _)| item.node_part() == part).map(|(a, b)| (*a, *b)).collect();
        prop_assert_eq!(index.of_node(part).collect::<Vec<_>>(), alike);
        for (one, other) in cuts {
            let (one, other) = (one.index(model.len() + 1), other.index(model.len() + 1));
            let range = one.min(other)..one.max(other);
            let theirs = list.fingerprint(range.start, range.end).unwrap().to_bytes();
            prop_assert_eq!(index.fingerprint(range.clone()), theirs);
            let items: Vec<&ItemId> = model.keys().skip(range.start).take(range.len()).collect();
            prop_assert_eq!(index.items(range).collect::<Vec<_>>(), items);
        }
    }
}

#[test]
fn one_change_touches_one_bucket_and_a_fingerprint_adds_few_sums() {
    let mut index = index_of(0..40_000);
    let sums = |index: &SetIndex| index.buckets.iter().map(|it| (it.held.len(), it.sum)).collect::<Vec<_>>();
    let changes: [fn(&mut SetIndex, ItemId, u64); 2] = [SetIndex::insert, |index, item, _| index.remove(&item)];
    for change in changes {
        let before = sums(&index);
        change(&mut index, item(50_001), 7);
        let touched = sums(&index).iter().zip(&before).filter(|(now, then)| now != then).count();
        assert_eq!(touched, 1);
    }
    let largest = index.buckets.iter().map(|bucket| bucket.held.len()).max().unwrap();
    let most = (0..=index.len()).map(|place| index.terms(place).count()).max().unwrap();
    assert!(most <= GROUPS + GROUP + largest, "{most} sums, of {} versions", index.len());
}

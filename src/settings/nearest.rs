//! The known name that is nearest to one that is not known.

/// Changes of one letter (another one, one more, one less, two swapped) that make `other` of `name`. Letters' cases are one.
fn distance(name: &str, other: &str) -> usize {
    let letters = |text: &str| text.to_ascii_lowercase().into_bytes();
    let (name, other) = (letters(name), letters(other));
    // Rows of the table of Damerau and Levenshtein: the one before the last, the last.
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in name.iter().enumerate() {
        let mut row = vec![at + 1];
        for (of, wanted) in other.iter().enumerate() {
            let cell = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(usize::MAX / 2);
            let mut least = (cell(&last, of) + usize::from(letter != wanted)).min(cell(&last, of + 1) + 1);
            least = least.min(cell(&row, of) + 1);
            let is_swapped = at > 0 && of > 0 && name.get(at - 1) == Some(wanted) && other.get(of - 1) == Some(letter);
            if is_swapped {
                least = least.min(cell(&before, of - 1) + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or_default()
}

/// The nearest of `known`, where a quarter of the letters or fewer differ.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let bound = (name.len() / 4).max(1);
    known.map(|other| (distance(name, other), other)).filter(|(far, _)| *far <= bound).min().map(|(_, other)| other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_changes_of_one_letter() {
        for (one, other, far) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("TOKN", "token", 1),
            ("AUTOSYNC", "AUTO_SYNC", 1),
            ("tll", "ttl", 1),
            ("workres", "workers", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(one, other), far, "{one} {other}");
        }
    }

    #[test]
    fn name_without_likeness_has_no_nearest() {
        let known = ["ARK_PEER_TTL", "ARK_NODE_ID"];
        assert_eq!(nearest("ARK_PEER_TLL", known.into_iter()), Some("ARK_PEER_TTL"));
        assert_eq!(nearest("GATEWAY_JWT_SECRET", known.into_iter()), None);
    }
}

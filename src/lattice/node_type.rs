//! A node's `type`, shared by all nodes that have it.

use serde::{Serialize, Serializer};
use std::{fmt, ops::Deref, sync::Arc};

/// A node's `type`. Cheap to clone, and one word long: the index has one for each node, and a pointer that also says the text's length
/// would put an entry into the next larger size of what an allocator gives.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct NodeType(Arc<Text>);

#[derive(PartialEq, Eq, Hash)]
struct Text(Box<str>);

/// The longest `type` that is kept, bytes of UTF-8: the index holds one for each node, and lists and feeds repeat it.
pub const MAX_TYPE_BYTES: usize = 256;

impl NodeType {
    /// `None` where the text is longer than [`MAX_TYPE_BYTES`]: such a node counts as one without a type in the index, in lists, in the
    /// feed and for filters. Its document keeps the text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() <= MAX_TYPE_BYTES).then(|| Self(Arc::new(Text(text.into()))))
    }
}

impl Deref for NodeType {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0.0
    }
}

impl std::borrow::Borrow<str> for NodeType {
    fn borrow(&self) -> &str {
        self
    }
}

impl fmt::Debug for NodeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl Serialize for NodeType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lattice::Entry;

    #[test]
    fn an_entry_with_its_counters_fits_into_128_bytes() {
        assert_eq!(size_of::<Entry>() + 2 * size_of::<usize>(), 128);
    }

    #[test]
    fn it_is_its_text() {
        let note = NodeType::parse("note").unwrap();
        assert_eq!((&*note, format!("{note:?}")), ("note", "\"note\"".to_owned()));
        assert_eq!(serde_json::to_string(&note).unwrap(), "\"note\"");
        assert_ne!(Some(note), NodeType::parse("notes"));
    }

    #[test]
    fn a_longer_text_than_the_bound_is_no_type() {
        assert_eq!(NodeType::parse(&"x".repeat(MAX_TYPE_BYTES)).map(|it| it.len()), Some(MAX_TYPE_BYTES));
        assert_eq!(NodeType::parse(&"x".repeat(MAX_TYPE_BYTES + 1)), None);
    }
}

//! The tape: a document's values in source order, eight bytes each (two entries for an array or object).

/// The longest text that a tape can describe: sizes take 28 bits beside the tag.
pub(super) const MAX_BYTES: usize = (1 << SIZE_BITS) - 1;

const SIZE_BITS: u32 = 28;
const SIZE_MASK: u32 = (1 << SIZE_BITS) - 1;

/// What a token is. Strings and numbers are told apart further than [`super::Kind`] does: the writers decide by the tag alone
/// whether a span may be copied as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    Null,
    False,
    True,
    /// Neither fraction nor exponent.
    Integer,
    Float,
    /// Printable ASCII and no escape: stands as it is in every canonical form.
    PlainString,
    /// No escape, but characters beyond printable ASCII.
    RawString,
    EscapedString,
    Array,
    Object,
    /// All keys are plain and strictly ascending: the members stand as every canonical form wants them.
    SortedObject,
    /// Closes the innermost array or object.
    End,
}

impl Tag {
    const fn bits(self) -> u32 {
        match self {
            Self::Null => 0,
            Self::False => 1,
            Self::True => 2,
            Self::Integer => 3,
            Self::Float => 4,
            Self::PlainString => 5,
            Self::RawString => 6,
            Self::EscapedString => 7,
            Self::Array => 8,
            Self::Object => 9,
            Self::SortedObject => 10,
            Self::End => 11,
        }
    }

    const fn from_bits(bits: u32) -> Self {
        match bits {
            0 => Self::Null,
            1 => Self::False,
            2 => Self::True,
            3 => Self::Integer,
            4 => Self::Float,
            5 => Self::PlainString,
            6 => Self::RawString,
            7 => Self::EscapedString,
            8 => Self::Array,
            9 => Self::Object,
            10 => Self::SortedObject,
            _ => Self::End,
        }
    }
}

/// One entry of the tape.
///
/// A scalar: where its text starts, and its length. An opening bracket: where it stands, and the index of its [`Tag::End`]. An
/// end: where the text after the closing bracket starts, and the number of direct elements or members.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token {
    at: u32,
    tag_and_size: u32,
}

impl Token {
    /// The gate refuses texts longer than [`MAX_BYTES`], so that neither number is ever cut.
    #[inline]
    pub(super) fn new(tag: Tag, at: usize, size: usize) -> Self {
        Self { at: narrow(at), tag_and_size: (tag.bits() << SIZE_BITS) | (narrow(size) & SIZE_MASK) }
    }

    #[inline]
    pub(super) fn tag(self) -> Tag {
        Tag::from_bits(self.tag_and_size >> SIZE_BITS)
    }

    #[inline]
    pub(super) fn at(self) -> usize {
        wide(self.at)
    }

    #[inline]
    pub(super) fn size(self) -> usize {
        wide(self.tag_and_size & SIZE_MASK)
    }

    /// The text of a scalar.
    #[inline]
    pub(super) fn text(self, source: &[u8]) -> &[u8] {
        source.get(self.at()..self.at() + self.size()).unwrap_or_default()
    }

    /// The text of a string between its quotes.
    #[inline]
    pub(super) fn inner(self, source: &[u8]) -> &[u8] {
        match self.text(source) {
            [_, inner @ .., _] => inner,
            _ => &[],
        }
    }

    /// The index after the value whose first token is this one, at `index`.
    #[inline]
    pub(super) fn after(self, index: usize) -> usize {
        match self.tag() {
            Tag::Array | Tag::Object | Tag::SortedObject => self.size() + 1,
            _ => index + 1,
        }
    }
}

/// The keys of the object whose opening token stands at `open`, in the source's order, each with its own index. The object may still
/// be open.
#[inline]
pub(super) fn keys_of(tokens: &[Token], open: usize) -> impl Iterator<Item = (Token, usize)> {
    let mut index = open + 1;
    std::iter::from_fn(move || {
        let (at, key) = (index, *tokens.get(index)?);
        if key.tag() == Tag::End {
            return None;
        }
        index = tokens.get(at + 1)?.after(at + 1);
        Some((key, at))
    })
}

#[inline]
fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[inline]
fn wide(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

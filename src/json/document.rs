//! A document that passed the gate, and the views into it.

use super::{
    error::JsonError,
    escape, number, strict,
    tape::{Tag, Token},
};
use bytes::Bytes;
use std::{borrow::Cow, ops::Range, sync::Arc};

/// A JSON text that passed the gate: its bytes and a flat tape of its values. Cloning it copies neither.
#[derive(Clone)]
pub struct Document {
    source: Bytes,
    /// The box lets the gate's own tape be kept: `Arc<[Token]>` would copy it, and hold it twice for a moment.
    tokens: Arc<Box<[Token]>>,
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// Any number.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

/// One value of a document.
#[derive(Clone, Copy)]
pub struct Value<'a> {
    document: &'a Document,
    index: usize,
    token: Token,
}

/// A value that is an object. No two of its members have the same key.
#[derive(Debug, Clone, Copy)]
pub struct Object<'a> {
    value: Value<'a>,
}

/// A value that is an array.
#[derive(Debug, Clone, Copy)]
pub struct Array<'a> {
    value: Value<'a>,
}

impl Document {
    /// Reads one JSON text (RFC 8259) and nothing after it. Numbers stay the text that they are.
    ///
    /// Accepts less than the RFC does, so that no two readers can understand one text differently: no duplicate keys (compared
    /// after unescaping), no lone surrogates, no number beyond the range of a double unless it is an integer literal, no byte
    /// order mark, at most `max_depth` arrays and objects within each other (`[]` has depth 1).
    ///
    /// Takes time linear in the text's length, whatever the text. Allocates eight bytes for each scalar and key and sixteen for
    /// each array and object.
    ///
    /// # Errors
    /// [`JsonError`] says which rule the text breaks, and where it does so first (duplicate keys are found when their object
    /// ends). A text longer than 256 MiB − 1 bytes is refused unread.
    pub fn parse(source: Bytes, max_depth: usize) -> Result<Self, JsonError> {
        strict::parse(source, max_depth)
    }

    pub(super) fn new(source: Bytes, tokens: Vec<Token>) -> Self {
        Self { source, tokens: Arc::new(tokens.into_boxed_slice()) }
    }

    /// The document's only outermost value.
    #[must_use]
    pub fn root(&self) -> Value<'_> {
        self.value(0)
    }

    /// The text as it was given, white space included.
    #[must_use]
    pub fn source(&self) -> &Bytes {
        &self.source
    }

    pub(super) fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    #[inline]
    fn value(&self, index: usize) -> Value<'_> {
        // Every index comes from the tape itself.
        let token = self.tokens.get(index).copied().unwrap_or_else(|| Token::new(Tag::Null, 0, 0));
        Value { document: self, index, token }
    }
}

impl std::fmt::Debug for Document {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Document").field(&self.source).finish()
    }
}

impl std::fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Value").field(&self.raw()).finish()
    }
}

impl<'a> Value<'a> {
    /// What it is.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self.token.tag() {
            Tag::Null | Tag::End => Kind::Null,
            Tag::False | Tag::True => Kind::Bool,
            Tag::Integer | Tag::Float => Kind::Number,
            Tag::PlainString | Tag::RawString | Tag::EscapedString => Kind::String,
            Tag::Array => Kind::Array,
            Tag::Object | Tag::SortedObject => Kind::Object,
        }
    }

    /// Is it `null`?
    #[must_use]
    pub fn is_null(self) -> bool {
        self.kind() == Kind::Null
    }

    /// The truth value, if it is one.
    #[must_use]
    pub fn as_bool(self) -> Option<bool> {
        match self.token.tag() {
            Tag::True => Some(true),
            Tag::False => Some(false),
            _ => None,
        }
    }

    /// The number's own text, if it is a number.
    #[must_use]
    pub fn as_number(self) -> Option<&'a str> {
        (self.kind() == Kind::Number).then(|| self.raw())
    }

    /// The number, if it is an integer from 0 on that fits; `2.0` is one, as in JSON Schema.
    #[must_use]
    pub fn as_unsigned(self) -> Option<u64> {
        let text = self.as_number()?;
        text.parse().ok().or_else(|| number::to_unsigned(text))
    }

    /// The string, unescaped, if it is one; borrowed where it has no escape.
    #[must_use]
    pub fn as_str(self) -> Option<Cow<'a, str>> {
        let inner = self.token.inner(&self.document.source);
        match self.token.tag() {
            Tag::PlainString | Tag::RawString => Some(Cow::Borrowed(escape::text(inner))),
            Tag::EscapedString => Some(escape::unescape(inner)),
            _ => None,
        }
    }

    /// Is it the string `text`?
    #[inline]
    fn is_string(self, text: &str) -> bool {
        let inner = self.token.inner(&self.document.source);
        match self.token.tag() {
            Tag::PlainString | Tag::RawString => inner == text.as_bytes(),
            // An escape is never shorter than its character.
            Tag::EscapedString => inner.len() > text.len() && escape::unescape(inner) == text,
            _ => false,
        }
    }

    /// The object, if it is one.
    #[must_use]
    pub fn as_object(self) -> Option<Object<'a>> {
        (self.kind() == Kind::Object).then_some(Object { value: self })
    }

    /// The array, if it is one.
    #[must_use]
    pub fn as_array(self) -> Option<Array<'a>> {
        (self.kind() == Kind::Array).then_some(Array { value: self })
    }

    /// The value's own text, as it stands in the source.
    #[must_use]
    pub fn raw(self) -> &'a str {
        escape::text(self.document.source.get(self.span()).unwrap_or_default())
    }

    /// Where that text stands in the source, in bytes.
    #[must_use]
    pub fn span(self) -> Range<usize> {
        let start = self.token.at();
        start..self.end().map_or(start + self.token.size(), Token::at)
    }

    pub(super) fn document(self) -> &'a Document {
        self.document
    }

    pub(super) fn index(self) -> usize {
        self.index
    }

    /// The closing token of an array or object.
    #[inline]
    fn end(self) -> Option<Token> {
        match self.token.tag() {
            Tag::Array | Tag::Object | Tag::SortedObject => self.document.tokens.get(self.token.size()).copied(),
            _ => None,
        }
    }

    /// Direct elements or members.
    fn len(self) -> usize {
        self.end().map_or(0, Token::size)
    }

    #[inline]
    fn after(self) -> usize {
        self.token.after(self.index)
    }
}

impl<'a> Object<'a> {
    /// How many members it has.
    #[must_use]
    pub fn len(self) -> usize {
        self.value.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The member named `key`. Linear in the number of direct members; what is within them is skipped.
    #[must_use]
    pub fn get(self, key: &str) -> Option<Value<'a>> {
        self.members().find_map(|(name, value)| name.is_string(key).then_some(value))
    }

    /// The members of these names, each where its name stands among `keys`: one pass over all members.
    #[must_use]
    pub fn pick<const N: usize>(self, keys: [&str; N]) -> [Option<Value<'a>>; N] {
        let mut found = [None; N];
        for (name, value) in self.members() {
            if let Some((_, slot)) = keys.iter().zip(&mut found).find(|(key, _)| name.is_string(key)) {
                *slot = Some(value);
            }
        }
        found
    }

    /// The members in source order, keys unescaped.
    pub fn iter(self) -> impl Iterator<Item = (Cow<'a, str>, Value<'a>)> {
        self.members().map(|(name, value)| (name.as_str().unwrap_or_default(), value))
    }

    #[inline]
    fn members(self) -> impl Iterator<Item = (Value<'a>, Value<'a>)> {
        let mut index = self.value.index + 1;
        (0..self.len()).map(move |_| {
            let name = self.value.document.value(index);
            let value = self.value.document.value(index + 1);
            index = value.after();
            (name, value)
        })
    }
}

impl<'a> Array<'a> {
    /// How many elements it has.
    #[must_use]
    pub fn len(self) -> usize {
        self.value.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The elements in order.
    pub fn iter(self) -> impl Iterator<Item = Value<'a>> {
        let mut index = self.value.index + 1;
        (0..self.len()).map(move |_| {
            let element = self.value.document.value(index);
            index = element.after();
            element
        })
    }
}

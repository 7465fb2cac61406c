//! The strict gate. (stub: the real one is being written)
use bytes::Bytes;
use std::borrow::Cow;
use std::ops::Range;

/// A JSON text that passed the gate: its bytes and a flat tape of its tokens. Cheap to clone (`Arc` inside or `Bytes`).
#[derive(Debug, Clone)]
pub struct Document {
    source: Bytes,
}
/// Why the gate refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind:?} at byte {offset}")]
pub struct JsonError {
    /// which rule
    pub kind: JsonErrorKind,
    /// byte offset in the input
    pub offset: usize,
    /// 1-based
    pub line: usize,
    /// 1-based, in bytes
    pub column: usize,
}
/// The gate's rules. (the real enum has one variant a rule)
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JsonErrorKind {
    /// .
    Syntax,
}
/// .
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// .
    Null,
    /// .
    Bool,
    /// .
    Number,
    /// .
    String,
    /// .
    Array,
    /// .
    Object,
}
/// A view of one value: Copy.
#[derive(Debug, Clone, Copy)]
pub struct Value<'a> {
    document: &'a Document,
    index: usize,
}
/// .
#[derive(Debug, Clone, Copy)]
pub struct Object<'a> {
    value: Value<'a>,
}
/// .
#[derive(Debug, Clone, Copy)]
pub struct Array<'a> {
    value: Value<'a>,
}
impl Document {
    /// # Errors
    /// .
    pub fn parse(source: Bytes, max_depth: usize) -> Result<Self, JsonError> {
        let _ = max_depth;
        let _ = source;
        unimplemented!()
    }
    /// .
    pub fn root(&self) -> Value<'_> {
        Value { document: self, index: 0 }
    }
    /// .
    pub fn source(&self) -> &Bytes {
        &self.source
    }
}
impl<'a> Value<'a> {
    /// .
    pub fn kind(self) -> Kind {
        let _ = (self.document, self.index);
        unimplemented!()
    }
    /// null?
    pub fn is_null(self) -> bool {
        self.kind() == Kind::Null
    }
    /// .
    pub fn as_bool(self) -> Option<bool> {
        unimplemented!()
    }
    /// the number's own text
    pub fn as_number(self) -> Option<&'a str> {
        unimplemented!()
    }
    /// unescaped; borrowed where there was no escape
    pub fn as_str(self) -> Option<Cow<'a, str>> {
        unimplemented!()
    }
    /// .
    pub fn as_object(self) -> Option<Object<'a>> {
        unimplemented!()
    }
    /// .
    pub fn as_array(self) -> Option<Array<'a>> {
        unimplemented!()
    }
    /// the value's own text, as it stands in the source
    pub fn raw(self) -> &'a str {
        unimplemented!()
    }
    /// where that text stands in the source, bytes
    pub fn span(self) -> Range<usize> {
        unimplemented!()
    }
}
impl<'a> Object<'a> {
    /// members (duplicates cannot occur)
    pub fn len(self) -> usize {
        unimplemented!()
    }
    /// .
    pub fn is_empty(self) -> bool {
        unimplemented!()
    }
    /// linear in the number of direct members, skips over children
    pub fn get(self, key: &str) -> Option<Value<'a>> {
        let _ = (key, self.value);
        unimplemented!()
    }
    /// in source order
    pub fn iter(self) -> impl Iterator<Item = (Cow<'a, str>, Value<'a>)> {
        std::iter::empty()
    }
}
impl<'a> Array<'a> {
    /// .
    pub fn len(self) -> usize {
        let _ = self.value;
        unimplemented!()
    }
    /// .
    pub fn is_empty(self) -> bool {
        unimplemented!()
    }
    /// in order
    pub fn iter(self) -> impl Iterator<Item = Value<'a>> {
        std::iter::empty()
    }
}

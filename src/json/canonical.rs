//! The walk that both canonical forms share: along the tape, members in order, nothing built but an index where an object's
//! members do not stand in order already.

use super::{
    document::Value,
    escape::{self, Piece, Pieces},
    number,
    tape::{Tag, Token, keys_of},
};
use std::cmp::Ordering;

/// What makes one form differ from another.
pub(super) trait Form {
    /// Why a value cannot be written.
    type Error;
    /// Between elements and members.
    const COMMA: &'static [u8];
    /// Between a key and its value.
    const COLON: &'static [u8];

    /// The order of two different keys.
    fn order(left: &str, right: &str) -> Ordering;
    /// Writes a run of a string in which nothing is escaped.
    fn text(run: &[u8], out: &mut Vec<u8>);
    /// Writes a character that the source escapes.
    fn escaped(character: char, out: &mut Vec<u8>);
    /// Writes an integer literal that stands at `offset`. It is not `-0`.
    fn integer(&self, literal: &[u8], offset: usize, out: &mut Vec<u8>) -> Result<(), Self::Error>;
    /// Writes a finite number.
    fn float(number: f64, out: &mut Vec<u8>);
}

/// Appends `value`.
pub(super) fn write<F: Form>(form: &F, value: Value<'_>, out: &mut Vec<u8>) -> Result<(), F::Error> {
    let document = value.document();
    let writer = Writer { form, source: document.source(), tokens: document.tokens() };
    writer.write(value.index(), out)
}

struct Writer<'a, F> {
    form: &'a F,
    source: &'a [u8],
    tokens: &'a [Token],
}

/// An array or object that is being written.
#[derive(Clone, Copy)]
struct Frame {
    object: bool,
    next: Next,
    first: bool,
}

/// Where the next element or member is found.
#[derive(Clone, Copy)]
enum Next {
    /// At this index of the tape.
    InPlace(usize),
    /// At the index of the tape that is found at `next` of the sorted members. They start at `start`, and the innermost object's
    /// are always the last ones.
    Sorted { start: usize, next: usize },
}

/// Objects with more members are sorted each for itself.
const REMEMBERED_MEMBERS: usize = 16;

/// How the object that was sorted last is ordered: those of one list mostly have the same keys, one behind the other.
#[derive(Default)]
struct Remembered<'a> {
    /// Its keys as they stand in the source, without an escape among them; none at first.
    keys: Vec<&'a [u8]>,
    /// For each of them, how many members are in front of it.
    ranks: Vec<usize>,
}

/// Indices of members on the tape, each object's in the form's order behind those of the object around it.
#[derive(Default)]
struct Members<'a> {
    indices: Vec<usize>,
    last: Remembered<'a>,
}

impl<'a, F: Form> Writer<'a, F> {
    fn write(&self, index: usize, out: &mut Vec<u8>) -> Result<(), F::Error> {
        let mut members = Members::default();
        let mut around: Vec<Frame> = Vec::new();
        let mut innermost = self.value(index, &mut members, out)?;
        while let Some(frame) = &mut innermost {
            let Some(mut index) = self.child(frame, &mut members) else {
                out.push(if frame.object { b'}' } else { b']' });
                innermost = around.pop();
                continue;
            };
            if !std::mem::take(&mut frame.first) {
                out.extend_from_slice(F::COMMA);
            }
            if frame.object {
                self.string(self.token(index), out);
                out.extend_from_slice(F::COLON);
                index += 1;
            }
            if let Some(inner) = self.value(index, &mut members, out)? {
                around.extend(innermost.replace(inner));
            }
        }
        Ok(())
    }

    #[inline]
    fn token(&self, index: usize) -> Token {
        // The walk ends at the last end token, so this is never past the tape.
        self.tokens.get(index).copied().unwrap_or_else(|| Token::new(Tag::End, 0, 0))
    }

    /// Takes the index of the next element, or of the next member's key.
    #[inline]
    fn child(&self, frame: &mut Frame, members: &mut Members<'a>) -> Option<usize> {
        match &mut frame.next {
            Next::InPlace(next) => {
                let index = *next;
                let token = self.token(index);
                if token.tag() == Tag::End {
                    return None;
                }
                let value = index + usize::from(frame.object);
                *next = self.token(value).after(value);
                Some(index)
            }
            Next::Sorted { start, next } => {
                let index = members.indices.get(*next).copied();
                match index {
                    Some(_) => *next += 1,
                    None => members.indices.truncate(*start),
                }
                index
            }
        }
    }

    /// Writes a scalar, or the opening bracket of an array or object.
    #[inline]
    fn value(&self, index: usize, members: &mut Members<'a>, out: &mut Vec<u8>) -> Result<Option<Frame>, F::Error> {
        let token = self.token(index);
        match token.tag() {
            Tag::Null | Tag::True | Tag::False => out.extend_from_slice(token.text(self.source)),
            Tag::PlainString | Tag::RawString | Tag::EscapedString => self.string(token, out),
            Tag::Integer => match token.text(self.source) {
                b"-0" => out.push(b'0'),
                literal => self.form.integer(literal, token.at(), out)?,
            },
            Tag::Float => F::float(number::to_f64(token.text(self.source)), out),
            Tag::Array => {
                out.push(b'[');
                return Ok(Some(Frame { object: false, next: Next::InPlace(index + 1), first: true }));
            }
            Tag::SortedObject => {
                out.push(b'{');
                return Ok(Some(Frame { object: true, next: Next::InPlace(index + 1), first: true }));
            }
            Tag::Object => {
                out.push(b'{');
                let start = members.indices.len();
                self.sort_members(index, members);
                return Ok(Some(Frame { object: true, next: Next::Sorted { start, next: start }, first: true }));
            }
            Tag::End => {}
        }
        Ok(None)
    }

    /// Appends the members of the object at `index` in the form's order.
    fn sort_members(&self, index: usize, members: &mut Members<'a>) {
        let Members { indices, last } = members;
        let start = indices.len();
        indices.resize(start + last.ranks.len(), index);
        if self.place_as_last(index, last, indices.get_mut(start..).unwrap_or_default()) {
            return;
        }
        indices.truncate(start);
        let keys: Vec<_> = keys_of(self.tokens, index).collect();
        let mut sorted: Vec<_> =
            (0..).zip(&keys).map(|(at, (key, index))| (escape::unescape(key.inner(self.source)), at, *index)).collect();
        sorted.sort_unstable_by(|(left, ..), (right, ..)| F::order(left, right));
        indices.extend(sorted.iter().map(|(.., index)| *index));
        let has_escapes = |(key, _): &(Token, usize)| key.tag() == Tag::EscapedString;
        if keys.len() > REMEMBERED_MEMBERS || keys.iter().any(has_escapes) {
            return;
        }
        last.ranks.clear();
        last.ranks.resize(keys.len(), 0);
        for (rank, (_, at, _)) in sorted.iter().enumerate() {
            if let Some(place) = last.ranks.get_mut::<usize>(*at) {
                *place = rank;
            }
        }
        last.keys.clear();
        last.keys.extend(keys.into_iter().map(|(key, _)| key.inner(self.source)));
    }

    /// Puts the members into `places` as those of the last object were, where they have the same keys.
    #[inline]
    fn place_as_last(&self, index: usize, last: &Remembered<'a>, places: &mut [usize]) -> bool {
        let mut known = last.keys.iter().zip(&last.ranks);
        for (key, index) in keys_of(self.tokens, index) {
            let Some((same, rank)) = known.next() else { return false };
            if key.tag() == Tag::EscapedString || key.inner(self.source) != *same {
                return false;
            }
            if let Some(place) = places.get_mut(*rank) {
                *place = index;
            }
        }
        known.next().is_none()
    }

    #[inline]
    fn string(&self, token: Token, out: &mut Vec<u8>) {
        if token.tag() == Tag::PlainString {
            out.extend_from_slice(token.text(self.source));
            return;
        }
        out.push(b'"');
        for piece in Pieces::new(token.inner(self.source)) {
            match piece {
                Piece::Text(run) => F::text(run, out),
                Piece::Escape(character) => F::escaped(character, out),
            }
        }
        out.push(b'"');
    }
}

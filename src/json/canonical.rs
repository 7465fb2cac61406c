//! The walk that both canonical forms share: along the tape, members in order, nothing built but an index where an object's
//! members do not stand in order already.

use super::{
    document::Value,
    escape::{self, Piece, Pieces},
    number,
    tape::{Tag, Token},
};
use std::{borrow::Cow, cmp::Ordering};

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

struct Member<'a> {
    key: Cow<'a, str>,
    index: usize,
}

impl<'a, F: Form> Writer<'a, F> {
    fn write(&self, index: usize, out: &mut Vec<u8>) -> Result<(), F::Error> {
        let mut members: Vec<Member<'a>> = Vec::new();
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
    fn child(&self, frame: &mut Frame, members: &mut Vec<Member<'a>>) -> Option<usize> {
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
            Next::Sorted { start, next } => match members.get(*next) {
                Some(member) => {
                    *next += 1;
                    Some(member.index)
                }
                None => {
                    members.truncate(*start);
                    None
                }
            },
        }
    }

    /// Writes a scalar, or the opening bracket of an array or object.
    #[inline]
    fn value(&self, index: usize, members: &mut Vec<Member<'a>>, out: &mut Vec<u8>) -> Result<Option<Frame>, F::Error> {
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
                let start = members.len();
                self.sort_members(index, members);
                return Ok(Some(Frame { object: true, next: Next::Sorted { start, next: start }, first: true }));
            }
            Tag::End => {}
        }
        Ok(None)
    }

    /// Appends the members of the object at `index` in the form's order.
    fn sort_members(&self, index: usize, members: &mut Vec<Member<'a>>) {
        let start = members.len();
        let mut index = index + 1;
        loop {
            let key = self.token(index);
            if key.tag() == Tag::End {
                break;
            }
            members.push(Member { key: escape::unescape(key.inner(self.source)), index });
            index = self.token(index + 1).after(index + 1);
        }
        if let Some(own) = members.get_mut(start..) {
            own.sort_unstable_by(|left, right| F::order(&left.key, &right.key));
        }
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

//! The strict gate: one pass over the bytes that either fills a tape or says what is wrong and where.

use super::{
    document::Document,
    error::{JsonError, JsonErrorKind},
    escape::{self, EscapeError},
    number, scan,
    tape::{MAX_BYTES, Tag, Token},
};
use bytes::Bytes;
use std::collections::HashSet;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// Up to so many members, comparing each pair of keys is faster than hashing them.
const PAIRWISE_MEMBERS: usize = 16;

/// Characters of a duplicate key that an error repeats.
const KEY_CHARACTERS: usize = 64;

/// No integer of so many digits is beyond the range of a double, so most numbers need not be converted to know.
const SURELY_FINITE_DIGITS: i64 = 308;

const VALUE: &str = "a value";
const KEY: &str = "a key in double quotes";

/// See [`Document::parse`].
pub(super) fn parse(source: Bytes, max_depth: usize) -> Result<Document, JsonError> {
    match read(&source, max_depth) {
        Ok(tokens) => Ok(Document::new(source, tokens)),
        Err(Refusal { kind, offset }) => Err(JsonError::at(kind, offset, &source)),
    }
}

fn read(source: &[u8], max_depth: usize) -> Result<Vec<Token>, Refusal> {
    if source.len() > MAX_BYTES {
        return refuse(JsonErrorKind::TooLarge { limit: MAX_BYTES }, 0);
    }
    if source.starts_with(BOM) {
        return refuse(JsonErrorKind::Bom, 0);
    }
    if let Err(error) = std::str::from_utf8(source) {
        return refuse(JsonErrorKind::NotUtf8, error.valid_up_to());
    }
    Gate { source, at: 0, tokens: Vec::with_capacity(source.len() / 16 + 4), max_depth }.document()
}

/// A [`JsonError`] before its line is known.
struct Refusal {
    kind: JsonErrorKind,
    offset: usize,
}

#[cold]
fn refuse<T>(kind: JsonErrorKind, offset: usize) -> Result<T, Refusal> {
    Err(Refusal { kind, offset })
}

struct Gate<'a> {
    source: &'a [u8],
    at: usize,
    tokens: Vec<Token>,
    max_depth: usize,
}

/// An array or object that is still open.
#[derive(Clone, Copy)]
struct Frame {
    /// Index of its opening token.
    open: usize,
    count: usize,
    keys: Option<Keys>,
}

/// What is known of an open object's keys.
#[derive(Clone, Copy)]
struct Keys {
    last: Option<Token>,
    /// Each key so far is greater than the one before, in bytes, and none has an escape: there is no duplicate.
    ascending: bool,
    /// All keys so far stand as every canonical form writes them.
    plain: bool,
    escaped: bool,
}

impl Keys {
    const NONE: Self = Self { last: None, ascending: true, plain: true, escaped: false };

    #[inline]
    fn add(&mut self, key: Token, source: &[u8]) {
        match key.tag() {
            Tag::PlainString => {}
            Tag::EscapedString => {
                self.escaped = true;
                self.ascending = false;
                self.plain = false;
            }
            _ => self.plain = false,
        }
        if self.ascending {
            self.ascending = self.last.is_none_or(|last| last.inner(source) < key.inner(source));
            self.last = Some(key);
        }
    }
}

impl Gate<'_> {
    fn document(mut self) -> Result<Vec<Token>, Refusal> {
        self.skip_space();
        if self.rest().is_empty() {
            return refuse(JsonErrorKind::Empty, self.at);
        }
        // The innermost open container is kept outside the stack of those around it.
        let mut around: Vec<Frame> = Vec::new();
        let mut innermost: Option<Frame> = None;
        loop {
            if let Some(opened) = self.value(around.len() + usize::from(innermost.is_some()))? {
                around.extend(innermost.replace(opened));
                if !self.closes(opened.keys.is_some()) {
                    if let Some(Frame { keys: Some(keys), .. }) = &mut innermost {
                        self.key(keys)?;
                    }
                    continue;
                }
                self.close(opened)?;
                innermost = around.pop();
            }
            loop {
                let Some(frame) = &mut innermost else {
                    return self.end();
                };
                frame.count += 1;
                if self.separator(frame)? {
                    break;
                }
                self.close(*frame)?;
                innermost = around.pop();
            }
        }
    }

    fn end(mut self) -> Result<Vec<Token>, Refusal> {
        self.skip_space();
        match self.rest() {
            [] => Ok(self.tokens),
            [b'/', b'/' | b'*', ..] => refuse(JsonErrorKind::Comment, self.at),
            _ => refuse(JsonErrorKind::TrailingData, self.at),
        }
    }

    #[inline]
    fn rest(&self) -> &[u8] {
        self.source.get(self.at..).unwrap_or_default()
    }

    #[inline]
    fn skip_space(&mut self) {
        self.at += scan::space_prefix(self.rest());
    }

    /// Whether the array or object that has just been opened is closed again at once.
    #[inline]
    fn closes(&mut self, object: bool) -> bool {
        self.skip_space();
        matches!((self.rest().first(), object), (Some(b'}'), true) | (Some(b']'), false))
    }

    /// Reads on behind an element or member: true after a comma (and the next key), false at the closing bracket.
    #[inline]
    fn separator(&mut self, frame: &mut Frame) -> Result<bool, Refusal> {
        self.skip_space();
        let expected = match (self.rest().first(), &frame.keys) {
            (Some(b','), _) => {
                self.at += 1;
                self.skip_space();
                if matches!(self.rest().first(), Some(b']' | b'}')) {
                    return refuse(JsonErrorKind::TrailingComma, self.at);
                }
                if let Some(keys) = &mut frame.keys {
                    self.key(keys)?;
                }
                return Ok(true);
            }
            (Some(b'}'), Some(_)) | (Some(b']'), None) => return Ok(false),
            (_, Some(_)) => "a comma or a closing brace",
            (_, None) => "a comma or a closing bracket",
        };
        self.unexpected(expected)
    }

    /// Reads the closing bracket that stands here.
    fn close(&mut self, frame: Frame) -> Result<(), Refusal> {
        self.at += 1;
        let tag = match frame.keys {
            None => Tag::Array,
            Some(Keys { ascending: true, plain: true, .. }) => Tag::SortedObject,
            Some(Keys { ascending: true, .. }) => Tag::Object,
            Some(keys) => {
                self.refuse_duplicates(frame, keys.escaped)?;
                Tag::Object
            }
        };
        let end = self.tokens.len();
        if let Some(open) = self.tokens.get_mut(frame.open) {
            *open = Token::new(tag, open.at(), end);
        }
        self.tokens.push(Token::new(Tag::End, self.at, frame.count));
        Ok(())
    }

    /// Reads a key and its colon.
    #[inline]
    fn key(&mut self, keys: &mut Keys) -> Result<(), Refusal> {
        if self.rest().first() != Some(&b'"') {
            return self.unexpected(KEY);
        }
        let token = self.string()?;
        self.tokens.push(token);
        keys.add(token, self.source);
        self.skip_space();
        if self.rest().first() != Some(&b':') {
            return self.unexpected("a colon");
        }
        self.at += 1;
        self.skip_space();
        Ok(())
    }

    /// Reads a scalar, or the opening bracket of an array or object; `depth` are open already.
    #[inline]
    fn value(&mut self, depth: usize) -> Result<Option<Frame>, Refusal> {
        let token = match self.rest() {
            [b'"', ..] => self.string()?,
            [b'-' | b'0'..=b'9', ..] => self.number()?,
            [bracket @ (b'{' | b'['), ..] => {
                let keys = (*bracket == b'{').then_some(Keys::NONE);
                return self.open(keys, depth).map(Some);
            }
            [b't', b'r', b'u', b'e', ..] => self.scalar(Tag::True, 4),
            [b'n', b'u', b'l', b'l', ..] => self.scalar(Tag::Null, 4),
            [b'f', b'a', b'l', b's', b'e', ..] => self.scalar(Tag::False, 5),
            _ => return self.unexpected(VALUE),
        };
        self.tokens.push(token);
        Ok(None)
    }

    fn open(&mut self, keys: Option<Keys>, depth: usize) -> Result<Frame, Refusal> {
        if depth >= self.max_depth {
            return refuse(JsonErrorKind::TooDeep { limit: self.max_depth }, self.at);
        }
        let open = self.tokens.len();
        // The tag and the size are known when it closes.
        self.tokens.push(Token::new(Tag::Array, self.at, 0));
        self.at += 1;
        Ok(Frame { open, count: 0, keys })
    }

    #[inline]
    fn scalar(&mut self, tag: Tag, length: usize) -> Token {
        let token = Token::new(tag, self.at, length);
        self.at += length;
        token
    }

    /// Reads the string whose opening quote stands here.
    #[inline]
    fn string(&mut self) -> Result<Token, Refusal> {
        let start = self.at;
        let mut tag = Tag::PlainString;
        let mut rest = self.source.get(start + 1..).unwrap_or_default();
        loop {
            rest = rest.get(scan::plain_prefix(rest)..).unwrap_or_default();
            match rest {
                [b'"', ..] => {
                    let end = self.source.len() - rest.len() + 1;
                    return Ok(self.scalar(tag, end - start));
                }
                [b'\\', ..] => {
                    let (_, length) = match escape::escape(rest) {
                        Ok(read) => read,
                        Err(error) => return self.bad_escape(error, rest),
                    };
                    tag = Tag::EscapedString;
                    rest = rest.get(length..).unwrap_or_default();
                }
                [control @ 0..0x20, ..] => {
                    return refuse(JsonErrorKind::ControlCharacter(*control), self.source.len() - rest.len());
                }
                [] => return refuse(JsonErrorKind::Truncated { expected: "a closing quote" }, self.source.len()),
                _ => {
                    if tag == Tag::PlainString {
                        tag = Tag::RawString;
                    }
                    rest = rest.get(scan::beyond_ascii_prefix(rest)..).unwrap_or_default();
                }
            }
        }
    }

    #[cold]
    fn bad_escape(&self, error: EscapeError, rest: &[u8]) -> Result<Token, Refusal> {
        let offset = self.source.len() - rest.len();
        match error {
            EscapeError::Truncated => {
                refuse(JsonErrorKind::Truncated { expected: "the rest of an escape" }, self.source.len())
            }
            EscapeError::Malformed => refuse(JsonErrorKind::BadEscape, offset),
            EscapeError::LoneSurrogate => refuse(JsonErrorKind::LoneSurrogate, offset),
        }
    }

    /// Reads the number whose first character stands here.
    #[inline]
    fn number(&mut self) -> Result<Token, Refusal> {
        let text = self.rest();
        let sign = usize::from(text.first() == Some(&b'-'));
        let unsigned = text.get(sign..).unwrap_or_default();
        let whole = scan::digit_prefix(unsigned);
        let mut length = sign + whole;
        match unsigned {
            [b'0', b'0'..=b'9', ..] => return refuse(JsonErrorKind::LeadingZero, self.at + sign),
            [b'0'..=b'9', ..] => {}
            _ if unsigned.starts_with(b"Infinity") => return refuse(JsonErrorKind::NotFinite, self.at),
            _ => return self.bad_number(length, "a digit"),
        }
        let mut tag = Tag::Integer;
        let mut exponent = 0;
        if text.get(length) == Some(&b'.') {
            tag = Tag::Float;
            let digits = scan::digit_prefix(text.get(length + 1..).unwrap_or_default());
            length += 1 + digits;
            if digits == 0 {
                return self.bad_number(length, "a digit after the point");
            }
        }
        if let Some([b'e' | b'E', after @ ..]) = text.get(length..) {
            tag = Tag::Float;
            let sign = usize::from(matches!(after, [b'+' | b'-', ..]));
            let digits = scan::digit_prefix(after.get(sign..).unwrap_or_default());
            if digits == 0 {
                return self.bad_number(length + 1 + sign, "a digit of the exponent");
            }
            let end = length + 1 + sign + digits;
            exponent = number::read_exponent(text.get(length..end).unwrap_or_default());
            length = end;
        }
        if tag == Tag::Float && i64::try_from(whole).unwrap_or(i64::MAX).saturating_add(exponent) > SURELY_FINITE_DIGITS
        {
            let literal = text.get(..length).unwrap_or_default();
            if number::to_f64(literal).is_infinite() {
                return refuse(JsonErrorKind::NotFinite, self.at);
            }
        }
        Ok(self.scalar(tag, length))
    }

    #[cold]
    fn bad_number(&self, length: usize, expected: &'static str) -> Result<Token, Refusal> {
        let offset = self.at + length;
        if offset >= self.source.len() {
            return refuse(JsonErrorKind::Truncated { expected }, offset);
        }
        refuse(JsonErrorKind::BadNumber { expected }, offset)
    }

    /// Says what is wrong with the text here, where `expected` should stand.
    #[cold]
    fn unexpected<T>(&self, expected: &'static str) -> Result<T, Refusal> {
        let rest = self.rest();
        let value = expected == VALUE;
        let kind = match rest {
            [] => JsonErrorKind::Truncated { expected },
            [b'/', b'/' | b'*', ..] => JsonErrorKind::Comment,
            [b'+', ..] if value => JsonErrorKind::BadNumber { expected: "the sign" },
            [b'.', ..] if value => JsonErrorKind::BadNumber { expected: "a digit before the point" },
            _ if value && (rest.starts_with(b"NaN") || rest.starts_with(b"Infinity")) => JsonErrorKind::NotFinite,
            // A literal that the end of the text cuts.
            _ if value && ["true", "false", "null"].iter().any(|literal| literal.as_bytes().starts_with(rest)) => {
                return refuse(JsonErrorKind::Truncated { expected: "the rest of a literal" }, self.source.len());
            }
            _ => JsonErrorKind::Unexpected { found: escape::text(rest).chars().next().unwrap_or_default(), expected },
        };
        refuse(kind, self.at)
    }

    /// The object's own keys, in order.
    fn keys(&self, frame: Frame) -> impl Iterator<Item = Token> {
        let mut index = frame.open + 1;
        std::iter::from_fn(move || {
            let key = *self.tokens.get(index)?;
            let value = *self.tokens.get(index + 1)?;
            index = value.after(index + 1);
            Some(key)
        })
    }

    fn refuse_duplicates(&self, frame: Frame, escaped: bool) -> Result<(), Refusal> {
        let repeated = if escaped || frame.count > PAIRWISE_MEMBERS {
            // The hasher is keyed at random, so that nobody can choose keys that collide.
            let mut seen = HashSet::with_capacity(frame.count);
            self.keys(frame).find(|key| !seen.insert(escape::unescape(key.inner(self.source))))
        } else {
            let mut seen: [&[u8]; PAIRWISE_MEMBERS] = [&[]; PAIRWISE_MEMBERS];
            self.keys(frame)
                .zip(0..)
                .find(|(key, before)| {
                    let inner = key.inner(self.source);
                    let repeated = seen.iter().take(*before).any(|earlier| *earlier == inner);
                    if let Some(slot) = seen.get_mut(*before) {
                        *slot = inner;
                    }
                    repeated
                })
                .map(|(key, _)| key)
        };
        match repeated {
            None => Ok(()),
            Some(key) => {
                let name = escape::unescape(key.inner(self.source));
                let mut shown: String = name.chars().take(KEY_CHARACTERS).collect();
                if shown.len() < name.len() {
                    shown.push('…');
                }
                refuse(JsonErrorKind::DuplicateKey { key: shown }, key.at())
            }
        }
    }
}

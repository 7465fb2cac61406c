//! The strict gate: one pass over the bytes that either fills a tape or says what is wrong and where.

mod keys;
mod scalars;

use super::{
    document::Document,
    error::{JsonError, JsonErrorKind},
    escape, scan,
    tape::{MAX_BYTES, Tag, Token},
};
use bytes::Bytes;
use keys::Keys;

const BOM: &[u8] = b"\xef\xbb\xbf";

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
    let is_simple = scan::is_simple(source);
    if !is_simple && let Err(error) = std::str::from_utf8(source) {
        return refuse(JsonErrorKind::NotUtf8, error.valid_up_to());
    }
    let tokens = Vec::with_capacity(source.len() / 16 + 4);
    Gate { source, is_simple, at: 0, tokens, max_depth }.document()
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
    /// As [`scan::is_simple`] says.
    is_simple: bool,
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
            Some(keys) => {
                if !keys.are_surely_unique() {
                    self.refuse_duplicates(frame, keys)?;
                }
                if keys.are_canonical() { Tag::SortedObject } else { Tag::Object }
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
}

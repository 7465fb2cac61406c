//! What the gate refuses, where, and under which code.

/// Why the gate refused a text, and where.
///
/// The text reads `what is wrong (line L, column C)`; [`JsonErrorKind::code`] is the part that programs may rely on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} (line {line}, column {column})")]
pub struct JsonError {
    /// The rule that the text breaks.
    pub kind: JsonErrorKind,
    /// Where, in bytes from the start of the input.
    pub offset: usize,
    /// The line of that byte, from 1; lines end at U+000A.
    pub line: usize,
    /// The character within that line, from 1.
    pub column: usize,
}

/// The gate's rules (RFC 8259, and what DESIGN 4.1 refuses beyond it).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonErrorKind {
    /// There is nothing but white space.
    #[error("the text is empty")]
    Empty,
    /// The bytes are not UTF-8; encoded surrogates and overlong forms are not either.
    #[error("the text is not valid UTF-8")]
    NotUtf8,
    /// The text starts with a byte order mark, which RFC 8259 section 8.1 forbids to send.
    #[error("the text starts with a byte order mark")]
    Bom,
    /// The text is longer than the gate's offsets reach.
    #[error("the text is longer than {limit} bytes")]
    TooLarge {
        /// The longest text that the gate reads, bytes.
        limit: usize,
    },
    /// Arrays and objects are nested too deeply.
    #[error("arrays and objects are nested more than {limit} deep")]
    TooDeep {
        /// The deepest nesting that the caller allows; `[]` has depth 1.
        limit: usize,
    },
    /// An object has two members of one name, compared after unescaping.
    #[error("the key {key:?} occurs twice in one object")]
    DuplicateKey {
        /// The name, unescaped; cut after 64 characters, `…` then stands for the rest.
        key: String,
    },
    /// `NaN`, `Infinity` or `-Infinity`, or a number that no finite double is near, such as `1e400`.
    #[error("numbers must be finite and within the range of a double")]
    NotFinite,
    /// A `\u` escape of one half of a surrogate pair without its other half.
    #[error("a surrogate escape stands without its other half")]
    LoneSurrogate,
    /// Something other than white space follows the value.
    #[error("there is more text after the value")]
    TrailingData,
    /// The text ends before the value does.
    #[error("the text ends before the value is complete: {expected} is missing")]
    Truncated {
        /// What would have continued the text.
        expected: &'static str,
    },
    /// A character stands where it cannot.
    #[error("{found:?} stands where {expected} should")]
    Unexpected {
        /// The character.
        found: char,
        /// What could stand there.
        expected: &'static str,
    },
    /// A comma before a closing bracket.
    #[error("a comma must be followed by another element")]
    TrailingComma,
    /// `//` or `/*`.
    #[error("JSON has no comments")]
    Comment,
    /// A raw character below U+0020 within a string.
    #[error("the control character U+{0:04X} must be escaped in a string")]
    ControlCharacter(u8),
    /// A backslash that starts none of JSON's escapes.
    #[error("the backslash starts no JSON escape")]
    BadEscape,
    /// A number such as `01`.
    #[error("a number must not start with a superfluous zero")]
    LeadingZero,
    /// A number that lacks digits or starts wrongly: `-`, `+1`, `1.`, `.5`, `1e`.
    #[error("the number is malformed: {expected} is missing or misplaced")]
    BadNumber {
        /// The part that is wrong.
        expected: &'static str,
    },
}

impl JsonErrorKind {
    /// The stable name of the rule for programs. All errors of grammar share `json_syntax`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "json_empty",
            Self::NotUtf8 => "json_not_utf8",
            Self::Bom => "json_bom",
            Self::TooLarge { .. } => "json_too_large",
            Self::TooDeep { .. } => "json_too_deep",
            Self::DuplicateKey { .. } => "json_duplicate_key",
            Self::NotFinite => "json_not_finite",
            Self::LoneSurrogate => "json_lone_surrogate",
            Self::TrailingData => "json_trailing_data",
            Self::Truncated { .. }
            | Self::Unexpected { .. }
            | Self::TrailingComma
            | Self::Comment
            | Self::ControlCharacter(_)
            | Self::BadEscape
            | Self::LeadingZero
            | Self::BadNumber { .. } => "json_syntax",
        }
    }
}

impl JsonError {
    /// See [`JsonErrorKind::code`].
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.kind.code()
    }

    /// Finds line and column. `source` is UTF-8 up to `offset`.
    #[cold]
    pub(super) fn at(kind: JsonErrorKind, offset: usize, source: &[u8]) -> Self {
        let before = source.get(..offset).unwrap_or(source);
        let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        let on_line = before.get(line_start..).unwrap_or_default();
        Self {
            kind,
            offset,
            line: 1 + before.iter().filter(|byte| **byte == b'\n').count(),
            column: 1 + on_line.iter().filter(|byte| **byte & 0xc0 != 0x80).count(),
        }
    }
}

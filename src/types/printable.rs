//! Text of others as people read it: what cannot be seen, or changes what is seen, is shown as an escape.

use std::borrow::Cow;

/// Is this a character that shows nothing, moves a cursor, ends a line, or turns the direction of what follows? Two names that differ
/// in such characters alone look the same. Beyond control characters these are Unicode's default ignorable and bidirectional ones, the
/// separators of lines and paragraphs, every space but the plain one, blanks and format characters of some scripts, and the private use
/// ones, which each font draws as it likes.
#[must_use]
pub fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{a0}' | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{1680}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{2000}'..='\u{200f}' | '\u{2028}'..='\u{202f}' | '\u{205f}'..='\u{206f}'
            | '\u{2800}' | '\u{3000}' | '\u{3164}' | '\u{e000}'..='\u{f8ff}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffc}'
            | '\u{13430}'..='\u{1343f}' | '\u{13441}'..='\u{13442}' | '\u{16fe4}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d159}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}' | '\u{f0000}'..='\u{10ffff}')
}

/// The text on one line, with such characters as Rust writes them in a string: `\n`, `\u{202e}`. For tables, messages and log lines;
/// JSON has escapes of its own.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unprintable) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len().saturating_add(16));
    for c in text.chars() {
        if is_unprintable(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_are_not_seen_are_shown_as_escapes() {
        for plain in ["", "ark-1", "Straße ☃ 日本 \u{1F600}", "a\\b", "e\u{301}"] {
            assert!(matches!(printable(plain), Cow::Borrowed(text) if text == plain), "{plain}");
        }
        for (text, shown) in [
            ("ark-2\u{200b}", "ark-2\\u{200b}"),
            ("\u{202e}live\u{2066}", "\\u{202e}live\\u{2066}"),
            ("a\u{1b}[2J\r\n\tb\u{7f}\u{9b}", "a\\u{1b}[2J\\r\\n\\tb\\u{7f}\\u{9b}"),
            ("a\u{2028}b\u{feff}\u{e0041}\u{3164}\u{ad}", "a\\u{2028}b\\u{feff}\\u{e0041}\\u{3164}\\u{ad}"),
            ("a\u{a0}b", "a\\u{a0}b"),
            ("\u{13441}\u{16fe4}\u{1d159}\u{fffc}\u{e000}", "\\u{13441}\\u{16fe4}\\u{1d159}\\u{fffc}\\u{e000}"),
        ] {
            assert_eq!(printable(text), shown);
            assert!(!printable(text).contains(is_unprintable));
        }
    }
}

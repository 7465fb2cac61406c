//! Byte loops of the gate and the writers, eight bytes at a time where strings are long.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// The high bit of each byte that is zero. Bytes above the first such one may be marked wrongly, the first is exact.
#[inline]
const fn zeros(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGH
}

/// Marks bytes that are not plain: below 0x20, `"`, `\`, 0x7f and above. The lowest mark is exact.
#[inline]
const fn not_plain(word: u64) -> u64 {
    let control = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
    let quote = zeros(word ^ (ONES * 0x22));
    let backslash = zeros(word ^ (ONES * 0x5c));
    let delete = zeros(word ^ (ONES * 0x7f));
    control | quote | backslash | delete | (word & HIGH)
}

/// Printable ASCII other than `"` and `\`.
#[inline]
pub(super) const fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

/// How many bytes at the start of `bytes` are plain.
#[inline]
pub(super) fn plain_prefix(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    let mut length = 0;
    while let Some((chunk, tail)) = rest.split_first_chunk::<8>() {
        let marks = not_plain(u64::from_le_bytes(*chunk));
        if marks != 0 {
            return length + usize::try_from(marks.trailing_zeros() >> 3).unwrap_or_default();
        }
        length += 8;
        rest = tail;
    }
    length + rest.iter().take_while(|byte| is_plain(**byte)).count()
}

/// Is all of it printable ASCII, and no escape in it? Then each string ends at the next quote, and stands for itself.
#[inline]
pub(super) fn is_simple(bytes: &[u8]) -> bool {
    // Without an end before the text's: many bytes at a time are then looked at.
    bytes.iter().fold(true, |all, byte| all & matches!(byte, b' '..=b'~') & (*byte != b'\\'))
}

/// How many bytes there are in front of the first quote; all of them where there is none.
#[inline]
pub(super) fn quote_prefix(bytes: &[u8]) -> usize {
    let Some((chunk, tail)) = bytes.split_first_chunk::<8>() else {
        return bytes.iter().take_while(|byte| **byte != b'"').count();
    };
    match zeros(u64::from_le_bytes(*chunk) ^ (ONES * 0x22)) {
        0 => 8 + memchr::memchr(b'"', tail).unwrap_or(tail.len()),
        marks => usize::try_from(marks.trailing_zeros() >> 3).unwrap_or_default(),
    }
}

/// How many bytes at the start of `bytes` are JSON white space (RFC 8259 section 2).
#[inline]
pub(super) fn space_prefix(bytes: &[u8]) -> usize {
    match bytes {
        // Nearly always: no space at all, or one after a comma or colon.
        [first, ..] if *first > b' ' => 0,
        [b' ', second, ..] if *second > b' ' => 1,
        _ => bytes.iter().take_while(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t')).count(),
    }
}

/// How many bytes at the start of `bytes` are decimal digits.
#[inline]
pub(super) fn digit_prefix(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// How many bytes at the start of `bytes` belong to characters beyond ASCII, 0x7f included.
#[inline]
pub(super) fn beyond_ascii_prefix(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| **byte >= 0x7f).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_classed_alike_by_word_and_by_byte() {
        for byte in 0..=u8::MAX {
            for position in 0..8 {
                for neighbour in [b'a', b'~', b' ', b'!', b'#', b']', b'['] {
                    let mut text = [neighbour; 8];
                    text[position] = byte;
                    let expected = if is_plain(byte) { 8 } else { position };
                    assert_eq!(plain_prefix(&text), expected, "{byte:#x} at {position} among {neighbour:#x}");
                }
            }
        }
    }

    #[test]
    fn a_simple_text_has_no_byte_that_needs_a_thought() {
        for byte in 0..=u8::MAX {
            let text = [&[b'a'; 40][..], &[byte], b"{\"b\": 1}"].concat();
            assert_eq!(is_simple(&text), is_plain(byte) || byte == b'"', "{byte:#x}");
        }
    }

    #[test]
    fn prefixes_end_where_their_class_ends() {
        assert_eq!(plain_prefix(b"abcdefghijklmno\"p"), 15);
        assert_eq!(plain_prefix(b"abc"), 3);
        for length in 0..40 {
            let text = format!("{}\"x\"", "a".repeat(length));
            assert_eq!(quote_prefix(text.as_bytes()), length);
            assert_eq!(quote_prefix(&text.as_bytes()[..length]), length);
        }
        assert_eq!(space_prefix(b" \r\n\t x"), 5);
        assert_eq!(space_prefix(b"\x0b"), 0);
        assert_eq!(space_prefix(b""), 0);
        assert_eq!(digit_prefix(b"0129a"), 4);
        assert_eq!(beyond_ascii_prefix("é\u{7f}a".as_bytes()), 3);
    }
}

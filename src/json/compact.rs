//! JSON text on one line.

use memchr::{memchr, memchr2};

/// Appends `text` without the white space between its tokens. `text` must have passed the gate.
pub fn write_compact(text: &[u8], out: &mut Vec<u8>) {
    out.reserve(text.len());
    let mut rest = text;
    // What is in front of the next string, and then that: most of a text is in strings, which stay as they are.
    while let Some(quote) = memchr(b'"', rest) {
        let (between, string) = rest.split_at(quote);
        write_tokens(between, out);
        let (string, after) = string.split_at(string_length(string));
        out.extend_from_slice(string);
        rest = after;
    }
    write_tokens(rest, out);
}

fn write_tokens(text: &[u8], out: &mut Vec<u8>) {
    for part in text.split(u8::is_ascii_whitespace) {
        out.extend_from_slice(part);
    }
}

/// The length of the string that the text begins with, with its quotes.
fn string_length(text: &[u8]) -> usize {
    let mut at = 1;
    while let Some(found) = memchr2(b'"', b'\\', text.get(at..).unwrap_or_default()) {
        at += found + 1;
        if text.get(at - 1) == Some(&b'"') {
            return at;
        }
        // Whatever is escaped ends nothing.
        at += 1;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::write_compact;
    use proptest::prelude::*;

    /// The same, byte by byte.
    fn slowly(text: &[u8]) -> Vec<u8> {
        let (mut in_string, mut escaped) = (false, false);
        let mut keep = |byte: &u8| {
            if in_string {
                in_string = escaped || *byte != b'"';
                escaped = !escaped && *byte == b'\\';
                return true;
            }
            in_string = *byte == b'"';
            !matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
        };
        text.iter().copied().filter(|byte| keep(byte)).collect()
    }

    proptest! {
        #[test]
        fn strings_stay_as_they_are(text in r#"([ \n\t\r]{0,2}([{}:,0-9]|"([a-c \n]|\\["\\u])*"))*[ \n]*"#) {
            let mut out = Vec::new();
            write_compact(text.as_bytes(), &mut out);
            prop_assert_eq!(out, slowly(text.as_bytes()));
        }
    }

    #[test]
    fn only_the_space_between_tokens_goes() {
        let mut out = Vec::new();
        write_compact(b"{ \"a b\" : [ 1 ,\n \"x \\\" y\\\\\" , true ] }\n", &mut out);
        assert_eq!(out, b"{\"a b\":[1,\"x \\\" y\\\\\",true]}");
    }
}

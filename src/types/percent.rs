//! Percent-encoding (RFC 3986 section 2.1).

use super::hex::hex_digit;

/// Letters, digits and what `plain` holds stay; every other byte becomes `%` and two upper-case digits.
#[must_use]
pub fn percent_encode(text: &str, plain: &[u8]) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || plain.contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}

/// `None`: a `%` is not followed by two hexadecimal digits.
#[must_use]
pub fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(if byte == b'%' { hex_digit(bytes.next()?)? << 4 | hex_digit(bytes.next()?)? } else { byte });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_comes_back_and_half_a_code_does_not() {
        assert_eq!(percent_encode("a/b ü:", b":"), "a%2Fb%20%C3%BC:");
        assert_eq!(percent_decode("a%2fb%20%C3%BC:").unwrap(), "a/b ü:".as_bytes());
        for wrong in ["%", "%2", "%2x", "%+f", "a%"] {
            assert_eq!(percent_decode(wrong), None, "{wrong}");
        }
    }
}

//! The elements of one list of an object, each by itself: a text in which one element is broken is refused as a whole by the gate,
//! and this is how the others get there all the same.

use bytes::Bytes;

/// An object, taken apart. Nothing of it is checked: every part still has to pass the gate.
#[derive(Debug)]
pub struct Elements {
    /// The object with an empty list in place of the list.
    pub around: Bytes,
    list: Bytes,
}

impl Elements {
    /// Takes the list that is the object's member `key` out of `source`. `None` where there is none, or the text's brackets and
    /// quotes do not fit: then the gate has something to say of the whole.
    #[must_use]
    pub fn of(source: &Bytes, key: &str) -> Option<Self> {
        let start = member(source, key)?;
        let mut at = start;
        // Over every element, to the list's own bracket.
        loop {
            // What stands here is the opening bracket or a comma.
            at = value_end(source, at + 1)?;
            match source.get(at)? {
                b',' => {}
                b']' => break,
                _ => return None,
            }
        }
        let end = at + 1;
        let mut around = Vec::with_capacity(source.len() - (end - start) + 2);
        around.extend_from_slice(source.get(..start)?);
        around.extend_from_slice(b"[]");
        around.extend_from_slice(source.get(end..)?);
        Some(Self { around: around.into(), list: source.slice(start + 1..at) })
    }

    /// The list's elements, in order.
    pub fn each(self) -> impl Iterator<Item = Bytes> {
        let list = self.list;
        let mut next = (!list.iter().all(u8::is_ascii_whitespace)).then_some(0);
        std::iter::from_fn(move || {
            let at = next?;
            let end = value_end(&list, at).unwrap_or(list.len());
            next = (end < list.len()).then_some(end + 1);
            Some(list.slice(at..end))
        })
    }
}

fn skip_space(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at).is_some_and(u8::is_ascii_whitespace) {
        at += 1;
    }
    at
}

/// Where the list that is the object's first member `key` begins.
fn member(bytes: &[u8], key: &str) -> Option<usize> {
    let mut at = skip_space(bytes, 0);
    (bytes.get(at)? == &b'{').then_some(())?;
    loop {
        at = skip_space(bytes, at + 1);
        (bytes.get(at)? == &b'"').then_some(())?;
        let end = string_end(bytes, at)?;
        let name = bytes.get(at + 1..end - 1)?;
        at = skip_space(bytes, end);
        (bytes.get(at)? == &b':').then_some(())?;
        at = skip_space(bytes, at + 1);
        if name == key.as_bytes() {
            return (bytes.get(at)? == &b'[').then_some(at);
        }
        at = value_end(bytes, at)?;
        (bytes.get(at)? == &b',').then_some(())?;
    }
}

/// Where the first comma or closing bracket stands that belongs to no value from `at` on.
fn value_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    loop {
        match bytes.get(at)? {
            b'"' => {
                at = string_end(bytes, at)?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b',' | b'}' | b']' if depth == 0 => return Some(at),
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
}

/// Where the string that begins at `at` has ended.
fn string_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += 1;
        match bytes.get(at)? {
            b'\\' => at += 1,
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apart(text: &'static str) -> Option<(String, Vec<String>)> {
        let elements = Elements::of(&Bytes::from_static(text.as_bytes()), "nodes")?;
        let around = String::from_utf8(elements.around.to_vec()).unwrap();
        Some((around, elements.each().map(|part| String::from_utf8_lossy(&part).into_owned()).collect()))
    }

    #[test]
    fn a_list_is_taken_apart_at_its_own_commas() {
        let (around, parts) =
            apart(r#" {"a" : [1,{"nodes":[2]}], "nodes" : [ {"x":"]},\"["} , 7,[],"[\\" ], "b":"nodes"} "#).unwrap();
        assert_eq!(around, r#" {"a" : [1,{"nodes":[2]}], "nodes" : [], "b":"nodes"} "#);
        assert_eq!(
            parts.iter().map(|part| part.trim()).collect::<Vec<_>>(),
            [r#"{"x":"]},\"["}"#, "7", "[]", r#""[\\""#]
        );
    }

    #[test]
    fn a_broken_element_stands_alone() {
        let parts = |text| apart(text).unwrap().1;
        assert_eq!(parts(r#"{"nodes":[{"a":1,"a":2},{"b":tru},{"c":1}{"d":1},{"e":1}]}"#).len(), 4);
        assert_eq!(parts(r#"{"nodes":[{"a":1},]}"#), [r#"{"a":1}"#, ""]);
        assert_eq!(parts(r#"{"nodes":[,{"a":1}]}"#), ["", r#"{"a":1}"#]);
        assert!(parts(r#"{"nodes":[]}"#).is_empty() && parts("{\"nodes\":[ \n ]}").is_empty());
        // The gate finds the second list in what is around.
        assert_eq!(apart(r#"{"nodes":[1],"nodes":[2]}"#).unwrap().0, r#"{"nodes":[],"nodes":[2]}"#);
    }

    #[test]
    fn what_cannot_be_taken_apart_is_left_to_the_gate() {
        for text in [
            "",
            "[]",
            "{",
            "{}",
            "7",
            r#"{"nodes""#,
            r#"{"nodes":"#,
            r#"{"nodes":7}"#,
            r#"{"nodes":[}"#,
            r#"{"nodes":[1"#,
            r#"{"nodes":["x]}"#,
            r#"{"nodes":["\"#,
            r#"{"other":[1]}"#,
            r#"{"a":1 "nodes":[]}"#,
            r#"{nodes:[1]}"#,
            r#"{"nodes":[{]}"#,
            r#"{"nodes":[{"a":1}},{"b":1}]}"#,
        ] {
            assert!(apart(text).is_none(), "{text}");
        }
    }
}

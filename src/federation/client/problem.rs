//! What the other side says of a request that it did not carry out: a problem document of an instance, or the page of a proxy.

use super::printable;
use crate::types;
use reqwest::StatusCode;

/// Of the detail of a problem document: commands in it must not be cut off.
const MAX_PROBLEM_CHARS: usize = 4000;

/// Code and detail of a problem document. Any other body has no code, and its words are the detail.
pub(super) fn read(body: &[u8], status: StatusCode) -> (String, String) {
    let parsed: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let member = |key: &str| parsed.as_ref().and_then(|problem| problem.get(key)).and_then(serde_json::Value::as_str);
    let code = printable(member("code").unwrap_or_default());
    let detail = match member("detail") {
        Some(detail) => types::printable(detail).chars().take(MAX_PROBLEM_CHARS).collect(),
        None => printable(&words(String::from_utf8_lossy(body).trim())),
    };
    let detail = if detail.is_empty() { status.canonical_reason().unwrap_or("no reason").to_owned() } else { detail };
    (code, detail)
}

/// The words of a page without its tags, scripts and styles; other text as it is.
fn words(text: &str) -> String {
    if !text.starts_with('<') {
        return text.to_owned();
    }
    let (mut words, mut rest) = (String::new(), text);
    while let Some((before, from)) = rest.split_once('<') {
        words.push_str(before);
        words.push(' ');
        let is_hidden = ["script", "style"].into_iter().any(|name| starts_with(from, name));
        let tag_ends = if starts_with(from, "!--") { "-->" } else { ">" };
        let Some((_, behind)) = from.split_once(tag_ends) else {
            rest = "";
            break;
        };
        rest = if is_hidden { behind.find("</").map_or("", |at| skip(behind, at)) } else { behind };
    }
    words.push_str(rest);
    let words: Vec<&str> = words.split_whitespace().collect();
    let plain = words.join(" ");
    [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&nbsp;", " "), ("&amp;", "&")]
        .into_iter()
        .fold(plain, |text, (entity, character)| text.replace(entity, character))
}

fn starts_with(text: &str, name: &str) -> bool {
    text.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
}

fn skip(text: &str, bytes: usize) -> &str {
    text.get(bytes..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_document(body: &str) -> String {
        let (code, detail) = read(body.as_bytes(), StatusCode::BAD_REQUEST);
        assert_eq!(code, "");
        detail
    }

    #[test]
    fn problems_are_read_also_where_they_are_none() {
        let problem = br#"{"code":"rollback","detail":"older\u001b[2J than"}"#;
        let read = read(problem, StatusCode::BAD_REQUEST);
        assert_eq!(read, ("rollback".to_owned(), "older\\u{1b}[2J than".to_owned()));
        assert_eq!(no_document(""), "Bad Request");
        assert_eq!(no_document(" upstream timed out\n"), "upstream timed out");
        assert_eq!(no_document("1 < 2"), "1 < 2");
    }

    #[test]
    fn of_a_page_the_words_are_left() {
        let nginx = "<html>\r\n<head><title>413 Request Entity Too Large</title></head>\r\n<body>\r\n<center><h1>413 Request Entity Too \
            Large</h1></center>\r\n<hr><center>nginx/1.22.1</center>\r\n</body>\r\n</html>\r\n";
        assert_eq!(no_document(nginx), "413 Request Entity Too Large 413 Request Entity Too Large nginx/1.22.1");
        let page = "<!DOCTYPE html><STYLE type=a>h1 > b { }</style><script>if (a < b) c()</script><!-- a > b -->Tom &amp; Jerry<p>no";
        assert_eq!(no_document(page), "Tom & Jerry no");
        for broken in ["<", "<html", "<!--", "<script>no", "<style", "<b></b>", "<><"] {
            assert_eq!(no_document(broken), "Bad Request", "{broken}");
        }
        assert_eq!(no_document("<a>\u{e9}\u{20ac}<b>\u{1b}[2J"), "\u{e9}\u{20ac} \\u{1b}[2J");
    }
}

//! `If-Match` and `If-None-Match` (RFC 9110 section 13.1). A node's entity tag is its content hash in quotes.

use crate::{
    api::{
        codes::Code,
        error::{ApiError, refuse},
    },
    ops::Precondition,
    types::ContentHash,
};
use actix_web::{
    HttpRequest,
    http::header::{HeaderName, IF_MATCH, IF_NONE_MATCH},
};

/// The entity tag of a node.
#[must_use]
pub fn node_etag(hash: ContentHash) -> String {
    format!("\"{hash}\"")
}

enum Tags {
    Any,
    List(Vec<String>),
}

/// One entity tag at the front of `text`, without its quotes, and what follows it.
fn tag(text: &str) -> Option<(&str, &str)> {
    // A proxy that compresses turns strong tags into weak ones; the content is still the same.
    let (inner, rest) = text.strip_prefix("W/").unwrap_or(text).strip_prefix('"')?.split_once('"')?;
    let usable = inner.bytes().all(|byte| byte == 0x21 || byte >= 0x23 && byte != 0x7f);
    usable.then_some((inner, rest))
}

/// A list of entity tags, which may hold commas themselves; empty elements do not count (RFC 9110 section 5.6.1).
fn tag_list(text: &str, list: &mut Vec<String>) -> Option<()> {
    let space = [' ', '\t'];
    let mut rest = text.trim_matches(space);
    while !rest.is_empty() {
        if !rest.starts_with(',') {
            let (inner, behind) = tag(rest)?;
            list.push(inner.to_owned());
            rest = behind.trim_start_matches(space);
        }
        match rest.strip_prefix(',') {
            Some(next) => rest = next.trim_start_matches(space),
            None if rest.is_empty() => {}
            None => return None,
        }
    }
    Some(())
}

fn tags(request: &HttpRequest, name: &HeaderName) -> Result<Option<Tags>, ApiError> {
    let bad = || refuse(Code::InvalidHeader, format!("{name} is neither * nor a list of quoted entity tags"));
    let (mut list, mut any, mut found) = (Vec::new(), false, false);
    for value in request.headers().get_all(name) {
        let text = value.to_str().map_err(|_| bad())?;
        if text.trim() == "*" && !found {
            any = true;
        } else if any {
            return Err(bad());
        } else {
            tag_list(text, &mut list).ok_or_else(bad)?;
        }
        found = true;
    }
    match (found, any, list.is_empty()) {
        (false, ..) => Ok(None),
        (true, true, _) => Ok(Some(Tags::Any)),
        (true, false, false) => Ok(Some(Tags::List(list))),
        (true, false, true) => Err(bad()),
    }
}

/// What a write demands of the node's current state.
///
/// # Errors
/// 400 `invalid_header`.
pub fn precondition(request: &HttpRequest) -> Result<Precondition, ApiError> {
    match (tags(request, &IF_MATCH)?, tags(request, &IF_NONE_MATCH)?) {
        (None, None) => Ok(Precondition::None),
        (Some(Tags::Any), None) => Ok(Precondition::Exists),
        // A tag that is no content hash matches nothing, so the write fails with 412 and not by accident succeeds.
        (Some(Tags::List(list)), None) => {
            Ok(Precondition::OneOf(list.iter().filter_map(|tag| ContentHash::parse(tag).ok()).collect()))
        }
        (None, Some(Tags::Any)) => Ok(Precondition::Absent),
        (_, Some(Tags::List(_))) => Err(refuse(Code::InvalidHeader, "If-None-Match of a write takes * only")),
        // There cannot be a node that is there and is not there (RFC 9110 section 13.2.2).
        (Some(_), Some(Tags::Any)) => Ok(Precondition::OneOf(Vec::new())),
    }
}

/// Does the client hold the representation with this entity tag already?
///
/// # Errors
/// 400 `invalid_header`.
pub fn if_none_match(request: &HttpRequest, etag: &str) -> Result<bool, ApiError> {
    let bare = etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"');
    Ok(match tags(request, &IF_NONE_MATCH)? {
        None => false,
        Some(Tags::Any) => true,
        Some(Tags::List(list)) => list.iter().any(|tag| tag == bare),
    })
}

#[cfg(test)]
mod tests {
    use super::tag_list;

    #[test]
    fn lists_of_entity_tags_are_read_as_the_rfc_writes_them() {
        let read = |text: &str| {
            let mut list = Vec::new();
            tag_list(text, &mut list).map(|()| list)
        };
        assert_eq!(read("\"a\""), Some(vec!["a".to_owned()]));
        assert_eq!(read("W/\"a,b\" ,, \"\","), Some(vec!["a,b".to_owned(), String::new()]));
        for bad in ["a", "\"a", "\"a\" \"b\"", "w/\"a\"", "*, \"a\"", "\"a b\"", "'a'", "\"a\"b\""] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}

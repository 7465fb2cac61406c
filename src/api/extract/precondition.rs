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

fn tags(request: &HttpRequest, name: &HeaderName) -> Result<Option<Tags>, ApiError> {
    let bad = || refuse(Code::InvalidHeader, format!("{name} is neither * nor a list of quoted entity tags"));
    let mut list = Vec::new();
    let mut found = false;
    for value in request.headers().get_all(name) {
        found = true;
        let text = value.to_str().map_err(|_| bad())?.trim();
        if text == "*" {
            return Ok(Some(Tags::Any));
        }
        for tag in text.split(',') {
            let tag = tag.trim();
            // A proxy that compresses turns strong tags into weak ones; the content is still the same.
            let tag = tag.strip_prefix("W/").unwrap_or(tag);
            let inner = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).ok_or_else(bad)?;
            list.push(inner.to_owned());
        }
    }
    Ok(found.then_some(Tags::List(list)))
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
        (None, Some(Tags::List(_))) => Err(refuse(Code::InvalidHeader, "If-None-Match of a write takes * only")),
        (Some(_), Some(_)) => Err(refuse(Code::InvalidHeader, "send If-Match or If-None-Match, not both")),
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

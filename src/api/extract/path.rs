//! Ids from paths. The path is decoded once, here, from its raw form: an id may hold any character, `/` and `%` included.

use crate::{
    api::{
        codes::Code,
        error::{ApiError, refuse},
    },
    ops::{InviteId, MAX_SEQ},
    types::{NodeId, PeerId, percent_decode},
};
use actix_web::{FromRequest, HttpRequest, dev::Payload};
use std::future::{Ready, ready};

pub(super) fn decoded_text(raw: &str) -> Option<String> {
    String::from_utf8(percent_decode(raw)?).ok()
}

/// What follows the route's fixed parts, such as `nodes` or `manifest`: the router has compared that part, decoded, so it may be written
/// otherwise here (`/%6Eodes/x`).
fn decoded_tail(request: &HttpRequest, fixed: usize) -> Result<String, ApiError> {
    decoded(request.uri().path().splitn(fixed + 2, '/').nth(fixed + 1).unwrap_or_default())
}

fn decoded(raw: &str) -> Result<String, ApiError> {
    decoded_text(raw).ok_or_else(|| refuse(Code::InvalidPath, "the id in the path is not percent-encoded UTF-8"))
}

fn wrong_id(error: impl std::fmt::Display) -> ApiError {
    refuse(Code::InvalidPath, format!("the id in the path: {error}"))
}

macro_rules! path_id {
    ($(#[doc = $doc:literal])* $name:ident $id:ident $fixed:literal) => {
        $(#[doc = $doc])*
        #[derive(Debug)]
        pub struct $name(pub $id);

        impl $name {
            pub(super) fn of(request: &HttpRequest) -> Result<Self, ApiError> {
                let text = decoded_tail(request, $fixed)?;
                $id::parse(&text).map(Self).map_err(wrong_id)
            }
        }

        impl FromRequest for $name {
            type Error = ApiError;
            type Future = Ready<Result<Self, ApiError>>;

            fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
                ready(Self::of(request))
            }
        }
    };
}

path_id! {
    /// The id in `/nodes/{id}`.
    NodePath NodeId 1
}
path_id! {
    /// The id in `/manifest/{node_id}`.
    PeerPath PeerId 1
}

path_id! {
    /// The id in `/lattice/heads/{node_id}`.
    HeadPath PeerId 2
}

/// The address in `/api/federation/peers/{url}`; not encoded, as people type it, it means the same.
#[derive(Debug)]
pub struct PeerUrl(pub String);

impl FromRequest for PeerUrl {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(decoded_tail(request, 3).map(Self))
    }
}

path_id! {
    /// The id in `/v1/trust/relationships/{peer_id}`.
    TrustPath PeerId 3
}

/// The id in `/api/federation/pending/{peer_id}/accept` and `…/refuse`.
#[derive(Debug)]
pub struct PendingPath(pub PeerId);

impl FromRequest for PendingPath {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        // Cut before it is decoded: an id may hold slashes.
        let tail = request.uri().path().splitn(5, '/').nth(4).and_then(|tail| tail.rsplit_once('/'));
        let id = decoded(tail.map_or("", |(id, _)| id));
        ready(id.and_then(|id| PeerId::parse(&id).map(Self).map_err(wrong_id)))
    }
}

/// The id in `/api/federation/invites/{id}`.
#[derive(Debug)]
pub struct InvitePath(pub InviteId);

impl FromRequest for InvitePath {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let id = InviteId::parse(request.match_info().query("id"));
        ready(id.map(Self).ok_or_else(|| refuse(Code::InvalidPath, "an invite's id has 16 hex digits")))
    }
}

/// The number in `/conflicts/{number}`.
#[derive(Debug)]
pub struct ConflictPath(pub u64);

impl FromRequest for ConflictPath {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let text = request.match_info().query("number");
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|number| digits && (1..=MAX_SEQ).contains(number));
        let wrong = || refuse(Code::InvalidPath, format!("a conflict's number is from 1 to {MAX_SEQ}"));
        ready(number.map(Self).ok_or_else(wrong))
    }
}

#[cfg(test)]
mod tests {
    use super::decoded_text;

    #[test]
    fn escapes_are_decoded_exactly_once() {
        assert_eq!(decoded_text("a%2Fb").as_deref(), Some("a/b"));
        assert_eq!(decoded_text("a%252Fb").as_deref(), Some("a%2Fb"));
        assert_eq!(decoded_text("%E2%98%83").as_deref(), Some("☃"));
        assert_eq!(decoded_text("a+b").as_deref(), Some("a+b"));
        assert_eq!(decoded_text("%F"), None);
        assert_eq!(decoded_text("%zz"), None);
        assert_eq!(decoded_text("%FF"), None);
    }
}

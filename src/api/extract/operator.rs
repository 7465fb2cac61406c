//! The operator: whoever holds the token.

use super::{BodyShare, NodePath, body, precondition::precondition};
use crate::{
    api::{
        codes::Code,
        error::{ApiError, refuse},
    },
    ops::{MAX_TYPE_BYTES, NodeDocument, Precondition},
    types::NodeId,
};
use actix_web::{
    FromRequest, HttpRequest,
    dev::Payload,
    http::header::{AUTHORIZATION, HeaderMap},
};
use futures_util::future::LocalBoxFuture;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use std::future::{Ready, ready};
use subtle::ConstantTimeEq;

/// The operator's token, as its SHA-256: comparing digests in constant time tells nothing of the token, its length included.
#[derive(Clone)]
pub struct OperatorToken(Option<[u8; 32]>);

impl std::fmt::Debug for OperatorToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "OperatorToken(set)" } else { "OperatorToken(none)" })
    }
}

impl OperatorToken {
    /// From the settings; `None` switches operator requests off. The line feed that a secret's file ends with is no part of it:
    /// no header could carry it.
    #[must_use]
    pub fn new(token: Option<&SecretString>) -> Self {
        Self(token.map(|token| Sha256::digest(token.expose_secret().trim().as_bytes()).into()))
    }

    /// Is there one?
    pub(super) fn is_set(&self) -> bool {
        self.0.is_some()
    }

    /// Does a request show it?
    #[must_use]
    pub fn is_shown(&self, headers: &HeaderMap) -> bool {
        let sent = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = sent.and_then(|text| text.split_once(' ')).filter(|(kind, _)| kind.eq_ignore_ascii_case("bearer"));
        self.0.zip(token).is_some_and(|(expected, (_, token))| is_digest_of(&expected, token))
    }

    pub(super) fn check(&self, request: &HttpRequest) -> Result<Operator, ApiError> {
        let Some(expected) = self.0 else {
            return Err(refuse(
                Code::OperatorDisabled,
                "No operator token is set, so nodes cannot be changed over HTTP. To enable it, start the service with \
                 ARK_ADMIN_TOKEN set to a secret of at least 16 characters, and send it as Authorization: Bearer.",
            ));
        };
        let sent = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token =
            sent.and_then(|text| text.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let Some((_, token)) = token else {
            return Err(refuse(
                Code::OperatorTokenRequired,
                "Send the operator's token as Authorization: Bearer TOKEN.",
            ));
        };
        if is_digest_of(&expected, token) {
            Ok(Operator(()))
        } else {
            Err(refuse(Code::OperatorTokenRequired, "The operator's token is another one."))
        }
    }
}

fn is_digest_of(expected: &[u8; 32], token: &str) -> bool {
    let given: [u8; 32] = Sha256::digest(token.trim().as_bytes()).into();
    bool::from(given.ct_eq(expected))
}

/// Proof that the request carried the operator's token: only this file makes one.
#[derive(Debug)]
pub struct Operator(());

impl FromRequest for Operator {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(body::state(request).and_then(|state| state.operator_token.check(request)))
    }
}

/// A node that the operator sent. One extractor, because actix gives no order between several: the token is checked before a
/// byte of the body is looked at.
#[derive(Debug)]
pub struct OperatorNode {
    /// The node; its id is the one in the path.
    pub node: NodeDocument,
    /// From `If-Match` and `If-None-Match`.
    pub precondition: Precondition,
    /// Its part of what all bodies may cost.
    pub share: BodyShare,
}

/// What the head of a write says: whose it is, which node it means and what it demands of it.
fn write_of(token: &OperatorToken, request: &HttpRequest) -> Result<(NodeId, Precondition), ApiError> {
    token.check(request)?;
    let NodePath(id) = NodePath::of(request)?;
    Ok((id, precondition(request)?))
}

impl FromRequest for OperatorNode {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, mut payload) = (request.clone(), payload.take());
        Box::pin(async move {
            let state = body::state(&request)?;
            let (id, precondition) = match write_of(&state.operator_token, &request) {
                Ok(write) => write,
                Err(error) => {
                    body::drain(&request, &mut payload, state.body_timeout).await;
                    return Err(error);
                }
            };
            let limits = state.context.limits;
            let (bytes, share) =
                body::read_json(&request, payload, limits.node_bytes, body::COST_OF_A_DOCUMENT).await?;
            let node = NodeDocument::parse(bytes, limits.json_depth)?;
            if *node.id() != id {
                let detail = format!("the path says {id:?}, the document says {:?}", node.id());
                return Err(refuse(Code::NodeIdMismatch, detail));
            }
            if node.type_bytes() > MAX_TYPE_BYTES {
                let detail = format!("type has {} bytes; the limit is {MAX_TYPE_BYTES}", node.type_bytes());
                return Err(refuse(Code::TypeTooLong, detail));
            }
            Ok(Self { node, precondition, share })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    #[test]
    fn a_token_from_a_file_that_ends_with_a_line_feed_is_the_token() {
        let token = OperatorToken::new(Some(&SecretString::from("a-long-enough-token\n")));
        let with = |sent: &str| {
            let request = TestRequest::get().insert_header((AUTHORIZATION, format!("Bearer {sent}"))).to_http_request();
            token.check(&request).is_ok()
        };
        assert!(with("a-long-enough-token"));
        assert!(!with("a-long-enough-toke") && !with(""));
    }
}

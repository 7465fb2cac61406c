//! Admin rights: shown by a token, the local one or that of the settings, also on this machine.

use super::{BodyShare, NodePath, body, precondition::precondition};
use crate::{
    api::{
        codes::Code,
        error::{ApiError, refuse},
        origin::{self, Edge},
        state::ApiState,
    },
    ops::{LOCAL_TOKEN_FILE, MAX_TYPE_BYTES, NodeDocument, Precondition},
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
use std::{
    future::{Ready, ready},
    path::Path,
};
use subtle::ConstantTimeEq;

/// What admin rights are shown with: the admin token of the settings, and the local admin token of this run. Kept as their SHA-256:
/// comparing digests in constant time reveals nothing of a token, its length included.
#[derive(Clone)]
pub struct AdminAccess {
    admin: Option<[u8; 32]>,
    local: Option<[u8; 32]>,
    /// Where a program on this machine reads the local token, as text for a shell.
    token_file: String,
    trust_loopback: bool,
}

impl std::fmt::Debug for AdminAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdminAccess")
            .field("admin", &self.admin.is_some())
            .field("local", &self.local.is_some())
            .field("trust_loopback", &self.trust_loopback)
            .finish_non_exhaustive()
    }
}

impl AdminAccess {
    /// `admin` comes from the settings, `local` is the token in the state directory `state`. With neither, administrative requests
    /// are switched off. The line feed that a secret's file ends with is no part of a token: no header could carry it.
    #[must_use]
    pub fn new(admin: Option<&SecretString>, local: Option<&SecretString>, state: &Path, trust_loopback: bool) -> Self {
        let digest = |token: &SecretString| Sha256::digest(token.expose_secret().trim().as_bytes()).into();
        Self { admin: admin.map(digest), local: local.map(digest), token_file: token_file(state), trust_loopback }
    }

    /// Does a request show one of the tokens?
    #[must_use]
    pub fn is_shown(&self, headers: &HeaderMap) -> bool {
        let is = |expected: Option<[u8; 32]>, token| expected.is_some_and(|expected| is_digest_of(&expected, token));
        bearer(headers).is_some_and(|token| is(self.admin, token) | is(self.local, token))
    }

    /// # Errors
    /// 401 `operator_token_required`, 403 `not_local` or `operator_disabled`.
    pub(super) fn check(&self, request: &HttpRequest, edge: &Edge) -> Result<Operator, ApiError> {
        if self.is_shown(request.headers()) {
            return Ok(Operator(()));
        }
        if self.trust_loopback && self.admin.is_none() {
            return match origin::indirect(request.head(), edge) {
                None => Ok(Operator(())),
                Some(reason) => Err(refuse(
                    Code::NotLocal,
                    format!(
                        "server.trust_loopback gives admin rights to direct requests of this machine only: {reason}. {}",
                        self.header()
                    ),
                )),
            };
        }
        if self.admin.is_none() && self.local.is_none() {
            return Err(refuse(
                Code::OperatorDisabled,
                "This service has no admin token: its log says why there is no local one. To enable administrative requests, \
                 start it with ARK_ADMIN_TOKEN set to a secret of at least 16 characters, and send that as Authorization: Bearer.",
            ));
        }
        let problem = match bearer(request.headers()) {
            None => "This request needs admin rights, also on this machine.",
            Some(_) => "The token is another one.",
        };
        Err(refuse(Code::OperatorTokenRequired, format!("{problem} {}", self.header())))
    }

    /// The header to send, complete. It is shown to strangers: it has no path but what the settings' documentation has as well.
    fn header(&self) -> String {
        let local = format!("-H \"Authorization: Bearer $(cat {})\"", self.token_file);
        match (self.local.is_some(), self.admin.is_some()) {
            (true, false) => format!("On the machine of the service, for curl: {local}"),
            (true, true) => format!(
                "On the machine of the service, for curl: {local}; elsewhere the admin token: \
                 -H \"Authorization: Bearer $ARK_ADMIN_TOKEN\""
            ),
            (false, _) => "For curl: -H \"Authorization: Bearer $ARK_ADMIN_TOKEN\"".to_owned(),
        }
    }
}

/// The token's file as a shell finds it. Where the state directory was set to an absolute path, the path itself is not for strangers.
fn token_file(state: &Path) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    let relative = state.to_str().filter(|text| !state.is_absolute() && text.bytes().all(is_plain));
    let directory = relative.map_or("$ARK_STATE_PATH", |text| text.strip_prefix("./").unwrap_or(text));
    format!("{}/{LOCAL_TOKEN_FILE}", directory.trim_end_matches('/'))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let sent = headers.get(AUTHORIZATION)?.to_str().ok()?;
    sent.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token)
}

fn is_digest_of(expected: &[u8; 32], token: &str) -> bool {
    let given: [u8; 32] = Sha256::digest(token.trim().as_bytes()).into();
    bool::from(given.ct_eq(expected))
}

/// Proof that the request has admin rights: only this file makes one.
#[derive(Debug)]
pub struct Operator(());

impl FromRequest for Operator {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(body::state(request).and_then(|state| state.admin_access.check(request, &state.edge)))
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
fn write_of(state: &ApiState, request: &HttpRequest) -> Result<(NodeId, Precondition), ApiError> {
    state.admin_access.check(request, &state.edge)?;
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
            let (id, precondition) = match write_of(&state, &request) {
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

    fn shows(access: &AdminAccess, header: &str) -> bool {
        access.is_shown(TestRequest::get().insert_header((AUTHORIZATION, header)).to_http_request().headers())
    }

    #[test]
    fn both_tokens_count_without_the_line_feed_of_their_files() {
        let (admin, local) = (SecretString::from("a-long-enough-token\n"), SecretString::from("the-local-one\n"));
        let access = AdminAccess::new(Some(&admin), Some(&local), Path::new("ark_state"), false);
        for header in ["Bearer a-long-enough-token", "bearer the-local-one", "Bearer  the-local-one "] {
            assert!(shows(&access, header), "{header}");
        }
        for header in ["Bearer a-long-enough-toke", "Bearer ", "Bearer", "Basic the-local-one", "the-local-one"] {
            assert!(!shows(&access, header), "{header}");
        }
        assert!(!shows(&AdminAccess::new(None, None, Path::new("ark_state"), true), "Bearer "));
    }

    #[test]
    fn absolute_path_of_the_state_is_not_shown() {
        for (state, shown) in [
            ("./ark_state", "ark_state/local.token"),
            ("site/state/", "site/state/local.token"),
            ("/home/alice/state", "$ARK_STATE_PATH/local.token"),
            ("$(reboot)", "$ARK_STATE_PATH/local.token"),
        ] {
            assert_eq!(token_file(Path::new(state)), shown);
        }
    }
}

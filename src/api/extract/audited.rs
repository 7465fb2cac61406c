//! Refusals that the audit log tells of: of those who do not speak for whom they say they do, say what they may not, or take more than
//! their share. Nobody waits for the log.

use crate::{
    api::{codes::Code, error::ApiError, origin::RequestOrigin, state::ApiState},
    guard::Payer,
    trust::Refusal,
    types::{PeerId, PublicKey},
};
use actix_web::{HttpMessage, HttpRequest};
use serde_json::Map;
use std::rc::Rc;

/// Those codes. A body that cannot be read is nobody's attack on trust.
fn is_audited(code: Code) -> bool {
    matches!(
        code,
        Code::BadSignature
            | Code::RequestSignature
            | Code::NotListed
            | Code::NotTrusted
            | Code::PeerRevoked
            | Code::Quarantined
            | Code::KeyMismatch
            | Code::Rollback
            | Code::Equivocation
            | Code::FastForward
            | Code::ClockSkew
            | Code::StaleStatement
            | Code::Replayed
            | Code::SignedBeforeStart
            | Code::RateLimited
            | Code::IdQuota
            | Code::InviteRefused
            | Code::RegistryFull
    )
}

/// As above, of whoever it was: routes that ask nobody who he is.
fn is_audited_of_anybody(code: Code) -> bool {
    matches!(
        code,
        Code::BodyTooLarge
            | Code::RequestTimeout
            | Code::InvalidPeer
            | Code::PlainHttp
            | Code::BodyTooSlow
            | Code::Overloaded
            | Code::TooManyListeners
            | Code::LatticeFull
            | Code::ConflictsFull
            | Code::MassDelete
            | Code::OperatorTokenRequired
            | Code::NotLocal
    )
}

/// Notes the refusal for the audit log, if it is one for it.
pub fn audit(
    state: &ApiState,
    error: &ApiError,
    door: &'static str,
    speaker: Option<(PeerId, PublicKey)>,
    request: &HttpRequest,
) {
    let code = error.code();
    if is_audited(code) {
        // Whoever asks for too much may name himself differently each time.
        let speaker = speaker.filter(|_| !matches!(code, Code::RateLimited | Code::RegistryFull));
        refused(state, code, door, speaker, request);
    }
}

/// As [`audit`], where an answer goes out.
pub fn audit_answer(
    state: &ApiState,
    error: Option<&actix_web::Error>,
    door: impl FnOnce() -> &'static str,
    request: &HttpRequest,
) {
    let code = error.and_then(|error| error.as_error::<ApiError>()).map(ApiError::code);
    if let Some(code) = code.filter(|code| is_audited_of_anybody(*code)) {
        refused(state, code, door(), None, request);
    }
}

/// Notes a refusal for the audit log.
pub fn refused(
    state: &ApiState,
    code: Code,
    door: &'static str,
    speaker: Option<(PeerId, PublicKey)>,
    request: &HttpRequest,
) {
    let mut detail = Map::new();
    if let Some((_, key)) = &speaker {
        detail.insert("public_key".to_owned(), key.to_base64().into());
    }
    let address = request.extensions().get::<Rc<RequestOrigin>>().and_then(|origin| origin.client);
    if let Some(address) = address {
        detail.insert("address".to_owned(), address.to_string().into());
    }
    let subject = speaker.map(|(peer, _)| peer.to_string());
    let account = address.map(|address| Payer::of(address).to_string());
    state.context.trust.refused(Refusal { code: code.text(), door, subject, account, detail });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// Of routes that are not there for strangers, of handshakes, and of rounds.
    const OF_OTHER_DOORS: [&str; 11] = [
        "not_found",
        "client_certificate",
        "out_of_reach",
        "protocol",
        "other_instance",
        "same_id",
        "too_many_nodes",
        "differs",
        "mixed",
        "cloned",
        "state_unavailable",
    ];

    #[test]
    fn the_codes_of_refusals_are_as_many_as_is_stated() {
        let ours = Code::ALL.iter().filter(|code| is_audited(**code) || is_audited_of_anybody(**code));
        let codes: HashSet<&str> = ours.map(|code| code.text()).chain(OF_OTHER_DOORS).collect();
        let security = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/SECURITY.md")).unwrap();
        assert!(security.contains(&format!("where all {} codes are provoked", codes.len())), "{}", codes.len());
    }
}

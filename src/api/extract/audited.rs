//! Refusals that the audit log tells of: of those who do not speak for whom they say they do, or say what they may not.

use crate::{
    api::{codes::Code, error::ApiError, origin::RequestOrigin, state::ApiState},
    ops,
    trust::Refusal,
    types::{PeerId, PublicKey},
};
use actix_web::{HttpMessage, HttpRequest};
use serde_json::Map;

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
            | Code::Replayed
    )
}

/// Writes the refusal into the audit log, if it is one for it.
pub async fn audit(
    state: &ApiState,
    error: &ApiError,
    door: &'static str,
    speaker: Option<(PeerId, PublicKey)>,
    request: &HttpRequest,
) {
    let code = error.code();
    if !is_audited(code) {
        return;
    }
    let mut detail = Map::new();
    if let Some((_, key)) = &speaker {
        detail.insert("public_key".to_owned(), key.to_base64().into());
    }
    let address = request.extensions().get::<RequestOrigin>().and_then(|origin| origin.client);
    if let Some(address) = address {
        detail.insert("address".to_owned(), address.to_string().into());
    }
    let subject = speaker.map(|(peer, _)| peer.to_string());
    ops::note_refusal(&state.context, Refusal { code: code.text(), door, subject, detail }).await;
}

//! What instances say of their keys.

use crate::{
    api::{
        error::ApiError,
        extract::{ManifestBody, audit},
        origin::caller,
        schemas::{Id, KeyStatements, PublicKeyText},
        state::ApiState,
    },
    json::Document,
    ops,
};
use actix_web::{HttpRequest, HttpResponse, http::header::CACHE_CONTROL, web};
use serde::Serialize;
use utoipa::ToSchema;

/// Which key speaks for an instance now.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KeyStand)]
pub(crate) struct StandAnswer {
    /// The instance.
    #[schema(value_type = Id)]
    node_id: String,
    /// `current`, or `revoked`: no key speaks for it until its recovery key names another.
    #[schema(example = "current")]
    status: &'static str,
    /// Its key; the revoked one where it is revoked.
    #[schema(value_type = PublicKeyText)]
    public_key: String,
    /// The key that may replace it.
    #[schema(value_type = Option<PublicKeyText>, required = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery_key: Option<String>,
    /// How often the recovery key spoke.
    epoch: u64,
    /// Which statement is the newest.
    seq: u64,
}

/// Change which key speaks for an instance
///
/// Takes statements that rotate, revoke, recover or enrol an instance's key. They count if they follow from the key that speaks for
/// the instance here, by the word of the keys themselves; then the old key is refused everywhere, and the instance stays who it is.
/// The same ones again change nothing.
#[utoipa::path(
    post,
    path = "/v1/trust/rotate",
    operation_id = "rotateKey",
    tag = "registry",
    request_body(content = KeyStatements, content_type = "application/json", description = "The statements"),
    responses((status = 200, description = "What holds now", body = StandAnswer))
)]
pub(crate) async fn rotate(
    state: web::Data<ApiState>,
    body: ManifestBody,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let ManifestBody(body, _held_until_answered) = body;
    let document = Document::parse(body, state.context.limits.json_depth)?;
    let object = document.root().as_object();
    let (peer, line) = match ops::follow_statements(&state.context, caller(&request), object).await {
        Ok(followed) => followed,
        Err(error) => {
            let error = ApiError::from(error);
            // Whom they are about is not who sends them.
            audit(&state, &error, "/v1/trust/rotate", None, &request);
            return Err(error);
        }
    };
    Ok(HttpResponse::Ok().json(StandAnswer {
        node_id: peer.to_string(),
        status: if line.revoked { "revoked" } else { "current" },
        public_key: line.public_key.to_base64(),
        recovery_key: line.recovery_key.map(|key| key.to_base64()),
        epoch: line.epoch,
        seq: line.seq,
    }))
}

/// What is said of this instance's key
///
/// Its statements, oldest first; none where its key was never changed and no recovery key is announced.
pub(crate) async fn identity(state: web::Data<ApiState>) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response.insert_header((CACHE_CONTROL, "no-cache")).content_type("application/json");
    response.body(ops::own_statements(&state.context))
}

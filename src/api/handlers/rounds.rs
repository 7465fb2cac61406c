//! `POST /lattice/round`: what an instance that makes rounds with this one says of them.

use crate::{
    api::{
        codes::Code,
        error::{ApiError, refuse},
        extract::{SignedBody, audit_round},
        state::ApiState,
    },
    json::Document,
    ops::{self, PeerRoundStatus},
};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;

/// It is noted.
#[derive(Debug, Serialize)]
pub(crate) struct RecordedAnswer {
    /// Always `noted`.
    status: &'static str,
}

/// Say how a round went (another instance)
///
/// Which ways changes go, how the round ended, where the journal of the caller stands, what it holds of this one's, and when it comes
/// again: `GET /api/federation/status` shows that here. Changes no node; signed by the sender (RFC 9421), who need not be trusted.
pub(crate) async fn tell(
    request: HttpRequest,
    state: web::Data<ApiState>,
    body: SignedBody,
) -> Result<HttpResponse, ApiError> {
    let signed = body.signed(&request, "/lattice/round");
    let document = Document::parse(body.bytes().clone(), state.context.limits.json_depth)?;
    let status = document.root().as_object().and_then(|object| PeerRoundStatus::read(&object)).ok_or_else(|| {
        let form = "send {\"direction\": \"both\", \"outcome\": \"in_step\", \"stands\": \"EPOCH:SEQ\", \"holds\": \"EPOCH:SEQ\", \
                    \"sent\": \"EPOCH:SEQ\", \"filtered\": false, \"next_in\": 60}; direction is both, pull or push, next_in seconds";
        refuse(Code::InvalidFederationRequest, form.to_owned())
    })?;
    match ops::record_round_status(&state.context, signed, status).await {
        Ok(()) => Ok(HttpResponse::Ok().json(RecordedAnswer { status: "noted" })),
        Err(error) => Err(audit_round(&state, error, &request)),
    }
}

//! `/lattice/trust/…`: what another instance asks where keys are proved. Each request is signed.

use crate::{
    api::{
        error::ApiError,
        extract::{SignedBody, audit_join, audit_trust},
        state::ApiState,
    },
    ops,
};
use actix_web::{HttpRequest, HttpResponse, web::Data};
use serde_json::json;

/// Another instance asks for a proof of our key.
pub(crate) async fn challenge(
    state: Data<ApiState>,
    request: HttpRequest,
    body: SignedBody,
) -> Result<HttpResponse, ApiError> {
    match ops::answer_challenge(&state.context, body.signed(&request, "/lattice/trust/challenge")) {
        Ok(proof) => Ok(HttpResponse::Ok().json(json!({
            "node_id": proof.node_id, "public_key": proof.public_key, "nonce": proof.nonce, "signature": proof.signature,
        }))),
        Err(error) => Err(audit_trust(&state, error, "/lattice/trust/challenge", &request)),
    }
}

/// Another instance proves its key.
pub(crate) async fn proof(
    state: Data<ApiState>,
    request: HttpRequest,
    body: SignedBody,
) -> Result<HttpResponse, ApiError> {
    match ops::take_proof(&state.context, body.signed(&request, "/lattice/trust/proof")).await {
        Ok(level) => Ok(HttpResponse::Ok().json(json!({"status": "proved", "trust_level": level.as_str()}))),
        Err(error) => Err(audit_trust(&state, error, "/lattice/trust/proof", &request)),
    }
}

/// Another instance joins with an invite.
pub(crate) async fn join(
    state: Data<ApiState>,
    request: HttpRequest,
    body: SignedBody,
) -> Result<HttpResponse, ApiError> {
    match ops::take_join(&state.context, body.signed(&request, "/lattice/trust/join")).await {
        Ok(joined) => Ok(HttpResponse::Ok().json(json!({
            "status": "joined", "proof": joined.proof, "peer_url": joined.peer_url,
        }))),
        Err(error) => Err(audit_join(&state, error, &request)),
    }
}

/// A verified instance vouches for another.
pub(crate) async fn vouch(
    state: Data<ApiState>,
    request: HttpRequest,
    body: SignedBody,
) -> Result<HttpResponse, ApiError> {
    match ops::take_voucher(&state.context, body.signed(&request, "/lattice/trust/vouch")).await {
        Ok(level) => Ok(HttpResponse::Ok().json(json!({"status": "noted", "trust_level": level.as_str()}))),
        Err(error) => Err(audit_trust(&state, error, "/lattice/trust/vouch", &request)),
    }
}

//! `/manifest`: signed statements in, envelopes out.

use crate::{
    api::{
        codes::Code,
        error::{ApiError, refuse},
        extract::{ManifestBody, PeerPath, audit},
        origin::caller,
        schemas::{Envelope, Hash, Id, TrustLevel},
        state::ApiState,
    },
    ops::{self, RefusedManifest, Step},
};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

/// The answer to a manifest that was taken.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Registered)]
pub(crate) struct RegisteredAnswer {
    /// Always `registered`.
    #[schema(example = "registered")]
    status: &'static str,
    /// The instance that the manifest speaks for.
    #[schema(value_type = Id, example = "ark-example")]
    node_id: String,
    /// Seconds until the entry expires unless it is renewed; the same envelope again renews it.
    #[schema(example = 120)]
    expires_in: u64,
    /// `unknown`, `pending` or `verified`.
    #[schema(value_type = TrustLevel, example = "pending")]
    trust_level: &'static str,
    /// The set hash of the nodes that the manifest lists.
    #[schema(value_type = Hash)]
    manifest_hash: String,
}

/// Register a signed manifest
///
/// Takes what an instance says its lattice holds, checks the signature, binds the id to its first key, and lists the instance in
/// `/discover` until its time to live is over. The same envelope again is a heartbeat. A manifest that states `issued_at` (when it was
/// signed, epoch seconds) counts for 24 hours from then, so that what somebody else repeats of it ends. Members of the envelope that
/// are not part of its form are left out.
#[utoipa::path(
    post,
    path = "/manifest",
    operation_id = "publishManifest",
    tag = "registry",
    request_body(content = Envelope, content_type = "application/json", description = "The envelope"),
    responses((status = 200, description = "Registered or renewed", body = RegisteredAnswer))
)]
pub(crate) async fn publish(
    state: web::Data<ApiState>,
    body: ManifestBody,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let ManifestBody(body, _held_until_answered) = body;
    let registration = match ops::register(&state.context, caller(&request), body).await {
        Ok(registration) => registration,
        Err(refused) => return Err(refuse_manifest(&state, refused, &request)),
    };
    state.metrics.manifest_accepted(match registration.step {
        Step::First => "first",
        Step::Newer => "newer",
        Step::Heartbeat | Step::Reissued => "heartbeat",
    });
    Ok(HttpResponse::Ok().json(RegisteredAnswer {
        status: "registered",
        node_id: registration.peer.to_string(),
        expires_in: registration.expires_in.as_secs(),
        trust_level: registration.trust_level.as_str(),
        manifest_hash: registration.set_hash.to_string(),
    }))
}

fn refuse_manifest(state: &ApiState, refused: RefusedManifest, request: &HttpRequest) -> ApiError {
    let error = ApiError::from(refused.error);
    state.metrics.manifest_refused(error.code().text());
    if error.code() == Code::RegistryUnavailable {
        state.metrics.registry_error();
    }
    audit(state, &error, "/manifest", refused.speaker, request);
    error
}

/// Get a peer's envelope
///
/// The newest envelope of a live peer, byte for byte as it was received, without members that are not part of its form (nobody signed
/// them): whoever reads it can check the signature.
#[utoipa::path(
    get,
    path = "/manifest/{node_id}",
    operation_id = "getManifest",
    tag = "registry",
    params(("node_id" = inline(Id), Path, description = "The instance's id", example = "ark-example")),
    responses((status = 200, description = "The envelope", body = Envelope))
)]
pub(crate) async fn show(state: web::Data<ApiState>, PeerPath(peer): PeerPath) -> Result<HttpResponse, ApiError> {
    let envelope = ops::envelope(&state.context, &peer).await?;
    let envelope =
        envelope.ok_or_else(|| refuse(Code::PeerNotFound, format!("{peer:?} is not alive or never was here")))?;
    Ok(HttpResponse::Ok().content_type("application/json").body(envelope))
}

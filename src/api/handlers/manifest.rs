//! `/manifest`: signed statements in, envelopes out.

use crate::{
    api::{
        codes::Code,
        error::{ApiError, refuse},
        extract::{ManifestBody, PeerPath},
        state::ApiState,
    },
    ops::{self, Step},
};
use actix_web::{HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

/// The answer to a manifest that was taken.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RegisteredAnswer {
    /// Always `registered`.
    #[schema(example = "registered")]
    status: &'static str,
    /// The instance that the manifest speaks for.
    #[schema(example = "ark-example")]
    node_id: String,
    /// Seconds until the entry expires unless it is renewed; the same envelope again renews it.
    #[schema(example = 120)]
    expires_in: u64,
    /// `unknown`, `pending` or `verified`.
    #[schema(example = "pending")]
    trust_level: &'static str,
    /// The set hash of the nodes that the manifest lists.
    manifest_hash: String,
}

/// A signed manifest. With `canonicalization` `dsse`: `payload`, `payloadType` and `signatures` instead of `manifest` and
/// `signature`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Envelope {
    /// The statement that is signed: `node_id` (required), `nodes`, `last_updated`, `seq`, `instance_type`, and whatever else.
    #[schema(value_type = Object)]
    manifest: (),
    /// Ed25519 over the manifest's canonical bytes, base64.
    signature: String,
    /// The Ed25519 public key, base64 of 32 bytes.
    pubkey: String,
    /// `python` (the default), `jcs` or `dsse`: how the signed bytes are made.
    #[schema(required = false)]
    canonicalization: String,
}

/// Register a signed manifest
///
/// Takes what an instance says its lattice holds, checks the signature, binds the id to its first key, and lists the instance in
/// `/discover` until its time to live is over. The same envelope again is a heartbeat.
#[utoipa::path(
    post,
    path = "/manifest",
    tag = "registry",
    request_body(content = inline(Envelope), content_type = "application/json", description = "The envelope"),
    responses((status = 200, description = "Registered or renewed", body = inline(RegisteredAnswer)))
)]
pub(crate) async fn publish(state: web::Data<ApiState>, body: ManifestBody) -> Result<HttpResponse, ApiError> {
    let ManifestBody(body, _held_until_answered) = body;
    let registration = ops::register(&state.context, body).await.map_err(|error| {
        let error = ApiError::from(error);
        count_refusal(&state, &error);
        error
    })?;
    state.metrics.manifest_accepted(match registration.step {
        Step::First => "first",
        Step::Newer => "newer",
        Step::Heartbeat => "heartbeat",
    });
    Ok(HttpResponse::Ok().json(RegisteredAnswer {
        status: "registered",
        node_id: registration.peer.to_string(),
        expires_in: registration.expires_in.as_secs(),
        trust_level: registration.trust_level.as_str(),
        manifest_hash: registration.set_hash.to_string(),
    }))
}

fn count_refusal(state: &ApiState, error: &ApiError) {
    state.metrics.manifest_refused(error.code().text());
    if error.code() == Code::RegistryUnavailable {
        state.metrics.registry_error();
    }
}

/// Get a peer's envelope
///
/// The newest envelope of a live peer, byte for byte as it was received: whoever reads it can check the signature.
#[utoipa::path(
    get,
    path = "/manifest/{node_id}",
    tag = "registry",
    params(("node_id" = String, Path, description = "The instance's id, percent-encoded", example = "ark-example")),
    responses((status = 200, description = "The envelope", body = inline(Envelope)))
)]
pub(crate) async fn show(state: web::Data<ApiState>, PeerPath(peer): PeerPath) -> Result<HttpResponse, ApiError> {
    let envelope = ops::envelope(&state.context, &peer).await?;
    let envelope =
        envelope.ok_or_else(|| refuse(Code::PeerNotFound, format!("{peer:?} is not alive or never was here")))?;
    Ok(HttpResponse::Ok().content_type("application/json").body(envelope))
}

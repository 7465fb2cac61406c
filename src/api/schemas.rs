//! How the OpenAPI document describes what several routes share. Types of their own, because a derived schema takes its pattern
//! from the type; nothing is ever made of them.
#![allow(dead_code, reason = "the document is made from the declarations; no value is")]

use serde::Serialize;
use utoipa::{
    ToSchema,
    openapi::schema::{Object, ObjectBuilder, SchemaType, Type},
};

/// An id: 1 to 256 characters, none of them a control character.
#[derive(Debug, ToSchema)]
#[schema(pattern = r"^[^\u0000-\u001f\u007f-\u009f]+$", min_length = 1, max_length = 256)]
pub(crate) struct Id(String);

/// `sha256:` and 64 lower-case hex digits.
#[derive(Debug, ToSchema)]
#[schema(
    pattern = "^sha256:[0-9a-f]{64}$",
    example = "sha256:aa8d405d21e68e2d0f8ff4b5f8dcd2b6bb0a5d0a2ae2f5ee3f4c8a1a7f0d3c5e"
)]
pub(crate) struct Hash(String);

/// Standard, padded base64 of 32 bytes.
#[derive(Debug, ToSchema)]
#[schema(pattern = "^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$", example = "3h5UkJuYA1FQsaG5HcLKSs6HgmZK63YF6C29LblJ7+8=")]
pub(crate) struct PublicKeyText(String);

/// Standard, padded base64 of 64 bytes.
#[derive(Debug, ToSchema)]
#[schema(pattern = "^[A-Za-z0-9+/]{85}[AQgw]==$")]
pub(crate) struct SignatureText(String);

/// Standard, padded base64.
#[derive(Debug, ToSchema)]
#[schema(pattern = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$")]
pub(crate) struct Base64Text(String);

/// Where a page of nodes ended; opaque.
#[derive(Debug, ToSchema)]
#[schema(format = "node-cursor")]
pub(crate) struct NodeCursor(String);

/// Where a page of peers ended; opaque.
#[derive(Debug, ToSchema)]
#[schema(format = "peer-cursor")]
pub(crate) struct PeerCursor(String);

/// Epoch seconds or RFC 3339.
#[derive(Debug, ToSchema)]
#[schema(
    pattern = "^([0-9]{1,12}([.][0-9]+)?|[0-9]{4}-[0-9]{2}-[0-9]{2}.[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2}))$",
    format = "instant"
)]
pub(crate) struct Instant(String);

/// Where an instance is reached.
#[derive(Debug, ToSchema)]
#[schema(pattern = "^https?://", format = "peer-url", example = "http://192.168.1.100:9001")]
pub(crate) struct Address(String);

/// A private network, or one address of it.
#[derive(Debug, ToSchema)]
#[schema(pattern = "^[0-9a-f:.]+(/[0-9]+)?$", format = "subnet", example = "192.168.1.0/24")]
pub(crate) struct Subnet(String);

/// `*` or a list of entity tags (RFC 9110 section 13.1.1).
#[derive(Debug, ToSchema)]
#[schema(
    pattern = r#"^[ \t]*([*]|[ \t,]*(W/)?"[!#-~]*"([ \t]*,[ \t,]*(W/)?"[!#-~]*")*([ \t]*,[ \t,]*)?)[ \t]*$"#,
    format = "entity-tags"
)]
pub(crate) struct EntityTags(String);

/// `*` and nothing else.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) enum Star {
    #[serde(rename = "*")]
    Any,
}

/// The entity tag of a node.
#[derive(Debug, ToSchema)]
#[schema(pattern = r#"^"sha256:[0-9a-f]{64}"$"#)]
pub(crate) struct NodeTag(String);

/// A weak entity tag.
#[derive(Debug, ToSchema)]
#[schema(pattern = r#"^W/"[0-9a-f]{32}"$"#)]
pub(crate) struct WeakTag(String);

/// What this instance thinks of a peer's key.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TrustLevel {
    /// Nothing is known of it.
    Unknown,
    /// It was the first that spoke for the id.
    Pending,
    /// The operator has listed it.
    Verified,
    /// The operator has revoked it.
    Revoked,
}

/// One JSON document. Every other member is kept as it is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Node {
    /// The node's id; the file is `{id}.json`.
    #[schema(value_type = Id, example = "my-first-node")]
    id: String,
    /// What it is; `GET /nodes` filters by it where it is a string.
    #[serde(rename = "type")]
    #[schema(rename = "type", value_type = serde_json::Value, required = false, example = "template_node")]
    node_type: String,
    /// When it was last changed: epoch seconds, epoch milliseconds from 10^11 on, RFC 3339, or ISO 8601 without an offset (UTC). Whatever
    /// else is there counts as missing.
    #[schema(value_type = serde_json::Value, required = false, example = 1_699_564_700)]
    updated_at: f64,
}

/// A node as a manifest lists it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ListedNode {
    /// The node's id; each is listed once.
    #[schema(value_type = Id, example = "python_flask_basic")]
    id: String,
    /// Its hash; by habit, `sha256:` and 64 hex digits.
    #[schema(value_type = Id, example = "sha256:0000000000000000000000000000000000000000000000000000000000000000")]
    hash: String,
    /// What it is.
    #[serde(rename = "type")]
    #[schema(rename = "type", required = false, example = "framework_node")]
    node_type: Option<String>,
    /// When it was last changed: epoch seconds or a text.
    #[schema(schema_with = number_or_text, required = false)]
    updated_at: f64,
}

fn number_or_text() -> Object {
    let types = [Type::Number, Type::String, Type::Null];
    ObjectBuilder::new().schema_type(SchemaType::from_iter(types)).examples([1_699_564_700]).build()
}

/// An instance's statement of what its lattice holds. Every other member is kept, signed and served back.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Manifest {
    /// The instance that speaks.
    #[schema(value_type = Id, example = "ark-example")]
    node_id: String,
    /// `local`, `cloud` or `pi` by habit.
    #[schema(value_type = serde_json::Value, required = false, example = "local")]
    instance_type: String,
    /// When it says so by its own clock, epoch seconds: not older than the newest accepted, at most five minutes ahead.
    #[schema(required = false, minimum = -9_007_199_253, maximum = 999_999_999_999_f64, example = 1_699_564_800)]
    last_updated: f64,
    /// Grows with every statement: two with the same `seq` are the same.
    #[schema(required = false, minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    seq: u64,
    /// What it holds.
    #[schema(required = false, max_items = 100_000)]
    nodes: Vec<ListedNode>,
}

/// A manifest beside its signature.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PlainEnvelope {
    /// What is signed.
    manifest: Manifest,
    /// Ed25519 over the manifest's canonical bytes.
    #[schema(value_type = SignatureText)]
    signature: String,
    /// The Ed25519 public key.
    #[schema(value_type = PublicKeyText)]
    pubkey: String,
    /// How the signed bytes are made: as CPython's `json.dumps(manifest, sort_keys=True)` (where it is left out) or RFC 8785.
    #[schema(required = false)]
    canonicalization: PlainForm,
}

/// How the signed bytes of a [`PlainEnvelope`] are made.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PlainForm {
    Python,
    Jcs,
}

/// A manifest in [DSSE](https://github.com/secure-systems-lab/dsse): its bytes are signed as they are.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DsseEnvelope {
    /// Which form this is.
    canonicalization: DsseForm,
    /// The manifest's bytes.
    #[schema(value_type = Base64Text)]
    payload: String,
    /// What the payload is.
    #[serde(rename = "payloadType")]
    payload_type: DssePayloadType,
    /// Exactly one.
    #[schema(min_items = 1, max_items = 1)]
    signatures: Vec<DsseSignature>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) enum DsseForm {
    #[serde(rename = "dsse")]
    Dsse,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) enum DssePayloadType {
    #[serde(rename = "application/vnd.ark-lattice.manifest+json")]
    Manifest,
}

/// A signature of a [`DsseEnvelope`].
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DsseSignature {
    /// The Ed25519 public key.
    #[schema(value_type = PublicKeyText)]
    keyid: String,
    /// Ed25519 over the DSSE encoding of the payload.
    #[schema(value_type = SignatureText)]
    sig: String,
}

/// A signed manifest, in one of two shapes.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Envelope {
    /// The manifest beside its signature.
    Plain(PlainEnvelope),
    /// The manifest in a DSSE envelope.
    Dsse(DsseEnvelope),
}

/// Statements about a key, oldest first: each follows the one before it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct KeyStatements {
    /// The newest ones, in DSSE envelopes.
    #[schema(min_items = 1, max_items = 128)]
    statements: Vec<KeyStatement>,
}

/// A statement about a key in [DSSE](https://github.com/secure-systems-lab/dsse), signed by every key that has a say in it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct KeyStatement {
    /// The statement's bytes.
    #[schema(value_type = Base64Text)]
    payload: String,
    /// What the payload is.
    #[serde(rename = "payloadType")]
    payload_type: KeyStatementType,
    /// One for each key.
    #[schema(min_items = 1, max_items = 3)]
    signatures: Vec<DsseSignature>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) enum KeyStatementType {
    #[serde(rename = "application/vnd.ark-lattice.key+json")]
    Key,
}

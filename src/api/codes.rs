//! Every problem that this service answers with: its stable code, status and title. Clients may rely on the codes.

use actix_web::http::StatusCode;

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $variant:ident = $text:literal $status:ident $title:literal,)*) => {
        /// A problem's stable code.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code { $($(#[doc = $doc])* $variant,)* }

        impl Code {
            /// Every code there is.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The code as the wire writes it.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The HTTP status that it comes with, always the same.
            #[must_use]
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)* }
            }

            /// RFC 9457 `title`: the same for every occurrence.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }
        }
    };
}

codes! {
    /// Not JSON by RFC 8259.
    JsonSyntax = "json_syntax" BAD_REQUEST "The body is not valid JSON",
    /// No body where one is needed.
    JsonEmpty = "json_empty" BAD_REQUEST "The body is empty",
    /// Bytes that are not UTF-8.
    JsonNotUtf8 = "json_not_utf8" BAD_REQUEST "The body is not UTF-8",
    /// A byte order mark.
    JsonBom = "json_bom" BAD_REQUEST "The body starts with a byte order mark",
    /// Nested deeper than the limit.
    JsonTooDeep = "json_too_deep" BAD_REQUEST "The body is nested too deeply",
    /// One object has a key twice.
    JsonDuplicateKey = "json_duplicate_key" BAD_REQUEST "An object has the same key twice",
    /// NaN, Infinity, or a number that overflows to it.
    JsonNotFinite = "json_not_finite" BAD_REQUEST "A number is not finite",
    /// Half of a surrogate pair.
    JsonLoneSurrogate = "json_lone_surrogate" BAD_REQUEST "A string holds half of a surrogate pair",
    /// Something behind the value.
    JsonTrailingData = "json_trailing_data" BAD_REQUEST "Something follows the JSON value",
    /// The envelope has the wrong shape.
    InvalidEnvelope = "invalid_envelope" BAD_REQUEST "The envelope has the wrong shape",
    /// The declared canonicalization is none that is known.
    UnknownCanonicalization = "unknown_canonicalization" BAD_REQUEST "The canonicalization is not known",
    /// A base64 field is not standard, padded base64 of the right length.
    InvalidEncoding = "invalid_encoding" BAD_REQUEST "A base64 field cannot be read",
    /// An integer that plain JCS cannot carry.
    JcsIntegerRange = "jcs_integer_range" BAD_REQUEST "An integer is out of the range of JCS",
    /// The signed document is not a manifest.
    InvalidManifest = "invalid_manifest" BAD_REQUEST "The manifest has the wrong shape",
    /// `last_updated` is too far ahead.
    ClockSkew = "clock_skew" BAD_REQUEST "The manifest is dated too far ahead",
    /// A statement about a key cannot be read, or may not say what it says.
    InvalidStatement = "invalid_statement" BAD_REQUEST "The statement about a key does not count",
    /// The body of `POST /sync` has the wrong shape.
    InvalidSyncRequest = "invalid_sync_request" BAD_REQUEST "The sync request has the wrong shape",
    /// The body is not a node.
    InvalidNode = "invalid_node" BAD_REQUEST "The document is not a node",
    /// The node's `type` is longer than types may be.
    TypeTooLong = "type_too_long" BAD_REQUEST "The node's type is too long",
    /// The node's id is not the one in the path.
    NodeIdMismatch = "node_id_mismatch" BAD_REQUEST "The node has another id than the path",
    /// A query parameter is unknown or has a bad value.
    InvalidQuery = "invalid_query" BAD_REQUEST "A query parameter cannot be used",
    /// The id in the path is not an id.
    InvalidPath = "invalid_path" BAD_REQUEST "The path cannot be used",
    /// A line of a feed is not a change.
    InvalidChange = "invalid_change" BAD_REQUEST "A line is not a change",
    /// A message of a set reconciliation cannot be read.
    InvalidReconciliation = "invalid_reconciliation" BAD_REQUEST "The message of the reconciliation cannot be read",
    /// A request about the federation has the wrong shape.
    InvalidFederationRequest = "invalid_federation_request" BAD_REQUEST "The request has the wrong shape",
    /// A peer's address or filter cannot be used.
    InvalidPeer = "invalid_peer" BAD_REQUEST "The peer cannot be used",
    /// The address of a peer leads back to this instance.
    OwnAddress = "own_address" BAD_REQUEST "The address is that of this instance",
    /// What answers at the address is no instance, or not by the scheme of the address.
    NotAnInstance = "not_an_instance" BAD_REQUEST "No instance answers at the address",
    /// The peer would be asked over plain HTTP, outside loopback and private networks.
    PlainHttp = "plain_http" BAD_REQUEST "The peer would be asked without encryption",
    /// An invite, or what is wished of one, cannot be used.
    InvalidInvite = "invalid_invite" BAD_REQUEST "The invite cannot be used",
    /// A header cannot be used.
    InvalidHeader = "invalid_header" BAD_REQUEST "A header cannot be used",
    /// The signature is invalid.
    BadSignature = "bad_signature" UNAUTHORIZED "The signature is invalid",
    /// The request is not signed, or not as it must be.
    RequestSignature = "request_signature" UNAUTHORIZED "The request's signature does not count",
    /// The request was signed before this process started, which does not know what was taken then.
    SignedBeforeStart = "signed_before_start" UNAUTHORIZED "The request was signed before the service started",
    /// The invite is unknown, used, revoked or expired, or its secret was not proved.
    InviteRefused = "invite_refused" UNAUTHORIZED "The invite does not count",
    /// The operator's token is missing or wrong.
    OperatorTokenRequired = "operator_token_required" UNAUTHORIZED "The operator's token is needed",
    /// No operator's token is set.
    OperatorDisabled = "operator_disabled" FORBIDDEN "Operator requests are switched off",
    /// `server.trust_loopback` is on, and the request does not come directly from this machine.
    NotLocal = "not_local" FORBIDDEN "Only programs of this machine may ask this",
    /// The key is not on the operator's list.
    NotListed = "not_listed" FORBIDDEN "The key is not on this instance's list",
    /// The sender may not change nodes here.
    NotTrusted = "not_trusted" FORBIDDEN "This instance takes no changes from that key",
    /// The key was revoked, by the operator or by its owner.
    PeerRevoked = "peer_revoked" FORBIDDEN "The key is revoked here",
    /// The sender contradicted itself.
    Quarantined = "quarantined" FORBIDDEN "The sender contradicted itself and is in quarantine",
    /// This instance is a mirror.
    ReadOnly = "read_only" FORBIDDEN "This instance only takes what its peers have",
    /// There is no such route.
    NotFound = "not_found" NOT_FOUND "There is nothing here",
    /// There is no such peer, or it is not alive.
    PeerNotFound = "peer_not_found" NOT_FOUND "There is no such peer",
    /// Nothing is known of an instance's keys.
    KeyUnknown = "key_unknown" NOT_FOUND "No key of that instance is known",
    /// There is no such invite.
    InviteNotFound = "invite_not_found" NOT_FOUND "There is no such invite",
    /// There is no such node.
    NodeNotFound = "node_not_found" NOT_FOUND "There is no such node",
    /// There is no such conflict.
    ConflictNotFound = "conflict_not_found" NOT_FOUND "There is no such conflict",
    /// No deletion of that instance waits here.
    NoDeletionsWait = "no_deletions_wait" NOT_FOUND "No deletions of that instance wait here",
    /// The route does not take this method.
    MethodNotAllowed = "method_not_allowed" METHOD_NOT_ALLOWED "The method is not allowed here",
    /// The body came too slowly.
    RequestTimeout = "request_timeout" REQUEST_TIMEOUT "The body came too slowly",
    /// The body came more slowly than bodies must.
    BodyTooSlow = "body_too_slow" REQUEST_TIMEOUT "The body came at too low a rate",
    /// Another key speaks for the id.
    KeyMismatch = "key_mismatch" CONFLICT "Another key already speaks for this id",
    /// An older statement than the newest accepted.
    Rollback = "rollback" CONFLICT "The manifest is older than the newest accepted",
    /// A statement that says when it was signed, longer ago than it counts.
    StaleStatement = "stale_statement" CONFLICT "The manifest was signed too long ago",
    /// Two contents under one `seq`.
    Equivocation = "equivocation" CONFLICT "Two different manifests have the same seq",
    /// So far ahead that nothing could follow.
    FastForward = "fast_forward" CONFLICT "The position jumps too far",
    /// The request was seen before.
    Replayed = "replayed" CONFLICT "The request was seen before",
    /// The peer did not prove who it is.
    TrustNotEstablished = "trust_not_established" CONFLICT "The peer did not prove who it is",
    /// Several keys of one instance are known, and none is named.
    SeveralKeys = "several_keys" CONFLICT "Several keys of that instance are known",
    /// The invite was used already.
    InviteUsed = "invite_used" CONFLICT "The invite was used already",
    /// There are as many open invites as there may be.
    TooManyInvites = "too_many_invites" CONFLICT "There are as many open invites as there may be",
    /// The settings do not let this instance look for others so.
    DiscoveryOff = "discovery_off" CONFLICT "Looking for others so is off",
    /// There are as many peers as there may be.
    TooManyPeers = "too_many_peers" CONFLICT "There are as many peers as there may be",
    /// `federation.mode` is hub and the settings name the hub: there is no other peer.
    HubOnly = "hub_only" CONFLICT "This instance exchanges with its hub only",
    /// The settings name the peer: it ends with its setting.
    PeerOfSettings = "peer_of_settings" CONFLICT "The settings name this peer",
    /// So many deletions of others wait for the admin already that no more may wait.
    MassDelete = "mass_delete" CONFLICT "Too much would be deleted",
    /// Too many versions made here lost against the sender's and were not looked at.
    ConflictsFull = "conflicts_full" CONFLICT "Too many conflicts with the sender are open",
    /// The lattice holds as many nodes or bytes as `limits.lattice_nodes` and `limits.lattice_bytes` allow.
    LatticeFull = "lattice_full" CONFLICT "The lattice holds as much as it may",
    /// The position belongs to another journal.
    OtherIndex = "other_index" CONFLICT "The position belongs to another journal",
    /// What was deleted after the position is forgotten.
    PositionLost = "position_lost" GONE "What was deleted after the position is forgotten",
    /// The node is not in the expected state.
    PreconditionFailed = "precondition_failed" PRECONDITION_FAILED "The node has changed since",
    /// The body exceeds the limit.
    BodyTooLarge = "body_too_large" PAYLOAD_TOO_LARGE "The body is too large",
    /// The manifest exceeds a limit.
    ManifestTooLarge = "manifest_too_large" PAYLOAD_TOO_LARGE "The manifest is too large",
    /// The body is not declared as JSON.
    UnsupportedMediaType = "unsupported_media_type" UNSUPPORTED_MEDIA_TYPE "The body must be JSON",
    /// The body is compressed.
    UnsupportedContentEncoding = "unsupported_content_encoding" UNSUPPORTED_MEDIA_TYPE "The body must not be compressed",
    /// The client has used up its allowance.
    RateLimited = "rate_limited" TOO_MANY_REQUESTS "Too many requests",
    /// One key has as many ids as it may.
    IdQuota = "id_quota" FORBIDDEN "The key has as many ids as it may",
    /// No certificate that counts was shown, on a route that asks for one.
    ClientCertificate = "client_certificate" FORBIDDEN "A client certificate is needed",
    /// A fault of this service.
    Internal = "internal" INTERNAL_SERVER_ERROR "The service failed",
    /// The instance that is to be paired with does not answer.
    PeerUnreachable = "peer_unreachable" BAD_GATEWAY "The other instance does not answer",
    /// The registry does not answer.
    RegistryUnavailable = "registry_unavailable" SERVICE_UNAVAILABLE "The registry does not answer",
    /// The registry has no place left.
    RegistryFull = "registry_full" SERVICE_UNAVAILABLE "The registry is full",
    /// As many clients listen to events as may.
    TooManyListeners = "too_many_listeners" SERVICE_UNAVAILABLE "As many clients listen as may",
    /// The operator stopped the federation.
    FederationStopped = "federation_stopped" SERVICE_UNAVAILABLE "The federation is stopped",
    /// What is known of peers cannot be kept.
    StateUnavailable = "state_unavailable" SERVICE_UNAVAILABLE "The state directory cannot be written",
    /// One search at a time.
    DiscoveryBusy = "discovery_busy" SERVICE_UNAVAILABLE "Another search is under way",
    /// There is no key to sign with.
    NoKey = "no_key" SERVICE_UNAVAILABLE "This instance has no key",
    /// Too many signed requests came.
    Busy = "busy" SERVICE_UNAVAILABLE "Too many signed requests",
    /// The service is stopping: other instances take the requests.
    Draining = "draining" SERVICE_UNAVAILABLE "The service is stopping",
    /// The index is being built.
    LatticeLoading = "lattice_loading" SERVICE_UNAVAILABLE "The index is being built",
    /// The node's file is broken: its content cannot be had.
    NodeUnavailable = "node_unavailable" SERVICE_UNAVAILABLE "The node's file is broken",
    /// All bodies under way take all the memory that they may.
    Overloaded = "overloaded" SERVICE_UNAVAILABLE "Too many large requests at once",
    /// The data directory cannot be written or read.
    LatticeUnavailable = "lattice_unavailable" SERVICE_UNAVAILABLE "The data directory cannot be used",
    /// The disk of the data directory or of the state directory is full.
    NoSpace = "no_space" INSUFFICIENT_STORAGE "The disk is full",
}

#[cfg(test)]
mod tests {
    use super::Code;
    use std::collections::HashSet;

    #[test]
    fn no_two_codes_share_a_text() {
        let texts: HashSet<&str> = Code::ALL.iter().map(|code| code.text()).collect();
        assert_eq!(texts.len(), Code::ALL.len());
    }
}

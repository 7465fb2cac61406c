//! What an error says about Redis, and what the operator can do about it.

use crate::registry::RegistryError;
use deadpool::managed::{PoolError, TimeoutType};
use redis::{ErrorKind, RedisError, ServerErrorKind};

/// What an error says about Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It cannot be reached, or serves nobody yet.
    Gone,
    /// Another server has taken over.
    Elsewhere,
    /// It answers, but refuses for now (memory, permission).
    Refused,
    /// It answers something that this version cannot read.
    Unreadable,
}

/// How Redis says that a script may not do something; its error code is the general one in some versions.
const SCRIPT_DENIED: [&str; 2] = ["The user executing the script can't", "ACL failure in script"];

pub(super) fn fault(error: &RedisError) -> Fault {
    match error.kind() {
        ErrorKind::Io | ErrorKind::AuthenticationFailed | ErrorKind::ClusterConnectionNotFound => Fault::Gone,
        ErrorKind::Server(kind) => match kind {
            ServerErrorKind::BusyLoading | ServerErrorKind::ClusterDown => Fault::Gone,
            ServerErrorKind::ReadOnly
            | ServerErrorKind::MasterDown
            | ServerErrorKind::Moved
            | ServerErrorKind::Ask
            | ServerErrorKind::TryAgain => Fault::Elsewhere,
            ServerErrorKind::NoPerm => Fault::Refused,
            // Redis says some of its own states with the general code.
            _ if is_anonymous(error) => Fault::Gone,
            _ if is_denied(error) => Fault::Refused,
            _ => Fault::Unreadable,
        },
        ErrorKind::Extension => match error.code() {
            // A blocked WAIT is broken off when its server is demoted.
            Some("UNBLOCKED") => Fault::Elsewhere,
            Some("NOAUTH" | "WRONGPASS") => Fault::Gone,
            Some("OOM" | "MISCONF" | "BUSY" | "NOREPLICAS") => Fault::Refused,
            _ => Fault::Unreadable,
        },
        _ => Fault::Unreadable,
    }
}

/// A large command is refused before Redis looks at its name, with other words than NOAUTH.
fn is_anonymous(error: &RedisError) -> bool {
    error.detail().is_some_and(|text| text.contains("unauthenticated"))
}

fn is_denied(error: &RedisError) -> bool {
    error.detail().is_some_and(|text| SCRIPT_DENIED.iter().any(|denied| text.contains(denied)))
}

pub(super) fn registry_error(error: &RedisError) -> RegistryError {
    match fault(error) {
        Fault::Gone | Fault::Elsewhere | Fault::Refused => RegistryError::Unavailable(explain(error)),
        Fault::Unreadable => RegistryError::Corrupt(error.to_string()),
    }
}

/// What happened and, where it is the operator's to change, what to do. Redis never repeats a password.
fn explain(error: &RedisError) -> String {
    let text = error.to_string();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let advice = if says(&["WRONGPASS"]) || error.kind() == ErrorKind::AuthenticationFailed {
        "check the user name and the password in registry.redis_url, redis_username and redis_password"
    } else if says(&["NOAUTH", "unauthenticated"]) {
        "it asks for a password: set registry.redis_username and redis_password_file"
    } else if error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) || is_denied(error) || says(&["NOPERM"]) {
        "its user may not do what the registry needs: the README has the ACL line under Redis"
    } else if says(&["invalid peer certificate"]) {
        "its certificate is not trusted for this name: check registry.redis_ca_file and the host name"
    } else if says(&["CertificateRequired", "certificate required", "HandshakeFailure", "UnknownCA", "DecryptError"]) {
        "it does not take our certificate: set registry.redis_client_certificate and redis_client_key"
    } else if says(&["OOM "]) {
        "its memory is full: raise maxmemory"
    } else if says(&["cluster support disabled"]) {
        "it is no Cluster: set registry.redis_url instead of redis_cluster_nodes"
    } else {
        return text;
    };
    format!("{text}; {advice}")
}

pub(super) fn means_gone(error: &PoolError<RedisError>) -> bool {
    // Waiting in vain for a free connection means load, not an outage: those who hold the connections find that out.
    match error {
        PoolError::Timeout(kind) => !matches!(kind, TimeoutType::Wait),
        PoolError::Backend(_) => true,
        _ => false,
    }
}

pub(super) fn pool_error(error: PoolError<RedisError>) -> RegistryError {
    match error {
        PoolError::Timeout(TimeoutType::Wait) => unavailable("every connection to Redis is in use"),
        PoolError::Timeout(_) => unavailable("Redis does not accept a connection in time"),
        // Whatever goes wrong while connecting says nothing about what is stored.
        PoolError::Backend(error) => RegistryError::Unavailable(explain(&error)),
        PoolError::Closed => unavailable("it is closed"),
        other => RegistryError::Unavailable(other.to_string()),
    }
}

pub(super) fn unavailable(reason: &str) -> RegistryError {
    RegistryError::Unavailable(reason.to_owned())
}

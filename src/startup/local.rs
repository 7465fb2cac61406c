//! Local admin access of the service that starts: where it is recorded, and what requests have to show.

use crate::{api::AdminAccess, ops::LocalAccess, settings::Settings};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The address by which a client on this machine reaches a service that listens on `address`.
#[must_use]
pub fn local_url(address: SocketAddr, tls: bool) -> String {
    let scheme = if tls { "https" } else { "http" };
    let host = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("{scheme}://{}", SocketAddr::new(host, address.port()))
}

/// Writes address and token into the state directory. `None`, with a line in the log, where they cannot be written, on a full disk for
/// example: the service then serves everything else, and administrative requests with the admin token.
pub(super) fn issue(settings: &Settings, address: SocketAddr, tls: bool) -> Option<LocalAccess> {
    let url = format!("{}{}", local_url(address, tls), settings.server.base_path.trim_end_matches('/'));
    match LocalAccess::issue(&settings.state.path, &url) {
        Ok(access) => {
            tracing::info!(file = %access.token_file().display(), "administrative requests need the token in this file, or the admin token");
            Some(access)
        }
        Err(error) => {
            tracing::warn!(%error, "there is no local admin token: commands on this machine need ARK_ADMIN_TOKEN");
            None
        }
    }
}

/// What administrative requests have to show.
pub(super) fn access(settings: &Settings, local: Option<&LocalAccess>) -> AdminAccess {
    let admin = settings.admin.token.as_ref();
    let trust_loopback = settings.server.trust_loopback;
    AdminAccess::new(admin, local.map(LocalAccess::token), &settings.state.path, trust_loopback)
}

#[cfg(test)]
mod tests {
    use super::local_url;

    #[test]
    fn address_is_one_that_a_client_here_can_use() {
        assert_eq!(local_url("0.0.0.0:9001".parse().unwrap(), false), "http://127.0.0.1:9001");
        assert_eq!(local_url("[::]:9001".parse().unwrap(), false), "http://[::1]:9001");
        assert_eq!(local_url("10.0.0.5:443".parse().unwrap(), true), "https://10.0.0.5:443");
    }
}

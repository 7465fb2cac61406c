//! The ports of the service: the main one, whose address is recorded and announced, and those of `server.also_listen`.

use super::StartupError;
use crate::settings::Settings;
use std::{
    io,
    net::{SocketAddr, TcpListener, ToSocketAddrs},
    time::Duration,
};
use tokio::net::TcpSocket;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 4096;

/// Binds the main port of the settings.
///
/// # Errors
/// [`StartupError::Listen`].
pub fn listen(settings: &Settings) -> Result<TcpListener, StartupError> {
    bind(settings, (&settings.server.host, settings.server.port), false)
}

/// Binds every port of `server.also_listen`, or none.
///
/// # Errors
/// [`StartupError::Listen`] with the first that is not free, [`StartupError::Settings`].
pub fn listen_further(settings: &Settings) -> Result<Vec<TcpListener>, StartupError> {
    let mut bound = Vec::new();
    for (host, port) in settings.further_listeners()? {
        bound.push(bind(settings, (&host, port), true)?);
    }
    Ok(bound)
}

/// Binds a port of the first address of `host` that is this machine's.
///
/// # Errors
/// [`StartupError::Listen`].
fn bind(settings: &Settings, (host, port): (&str, u16), is_further: bool) -> Result<TcpListener, StartupError> {
    let failed = |error: io::Error| StartupError::Listen { is_further, address: format!("{host}:{port}"), error };
    let mut refusal = io::Error::other("the name has no address");
    for address in (host, port).to_socket_addrs().map_err(failed)? {
        match listen_on(address, settings.server.write_timeout.get()) {
            Ok(listener) => return Ok(listener),
            Err(error) => refusal = error,
        }
    }
    Err(failed(refusal))
}

/// The addresses of `server.host`.
///
/// # Errors
/// [`StartupError::Listen`].
pub(super) fn resolve(settings: &Settings) -> Result<Vec<SocketAddr>, StartupError> {
    let (host, port) = (settings.server.host.as_str(), settings.server.port);
    let failed =
        |error: io::Error| StartupError::Listen { is_further: false, address: format!("{host}:{port}"), error };
    Ok((host, port).to_socket_addrs().map_err(failed)?.collect())
}

/// Why an address cannot be listened on, for people.
pub(super) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another program has it".to_owned(),
        io::ErrorKind::AddrNotAvailable => "it is no address of this machine".to_owned(),
        io::ErrorKind::PermissionDenied => "this user may not listen on ports below 1024".to_owned(),
        // What a look-up of a name answers has no code.
        _ if error.raw_os_error().is_none() => "the host name has no address".to_owned(),
        _ => error.to_string(),
    }
}

/// As `TcpListener::bind` does, which lets only 128 connections wait.
fn listen_on(address: SocketAddr, write_timeout: Duration) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    // Each connection inherits it. The server asks for no more of an answer while nobody takes what it has, so it would never
    // notice by itself, and hold the connection and its batch for ever.
    #[cfg(target_os = "linux")]
    socket2::SockRef::from(&socket).set_tcp_user_timeout(Some(write_timeout))?;
    #[cfg(not(target_os = "linux"))]
    let _nothing_to_set_it_with = write_timeout;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[tokio::test]
    async fn a_crowd_may_wait_to_be_accepted() {
        // The machine's own bound comes first.
        let bound = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap_or_default();
        if bound.trim().parse::<u32>().is_ok_and(|bound| bound < 256) {
            return;
        }
        let mut settings = Settings::default();
        settings.server.port = 0;
        let listener = listen(&settings).unwrap();
        let address = listener.local_addr().unwrap();
        // Nobody accepts: without room the machine would not answer the last of them.
        let connect = |_| TcpStream::connect_timeout(&address, Duration::from_millis(900)).map(drop);
        assert!((0..200).map(connect).all(|connected| connected.is_ok()));
    }
}

//! Whether a request comes directly from a program of this machine. It counts only with `server.trust_loopback`: a TCP forwarder and a
//! proxy that adds no header cannot be told from a program of this machine.

use super::Edge;
use actix_web::{
    dev::RequestHead,
    http::{
        Version,
        header::{HOST, HeaderMap, HeaderName, ORIGIN},
        uri::Authority,
    },
};
use std::{net::IpAddr, str::FromStr};

/// Who forwards says so with one of these, or with one that begins with `x-forwarded`.
const FORWARDED: &[&str] = &[
    "forwarded",
    "via",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "cdn-loop",
];
static SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Why a request does not come straight from a program of this machine; `None`: it does.
#[must_use]
pub fn indirect(head: &RequestHead, edge: &Edge) -> Option<&'static str> {
    let peer = head.peer_addr.map(|peer| peer.ip().to_canonical());
    let Some(peer) = peer.filter(IpAddr::is_loopback) else { return Some("it comes from another machine") };
    if edge.proxies.contains(peer) || is_forwarded(&head.headers) {
        return Some("it comes through a proxy");
    }
    // nginx forwards with HTTP/1.0 and no header unless it is told otherwise; programs of today speak 1.1.
    if head.version < Version::HTTP_11 {
        return Some("it speaks HTTP/1.0, as proxies do");
    }
    let mut hosts = head.headers.get_all(HOST).map(|host| host.to_str().ok());
    let (host, more) = (hosts.next().flatten(), hosts.next());
    let Some(host) = host.filter(|host| more.is_none() && is_loopback(host)) else {
        // A name that an attacker points at 127.0.0.1 makes his page the same origin as we are (DNS rebinding); the Host stays his.
        return Some("its Host is neither localhost nor a loopback address");
    };
    if head.uri.authority().is_some_and(|authority| !is_loopback(authority.as_str())) {
        return Some("its target is another host");
    }
    let scheme = if edge.tls { "https" } else { "http" };
    let foreign = |origin: &str| !origin.eq_ignore_ascii_case(&format!("{scheme}://{host}"));
    if head.headers.get_all(ORIGIN).any(|origin| origin.to_str().map_or(true, foreign)) {
        return Some("it comes from a web page of another origin");
    }
    // Also for requests with which browsers send no Origin. `none`: the user typed the address.
    let crossed = |site: &str| !matches!(site, "same-origin" | "none");
    if head.headers.get_all(&SEC_FETCH_SITE).any(|site| site.to_str().map_or(true, crossed)) {
        return Some("it comes from a web page of another site");
    }
    None
}

/// Does somebody say that he forwards it?
#[must_use]
pub fn is_forwarded(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with("x-forwarded") || FORWARDED.contains(&name.as_str()))
}

/// `localhost`, `127.0.0.0/8` or `[::1]`, with or without a port.
fn is_loopback(host: &str) -> bool {
    let Ok(authority) = Authority::from_str(host) else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    !host.contains('@')
        && (name.eq_ignore_ascii_case("localhost")
            || name.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        settings::ProxyHeaders,
        types::{BasePath, ProxyNetworks},
    };
    use actix_web::test::TestRequest;

    fn edge(proxies: &[&str]) -> Edge {
        Edge {
            proxies: ProxyNetworks::parse(proxies.iter().copied()).unwrap(),
            headers: ProxyHeaders::XForwarded,
            base_path: BasePath::default(),
            tls: false,
            hsts: None,
        }
    }

    fn asked(peer: &str, headers: &[(&'static str, &str)], edge: &Edge) -> Option<&'static str> {
        let mut request = TestRequest::post().uri("/api/federation/stop").peer_addr(peer.parse().unwrap());
        for (name, value) in headers {
            request = request.append_header((*name, *value));
        }
        let request = request.to_http_request();
        indirect(request.head(), edge)
    }

    #[test]
    fn programs_of_this_machine_come_straight() {
        for (peer, host) in [
            ("127.0.0.1:5000", "localhost"),
            ("127.0.0.1:5000", "LocalHost:9001"),
            ("127.9.9.9:5000", "127.0.0.1:9001"),
            ("[::1]:5000", "[::1]:9001"),
            ("[::ffff:127.0.0.1]:5000", "localhost:9001"),
        ] {
            assert_eq!(asked(peer, &[("host", host)], &edge(&[])), None, "{peer} {host}");
            let page = format!("http://{host}");
            let same = [("host", host), ("origin", page.as_str()), ("sec-fetch-site", "same-origin")];
            assert_eq!(asked(peer, &same, &edge(&["10.0.0.0/8"])), None, "{page}");
        }
    }

    #[test]
    fn everybody_else_does_not() {
        let local = ("host", "localhost:9001");
        for peer in ["192.168.1.7:5000", "[2001:db8::1]:5000", "[::ffff:10.0.0.1]:5000"] {
            assert_eq!(asked(peer, &[local], &edge(&[])), Some("it comes from another machine"), "{peer}");
        }
        assert_eq!(asked("127.0.0.1:1", &[local], &edge(&["127.0.0.1"])), Some("it comes through a proxy"));
        for name in ["x-forwarded-for", "x-forwarded-server", "forwarded", "x-real-ip", "via", "cf-connecting-ip"] {
            assert_eq!(asked("127.0.0.1:1", &[local, (name, "")], &edge(&[])), Some("it comes through a proxy"));
        }
        for host in ["attacker.example", "localhost.attacker.example", "192.168.1.7", "localhost@evil", "", "0.0.0.0"] {
            let reason = asked("127.0.0.1:1", &[("host", host)], &edge(&[]));
            assert_eq!(reason, Some("its Host is neither localhost nor a loopback address"), "{host:?}");
        }
        assert!(asked("127.0.0.1:1", &[local, ("host", "localhost")], &edge(&[])).is_some(), "two hosts are none");
        for origin in
            ["http://evil.example", "null", "http://localhost:3000", "https://localhost:9001", "http://127.0.0.1:9001"]
        {
            let reason = asked("127.0.0.1:1", &[local, ("origin", origin)], &edge(&[]));
            assert_eq!(reason, Some("it comes from a web page of another origin"), "{origin}");
        }
        for site in ["cross-site", "same-site"] {
            let reason = asked("127.0.0.1:1", &[local, ("sec-fetch-site", site)], &edge(&[]));
            assert_eq!(reason, Some("it comes from a web page of another site"), "{site}");
        }
        let old = TestRequest::get().version(Version::HTTP_10).peer_addr("127.0.0.1:1".parse().unwrap());
        let old = old.insert_header(local).to_http_request();
        assert_eq!(indirect(old.head(), &edge(&[])), Some("it speaks HTTP/1.0, as proxies do"));
    }
}

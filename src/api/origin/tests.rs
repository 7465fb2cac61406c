use super::*;
use actix_web::{http::header::HeaderValue, test::TestRequest};
use proptest::prelude::*;

const PROXY: &str = "10.0.0.1";
const STRANGER: &str = "198.51.100.1";

fn edge(headers: ProxyHeaders) -> Edge {
    Edge {
        proxies: ProxyNetworks::parse(["10.0.0.0/8", "fd00::/8"]).unwrap(),
        headers,
        base_path: BasePath::default(),
        tls: false,
        hsts: None,
    }
}

fn origin_at(edge: &Edge, peer: &str, lines: &[(&'static str, &[u8])]) -> RequestOrigin {
    let mut request = TestRequest::get().peer_addr(std::net::SocketAddr::new(peer.parse().unwrap(), 4711));
    for (name, value) in lines {
        request = request.append_header((*name, HeaderValue::from_bytes(value).unwrap()));
    }
    RequestOrigin::of(request.to_srv_request().head(), edge)
}

fn x_forwarded(peer: &str, lines: &[(&'static str, &str)]) -> RequestOrigin {
    let lines: Vec<_> = lines.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
    origin_at(&edge(ProxyHeaders::XForwarded), peer, &lines)
}

fn forwarded(lines: &[&str]) -> RequestOrigin {
    let lines: Vec<_> = lines.iter().map(|value| ("forwarded", value.as_bytes())).collect();
    origin_at(&edge(ProxyHeaders::Forwarded), PROXY, &lines)
}

fn ip(text: &str) -> Option<IpAddr> {
    Some(text.parse().unwrap())
}

#[test]
fn the_client_is_the_first_from_the_right_that_is_no_proxy_of_ours() {
    for (lines, client) in [
        (&["203.0.113.7"][..], "203.0.113.7"),
        (&["1.1.1.1, 203.0.113.7"], "203.0.113.7"),
        (&["203.0.113.7, 10.0.0.2"], "203.0.113.7"),
        (&["1.1.1.1, 203.0.113.7,10.0.0.3 , 10.0.0.2"], "203.0.113.7"),
        (&["1.1.1.1", "203.0.113.7", "10.0.0.2"], "203.0.113.7"),
        (&["2001:db8::1"], "2001:db8::1"),
        (&["[2001:db8::1]"], "2001:db8::1"),
        (&["[2001:db8::1]:4711"], "2001:db8::1"),
        (&["203.0.113.7:51234"], "203.0.113.7"),
        (&["::ffff:203.0.113.7"], "203.0.113.7"),
        (&["203.0.113.7, fd00::2, ::ffff:10.0.0.9"], "203.0.113.7"),
        // All of them are ours: the farthest.
        (&["10.0.0.4, 10.0.0.2"], "10.0.0.4"),
        // Nothing is said, or what cannot be read: the last that had a proxy's word.
        (&[], PROXY),
        (&[""], PROXY),
        (&["unknown"], PROXY),
        (&["203.0.113.7, unknown"], PROXY),
        (&["203.0.113.7, _hidden, 10.0.0.2"], "10.0.0.2"),
        (&["203.0.113.7, 999.1.1.1, 10.0.0.2"], "10.0.0.2"),
        (&["203.0.113.7:notaport"], PROXY),
        (&["203.0.113.7,, ,"], "203.0.113.7"),
    ] {
        let lines: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
        assert_eq!(x_forwarded(PROXY, &lines).client, ip(client), "{lines:?}");
        assert_eq!(x_forwarded(STRANGER, &lines).client, ip(STRANGER), "{lines:?}");
    }
    assert_eq!(x_forwarded("::ffff:10.0.0.1", &[("x-forwarded-for", "203.0.113.7")]).client, ip("203.0.113.7"));
}

#[test]
fn rfc_7239_is_read_as_it_is_written() {
    for (lines, client, scheme, host) in [
        (&["for=203.0.113.7"][..], "203.0.113.7", "http", None),
        (&["For=\"[2001:db8:cafe::17]:4711\""], "2001:db8:cafe::17", "http", None),
        (
            &["for=203.0.113.7;proto=https;by=10.0.0.1;host=ark.example:8443"],
            "203.0.113.7",
            "https",
            Some("ark.example:8443"),
        ),
        (&["FOR=203.0.113.7 ; Proto=HTTPS;"], "203.0.113.7", "https", None),
        (&["for=1.1.1.1, for=203.0.113.7;proto=https, for=10.0.0.2;proto=http"], "203.0.113.7", "https", None),
        (&["for=203.0.113.7;proto=https", "for=10.0.0.2"], "203.0.113.7", "https", None),
        // The nearest proxy's word counts where those before it are silent.
        (&["for=203.0.113.7, for=10.0.0.2;host=ark.example"], "203.0.113.7", "http", Some("ark.example")),
        (&["for=203.0.113.7;host=\"ark.example\";ext=\"a,b;c=\\\"d\\\"\""], "203.0.113.7", "http", Some("ark.example")),
        (&["for=\"203.0.113.7:_port\""], "203.0.113.7", "http", None),
        (&["for=unknown;proto=https"], PROXY, "https", None),
        (&["for=203.0.113.7, for=_hidden, for=10.0.0.2"], "10.0.0.2", "http", None),
        (&["for=203.0.113.7, for=_SEVKISEK;proto=https"], PROXY, "https", None),
        (&["proto=https"], PROXY, "https", None),
        (&["for=203.0.113.7;for=1.1.1.1"], PROXY, "http", None),
        (&["for=\"203.0.113.7"], PROXY, "http", None),
        (&["for=203.0.113.7 proto=https"], PROXY, "http", None),
        (&["=;=;\",\"", ";;;,,,"], PROXY, "http", None),
        // What a client opened does not swallow what our proxy added.
        (&["for=\"1.1.1.1, for=203.0.113.7"], "203.0.113.7", "http", None),
        (&["x=\", for=\"[2001:db8::1]:80\";proto=https"], "2001:db8::1", "https", None),
    ] {
        let origin = forwarded(lines);
        assert_eq!(
            (origin.client, origin.scheme.as_str(), origin.host.as_deref()),
            (ip(client), scheme, host),
            "{lines:?}"
        );
    }
}

#[test]
fn only_the_kind_that_our_proxies_write_is_read() {
    let both: &[(&str, &[u8])] = &[("x-forwarded-for", b"203.0.113.7"), ("forwarded", b"for=203.0.113.8")];
    assert_eq!(origin_at(&edge(ProxyHeaders::XForwarded), PROXY, both).client, ip("203.0.113.7"));
    assert_eq!(origin_at(&edge(ProxyHeaders::Forwarded), PROXY, both).client, ip("203.0.113.8"));
    assert_eq!(origin_at(&edge(ProxyHeaders::XForwarded), PROXY, &both[1..]).client, ip(PROXY));
}

#[test]
fn scheme_and_host_have_a_proxys_word_or_are_the_connections_own() {
    let said = [("host", "inner:9001"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "ark.example")];
    let origin = x_forwarded(PROXY, &said);
    assert_eq!((origin.scheme, origin.host.as_deref()), (Scheme::Https, Some("ark.example")));
    let origin = x_forwarded(STRANGER, &said);
    assert_eq!((origin.scheme, origin.host.as_deref()), (Scheme::Http, Some("inner:9001")));
    // A value of the client's own, to which each of two proxies appended.
    let chain = [
        ("x-forwarded-for", "1.1.1.1, 203.0.113.7, 10.0.0.2"),
        ("x-forwarded-proto", "ftp, https, http"),
        ("x-forwarded-host", "evil.example, ark.example, inner"),
    ];
    let origin = x_forwarded(PROXY, &chain);
    assert_eq!((origin.scheme, origin.host.as_deref()), (Scheme::Https, Some("ark.example")));
    // Garbage is passed over.
    let garbage = [("host", "inner"), ("x-forwarded-proto", "gopher"), ("x-forwarded-host", "user@evil/../x")];
    let origin = x_forwarded(PROXY, &garbage);
    assert_eq!((origin.scheme, origin.host.as_deref()), (Scheme::Http, Some("inner")));
    let tls = Edge { tls: true, ..edge(ProxyHeaders::XForwarded) };
    assert_eq!(origin_at(&tls, STRANGER, &[]).scheme, Scheme::Https);
}

#[test]
fn the_prefix_is_what_the_proxies_stripped_and_our_own() {
    let with = |base: &str, peer: &str, lines: &[&str]| {
        let edge = Edge { base_path: BasePath::parse(base).unwrap(), ..edge(ProxyHeaders::XForwarded) };
        let lines: Vec<_> = lines.iter().map(|line| ("x-forwarded-prefix", line.as_bytes())).collect();
        origin_at(&edge, peer, &lines).prefix.as_str().to_owned()
    };
    assert_eq!(with("", PROXY, &["/ark"]), "/ark");
    assert_eq!(with("", PROXY, &["/ark/"]), "/ark");
    assert_eq!(with("", PROXY, &["/outer, /ark"]), "/outer/ark");
    assert_eq!(with("", PROXY, &["/outer", "/ark"]), "/outer/ark");
    assert_eq!(with("/ark", PROXY, &["/outer"]), "/outer/ark");
    assert_eq!(with("/ark", PROXY, &["/ark"]), "/ark");
    for nothing in [&[][..], &["/"], &["//evil.example"], &["https://evil.example"], &["/a\"><script>"], &["ark"]] {
        assert_eq!(with("/ark", PROXY, nothing), "/ark", "{nothing:?}");
    }
    assert_eq!(with("/ark", STRANGER, &["/outer"]), "/ark");
}

const NAMES: [&str; 6] =
    ["forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-prefix", "host"];

/// Mostly of the pieces that mean something, so that the parsers are led far in.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "for=",
            "proto=",
            "host=",
            "\"",
            "\\",
            ",",
            ";",
            "=",
            " ",
            "[",
            "]",
            ":",
            "10.0.0.2",
            "203.0.113.7",
            "[fd00::2]:80",
            "unknown",
            "_x",
            "https",
            "/ark",
            "\t",
            "é",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>().prop_filter("of a header", |b| *b >= 32 && *b != 127), 0..8),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn whatever_is_sent_a_stranger_is_who_he_is_and_nothing_panics(
        sent in prop::collection::vec((prop::sample::select(&NAMES[..5]), line()), 0..6),
    ) {
        let lines: Vec<_> = sent.iter().map(|(name, value)| (*name, value.as_slice())).collect();
        for kind in [ProxyHeaders::XForwarded, ProxyHeaders::Forwarded] {
            let alone = origin_at(&edge(kind), STRANGER, &[]);
            prop_assert_eq!(origin_at(&edge(kind), STRANGER, &lines), alone);
            let believed = origin_at(&edge(kind), PROXY, &lines);
            prop_assert!(believed.client.is_some());
            prop_assert!(BasePath::parse(believed.prefix.as_str()).is_ok());
        }
    }

    /// What a client sends before it cannot change what our proxy appends, whether as a list item or as a line.
    #[test]
    fn a_client_cannot_talk_our_proxy_down(sent in line(), own_line in any::<bool>()) {
        for (kind, name, added) in [
            (ProxyHeaders::XForwarded, "x-forwarded-for", &b"203.0.113.7"[..]),
            (ProxyHeaders::Forwarded, "forwarded", b"for=\"203.0.113.7:80\";proto=https"),
        ] {
            let joined = [&sent, &b", "[..], added].concat();
            let lines: &[(&str, &[u8])] = if own_line { &[(name, &sent), (name, added)] } else { &[(name, &joined)] };
            // A line that is no text cannot be taken apart; a proxy that appends to it says nothing any more.
            if own_line || HeaderValue::from_bytes(&joined).unwrap().to_str().is_ok() {
                prop_assert_eq!(origin_at(&edge(kind), PROXY, lines).client, ip("203.0.113.7"));
            }
        }
    }
}

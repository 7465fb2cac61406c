//! One spelling of a peer's address, so that one server is one peer.

use reqwest::Url;

/// The address as peers are recorded: scheme and host in lower case, host names in ASCII, IP addresses in their usual form, no default
/// port, no slash at the end, no blanks around it. A text that is no address stays as it is: it is refused where it is used.
#[must_use]
pub fn peer_address(text: &str) -> String {
    let text = text.trim();
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => url.as_str().trim_end_matches('/').to_owned(),
        _ => text.trim_end_matches('/').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::peer_address;

    #[test]
    fn the_spellings_of_an_address_are_one() {
        for text in [
            "http://127.0.0.1:9782",
            "http://127.0.0.1:9782/",
            "http://127.0.0.1:9782//",
            "HTTP://127.0.0.1:9782",
            " http://127.0.0.1:9782 ",
            "http://127.1:9782",
            "http://2130706433:9782",
            "http://0x7f.0.0.1:9782",
            "http://127.0.0.1:09782",
        ] {
            assert_eq!(peer_address(text), "http://127.0.0.1:9782", "{text}");
        }
        for (text, address) in [
            ("https://Hub.Example:443/", "https://hub.example"),
            ("http://hub.example:80/Ark/", "http://hub.example/Ark"),
            ("http://[0:0:0:0:0:0:0:1]:9782", "http://[::1]:9782"),
            ("http://bücher.example", "http://xn--bcher-kva.example"),
            ("ftp://x/", "ftp://x"),
            ("host:9001", "host:9001"),
        ] {
            assert_eq!(peer_address(text), address, "{text}");
        }
    }
}

//! Which web pages may read from us in a browser.

/// Origins as browsers send them: scheme, host and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WebOrigins {
    /// Every page.
    Any,
    /// Pages of these, perhaps of none.
    Listed(Vec<String>),
}

impl Default for WebOrigins {
    fn default() -> Self {
        Self::Listed(Vec::new())
    }
}

impl WebOrigins {
    /// From texts such as `https://app.example` or `http://localhost:5173`, or from `*` alone.
    ///
    /// # Errors
    /// The text that is no origin, or that stands beside `*`.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let texts: Vec<&str> = texts.into_iter().map(str::trim).collect();
        if texts == ["*"] {
            return Ok(Self::Any);
        }
        let origin = |text: &&str| origin(text).ok_or_else(|| (*text).to_owned());
        texts.iter().map(origin).collect::<Result<_, _>>().map(Self::Listed)
    }

    /// Whether no page may.
    #[must_use]
    pub fn is_nobody(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a page of `origin`, as a browser sends it, may.
    #[must_use]
    pub fn contains(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(listed) => listed.iter().any(|known| known == origin),
        }
    }
}

/// As a browser writes it: in lower case and without the scheme's own port (RFC 6454 section 6.2).
fn origin(text: &str) -> Option<String> {
    let text = text.to_ascii_lowercase();
    let (scheme, authority) = text.split_once("://")?;
    let own_port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => "",
    };
    let authority = authority.strip_suffix(own_port).unwrap_or(authority);
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let in_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let in_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host_fits = match literal {
        Some(literal) => literal.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(in_host),
    };
    let scheme_fits = scheme.starts_with(|c: char| c.is_ascii_lowercase()) && scheme.bytes().all(in_scheme);
    let port_fits = port.is_none_or(|port| !port.starts_with(['0', '+']) && port.parse::<u16>().is_ok());
    (scheme_fits && host_fits && port_fits).then(|| format!("{scheme}://{authority}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_kept_as_a_browser_sends_it() {
        for (written, sent) in [
            ("https://app.example", "https://app.example"),
            (" HTTPS://App.Example ", "https://app.example"),
            ("https://app.example:443", "https://app.example"),
            ("http://localhost:5173", "http://localhost:5173"),
            ("http://localhost:443", "http://localhost:443"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("http://[::1]", "http://[::1]"),
            ("chrome-extension://abcdefgh", "chrome-extension://abcdefgh"),
        ] {
            let origins = WebOrigins::parse([written]).unwrap();
            assert!(origins.contains(sent), "{written}: {origins:?}");
            assert!(!origins.contains("https://evil.example") && !origins.contains("null"));
        }
        assert_eq!(WebOrigins::parse(["*"]), Ok(WebOrigins::Any));
        assert!(WebOrigins::parse([]).unwrap().is_nobody());
    }

    #[test]
    fn anything_else_is_named() {
        for bad in [
            "",
            "null",
            "app.example",
            "//app.example",
            "https://",
            "https://app.example/",
            "https://app.example/x",
            "https://*.example",
            "https://user@app.example",
            "https://app.example:0",
            "https://app.example:99999",
            "https://app.example:",
            "https://ä.example",
            "https://a b",
            "https://[::1",
            "*",
            "1http://x",
        ] {
            assert_eq!(WebOrigins::parse(["https://x.example", bad]).unwrap_err(), bad);
        }
    }
}

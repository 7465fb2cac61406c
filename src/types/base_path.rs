//! The prefix under which clients see the service.

/// Longer than any prefix that somebody means.
const MAX_BYTES: usize = 256;

/// A path such as `/ark` or `/tools/ark`, or nothing: segments of unreserved characters (RFC 3986 section 2.3), so that it can
/// stand in a link, a header and a page as it is, and never reads as another host (`//host`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BasePath(String);

/// What is wrong with a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BasePathError {
    /// The first character.
    #[error("begins with a slash, such as /ark")]
    NoSlash,
    /// The last character.
    #[error("ends without a slash, such as /ark")]
    TrailingSlash,
    /// An empty segment, `.` or `..`.
    #[error("has no empty segments, and none that is . or ..")]
    Segment,
    /// A character that would have to be encoded.
    #[error("holds letters, digits and - . _ ~ between its slashes only")]
    Character,
    /// Too long.
    #[error("has at most 256 characters")]
    Length,
}

impl BasePath {
    /// From text; the empty text is no prefix.
    ///
    /// # Errors
    /// [`BasePathError`].
    pub fn parse(text: &str) -> Result<Self, BasePathError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        if text.len() > MAX_BYTES {
            return Err(BasePathError::Length);
        }
        let Some(inner) = text.strip_prefix('/') else { return Err(BasePathError::NoSlash) };
        if text.ends_with('/') {
            return Err(BasePathError::TrailingSlash);
        }
        for segment in inner.split('/') {
            if matches!(segment, "" | "." | "..") {
                return Err(BasePathError::Segment);
            }
            if !segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)) {
                return Err(BasePathError::Character);
            }
        }
        Ok(Self(text.to_owned()))
    }

    /// The prefix, or nothing.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What `path` is under this prefix, with its slash: `None` where it is not under it.
    #[must_use]
    pub fn strip<'a>(&self, path: &'a str) -> Option<&'a str> {
        match path.strip_prefix(self.0.as_str())? {
            "" => Some("/"),
            rest => rest.starts_with('/').then_some(rest),
        }
    }

    /// `self` and then `inner`; `self` alone where it ends with `inner` already. `None` where that is too long.
    #[must_use]
    pub fn with(&self, inner: &Self) -> Option<Self> {
        if self.0.ends_with(inner.as_str()) {
            return Some(self.clone());
        }
        Self::parse(&format!("{}{}", self.0, inner.0)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_prefix_is_one() {
        for good in ["", "/ark", "/a/b", "/v1.0/ark-lattice_~x"] {
            assert_eq!(BasePath::parse(good).unwrap().as_str(), good);
        }
        for (bad, error) in [
            ("ark", BasePathError::NoSlash),
            ("/", BasePathError::TrailingSlash),
            ("/ark/", BasePathError::TrailingSlash),
            ("//ark", BasePathError::Segment),
            ("/a//b", BasePathError::Segment),
            ("/a/../b", BasePathError::Segment),
            ("/./b", BasePathError::Segment),
            ("/ä", BasePathError::Character),
            ("/a b", BasePathError::Character),
            ("/a%2Fb", BasePathError::Character),
            ("/a?b", BasePathError::Character),
            ("/\"><script>", BasePathError::Character),
        ] {
            assert_eq!(BasePath::parse(bad), Err(error), "{bad}");
        }
        assert_eq!(BasePath::parse(&format!("/{}", "a".repeat(256))), Err(BasePathError::Length));
    }

    #[test]
    fn a_path_is_under_the_prefix_or_not() {
        let ark = BasePath::parse("/ark").unwrap();
        for (path, inner) in [
            ("/ark", Some("/")),
            ("/ark/", Some("/")),
            ("/ark/nodes/x", Some("/nodes/x")),
            ("/ark//nodes", Some("//nodes")),
            ("/arkx", None),
            ("/nodes", None),
            ("/Ark/nodes", None),
            ("", None),
        ] {
            assert_eq!(ark.strip(path), inner, "{path}");
        }
        assert_eq!(BasePath::default().strip("/nodes"), Some("/nodes"));
    }

    #[test]
    fn prefixes_add_up_once() {
        let path = |text| BasePath::parse(text).unwrap();
        assert_eq!(path("/outer").with(&path("/ark")), Some(path("/outer/ark")));
        assert_eq!(path("/ark").with(&path("/ark")), Some(path("/ark")));
        assert_eq!(path("/ark").with(&path("")), Some(path("/ark")));
        assert_eq!(path("").with(&path("/ark")), Some(path("/ark")));
    }
}

//! One declaration gives a section's struct, its defaults, and its part of `config/default.toml`.

use super::Span;
use secrecy::SecretString;
use std::{fmt::Write, path::PathBuf};

/// How a default stands in TOML. `None`: there is no default, the key is written as a comment.
pub(super) trait TomlDefault {
    fn toml(&self) -> Option<String>;

    /// Which values there are, for people.
    fn expected() -> String;
}

macro_rules! toml_by_display {
    ($($type:ty: $expected:expr),*) => { $(impl TomlDefault for $type {
        fn toml(&self) -> Option<String> {
            Some(self.to_string())
        }

        fn expected() -> String {
            $expected
        }
    })* };
}
toml_by_display!(
    bool: "true or false".to_owned(),
    u16: up_to(u16::MAX.into()),
    u32: up_to(u32::MAX.into()),
    u64: up_to(u64::MAX),
    usize: up_to(u64::MAX)
);

fn up_to(greatest: u64) -> String {
    format!("a whole number from 0 to {greatest}")
}

fn quoted(text: &str) -> Option<String> {
    Some(toml::Value::from(text).to_string())
}

impl TomlDefault for String {
    fn toml(&self) -> Option<String> {
        quoted(self)
    }

    fn expected() -> String {
        "a text".to_owned()
    }
}

impl TomlDefault for PathBuf {
    fn toml(&self) -> Option<String> {
        quoted(&self.display().to_string())
    }

    fn expected() -> String {
        "a path".to_owned()
    }
}

impl TomlDefault for Span {
    fn toml(&self) -> Option<String> {
        quoted(&self.to_string())
    }

    fn expected() -> String {
        "a duration with its unit, such as 250ms, 90s, 5m or 2h".to_owned()
    }
}

impl TomlDefault for Option<Span> {
    fn toml(&self) -> Option<String> {
        self.as_ref().and_then(TomlDefault::toml)
    }

    fn expected() -> String {
        Span::expected()
    }
}

impl TomlDefault for Option<SecretString> {
    /// A secret has no default and is never repeated.
    fn toml(&self) -> Option<String> {
        self.as_ref().and_then(|_| quoted("(set)"))
    }

    fn expected() -> String {
        "a text".to_owned()
    }
}

impl TomlDefault for Option<String> {
    fn toml(&self) -> Option<String> {
        self.as_deref().and_then(quoted)
    }

    fn expected() -> String {
        String::expected()
    }
}

impl TomlDefault for Option<PathBuf> {
    fn toml(&self) -> Option<String> {
        self.as_ref().and_then(TomlDefault::toml)
    }

    fn expected() -> String {
        PathBuf::expected()
    }
}

impl<T: TomlDefault> TomlDefault for Vec<T> {
    fn toml(&self) -> Option<String> {
        let items: Vec<String> = self.iter().filter_map(TomlDefault::toml).collect();
        Some(format!("[{}]", items.join(", ")))
    }

    fn expected() -> String {
        format!("a list, each entry {}", T::expected())
    }
}

/// Writes one key with its documentation above it.
pub(super) fn write_key(out: &mut String, docs: &[&str], key: &str, default: Option<String>) {
    for doc in docs {
        let _infallible = writeln!(out, "#{doc}");
    }
    let _infallible = match default {
        Some(value) => writeln!(out, "{key} = {value}"),
        None => writeln!(out, "# {key} = \"\""),
    };
}

/// Declares a section: `section! { /// about Name "section" { /// about key: Type = default, … } }`.
macro_rules! section {
    ($(#[doc = $about:literal])* $name:ident $section:literal {
        $($(#[doc = $doc:literal])* $key:ident: $type:ty = $default:expr,)*
    }) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[doc = $doc])* pub $key: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($key: $default,)* }
            }
        }

        impl $name {
            /// The keys of this section.
            pub(super) fn keys() -> Vec<$crate::settings::values::Key> {
                vec![$($crate::settings::values::Key::of::<$type>(concat!($section, ".", stringify!($key))),)*]
            }

            /// Appends this section with the values that hold.
            pub(super) fn show(&self, out: &mut String) {
                out.push_str(concat!("[", $section, "]\n"));
                $($crate::settings::section::write_key(
                    out,
                    &[],
                    stringify!($key),
                    $crate::settings::section::TomlDefault::toml(&self.$key),
                );)*
                out.push('\n');
            }

            /// Appends this section of `config/default.toml`.
            pub(super) fn describe(out: &mut String) {
                let defaults = Self::default();
                $(out.push('#'); out.push_str($about); out.push('\n');)*
                out.push_str(concat!("[", $section, "]\n"));
                $($crate::settings::section::write_key(
                    out,
                    &[$($doc),*],
                    stringify!($key),
                    $crate::settings::section::TomlDefault::toml(&defaults.$key),
                );)*
                out.push('\n');
            }
        }
    };
}

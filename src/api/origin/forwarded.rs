//! `Forwarded` (RFC 7239), and how it and `X-Forwarded-For` write an address.

use std::{
    borrow::Cow,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// What one proxy says of the hop before it. A part that cannot be read is not there.
#[derive(Debug, Default)]
pub(super) struct Hop<'a> {
    pub(super) address: Option<IpAddr>,
    pub(super) scheme: Option<Cow<'a, str>>,
    pub(super) host: Option<Cow<'a, str>>,
}

/// An IP address with or without brackets and port. `None`: `unknown`, an obfuscated name (`_hidden`), or garbage.
pub(super) fn address(text: &str) -> Option<IpAddr> {
    if let Some(rest) = text.strip_prefix('[') {
        let (inner, after) = rest.split_once(']')?;
        let bare = after.is_empty() || after.strip_prefix(':').is_some_and(is_port);
        return bare.then(|| inner.parse::<Ipv6Addr>().ok()).flatten().map(|ip| IpAddr::V6(ip).to_canonical());
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(ip.to_canonical());
    }
    let (ip, port) = text.split_once(':')?;
    is_port(port).then(|| ip.parse::<Ipv4Addr>().ok()).flatten().map(IpAddr::V4)
}

/// RFC 7239 section 6: digits, or an obfuscated port.
fn is_port(text: &str) -> bool {
    let digits = (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    digits || (text.len() > 1 && text.starts_with('_'))
}

/// The hops of the header's lines, both the last first. Lazily: what stands before the last believable hop is not looked at.
pub(super) fn hops<'a>(lines: impl Iterator<Item = &'a str>) -> impl Iterator<Item = Hop<'a>> {
    lines.flat_map(elements).map(str::trim).filter(|element| !element.is_empty()).map(hop)
}

/// Splits at the commas outside quotes, from the end: what a client left open at the beginning must not swallow what our proxy
/// wrote behind it.
fn elements(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let line = rest?;
        let bytes = line.as_bytes();
        let mut quoted = false;
        let comma = (0..bytes.len()).rev().find(|at| {
            let byte = bytes.get(*at).copied();
            if byte == Some(b'"') && !is_escaped(bytes.get(..*at).unwrap_or_default()) {
                quoted = !quoted;
            }
            byte == Some(b',') && !quoted
        });
        let (before, element) = match comma.and_then(|at| line.split_at_checked(at)) {
            Some((before, element)) => (Some(before), element.strip_prefix(',').unwrap_or(element)),
            None => (None, line),
        };
        rest = before;
        Some(element)
    })
}

fn is_escaped(before: &[u8]) -> bool {
    before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// One element: `name=value` pairs between semicolons. One that is not well-formed says nothing at all.
fn hop(element: &str) -> Hop<'_> {
    read(element).unwrap_or_default()
}

fn read(element: &str) -> Option<Hop<'_>> {
    let (mut hop, mut node) = (Hop::default(), None);
    let mut rest = element.trim();
    while !rest.is_empty() {
        if let Some(next) = rest.strip_prefix(';') {
            rest = next.trim_start();
            continue;
        }
        let (name, after) = rest.split_once('=')?;
        let (value, after) = value(after)?;
        let mut unread = None;
        let slot = match name.to_ascii_lowercase().as_str() {
            "for" => &mut node,
            "proto" => &mut hop.scheme,
            "host" => &mut hop.host,
            _ => &mut unread,
        };
        // Twice the same parameter is not well-formed (section 4).
        if slot.replace(value).is_some() {
            return None;
        }
        rest = after.trim_start();
        if !rest.is_empty() && !rest.starts_with(';') {
            return None;
        }
    }
    hop.address = node.and_then(|node| address(&node));
    Some(hop)
}

/// A token or a quoted string at the beginning, and what follows it.
fn value(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([';', ' ', '\t', '"', '=', ',']).unwrap_or(text.len());
        let (token, after) = text.split_at_checked(end)?;
        return (!token.is_empty()).then_some((Cow::Borrowed(token), after));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((Cow::Owned(value), quoted.get(at.saturating_add(1)..)?)),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

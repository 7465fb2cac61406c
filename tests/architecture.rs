//! Keeps the shape of the source: who imports whom (the table in ARCHITECTURE.md is read, there is no second copy), how long
//! files and handlers may be, and a few things that must not occur at all.
//!
//! The check is textual: comments, texts and test code are blanked out, then every path is resolved as the compiler would
//! (`crate`, `self`, `super`, child modules, names that a `use` brought in). Macros are not expanded.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed check ends the test with a message"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

const MAX_FILE_LINES: usize = 600;
const MAX_HANDLER_LINES: usize = 30;
const MAX_MAIN_LINES: usize = 49;
const SECTION: &str = "## Who may import whom";

// --- The rules, from ARCHITECTURE.md ----------------------------------------------------------------------------------------

/// One row of the table.
#[derive(Debug)]
struct Room {
    /// `types`, `registry/mod`, or with `/*` for what no other row names. The first stands for the room.
    names: Vec<String>,
    /// Indices of rooms; `None` for "everything".
    may_import: Option<BTreeSet<usize>>,
    /// Paths that must not occur, e.g. `std::fs`.
    never_names: Vec<Vec<String>>,
}

struct Rules(Vec<Room>);

impl Rules {
    fn parse(document: &str) -> Self {
        let section = document.split_once(SECTION).expect("ARCHITECTURE.md has the section").1;
        let section = section.split_once("\n## ").map_or(section, |(before, _)| before);
        let rows: Vec<Vec<&str>> = section
            .lines()
            .filter(|line| line.starts_with('|'))
            .skip(2)
            .map(|line| line.trim().trim_matches('|').split('|').map(str::trim).collect())
            .collect();
        assert!(rows.iter().all(|row| row.len() == 3), "each row of the table has three columns: {rows:?}");
        let quoted = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
        let names: Vec<Vec<String>> = rows.iter().map(|row| quoted(row[0])).collect();
        let of_name = |name: &String| {
            let found = names.iter().position(|room| room.contains(name));
            found.unwrap_or_else(|| panic!("the table allows an import of `{name}`, but has no such room"))
        };
        let rooms = rows.iter().zip(&names).map(|(row, names)| {
            assert!(!names.is_empty(), "a row names no room: {row:?}");
            let targets = quoted(row[1]);
            assert!(!targets.is_empty() || ["nothing", "everything"].contains(&row[1]), "may import what? {row:?}");
            Room {
                names: names.clone(),
                may_import: (row[1] != "everything").then(|| targets.iter().map(of_name).collect()),
                never_names: quoted(row[2]).iter().map(|path| segments(path)).collect(),
            }
        });
        let rooms: Vec<Room> = rooms.collect();
        assert!(rooms.len() > 10, "the table was not found where it is expected");
        Self(rooms)
    }

    /// The room of a file such as `registry/redis.rs`: the row with the longest name that fits.
    fn room_of(&self, file: &str) -> Option<usize> {
        let stem = file.strip_suffix(".rs").unwrap_or(file);
        let fits = |name: &str| {
            let (name, within) = name.strip_suffix("/*").map_or((name, false), |name| (name, true));
            let below = stem.strip_prefix(name).is_some_and(|rest| rest.starts_with('/'));
            (below || (stem == name && !within)).then_some(name.len())
        };
        let fitting = self.0.iter().enumerate().filter_map(|(at, room)| {
            let best = room.names.iter().filter_map(|name| fits(name)).max()?;
            Some((best, at))
        });
        fitting.max().map(|(_, at)| at)
    }

    fn name(&self, room: usize) -> &str {
        &self.0[room].names[0]
    }
}

fn segments(path: &str) -> Vec<String> {
    path.split("::").map(str::to_owned).collect()
}

// --- Reading source ---------------------------------------------------------------------------------------------------------

/// Blanks out comments and the insides of texts and characters; lines stay where they are.
fn strip(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let at = |index: usize| chars.get(index).copied().unwrap_or('\0');
    let mut out = String::with_capacity(source.len());
    let mut index = 0;
    let blank = |out: &mut String, from: usize, to: usize| {
        out.extend(chars[from..to.min(chars.len())].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
    };
    while index < chars.len() {
        let start = index;
        let before_is_word = start > 0 && (at(start - 1).is_alphanumeric() || at(start - 1) == '_');
        if at(index) == '/' && at(index + 1) == '/' {
            while index < chars.len() && at(index) != '\n' {
                index += 1;
            }
        } else if at(index) == '/' && at(index + 1) == '*' {
            let mut depth = 0;
            loop {
                match (at(index), at(index + 1)) {
                    ('/', '*') => (depth, index) = (depth + 1, index + 2),
                    ('*', '/') => (depth, index) = (depth - 1, index + 2),
                    _ => index += 1,
                }
                if depth == 0 || index >= chars.len() {
                    break;
                }
            }
        } else if let Some(hashes) = raw_text(&chars[index..]).filter(|_| !before_is_word) {
            let end: String = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
            index += chars[index..].iter().position(|c| *c == '"').unwrap() + 1;
            while index < chars.len() && !end.chars().enumerate().all(|(offset, c)| at(index + offset) == c) {
                index += 1;
            }
            index += end.len();
        } else if at(index) == '"' {
            index += 1;
            while index < chars.len() && at(index) != '"' {
                index += if at(index) == '\\' { 2 } else { 1 };
            }
            index += 1;
        } else if at(index) == '\'' && (at(index + 1) == '\\' || at(index + 2) == '\'') {
            index += if at(index + 1) == '\\' { 3 } else { 2 };
            while index < chars.len() && at(index) != '\'' {
                index += 1;
            }
            index += 1;
        } else {
            out.push(at(index));
            index += 1;
            continue;
        }
        blank(&mut out, start, index);
    }
    out
}

/// How many hashes a raw text (`r"`, `br##"`, …) at the start has; `None` where there is none.
fn raw_text(chars: &[char]) -> Option<usize> {
    let rest = match chars {
        ['b' | 'c', 'r', rest @ ..] | ['r', rest @ ..] => rest,
        _ => return None,
    };
    let hashes = rest.iter().take_while(|c| **c == '#').count();
    (rest.get(hashes) == Some(&'"')).then_some(hashes)
}

/// Blanks out every item under `#[cfg(test)]` and hands back the names of the modules that are such in files of their own.
fn without_tests(stripped: &str) -> (String, Vec<String>) {
    const MARK: &str = "#[cfg(test)]";
    let (mut text, mut files) = (stripped.to_owned(), Vec::new());
    while let Some(start) = text.find(MARK) {
        let mut depth = 0_usize;
        let mut end = text.len();
        for (offset, c) in text[start..].char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 1 => {
                    end = start + offset + 1;
                    break;
                }
                '}' => depth = depth.saturating_sub(1),
                ';' if depth == 0 => {
                    let item: Vec<&str> = text[start + MARK.len()..start + offset].split_whitespace().collect();
                    if let [.., "mod", name] = item[..] {
                        files.push(name.to_owned());
                    }
                    end = start + offset + 1;
                    break;
                }
                _ => {}
            }
        }
        let blank: String = text[start..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        text.replace_range(start..end, &blank);
    }
    (text, files)
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Token {
    /// A word, `::`, or one other character.
    text: String,
    line: usize,
}

fn tokens(stripped: &str) -> Vec<Token> {
    let mut found: Vec<Token> = Vec::new();
    let mut line = 1;
    let mut chars = stripped.chars().peekable();
    while let Some(c) = chars.next() {
        let mut text = c.to_string();
        if c == '\n' {
            line += 1;
        }
        if c.is_whitespace() {
            continue;
        }
        if c.is_alphanumeric() || c == '_' {
            while let Some(next) = chars.next_if(|next| next.is_alphanumeric() || *next == '_') {
                text.push(next);
            }
        } else if c == ':' && chars.next_if_eq(&':').is_some() {
            text.push(':');
        }
        found.push(Token { text, line });
    }
    found
}

/// A path as it stands in the source, and the inline modules around it.
#[derive(Debug)]
struct Mention {
    path: Vec<String>,
    line: usize,
    inline: Vec<String>,
    /// The name that a `use` gives it.
    alias: Option<String>,
}

fn mentions(tokens: &[Token]) -> Vec<Mention> {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let is_word = |at: usize| text(at).starts_with(|c: char| c.is_alphabetic() || c == '_');
    let mut found = Vec::new();
    let mut depth = 0_usize;
    let mut inline: Vec<(String, usize)> = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let names = |inline: &[(String, usize)]| inline.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        match text(at) {
            "{" => depth += 1,
            "}" => {
                depth = depth.saturating_sub(1);
                inline.retain(|(_, opened)| *opened < depth);
            }
            "mod" if is_word(at + 1) && text(at + 2) == "{" => {
                inline.push((text(at + 1).to_owned(), depth));
            }
            "use" if text(at + 1) != "<" => {
                let mut prefixes: Vec<Vec<String>> = vec![Vec::new()];
                let mut path: Vec<String> = Vec::new();
                let mut alias = None;
                let mut line = tokens[at].line;
                loop {
                    at += 1;
                    match text(at) {
                        "::" => {}
                        "{" => prefixes.push(std::mem::take(&mut path)),
                        "," | "}" | ";" | "" => {
                            if !path.is_empty() {
                                let mut whole: Vec<String> = prefixes.concat();
                                whole.append(&mut path);
                                if whole.last().is_some_and(|last| last == "self") && whole.len() > 1 {
                                    whole.pop();
                                }
                                let alias = alias.take().or_else(|| whole.last().cloned());
                                found.push(Mention { path: whole, line, inline: names(&inline), alias });
                            }
                            match text(at) {
                                "}" => drop(prefixes.pop()),
                                "," => {}
                                _ => break,
                            }
                        }
                        "as" => {
                            at += 1;
                            alias = Some(text(at).to_owned());
                        }
                        word => {
                            line = tokens[at].line;
                            path.push(word.to_owned());
                        }
                    }
                }
            }
            _ if is_word(at) && text(at + 1) == "::" && (at == 0 || text(at - 1) != "::") => {
                let mut path = vec![text(at).to_owned()];
                let line = tokens[at].line;
                while text(at + 1) == "::" && is_word(at + 2) {
                    at += 2;
                    path.push(text(at).to_owned());
                }
                found.push(Mention { path, line, inline: names(&inline), alias: None });
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// A file below `src/`, its module path, and its text as the checks see it.
struct File {
    name: String,
    module: Vec<String>,
    source: String,
    /// Without comments and texts.
    stripped: String,
    /// Without tests too.
    code: String,
    test_only_children: Vec<Vec<String>>,
}

impl File {
    fn new(name: &str, source: &str) -> Self {
        let stem = name.strip_suffix(".rs").unwrap_or(name);
        let mut module: Vec<String> = stem.split('/').map(str::to_owned).collect();
        if module.last().is_some_and(|last| last == "mod") || stem == "lib" || stem == "main" {
            module.pop();
        }
        let stripped = strip(source);
        let (code, children) = without_tests(&stripped);
        let test_only_children = children.into_iter().map(|child| [module.clone(), vec![child]].concat()).collect();
        Self { name: name.to_owned(), module, source: source.to_owned(), stripped, code, test_only_children }
    }

    /// Lines up to the tests at the end.
    fn code_lines(&self) -> usize {
        let lines: Vec<&str> = self.source.lines().collect();
        let tests =
            lines.windows(2).position(|pair| pair[0].trim() == "#[cfg(test)]" && pair[1].starts_with("mod tests"));
        tests.unwrap_or(lines.len())
    }
}

struct Tree {
    files: Vec<File>,
    modules: BTreeMap<Vec<String>, usize>,
    test_only: Vec<Vec<String>>,
}

impl Tree {
    fn new(files: Vec<File>) -> Self {
        let modules = files.iter().enumerate().filter(|(_, file)| file.name != "main.rs");
        let modules = modules.map(|(at, file)| (file.module.clone(), at)).collect();
        let test_only = files.iter().flat_map(|file| file.test_only_children.clone()).collect();
        Self { files, modules, test_only }
    }

    fn is_test_only(&self, file: &File) -> bool {
        self.test_only.iter().any(|module| file.module.starts_with(module))
    }

    /// Where a path leads: the absolute module path for one of ours, the path itself for one of somebody else's.
    fn resolve(&self, file: &File, mention: &Mention, aliases: &BTreeMap<String, Target>) -> Target {
        let here = [file.module.clone(), mention.inline.clone()].concat();
        let first = mention.path[0].as_str();
        match first {
            "crate" | "ark_lattice" => return Target::Ours(mention.path[1..].to_vec()),
            "self" => return Target::Ours([here, mention.path[1..].to_vec()].concat()),
            "super" => {
                let up = mention.path.iter().take_while(|segment| *segment == "super").count();
                let base = here[..here.len().saturating_sub(up)].to_vec();
                return Target::Ours([base, mention.path[up..].to_vec()].concat());
            }
            _ => {}
        }
        let child = [here, vec![first.to_owned()]].concat();
        if self.modules.contains_key(&child) {
            return Target::Ours([child, mention.path[1..].to_vec()].concat());
        }
        match aliases.get(first).filter(|_| mention.alias.is_none()) {
            Some(Target::Ours(base)) => Target::Ours([base.clone(), mention.path[1..].to_vec()].concat()),
            Some(Target::Theirs(base)) => Target::Theirs([base.clone(), mention.path[1..].to_vec()].concat()),
            None => Target::Theirs(mention.path.clone()),
        }
    }

    fn targets(&self, file: &File) -> Vec<(usize, Target)> {
        let mut aliases = BTreeMap::new();
        let found = mentions(&tokens(&file.code));
        for mention in &found {
            if let Some(alias) = &mention.alias {
                aliases.insert(alias.clone(), self.resolve(file, mention, &BTreeMap::new()));
            }
        }
        found.iter().map(|mention| (mention.line, self.resolve(file, mention, &aliases))).collect()
    }

    /// The file that holds what an absolute path names: the longest prefix that is a module.
    fn holder(&self, path: &[String]) -> Option<&File> {
        (0..=path.len()).rev().find_map(|len| self.modules.get(&path[..len])).map(|at| &self.files[*at])
    }

    /// All that is wrong, one line each.
    fn check(&self, rules: &Rules) -> Vec<String> {
        let mut wrong = Vec::new();
        for file in &self.files {
            let name = &file.name;
            let Some(room) = rules.room_of(name) else {
                wrong.push(format!("src/{name}: belongs to no room of the table in ARCHITECTURE.md"));
                continue;
            };
            let lines = file.code_lines();
            let limit = if name == "main.rs" { MAX_MAIN_LINES } else { MAX_FILE_LINES };
            if lines > limit {
                wrong.push(format!("src/{name}: {lines} lines without tests, {limit} are allowed"));
            }
            if name.starts_with("api/handlers/") {
                wrong.extend(long_functions(file));
            }
            wrong.extend(placeholders(&format!("src/{name}"), &file.stripped));
            if !self.is_test_only(file) {
                wrong.extend(self.targets(file).iter().filter_map(|(line, target)| {
                    let reason = self.refusal(rules, file, room, target)?;
                    Some(format!("src/{name}:{line}: {reason}"))
                }));
            }
        }
        wrong.dedup();
        wrong
    }

    fn refusal(&self, rules: &Rules, file: &File, room: usize, target: &Target) -> Option<String> {
        let here = rules.name(room);
        match target {
            Target::Ours(path) => {
                let there = rules.room_of(&self.holder(path)?.name)?;
                let allowed = rules.0[room].may_import.as_ref().is_none_or(|allowed| allowed.contains(&there));
                let path = path.join("::");
                (there != room && !allowed)
                    .then(|| format!("{here} may not import {} (crate::{path})", rules.name(there)))
            }
            Target::Theirs(path) => {
                let named = rules.0[room].never_names.iter().find(|never| path.starts_with(never));
                if let Some(never) = named {
                    return Some(format!("{here} must not name {}", never.join("::")));
                }
                let env = path.starts_with(&segments("std::env"));
                let args = path.get(2).is_some_and(|item| item == "args" || item == "args_os");
                let starts_the_program = file.name == "main.rs" || file.name.starts_with("cli");
                let allowed = file.name.starts_with("settings") || (starts_the_program && (args || path.len() == 2));
                (env && !allowed).then(|| "only settings reads the environment (std::env)".to_owned())
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Ours(Vec<String>),
    Theirs(Vec<String>),
}

fn long_functions(file: &File) -> Vec<String> {
    let tokens = tokens(&file.code);
    let mut wrong = Vec::new();
    for (at, token) in tokens.iter().enumerate().filter(|(_, token)| token.text == "fn") {
        let Some(name) = tokens.get(at + 1) else { continue };
        let body =
            tokens[at..].iter().position(|token| token.text == "{" || token.text == ";").map(|offset| at + offset);
        let Some(open) = body.filter(|open| tokens[*open].text == "{") else { continue };
        let mut depth = 0_usize;
        let close = tokens[open..].iter().find(|token| {
            depth = match token.text.as_str() {
                "{" => depth + 1,
                "}" => depth - 1,
                _ => depth,
            };
            depth == 0
        });
        let last = close.map_or(usize::MAX, |close| close.line);
        let lines = last.saturating_sub(tokens[open].line + 1);
        if lines > MAX_HANDLER_LINES {
            let (name, line) = (&name.text, token.line);
            wrong
                .push(format!("src/{}:{line}: {name} has {lines} lines, a handler has {MAX_HANDLER_LINES}", file.name));
        }
    }
    wrong
}

/// What says "not done yet". The words are put together here so that this file passes its own check.
fn placeholders(name: &str, stripped: &str) -> Vec<String> {
    let found = tokens(stripped);
    let text = |at: usize| found.get(at).map_or("", |token| token.text.as_str());
    let wrong = (0..found.len()).filter_map(|at| match (text(at), text(at + 1), text(at + 2)) {
        (word @ ("todo" | "unimplemented"), "!", _) => Some((at, format!("{word}!"))),
        ("#", "[", "ignore") => Some((at, "#[ignore]".to_owned())),
        _ => None,
    });
    wrong.map(|(at, what)| format!("{name}:{}: {what}", found[at].line)).collect()
}

// --- The checks -------------------------------------------------------------------------------------------------------------

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every `.rs` file below `directory`: its path from there with `/`, and its text.
fn rust_files(directory: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut pending = vec![directory.to_path_buf()];
    while let Some(next) = pending.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name: Vec<_> =
                    path.strip_prefix(directory).unwrap().iter().map(|part| part.to_str().unwrap()).collect();
                found.push((name.join("/"), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

fn rules() -> Rules {
    Rules::parse(&fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap())
}

#[test]
fn the_source_keeps_to_the_rules_of_architecture_md() {
    let files = rust_files(&root().join("src"));
    assert!(files.len() > 10, "src/ was not found");
    let tree = Tree::new(files.iter().map(|(name, source)| File::new(name, source)).collect());
    let wrong = tree.check(&rules());
    assert!(wrong.is_empty(), "{} broken rules:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn no_test_is_switched_off_or_unfinished() {
    let files = rust_files(&root().join("tests"));
    let wrong: Vec<_> =
        files.iter().flat_map(|(name, text)| placeholders(&format!("tests/{name}"), &strip(text))).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

// --- The checks can fail ----------------------------------------------------------------------------------------------------

/// What is wrong with one made-up file among a few modules that exist.
fn wrong_with(name: &str, source: &str) -> Vec<String> {
    let others = [
        "types/mod",
        "ops/mod",
        "api/mod",
        "registry/mod",
        "registry/redis",
        "lattice/mod",
        "lattice/directory",
        "trust/mod",
    ];
    let others = others.map(|stem| format!("{stem}.rs"));
    let others = others.iter().filter(|other| *other != name).map(|other| File::new(other, ""));
    Tree::new(others.chain([File::new(name, source)]).collect()).check(&rules())
}

fn caught(name: &str, source: &str, message: &str) {
    let wrong = wrong_with(name, source);
    assert!(
        wrong.len() == 1 && wrong[0].contains(message),
        "{source:?} should be caught with {message:?}, got {wrong:?}"
    );
}

#[test]
fn an_import_against_the_table_is_caught_however_it_is_written() {
    let message = "src/types/x.rs:2: types may not import ops";
    caught("types/x.rs", "\nuse crate::ops::register;", message);
    caught("types/x.rs", "\nuse crate::{ops::{self as o}};", message);
    caught("types/x.rs", "\nuse super::super::ops::register;", message);
    caught("types/x.rs", "\npub(crate) use crate::ops;", message);
    caught("types/x.rs", "\nfn f() { crate::ops::f() }", message);
    caught("types/x.rs", "\nfn f(x: &dyn crate::ops::F<u8>) {}", message);
    caught("types/x.rs", "fn f<'a>(c: char) -> bool { c == '\"' || c == '\\'' } /* \" */\nuse crate::ops::f;", message);
    caught("types/x.rs", "mod inner {\n use super::super::super::ops::f; }", message);
    caught("types/x.rs", "const A: &str = r#\"\"#;\nuse crate::ops::f; const B: &str = r#\"\"#;", message);
}

#[test]
fn only_startup_names_an_adapter() {
    caught("ops/x.rs", "use crate::registry::redis::Redis;", "ops may not import registry/*");
    caught(
        "ops/x.rs",
        "use crate::registry;\nfn f() { registry::redis::f() }",
        "ops/x.rs:2: ops may not import registry/*",
    );
    caught(
        "registry/mod.rs",
        "pub mod redis;\npub use redis::Redis;",
        "registry/mod.rs:2: registry/mod may not import registry/*",
    );
    caught("lattice/directory.rs", "use crate::registry::redis::Redis;", "lattice/* may not import registry/*");
    assert_eq!(wrong_with("startup.rs", "use crate::registry::redis::Redis;"), [""; 0]);
    assert_eq!(wrong_with("registry/mod.rs", "pub mod redis;"), [""; 0]);
    assert_eq!(wrong_with("registry/redis.rs", "use super::Registry;\nuse redis::Client;"), [""; 0]);
}

#[test]
fn what_is_not_code_is_not_checked() {
    for source in [
        "// use crate::ops::f;",
        "//! [`crate::ops::f`]",
        "/* /* */ use crate::ops::f; */",
        "const A: &str = \"use crate::ops::f; std::env::var\";",
        "const A: &[u8] = br##\"\"# todo!() use crate::ops::f;\"##;",
        "#[cfg(test)]\nmod tests {\n    use crate::ops::f;\n}",
        "#[cfg(test)]\nuse crate::ops::{f, g};\nfn f<'a>() -> impl Sized + use<'a> {}",
    ] {
        assert_eq!(wrong_with("types/x.rs", source), [""; 0], "{source}");
    }
    let files = [
        ("registry/mod.rs", "#[cfg(test)]\nmod suite;"),
        ("registry/suite.rs", "use crate::api::f;"),
        ("api/mod.rs", ""),
    ];
    let tree = Tree::new(files.map(|(name, source)| File::new(name, source)).into());
    assert_eq!(tree.check(&rules()), [""; 0]);
}

#[test]
fn crates_that_a_room_must_not_name_are_caught() {
    caught("ops/x.rs", "use actix_web::{App, web};", "ops must not name actix_web");
    caught("types/x.rs", "use std::{fmt, fs::File};", "types must not name std::fs");
    caught("types/x.rs", "fn f() { tokio::spawn(g()); }", "types must not name tokio");
    assert_eq!(wrong_with("ops/x.rs", "use std::fmt;"), [""; 0]);
}

#[test]
fn the_environment_is_read_by_settings_only() {
    let message = "only settings reads the environment";
    caught("lattice/directory.rs", "fn f() { std::env::var_os(\"A\"); }", message);
    caught("cli/x.rs", "fn f() { std::env::var_os(\"A\"); }", message);
    caught("cli/x.rs", "use std::{env, fmt};\nfn f() { env::var_os(\"A\"); }", message);
    assert_eq!(wrong_with("settings/x.rs", "fn f() { std::env::var_os(\"A\"); }"), [""; 0]);
    assert_eq!(wrong_with("main.rs", "fn main() { std::env::args_os(); }"), [""; 0]);
}

#[test]
fn long_files_and_handlers_are_caught() {
    let handler = |lines: usize| format!("async fn get(a: u8) -> u8 {{\n{}}}\n", "    f();\n".repeat(lines));
    assert_eq!(wrong_with("api/handlers/x.rs", &handler(30)), [""; 0]);
    caught("api/handlers/x.rs", &handler(31), "get has 31 lines");
    assert_eq!(wrong_with("types/x.rs", &"\n".repeat(600)), [""; 0]);
    caught("types/x.rs", &"\n".repeat(601), "601 lines");
    let tested = format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", "\n".repeat(600), "\n".repeat(600));
    assert_eq!(wrong_with("types/x.rs", &tested), [""; 0]);
    caught("main.rs", &"\n".repeat(50), "50 lines");
}

#[test]
fn unfinished_code_and_strange_rooms_are_caught() {
    caught("types/x.rs", "fn f() {\n    todo!()\n}", "src/types/x.rs:2: todo!");
    caught(
        "types/x.rs",
        "#[cfg(test)]\nmod tests {\n    #[test]\n    #[ignore = \"slow\"]\n    fn f() {}\n}",
        "x.rs:4: #[ignore]",
    );
    caught("utils/x.rs", "", "belongs to no room");
}

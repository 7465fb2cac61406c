//! Which nodes go between two instances, and which go first: `type`, id, `tags` and `priority` of a node.

use crate::{
    json::{Document, Value},
    types::{Glob, NodeId},
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Most entries of one kind.
pub const MAX_ENTRIES: usize = 64;
/// Most characters of an entry.
pub const MAX_ENTRY_CHARS: usize = 256;

/// Why a filter is not taken. One line for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// Too many entries.
    #[error("a filter has at most {MAX_ENTRIES} {0}")]
    TooMany(&'static str),
    /// An entry is empty, too long, or has control characters.
    #[error("an entry of a filter's {0} has 1 to {MAX_ENTRY_CHARS} characters, none of them a control character")]
    Entry(&'static str),
    /// It is not `{"types":[…],"ids":[…],"tags":[…]}`.
    #[error("a filter is {{\"types\":[…],\"ids\":[…],\"tags\":[…]}}: {0}")]
    Shape(String),
}

/// Which nodes: those that match one entry of each kind that has entries. Without entries: all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// A node's `type`.
    pub types: Vec<String>,
    /// Patterns of a node's id: `*` is any text, `?` one character.
    pub ids: Vec<String>,
    /// A node's `tags`: a list of strings, or one string.
    pub tags: Vec<String>,
}

impl Filter {
    /// All nodes.
    pub const ALL: Self = Self { types: Vec::new(), ids: Vec::new(), tags: Vec::new() };

    /// Does it let everything through?
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.types.is_empty() && self.ids.is_empty() && self.tags.is_empty()
    }

    /// From its JSON text.
    ///
    /// # Errors
    /// [`FilterError`].
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let filter: Self = serde_json::from_str(text).map_err(|error| FilterError::Shape(error.to_string()))?;
        filter.check()?;
        Ok(filter)
    }

    /// As JSON text, which [`Self::parse`] reads.
    #[must_use]
    pub fn to_text(&self) -> String {
        serde_json::json!({ "types": self.types, "ids": self.ids, "tags": self.tags }).to_string()
    }

    /// Is it within its bounds?
    ///
    /// # Errors
    /// [`FilterError`].
    pub fn check(&self) -> Result<(), FilterError> {
        for (kind, entries) in [("types", &self.types), ("ids", &self.ids), ("tags", &self.tags)] {
            if entries.len() > MAX_ENTRIES {
                return Err(FilterError::TooMany(kind));
            }
            let fits = |entry: &String| {
                (1..=MAX_ENTRY_CHARS).contains(&entry.chars().count()) && !entry.chars().any(char::is_control)
            };
            if !entries.iter().all(fits) {
                return Err(FilterError::Entry(kind));
            }
        }
        Ok(())
    }

    /// Ready to match many nodes.
    #[must_use]
    pub fn matcher(&self) -> Matcher {
        Matcher { filter: self.clone(), ids: self.ids.iter().map(|pattern| Glob::new(pattern)).collect() }
    }
}

/// A [`Filter`] that is ready to match.
#[derive(Debug, Clone, Default)]
pub struct Matcher {
    filter: Filter,
    ids: Vec<Glob>,
}

impl Matcher {
    /// The filter.
    #[must_use]
    pub fn filter(&self) -> &Filter {
        &self.filter
    }

    /// Does it let everything through?
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.filter.is_all()
    }

    /// Are a node's id and type not enough to tell?
    #[must_use]
    pub fn needs_content(&self) -> bool {
        !self.filter.tags.is_empty()
    }

    /// May a node with this id match? All that is known of one that is deleted.
    #[must_use]
    pub fn id_may_match(&self, id: &NodeId) -> bool {
        self.ids.is_empty() || self.ids.iter().any(|pattern| pattern.fits(id.as_str()))
    }

    /// May a node with this id and type match? It does where [`Self::needs_content`] is false.
    #[must_use]
    pub fn may_match(&self, id: &NodeId, node_type: Option<&str>) -> bool {
        let types = &self.filter.types;
        let typed = types.is_empty() || node_type.is_some_and(|it| types.iter().any(|wanted| wanted == it));
        typed && self.id_may_match(id)
    }

    /// Does this node match?
    #[must_use]
    pub fn matches(&self, id: &NodeId, node_type: Option<&str>, labels: &Labels) -> bool {
        let tags = &self.filter.tags;
        self.may_match(id, node_type) && (tags.is_empty() || labels.tags.iter().any(|tag| tags.contains(tag)))
    }
}

/// What a node's content says of its place in a round.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Labels {
    /// Its `tags`.
    pub tags: Vec<String>,
    /// Its `priority`: the greater goes first. 0 where it states none.
    pub priority: f64,
}

impl Labels {
    /// Of a node's JSON text; of a text that is none: no labels.
    #[must_use]
    pub fn read(text: &Bytes, depth: usize) -> Self {
        Document::parse(text.clone(), depth).map(|document| Self::of(&document)).unwrap_or_default()
    }

    /// Of a node.
    #[must_use]
    pub fn of(document: &Document) -> Self {
        let Some(object) = document.root().as_object() else { return Self::default() };
        let tags = object.get("tags").map(|tags| match tags.as_array() {
            Some(list) => list.iter().filter_map(|tag| Some(tag.as_str()?.into_owned())).collect(),
            None => tags.as_str().map(|tag| vec![tag.into_owned()]).unwrap_or_default(),
        });
        let priority = object.get("priority").and_then(Value::as_number).and_then(|text| text.parse().ok());
        Self { tags: tags.unwrap_or_default(), priority: priority.filter(|it: &f64| it.is_finite()).unwrap_or(0.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Labels {
        Labels::read(&Bytes::from(text.to_owned()), 64)
    }

    fn list(entries: &[&str]) -> Vec<String> {
        entries.iter().map(|entry| (*entry).to_owned()).collect()
    }

    #[test]
    fn of_each_kind_one_entry_must_match() {
        let filter = Filter { types: list(&["note", "hook"]), ids: list(&["react_*", "vue-??"]), tags: list(&["web"]) };
        let matcher = filter.matcher();
        let id = |text| NodeId::parse(text).unwrap();
        let web = labels(r#"{"tags":["ui","web"]}"#);
        assert!(matcher.matches(&id("react_x"), Some("hook"), &web));
        assert!(matcher.matches(&id("vue-01"), Some("note"), &web));
        for (name, node_type, labels) in [
            ("vue-1", Some("note"), &web),
            ("react_x", Some("other"), &web),
            ("react_x", None, &web),
            ("react_x", Some("hook"), &Labels::default()),
        ] {
            assert!(!matcher.matches(&id(name), node_type, labels), "{name} {node_type:?}");
        }
        assert!(matcher.needs_content() && !matcher.is_all());
        assert!(Filter::ALL.matcher().matches(&id("any"), None, &Labels::default()) && Filter::ALL.is_all());
    }

    #[test]
    fn labels_are_read_leniently_and_change_nothing() {
        assert_eq!(labels(r#"{"priority":2.5,"tags":"one"}"#), Labels { tags: list(&["one"]), priority: 2.5 });
        assert_eq!(labels(r#"{"priority":"high","tags":[1,"a"]}"#), Labels { tags: list(&["a"]), priority: 0.0 });
        assert_eq!(labels(r#"{"priority":1e999}"#), Labels::default());
        assert_eq!(labels("[]"), Labels::default());
    }

    #[test]
    fn a_filter_keeps_its_form_and_its_bounds() {
        let filter = Filter { ids: list(&["a*"]), ..Filter::default() };
        assert_eq!(Filter::parse(&filter.to_text()), Ok(filter));
        assert_eq!(Filter::parse("{}"), Ok(Filter::ALL));
        assert!(matches!(Filter::parse(r#"{"type":["a"]}"#), Err(FilterError::Shape(_))));
        assert_eq!(Filter::parse(r#"{"tags":[""]}"#), Err(FilterError::Entry("tags")));
        assert_eq!(Filter::parse(r#"{"ids":["a\n"]}"#), Err(FilterError::Entry("ids")));
        let many = Filter { types: vec!["a".to_owned(); MAX_ENTRIES + 1], ..Filter::default() };
        assert_eq!(many.check(), Err(FilterError::TooMany("types")));
    }
}

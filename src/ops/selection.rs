//! Which nodes are meant.

use crate::{lattice::NodeDocument, types::Glob};

/// Ids that fit one of the patterns, of one type; what is left out does not restrict.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Patterns on ids.
    pub ids: Vec<Glob>,
    /// The node's `type`.
    pub node_type: Option<String>,
}

impl Selection {
    /// Is this node meant?
    #[must_use]
    pub fn takes(&self, node: &NodeDocument) -> bool {
        let by_id = self.ids.is_empty() || self.ids.iter().any(|glob| glob.fits(node.id().as_str()));
        by_id && self.node_type.as_ref().is_none_or(|wanted| node.node_type().as_deref() == Some(wanted.as_str()))
    }
}

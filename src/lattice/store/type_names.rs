//! The texts of `type` in a lattice, each kept once.

use crate::lattice::node_type::NodeType;
use std::{cell::RefCell, collections::HashSet};

/// Texts of `type` that occur, each kept once: a lattice has few of them, and a million nodes. Beyond so many each node has its own.
#[derive(Debug, Default)]
pub(super) struct TypeNames(RefCell<HashSet<NodeType>>);

const TYPE_NAMES: usize = 1024;

impl TypeNames {
    /// Puts the text that is kept into the place of an equal one.
    pub(in crate::lattice) fn share(&self, own: &mut NodeType) {
        let mut names = self.0.borrow_mut();
        match names.get(&**own) {
            Some(shared) => *own = shared.clone(),
            None if names.len() < TYPE_NAMES => drop(names.insert(own.clone())),
            None => {}
        }
    }

    /// The same, of a text that nobody has yet.
    pub(super) fn shared(&self, node_type: &str) -> Option<NodeType> {
        if let Some(shared) = self.0.borrow().get(node_type) {
            return Some(shared.clone());
        }
        // A journal that release 0.1.0 wrote may hold longer ones.
        let mut own = NodeType::parse(node_type)?;
        self.share(&mut own);
        Some(own)
    }
}

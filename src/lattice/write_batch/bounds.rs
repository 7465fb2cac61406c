//! How much the lattice may come to hold by writes of clients and peers: `limits.lattice_nodes` and `limits.lattice_bytes`. Every wire
//! ends here. What other programs put into the directory is not refused, but counts.

use crate::lattice::{LatticeError, NodeDocument, store::Store};

/// What the batch that is being staged adds; the index does not count it yet.
#[derive(Debug, Default, Clone, Copy)]
pub(in crate::lattice) struct Growth {
    nodes: u64,
    bytes: u64,
}

impl Store {
    /// Counts what writing `node` adds, until the batch is committed. A node that replaces a file of at least its length adds nothing.
    ///
    /// # Errors
    /// [`LatticeError::BoundReached`]: it would add to a lattice that holds as much as it may.
    pub(super) fn count_growth(&mut self, node: &NodeDocument) -> Result<(), LatticeError> {
        let held = self.known.get(node.id().as_str()).map(|known| known.entry.size_bytes);
        let size = u64::try_from(node.document().source().len()).unwrap_or(u64::MAX);
        let more = Growth { nodes: u64::from(held.is_none()), bytes: size.saturating_sub(held.unwrap_or(0)) };
        let staged = self.staged_growth;
        let nodes = u64::try_from(self.known.len()).unwrap_or(u64::MAX).saturating_add(staged.nodes);
        let bytes = self.known.bytes().saturating_add(staged.bytes);
        let limits = &self.shared.limits;
        let bounds = [
            ("limits.lattice_nodes", nodes, more.nodes, u64::try_from(limits.lattice_nodes).unwrap_or(u64::MAX)),
            ("limits.lattice_bytes", bytes, more.bytes, limits.lattice_bytes),
        ];
        let reached = bounds.into_iter().find(|(_, held, more, most)| *more > 0 && held.saturating_add(*more) > *most);
        if let Some((setting, _, _, most)) = reached {
            return Err(LatticeError::BoundReached { id: node.id().clone(), setting, most, nodes, bytes });
        }
        self.staged_growth =
            Growth { nodes: staged.nodes.saturating_add(more.nodes), bytes: staged.bytes.saturating_add(more.bytes) };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Outcome, WriteOp, WriteRequest, run};
    use crate::lattice::{LatticeError, NodeDocument, Precondition, store::tests::store};
    use std::sync::Arc;
    use tokio::sync::oneshot;

    fn put(text: &str) -> WriteOp {
        let node = NodeDocument::parse(text.to_owned().into(), 64).unwrap();
        WriteOp::Put { node, precondition: Precondition::None }
    }

    #[test]
    fn what_adds_beyond_a_bound_is_refused_and_the_rest_of_the_request_is_carried_out() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = store(folder.path());
        let mut write = |ops, nodes, bytes| {
            let limits = &mut Arc::get_mut(&mut store.shared).unwrap().limits;
            (limits.lattice_nodes, limits.lattice_bytes) = (nodes, bytes);
            let (reply, answer) = oneshot::channel::<Result<Vec<Outcome>, LatticeError>>();
            run(&mut store, vec![WriteRequest { ops, reply }]);
            let ids = ["a", "b", "c", "d"];
            let held: String = ids.into_iter().filter(|id| store.known.get(id).is_some()).collect();
            let setting = match answer.blocking_recv().unwrap() {
                Ok(_) => "",
                Err(LatticeError::BoundReached { setting, .. }) => setting,
                Err(other) => panic!("{other}"),
            };
            (held, setting, store.known.bytes())
        };
        let three = vec![put(r#"{"id":"a"}"#), put(r#"{"id":"b"}"#), put(r#"{"id":"c"}"#)];
        assert_eq!(write(three, 2, 1 << 40), ("ab".to_owned(), "limits.lattice_nodes", 20));
        // An edit of the same request, behind what is refused; and one of the same node twice.
        let edits = vec![put(r#"{"id":"d"}"#), put(r#"{"id":"a","n":1}"#), put(r#"{"id":"a","n":22}"#)];
        assert_eq!(write(edits, 2, 1 << 40), ("ab".to_owned(), "limits.lattice_nodes", 27));
        let longer = vec![put(r#"{"id":"b","n":1}"#), put(r#"{"id":"c"}"#), put(r#"{"id":"a"}"#)];
        assert_eq!(write(longer, 9, 28), ("ab".to_owned(), "limits.lattice_bytes", 20));
        assert_eq!(write(vec![put(r#"{"id":"c"}"#)], 9, 30), ("abc".to_owned(), "", 30));
    }
}

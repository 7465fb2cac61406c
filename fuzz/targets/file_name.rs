//! Ids to file names and back, both ways: the input is an id, and it is a file name.

use crate::file_name::{is_candidate, is_valid, plain, plain_id, second};
use ark_lattice::types::NodeId;
use std::path::{Component, Path};

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(id) = NodeId::parse(text) {
        for name in [plain(&id), second(&id)] {
            assert!(name.len() <= 255 && name.is_ascii(), "{name:?} fits every file system");
            let parts: Vec<_> = Path::new(&name).components().collect();
            assert!(matches!(parts[..], [Component::Normal(part)] if part == &*name), "{name:?} leaves the directory");
            assert!(!name.contains(['/', '\\', '\0']) && is_candidate(&name));
            assert!(is_valid(&name, &id));
        }
        let (plain, second) = (plain(&id), second(&id));
        match plain_id(&plain) {
            Some(back) => assert_eq!(back, id),
            None => assert!(plain.contains('~'), "{plain:?} hides its id"),
        }
        assert_eq!(plain_id(&second), None, "{second:?} passes for the plain name of another id");
    }
    if let Some(id) = plain_id(text) {
        assert_eq!(plain(&id), text, "one spelling for each id");
        assert!(is_candidate(text) && is_valid(text, &id));
    }
}

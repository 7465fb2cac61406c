//! What bindings of ids take on the disk, once the entries of their peers have expired.

use super::*;

/// Ids that live at once.
const PART: usize = 200;
const PARTS: usize = 12;

/// Bytes of the file for each binding of ids of this length.
async fn bytes_of_binding(id_bytes: usize) -> u64 {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.redb");
    let clock = TestClock::at(START);
    let mut lengths = Vec::new();
    for part in 0..PARTS {
        let registry = open(&path, &clock);
        let statements: Vec<Statement> = (0..PART)
            .map(|number| {
                let key = u8::try_from(number).unwrap();
                Statement::of(&format!("{part:04}-{number:04}-{}", "i".repeat(id_bytes - 10))).key(key).stranger(None)
            })
            .collect();
        let registered = statements.iter().map(|statement| async {
            while let Err(error) = statement.register(&registry).await {
                assert!(matches!(error, RegistryError::Unavailable(_)), "{error}");
            }
        });
        futures_util::future::join_all(registered).await;
        registry.close().await;
        drop(registry);
        // As at a start after their time: the rows of entries go, the bindings stay.
        clock.advance(TTL);
        let registry = open(&path, &clock);
        assert_eq!(registry.live().await.unwrap(), 0);
        registry.close().await;
        drop(registry);
        lengths.push(fs::metadata(&path).unwrap().len());
    }
    // The first parts also pay for what entries take while they live, which is used again.
    let (before, after) = (lengths[2], lengths[PARTS - 1]);
    (after - before) / u64::try_from((PARTS - 3) * PART).unwrap()
}

#[tokio::test]
async fn a_binding_takes_the_disk_that_is_stated() {
    let (usual, longest) = (bytes_of_binding(36).await, bytes_of_binding(256).await);
    eprintln!("a binding takes {usual} bytes of the file with an id of 36 bytes, {longest} with one of 256");
    // SECURITY.md.
    assert!(usual <= 1024 && longest <= 3072, "{usual} and {longest} bytes");
}

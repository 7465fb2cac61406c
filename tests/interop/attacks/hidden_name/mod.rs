//! An instance asks to write under a name with bidirectional and invisible characters, so that the admin takes it for another one.

use crate::{
    attacks::bed::{Attacker, Victim, outcome},
    server::whole,
    service::Place,
};
use std::process::Output;

const NAME: &str = "ark\u{202e}\u{200b}-pi";

#[tokio::test]
async fn a_name_that_hides_characters_is_shown_escaped_in_the_inbox_and_the_log() {
    let victim = Victim::start_in(Place::new().set("ARK_TRUST_MODE", "verified")).await;
    let attacker = Attacker::new(NAME);
    let answer = attacker.push(&victim, &whole(1, "n", "n")).await;
    assert_eq!(outcome(answer).await, (403, "not_trusted".to_owned()));
    victim.has_audited("not_trusted", "/lattice/changes", NAME);
    for args in [&["federation", "pending"][..], &["audit", "list"]] {
        let Output { stdout, stderr, .. } = victim.place.command(args).output().unwrap();
        let shown = String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap();
        assert!(shown.contains("ark\\u{202e}\\u{200b}-pi"), "{args:?}: {shown}");
        assert!(!shown.contains('\u{202e}') && !shown.contains('\u{200b}'), "{args:?}: {shown:?}");
    }
    assert!(!victim.place.log().contains('\u{202e}'));
}

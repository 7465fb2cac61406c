//! Somebody guesses the secret of an open invite whose id is known: one text whatever is wrong, ten requests a guess, and the invite works on.

use crate::attacks::bed::{Attacker, JOIN, Victim, challenge_of, counted, join, join_with};
use ark_lattice::trust::invite::{InviteId, InviteSecret};
use std::collections::BTreeMap;

#[tokio::test]
async fn guesses_are_few_and_use_up_no_invite() {
    let victim = Victim::start_in(counted().set("ARK__LIMITS__SIGNED_PER_MINUTE", "120")).await;
    let line = victim.invite().await;
    let guesser = Attacker::new("guesser");
    let (transcript, _) = challenge_of(&guesser, &victim).await;
    let mut counts: BTreeMap<(u16, String), u32> = BTreeMap::new();
    for guess in 0..40_u8 {
        let secret = InviteSecret::from_bytes([guess; 32]);
        let proof = secret.key(line.id).prove(line.id, ark_lattice::trust::challenge::Side::Asking, &transcript);
        *counts.entry(join_with(&guesser, &victim, line.id, (&transcript, &proof)).await).or_default() += 1;
    }
    let refused = counts[&(401, "invite_refused".to_owned())];
    assert!((8..=14).contains(&refused) && counts[&(429, "rate_limited".to_owned())] == 40 - refused, "{counts:?}");
    victim.has_audited("invite_refused", JOIN, "guesser");
    victim.has_audited("rate_limited", "signed", "-");
    assert_eq!(guesser.level(&victim).await, None);
    let open = victim.operator_sees("/api/federation/invites").await;
    assert_eq!(open["invites"][0]["state"], "open", "{open}");
}

#[tokio::test]
async fn wrong_secrets_and_unknown_invites_have_one_answer_and_the_right_secret_works_afterwards() {
    let victim = Victim::start().await;
    let line = victim.invite().await;
    let guesser = Attacker::new("guesser");
    let wrong = InviteSecret::from_bytes([1; 32]);
    let unknown = InviteId::from_bytes([9; 8]);
    let refused = (401, "invite_refused".to_owned());
    assert_eq!(join(&guesser, &victim, line.id, &wrong).await, refused);
    assert_eq!(join(&guesser, &victim, unknown, &line.secret).await, refused);
    let friend = Attacker::new("friend");
    assert_eq!(join(&friend, &victim, line.id, &line.secret).await, (200, String::new()));
    assert_eq!(friend.level(&victim).await.as_deref(), Some("verified"));
}

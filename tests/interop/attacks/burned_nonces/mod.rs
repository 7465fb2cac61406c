//! A stranger that may push sends empty pushes, each of which is remembered for ten minutes: with as many keys as it likes it gets what one
//! address has of signed requests, and uses up nobody else's room. The shares of that memory itself are in `trust::nonces`.

use crate::{
    attacks::bed::{Attacker, Victim, client_from, counted, outcome},
    server::whole,
};

const ROUTE: &str = "/lattice/changes";
const A_MINUTE: usize = 300;

#[tokio::test]
async fn empty_pushes_from_one_address_leave_room_for_all_others() {
    let place = counted().set("ARK__LIMITS__SIGNED_PER_MINUTE", &A_MINUTE.to_string());
    let victim = Victim::start_in(place.set("ARK__LIMITS__SIGNED_PER_KEY_PER_MINUTE", "60")).await;
    let honest = Attacker::new("honest").registered(&victim, 1).await;
    let mut keys = Vec::new();
    for name in ["one", "two", "three", "four", "five", "six", "seven"] {
        keys.push(Attacker::new(name).registered(&victim, 1).await);
    }
    let flood = client_from(3);
    let (mut taken, mut of_first) = (0, 0);
    for (nth, key) in keys.iter().enumerate() {
        for _ in 0..100 {
            let request = key.request(&victim, ROUTE, "").build().unwrap();
            let answered = outcome(flood.execute(request).await.unwrap()).await;
            match answered {
                (200, _) if nth == 0 => of_first += 1,
                (200, _) => taken += 1,
                other => assert_eq!(other, (429, "rate_limited".to_owned())),
            }
        }
    }
    // What comes back while they are sent, beside.
    assert!((50..100).contains(&of_first), "{of_first} of one key");
    assert!((150..2 * A_MINUTE).contains(&(taken + of_first)), "{taken} and {of_first} of all keys");
    victim.has_audited("rate_limited", "signed", "-");
    victim.has_audited("rate_limited", ROUTE, "-");
    assert_eq!(honest.push_by(&client_from(2), &victim, &whole(1, "h", "h")).await.status(), 200);
}

use super::*;
use crate::types::SetHash;

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// Path, chain code, private key, public key.
type Vector<'a> = (&'a [u32], &'a str, &'a str, &'a str);

/// The document's own: <https://github.com/satoshilabs/slips/blob/master/slip-0010.md>.
fn check(seed: &str, vectors: &[Vector<'_>]) {
    for (path, chain, private, public) in vectors {
        let node = derive(&bytes(seed), path).unwrap();
        assert_eq!(node.chain.as_slice(), bytes(chain), "{path:?}");
        assert_eq!(node.key.as_slice(), bytes(private), "{path:?}");
        let key = KeyPair::from_seed(&node.key).public_key();
        assert_eq!(SetHash::from_digest(*key.as_bytes()).to_hex(), *public, "{path:?}");
    }
}

#[test]
fn the_vectors_of_slip_0010_hold() {
    check(
        "000102030405060708090a0b0c0d0e0f",
        &[
            (
                &[],
                "90046a93de5380a72b5e45010748567d5ea02bbf6522f979e05c0d8d8ca9fffb",
                "2b4be7f19ee27bbf30c667b642d5f4aa69fd169872f8fc3059c08ebae2eb19e7",
                "a4b2856bfec510abab89753fac1ac0e1112364e7d250545963f135f2a33188ed",
            ),
            (
                &[0],
                "8b59aa11380b624e81507a27fedda59fea6d0b779a778918a2fd3590e16e9c69",
                "68e0fe46dfb67e368c75379acec591dad19df3cde26e63b93a8e704f1dade7a3",
                "8c8a13df77a28f3445213a0f432fde644acaa215fc72dcdf300d5efaa85d350c",
            ),
            (
                &[0, 1],
                "a320425f77d1b5c2505a6b1b27382b37368ee640e3557c315416801243552f14",
                "b1d0bad404bf35da785a64ca1ac54b2617211d2777696fbffaf208f746ae84f2",
                "1932a5270f335bed617d5b935c80aedb1a35bd9fc1e31acafd5372c30f5c1187",
            ),
            (
                &[0, 1, 2],
                "2e69929e00b5ab250f49c3fb1c12f252de4fed2c1db88387094a0f8c4c9ccd6c",
                "92a5b23c0b8a99e37d07df3fb9966917f5d06e02ddbd909c7e184371463e9fc9",
                "ae98736566d30ed0e9d2f4486a64bc95740d89c7db33f52121f8ea8f76ff0fc1",
            ),
            (
                &[0, 1, 2, 2],
                "8f6d87f93d750e0efccda017d662a1b31a266e4a6f5993b15f5c1f07f74dd5cc",
                "30d1dc7e5fc04c31219ab25a27ae00b50f6fd66622f6e9c913253d6511d1e662",
                "8abae2d66361c879b900d204ad2cc4984fa2aa344dd7ddc46007329ac76c429c",
            ),
            (
                &[0, 1, 2, 2, 1_000_000_000],
                "68789923a0cac2cd5a29172a475fe9e0fb14cd6adb5ad98a3fa70333e7afa230",
                "8f94d394a8e8fd6b1bc2f3f49f5c47e385281d5c17e65324b0f62483e37e8793",
                "3c24da049451555d51a7014a37337aa4e12d41e485abccfa46b47dfb2af54b7a",
            ),
        ],
    );
    check(
        "fffcf9f6f3f0edeae7e4e1dedbd8d5d2cfccc9c6c3c0bdbab7b4b1aeaba8a5a29f9c999693908d8a8784817e7b7875726f6c696663605d5a5754514e4b484542",
        &[
            (
                &[],
                "ef70a74db9c3a5af931b5fe73ed8e1a53464133654fd55e7a66f8570b8e33c3b",
                "171cb88b1b3c1db25add599712e36245d75bc65a1a5c9e18d76f9f2b1eab4012",
                "8fe9693f8fa62a4305a140b9764c5ee01e455963744fe18204b4fb948249308a",
            ),
            (
                &[0],
                "0b78a3226f915c082bf118f83618a618ab6dec793752624cbeb622acb562862d",
                "1559eb2bbec5790b0c65d8693e4d0875b1747f4970ae8b650486ed7470845635",
                "86fab68dcb57aa196c77c5f264f215a112c22a912c10d123b0d03c3c28ef1037",
            ),
            (
                &[0, 2_147_483_647, 1, 2_147_483_646, 2],
                "5d70af781f3a37b829f0d060924d5e960bdc02e85423494afc0b1a41bbe196d4",
                "551d333177df541ad876a60ea71f00447931c0a9da16f227c11ea080d7391b8d",
                "47150c75db263559a70d5778bf36abbab30fb061ad69f69ece61a72b0cfa4fc0",
            ),
        ],
    );
}

/// <https://github.com/trezor/python-mnemonic/blob/master/vectors.json>: entropy, words, seed under the passphrase TREZOR.
#[test]
fn the_vectors_of_bip39_hold() {
    let vectors = [
        (
            [0_u8; 32],
            "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon \
             abandon abandon abandon abandon abandon abandon abandon abandon abandon art",
            "bda85446c68413707090a52022edd26a1c9462295029f2e60cd7c4f2bbd3097170af7a4d73245cafa9c3cca8d561a7c3de6f5d4a10be8ed2a5e608d68f92fcc8",
        ),
        (
            [0xff; 32],
            "zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo vote",
            "dd48c104698c30cfe2b6142103248622fb7bb0ff692eebb00089b32d22484e1613912f0a5b694407be899ffd31ed3992c456cdf60f5d4564b8ba3f05a69890ad",
        ),
    ];
    for (entropy, text, seed) in vectors {
        let words = RecoveryWords::parse(&SecretString::from(text)).unwrap();
        assert_eq!(words.to_text().expose_secret(), text);
        assert_eq!(words.0.to_entropy(), entropy);
        assert_eq!(words.0.to_seed_normalized("TREZOR").as_slice(), bytes(seed));
    }
}

#[test]
fn words_come_back_as_they_were_written_down() {
    let words = RecoveryWords::generate().unwrap();
    let text = words.to_text().expose_secret().to_owned();
    let copied = text.to_uppercase().replace(' ', "\n  ");
    let again = RecoveryWords::parse(&SecretString::from(copied)).unwrap();
    assert_eq!(again.key().unwrap().public_key(), words.key().unwrap().public_key());
    assert!(!format!("{words:?}").contains(text.split(' ').next().unwrap()));
}

#[test]
fn a_slip_of_the_pen_is_named() {
    let text = "abandon ".repeat(23) + "art";
    let parse = |text: &str| RecoveryWords::parse(&SecretString::from(text)).unwrap_err();
    assert_eq!(parse(&text.replacen("abandon", "abandom", 1)), WordsError::Unknown(1));
    assert_eq!(parse(&text.replacen("abandon", "ability", 1)), WordsError::Checksum);
    assert_eq!(parse("abandon art"), WordsError::Count(2));
    assert_eq!(parse(""), WordsError::Count(0));
}

//! Whether a TLS certificate names an instance. Who issued it was checked when the connection was made.

use crate::types::PeerId;
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer, X509Certificate},
};

/// Does this certificate, DER, name the instance: as a DNS name, a URI or the common name of its subject?
#[must_use]
pub fn names(certificate: &[u8], peer: &PeerId) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return false };
    let id = peer.as_str();
    let named = match certificate.subject_alternative_name() {
        Ok(Some(names)) => names.value.general_names.iter().any(|name| match name {
            GeneralName::DNSName(name) => name.eq_ignore_ascii_case(id),
            GeneralName::URI(uri) => *uri == id,
            _ => false,
        }),
        _ => false,
    };
    let common = certificate.subject().iter_common_name().any(|name| name.as_str() == Ok(id));
    named || common
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    #[test]
    fn a_certificate_names_whom_its_issuer_wrote_into_it() {
        let key = KeyPair::generate().unwrap();
        let made = |change: &dyn Fn(&mut CertificateParams)| {
            let mut params = CertificateParams::new(vec!["host.example".to_owned()]).unwrap();
            change(&mut params);
            params.self_signed(&key).unwrap().der().to_vec()
        };
        let peer = |text: &str| PeerId::parse(text).unwrap();
        let plain = made(&|_| {});
        assert!(names(&plain, &peer("host.example")) && names(&plain, &peer("HOST.example")));
        assert!(!names(&plain, &peer("ark-1")) && !names(&plain, &peer("example")));
        let uri = "logline-id://node/peer-beta";
        let with_uri = made(&|params| params.subject_alt_names.push(SanType::URI(uri.try_into().unwrap())));
        assert!(names(&with_uri, &peer(uri)) && !names(&with_uri, &peer("logline-id://node/peer")));
        let common = made(&|params| params.distinguished_name.push(DnType::CommonName, "ark-1"));
        assert!(names(&common, &peer("ark-1")) && !names(&common, &peer("ark-2")));
        assert!(!names(b"no certificate", &peer("ark-1")));
    }
}

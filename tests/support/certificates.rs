//! Certificates for services under test: an authority of the test's own, and files as a renewing program writes them.

#![allow(dead_code, reason = "each test binary uses its own part of it")]

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SerialNumber, date_time_ymd};
use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// Issues certificates for this machine.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate.
    pub(crate) pem: String,
}

/// A certificate and its key.
#[derive(Clone)]
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Valid until the first day of `last_year`.
    pub(crate) fn issue(&self, serial: u64, last_year: i32) -> Issued {
        self.issue_to(&["localhost", "127.0.0.1"], serial, last_year)
    }

    /// For these names and addresses.
    pub(crate) fn issue_to(&self, names: &[&str], serial: u64, last_year: i32) -> Issued {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.serial_number = Some(SerialNumber::from(serial));
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(last_year, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Issued { certificate, key: key.serialize_pem() }
    }
}

/// Where a service finds its pair.
pub(crate) struct PairFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl PairFiles {
    pub(crate) fn in_folder(folder: &Path, pair: &Issued) -> Self {
        let files = Self { certificate: folder.join("tls.crt"), key: folder.join("tls.key") };
        files.put_certificate(&pair.certificate);
        files.put_key(&pair.key);
        files
    }

    pub(crate) fn put_certificate(&self, pem: &str) {
        replace(&self.certificate, pem, 0o644);
    }

    pub(crate) fn put_key(&self, pem: &str) {
        replace(&self.key, pem, 0o600);
    }
}

/// In one step, so that nobody sees half a file.
pub(crate) fn replace(path: &Path, text: &str, mode: u32) {
    let fresh = path.with_extension("fresh");
    File::create(&fresh).unwrap().write_all(text.as_bytes()).unwrap();
    fs::set_permissions(&fresh, fs::Permissions::from_mode(mode)).unwrap();
    fs::rename(&fresh, path).unwrap();
}

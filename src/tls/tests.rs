use super::*;
use crate::types::TestClock;
use certificates::{Authority, PairFiles, replace};
use std::{io::Write, sync::mpsc};
use tracing::Level;

#[path = "../../tests/support/certificates.rs"]
mod certificates;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn at(text: &str) -> Timestamp {
    Timestamp::from_rfc3339(text).unwrap()
}

struct Bed {
    _folder: tempfile::TempDir,
    authority: Authority,
    files: PairFiles,
    clock: Arc<TestClock>,
    metrics: Arc<Metrics>,
}

impl Bed {
    /// With a pair of serial number 1 that ends with 2029.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        let files = PairFiles::in_folder(folder.path(), &authority.issue(1, 2030));
        let clock = TestClock::at(at("2026-01-01T00:00:00Z"));
        Self { _folder: folder, authority, files, clock, metrics: Arc::new(Metrics::default()) }
    }

    fn open(&self) -> Result<TlsPort, TlsError> {
        let files = TlsFiles { certificate: self.files.certificate.clone(), key: self.files.key.clone() };
        let clock: SharedClock = self.clock.clone();
        TlsPort::open(files, None, clock, Arc::clone(&self.metrics))
    }

    fn refusal(&self) -> String {
        self.open().unwrap_err().to_string()
    }
}

fn serial(port: &TlsPort) -> String {
    let shown = port.shown.0.read().unwrap();
    let (_, certificate) = x509_parser::parse_x509_certificate(&shown.cert[0]).unwrap();
    shown.keys_match().unwrap();
    certificate.raw_serial_as_string()
}

/// What the log says at `WARN` while `work` runs.
fn warnings(work: impl FnOnce()) -> Vec<String> {
    struct Lines(mpsc::Sender<String>);
    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.send(String::from_utf8_lossy(bytes).into_owned()).unwrap();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let (sender, lines) = mpsc::channel();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(Level::WARN)
        .with_ansi(false)
        .with_writer(move || Lines(sender.clone()))
        .finish();
    tracing::subscriber::with_default(subscriber, work);
    lines.try_iter().collect()
}

#[tokio::test]
async fn a_pair_that_cannot_be_used_is_refused_with_its_file() {
    let bed = Bed::new();
    let (good, other) = (bed.authority.issue(1, 2030), bed.authority.issue(2, 2030));
    for (certificate, key, expected) in [
        (good.certificate.as_str(), other.key.as_str(), "is not the one of the certificate in"),
        ("", good.key.as_str(), "tls.crt holds no PEM certificate"),
        (good.key.as_str(), good.key.as_str(), "tls.crt holds no PEM certificate"),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            &good.key,
            "tls.crt holds no X.509 certificate",
        ),
        ("-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n", &good.key, "tls.crt is not PEM"),
        (&good.certificate, "", "tls.key holds no PEM private key"),
        (&good.certificate, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "tls.key holds a key of"),
    ] {
        bed.files.put_certificate(certificate);
        bed.files.put_key(key);
        let said = bed.refusal();
        assert!(said.contains(expected) && !said.contains("AAAA"), "{expected}: {said}");
    }
    bed.files.put_certificate(&good.certificate);
    replace(&bed.files.key, &good.key, 0o644);
    assert!(bed.refusal().contains("chmod o="), "{}", bed.refusal());
    replace(&bed.files.key, &good.key, 0o640);
    assert!(bed.open().is_ok());
    std::fs::remove_file(&bed.files.key).unwrap();
    assert!(bed.refusal().contains("tls.key: "), "{}", bed.refusal());
}

#[tokio::test]
async fn a_new_pair_is_shown_whole_and_a_broken_one_not_at_all() {
    let bed = Bed::new();
    let mut port = bed.open().unwrap();
    assert_eq!(serial(&port), "01");
    let not_after = |serial: &str, year: &str| {
        let end = at(&format!("{year}-01-01T00:00:00Z")).seconds();
        let line = format!("\nark_tls_certificate_not_after_seconds{{serial=\"{serial}\"}} {end}\n");
        bed.metrics.encode(crate::telemetry::Gauges::default()).unwrap().contains(&line)
    };
    assert!(not_after("01", "2030"));

    // The certificate comes first: until its key is there, the old pair stays, and is told of once.
    let new = bed.authority.issue(2, 2031);
    bed.files.put_certificate(&new.certificate);
    let said = warnings(|| (0..3).for_each(|_| port.look(false)));
    assert_eq!((serial(&port).as_str(), said.len()), ("01", 1), "{said:?}");
    assert!(said[0].contains("is not the one of the certificate"), "{said:?}");
    assert!(not_after("01", "2030"));
    bed.files.put_key(&new.key);
    assert_eq!(warnings(|| port.look(false)), [""; 0]);
    assert_eq!(serial(&port), "02");
    assert!(not_after("02", "2031"));

    // Asked to, it tries again although nothing changed, and says again what is wrong.
    std::fs::remove_file(&bed.files.certificate).unwrap();
    assert_eq!(warnings(|| (0..3).for_each(|_| port.look(false))).len(), 1);
    assert_eq!(warnings(|| port.look(true)).len(), 1);
    assert_eq!(serial(&port), "02");
    bed.files.put_certificate(&new.certificate);
    assert_eq!(warnings(|| port.look(false)), [""; 0]);
    assert_eq!(serial(&port), "02");
}

#[tokio::test]
async fn the_end_of_a_certificate_is_told_once_a_day() {
    let bed = Bed::new();
    bed.clock.set_wall(at("2029-12-17T00:00:00Z"));
    let mut port = None;
    assert_eq!(warnings(|| port = bed.open().ok()), [""; 0]);
    let mut port = port.unwrap();
    bed.clock.advance(DAY * 3 / 2);
    let said = warnings(|| (0..5).for_each(|_| port.look(false)));
    assert!(said.len() == 1 && said[0].contains("expires soon") && said[0].contains("days_left=13"), "{said:?}");
    bed.clock.advance(DAY);
    assert_eq!(warnings(|| (0..5).for_each(|_| port.look(false))).len(), 1);
    bed.clock.advance(DAY * 20);
    let said = warnings(|| (0..5).for_each(|_| port.look(false)));
    assert!(said.len() == 1 && said[0].contains("has expired"), "{said:?}");
    let new = bed.authority.issue(2, 2035);
    bed.files.put_certificate(&new.certificate);
    bed.files.put_key(&new.key);
    bed.clock.advance(DAY * 2);
    assert_eq!(warnings(|| port.look(false)), [""; 0]);
}

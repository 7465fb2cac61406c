//! Where traces go.

use super::{Settings, SettingsError, load::bad};
use crate::types::percent_decode;
use reqwest::{
    Url,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use secrecy::ExposeSecret;

/// The port that collectors take gRPC on.
const GRPC_PORT: u16 = 4317;

/// A collector of traces whose every part can be used.
#[derive(Debug, Clone)]
pub struct Collector {
    /// Where it takes traces.
    pub url: Url,
    /// What is sent along; marked as secret.
    pub headers: HeaderMap,
}

/// What the address of a collector is.
const ENDPOINT: &str = "is an address such as http://127.0.0.1:4318, without a query";

impl Settings {
    /// The collector of traces; `None`: nothing is traced.
    ///
    /// # Errors
    /// Its address or its headers cannot be used.
    pub fn collector(&self) -> Result<Option<Collector>, SettingsError> {
        let Some(endpoint) = &self.tracing.endpoint else { return Ok(None) };
        let wrong = |problem: &str| bad("tracing.endpoint", problem);
        // Not repeated: a password may stand in it.
        let mut url = Url::parse(endpoint).map_err(|_| wrong(ENDPOINT))?;
        if !matches!(url.scheme(), "http" | "https") || url.query().is_some() || url.fragment().is_some() {
            return Err(wrong(ENDPOINT));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("names no user: put it into tracing.headers"));
        }
        url.set_path(&format!("{}/v1/traces", url.path().trim_end_matches('/')));
        let headers = self.tracing.headers.as_ref().map(|text| headers(text.expose_secret()));
        let headers = headers.transpose().map_err(|problem| bad("tracing.headers", problem))?.unwrap_or_default();
        Ok(Some(Collector { url, headers }))
    }

    pub(super) fn check_tracing(&mut self) -> Result<(), SettingsError> {
        if self.tracing.sample_percent > 100 {
            return Err(bad("tracing.sample_percent", "must be at most 100"));
        }
        if self.tracing.service_name.trim().is_empty() {
            return Err(bad("tracing.service_name", "must not be empty"));
        }
        if self.collector()?.is_some_and(|collector| collector.url.port() == Some(GRPC_PORT)) {
            let warning = "tracing.endpoint is port 4317, where collectors take gRPC; we speak HTTP, which they take on port 4318";
            self.warnings.push(warning.to_owned());
        }
        Ok(())
    }
}

/// `name=value,name=value`, values with `%20` and the like, as OpenTelemetry writes it.
fn headers(text: &str) -> Result<HeaderMap, &'static str> {
    let mut headers = HeaderMap::new();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let form = "is name=value, separated by commas";
        let (name, value) = pair.split_once('=').ok_or(form)?;
        let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| form)?;
        let value = percent_decode(value.trim()).ok_or("holds a % that no two hexadecimal digits follow")?;
        let mut value = HeaderValue::from_bytes(&value).map_err(|_| "holds characters that no header carries")?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let folder = tempfile::tempdir().unwrap();
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Settings::from_layers(folder.path(), variables, Vec::new())
    }

    #[test]
    fn nothing_is_traced_until_a_collector_is_named() {
        assert!(load(&[]).unwrap().collector().unwrap().is_none());
        assert!(load(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]).unwrap().collector().unwrap().is_none());
        for (endpoint, url) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("https://collector.example/otlp/", "https://collector.example/otlp/v1/traces"),
        ] {
            let settings = load(&[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
                ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20a%2Cb, x-scope=one=two"),
                ("OTEL_SERVICE_NAME", "lattice-of-mine"),
            ]);
            let settings = settings.unwrap();
            let collector = settings.collector().unwrap().unwrap();
            assert_eq!(collector.url.as_str(), url);
            assert_eq!(collector.headers["authorization"], "Bearer a,b");
            assert_eq!(collector.headers["x-scope"], "one=two");
            assert_eq!(settings.tracing.service_name, "lattice-of-mine");
            let shown = format!("{}{settings:?}{collector:?}", settings.show());
            assert!(!shown.contains("Bearer"), "{shown}");
        }
        let grpc = load(&[("ARK__TRACING__ENDPOINT", "http://collector:4317")]).unwrap();
        assert!(grpc.warnings.iter().any(|warning| warning.contains("4318")), "{:?}", grpc.warnings);
    }

    #[test]
    fn what_cannot_be_meant_names_its_key_and_repeats_no_secret() {
        const ENDPOINT: (&str, &str) = ("ARK__TRACING__ENDPOINT", "http://collector:4318");
        for (variables, key) in [
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318")][..], "tracing.endpoint"),
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "grpc://collector")], "tracing.endpoint"),
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://u:s3cret@collector")], "tracing.endpoint"),
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector/?key=s3cret")], "tracing.endpoint"),
            (&[ENDPOINT, ("OTEL_EXPORTER_OTLP_HEADERS", "s3cret")], "tracing.headers"),
            (&[ENDPOINT, ("OTEL_EXPORTER_OTLP_HEADERS", "a=s3cret%0d%0a")], "tracing.headers"),
            (&[ENDPOINT, ("OTEL_EXPORTER_OTLP_HEADERS", "a=s3cret%2")], "tracing.headers"),
            (&[ENDPOINT, ("ARK__TRACING__SAMPLE_PERCENT", "101")], "tracing.sample_percent"),
        ] {
            let error = load(variables).unwrap_err().to_string();
            assert!(error.starts_with(key) && !error.contains("s3cret"), "{error}");
        }
    }
}

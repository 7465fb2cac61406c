//! Looks names up for the HTTP clients, and hands them only those addresses that may be asked.

use crate::guard::{OutOfReach, Reach};
use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

/// What the clients connect to comes from here, and is not looked up again.
#[derive(Debug, Clone)]
pub struct Resolver(Arc<Reach>);

impl Resolver {
    /// For whoever names the addresses.
    #[must_use]
    pub fn new(reach: Reach) -> Self {
        Self(Arc::new(reach))
    }

    /// May this URL be asked? Of a name that is known only when it is looked up.
    ///
    /// # Errors
    /// [`OutOfReach`].
    pub fn check(&self, url: &Url) -> Result<(), OutOfReach> {
        // A client connects to an address without looking it up. In brackets it is one of IPv6.
        let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        host.parse::<IpAddr>().map_or(Ok(()), |address| self.0.check(address))
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = Arc::clone(&self.0);
        Box::pin(async move {
            let name = name.as_str();
            let found = tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect();
            let may = reach.of_name(name, found)?;
            let addresses: Addrs = Box::new(may.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    fn client(reach: Reach) -> reqwest::Client {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        reqwest::Client::builder().no_proxy().dns_resolver(Resolver::new(reach)).build().unwrap()
    }

    #[test]
    fn addresses_in_urls_are_looked_at_in_every_form() {
        let others = Resolver::new(Reach::of_others());
        for url in
            ["http://127.0.0.1", "http://[::1]:80", "http://2130706433", "http://0x7f.1", "http://[::ffff:a00:1]"]
        {
            assert!(others.check(&Url::parse(url).unwrap()).is_err(), "{url}");
        }
        assert!(others.check(&Url::parse("http://8.8.8.8").unwrap()).is_ok());
        assert!(others.check(&Url::parse("http://localhost").unwrap()).is_ok(), "that shows when it is looked up");
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_is_connected_to_by_the_operators_wish_only() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://localhost:{}/", listener.local_addr().unwrap().port());
        let refused = client(Reach::of_others()).get(&url).send().await.unwrap_err();
        assert!(format!("{refused:?}").contains("Inner"), "{refused:?}");
        let asking = tokio::spawn(async move { client(Reach::of_operator()).get(&url).send().await });
        // The first who comes is the operator's: the other never came.
        let (stream, _) = listener.accept().await.unwrap();
        drop(stream);
        assert!(asking.await.unwrap().is_err());
    }
}

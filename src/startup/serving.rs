//! The server: the routes and what stands around them, the listener, and the stream between the two.

use super::{StartupError, arrivals::Arrivals, guarded::Guarded};
use crate::{
    api::{self, AdminAccess, ApiState, BodyBudget, Cors, Edge},
    ops::Context,
    settings::{ServerSettings, Settings},
    telemetry::{Metrics, Tracer},
    tls::TlsPort,
};
use actix_http::{HttpService, Protocol};
use actix_service::{IntoServiceFactory, ServiceFactoryExt, fn_service, map_config};
use actix_tls::accept::{
    TlsError, max_concurrent_tls_connect,
    rustls_0_23::{Acceptor, TlsStream},
};
use actix_web::{
    App, Error,
    dev::{AppConfig, Extensions, Server},
    http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS},
    middleware::{Compress, Condition, DefaultHeaders, from_fn},
    rt::net::TcpStream,
    web,
};
use std::{
    io,
    net::{SocketAddr, TcpListener},
    num::NonZero,
    sync::Arc,
    time::Duration,
};
use tokio::runtime::Handle;

/// How long a connection that is done stays open for what the client still sends.
const LINGER: Duration = Duration::from_secs(5);
const NAME: &str = "ark-lattice";

/// What reads requests from a connection, without its routes: `actix_web::HttpServer` would make the same, but of bare sockets only.
macro_rules! http_service {
    ($times:ident, $stopping:ident, $arrive:expr) => {{
        let stopping = $stopping.clone();
        let arrive = $arrive;
        HttpService::build()
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .keep_alive($times.idle)
            .client_request_timeout($times.head)
            // A refused upload is answered while the client still sends: it needs time to come to reading.
            .client_disconnect_timeout(LINGER)
            .on_connect_ext(move |stream: &_, data: &mut Extensions| arrive(stream, data))
    }};
}

/// The routes, as that calls them.
macro_rules! app_service {
    ($app:ident) => {
        map_config($app().into_factory().map_err(|error: Error| error.error_response()), |()| AppConfig::default())
    };
}

/// The same service on each listener; the builder's type has no name here.
macro_rules! listen_on_all {
    ($builder:ident, ($listener:ident, $further:ident), $factory:expr) => {{
        let factory = $factory;
        let first = $builder.listen(NAME, $listener, factory.clone())?;
        $further.into_iter().try_fold(first, |builder, listener| builder.listen(NAME, listener, factory.clone()))?
    }};
}

/// Serves the same routes on all listeners, as soon as the answer is polled.
///
/// # Errors
/// [`StartupError`]: a setting or the certificate cannot be used.
pub(super) fn serve(
    settings: &Settings,
    (listener, further): (TcpListener, Vec<TcpListener>),
    context: Arc<Context>,
    (metrics, tracer): (Arc<Metrics>, Tracer),
    (tls, admin_access): (Option<&TlsPort>, AdminAccess),
) -> Result<Server, StartupError> {
    let section = &settings.server;
    let openapi =
        serde_json::to_string(&api::openapi_document()).map_err(|error| io::Error::other(error.to_string()))?;
    // This one's own, and each worker's below.
    metrics.watch_runtime(Handle::current());
    let arrivals = Arrivals::new(settings, &metrics, &context.trust)?;
    let edge = Edge {
        proxies: settings.proxy_networks()?,
        headers: section.proxy_headers,
        base_path: settings.base_path()?,
        tls: tls.is_some(),
        hsts: Some(section.hsts_max_age.get()).filter(|age| !age.is_zero()),
    };
    let state = web::Data::new(ApiState {
        context,
        edge,
        cors: Cors { origins: settings.web_origins()?, max_age: section.cors_max_age.get() },
        metrics,
        count_loopback: settings.limits.count_loopback,
        client_certificates: section.tls_client_ca.is_some(),
        tracer,
        admin_access,
        body_timeout: section.body_timeout.get(),
        body_bytes_per_second: section.body_bytes_per_second,
        body_budget: BodyBudget::new(settings.limits.inflight_bytes),
        answers: api::answer_pool(settings.limits.answer_bytes),
        reads: api::DocumentReads::default(),
        listeners: api::listener_pool(settings.limits.listeners_per_address),
        discovered: api::DiscoveredBodies::default(),
        openapi,
    });
    let app = move || {
        state.metrics.watch_runtime(Handle::current());
        App::new()
            .app_data(state.clone())
            .wrap(from_fn(api::bound_answers))
            .wrap(Compress::default())
            // What the settings leave out costs a request nothing.
            .wrap(Condition::new(state.context.network.is_some(), from_fn(api::network)))
            .wrap(Condition::new(state.client_certificates, from_fn(api::certified)))
            .wrap(from_fn(api::limit))
            .wrap(Condition::new(!state.edge.base_path.as_str().is_empty(), from_fn(api::strip_prefix)))
            // Documents are whatever users put there: a browser must not take one for a page.
            .wrap(
                DefaultHeaders::new()
                    .add((X_CONTENT_TYPE_OPTIONS, "nosniff"))
                    .add((CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"))
                    .add((REFERRER_POLICY, "no-referrer")),
            )
            .wrap(from_fn(api::suit_client))
            .wrap(from_fn(api::answer_panics))
            .wrap(Condition::new(!state.cors.origins.is_nobody(), from_fn(api::share)))
            .wrap(from_fn(api::observe))
            .configure(api::configure)
    };
    let workers = match section.workers {
        0 => std::thread::available_parallelism().map_or(1, NonZero::get),
        workers => workers,
    };
    let mut builder = Server::build()
        .max_concurrent_connections(section.max_connections.min(arrivals.most_of_worker(workers)))
        .shutdown_timeout(section.shutdown_timeout.get().as_secs())
        .disable_signals();
    if section.workers > 0 {
        builder = builder.workers(section.workers);
    }
    let (times, arrivals) = (Times::of(section), Arc::new(arrivals));
    let stopping = builder.graceful_shutdown_signal();
    let builder = match tls {
        None => listen_on_all!(builder, (listener, further), move || {
            let arrivals = Arc::clone(&arrivals);
            let http = http_service!(times, stopping, move |stream: &Guarded<TcpStream>, data: &mut Extensions| {
                arrivals.arrive(stream.get_ref(), data);
            });
            fn_service(move |stream: TcpStream| async move {
                let peer = prepare(&stream);
                Ok((Guarded::new(stream, times.write), Protocol::Http1, peer))
            })
            .and_then(http.finish(app_service!(app)))
        }),
        Some(tls) => {
            // Otherwise 256 clients that connect and say nothing keep a worker from everybody else.
            max_concurrent_tls_connect(section.max_connections);
            let mut config = tls.server_config()?;
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            listen_on_all!(builder, (listener, further), move || {
                let arrivals = Arc::clone(&arrivals);
                let http = http_service!(
                    times,
                    stopping,
                    move |stream: &Guarded<TlsStream<TcpStream>>, data: &mut Extensions| {
                        arrivals.arrive(stream.get_ref(), data);
                    }
                );
                let mut acceptor = Acceptor::new(config.clone());
                acceptor.set_handshake_timeout(times.head);
                acceptor
                    .map_init_err(|_| ())
                    .map_err(TlsError::into_service_error)
                    .and_then(move |stream: TlsStream<TcpStream>| async move {
                        let peer = prepare(stream.get_ref().0);
                        Ok((Guarded::new(stream, times.write), Protocol::Http1, peer))
                    })
                    .and_then(http.finish(app_service!(app)).map_err(TlsError::Service))
            })
        }
    };
    Ok(builder.run())
}

/// How long clients may take.
#[derive(Debug, Clone, Copy)]
struct Times {
    head: Duration,
    idle: Duration,
    write: Duration,
}

impl Times {
    fn of(section: &ServerSettings) -> Self {
        Self { head: section.header_timeout.get(), idle: section.keep_alive.get(), write: section.write_timeout.get() }
    }
}

/// A streamed answer goes out in several writes: with Nagle each would wait for the client's delayed acknowledgement. Answers who connects.
fn prepare(stream: &TcpStream) -> Option<SocketAddr> {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection keeps Nagle's algorithm");
    }
    stream.peer_addr().ok()
}

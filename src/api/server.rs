//! The accept loop: time limits on slow clients, a cap on connections, an end in order.

use super::held::Held;
use super::places::{Crowded, Places};
use super::{refuse, starting};
use crate::clock;
use crate::metrics::{Ingress, Word};
use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::util::MapRequest;

/// How long a new connection may stay silent.
const FIRST_BYTE: Duration = Duration::from_secs(5);
/// How long a request's headers may take.
const HEADERS: Duration = Duration::from_secs(10);
/// How often a peer over HTTP/2 must show that it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// How long accepting pauses when the machine is out of files.
pub(super) const HELD_BACK: Duration = Duration::from_millis(100);

/// How connections are taken.
#[derive(Debug, Clone, Copy)]
pub struct ServerOptions {
    /// Connections at once.
    pub max_connections: usize,
    /// Connections at once from one address.
    pub max_connections_per_address: usize,
    /// How long connections may take to end.
    pub drain: Duration,
}

/// A bound address that serves.
pub struct Server {
    listener: TcpListener,
    options: ServerOptions,
}

impl Server {
    /// Takes the address; port 0 picks one.
    ///
    /// # Errors
    /// The system's: the address is in use, or not this machine's.
    pub async fn bind(address: SocketAddr, options: ServerOptions) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await?, options })
    }

    /// The address that was taken.
    ///
    /// # Errors
    /// The system's.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Says to everyone who asks that the broker is starting, until it is dropped.
    pub async fn starting(&self) -> Infallible {
        starting::answer(&self.listener).await
    }

    /// Serves until `draining` is cancelled and every connection has ended, or the drain time is over.
    /// `streams` are what outlives its request, WebSockets above all; `counted` is told of connections.
    pub async fn serve(self, router: Router, draining: CancellationToken, streams: TaskTracker, counted: Ingress) {
        let tracker = TaskTracker::new();
        let options = self.options;
        let places = Places::new(options.max_connections, options.max_connections_per_address);
        for why in [Crowded::All, Crowded::Address] {
            // A refusal that did not happen yet is a zero, and not an absence.
            counted.refused.get_or_create(&Word { kind: why.as_str() }).inc_by(0);
        }
        let refusals = Arc::new(Semaphore::new(refuse::AT_ONCE));
        while let Some(accepted) = draining.run_until_cancelled(self.listener.accept()).await {
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be taken");
                    clock::sleep(HELD_BACK).await;
                    continue;
                }
            };
            let place = match places.take(peer.ip(), counted.connections.clone()) {
                Ok(place) => place,
                Err(why) => {
                    counted.refused.get_or_create(&Word { kind: why.as_str() }).inc();
                    tracing::debug!(%peer, why = why.as_str(), "too many connections; one is refused");
                    if let Ok(turn) = Arc::clone(&refusals).try_acquire_owned() {
                        tracker.spawn(async move {
                            refuse::refuse(stream, why).await;
                            drop(turn);
                        });
                    }
                    continue;
                }
            };
            let (router, draining) = (router.clone(), draining.clone());
            tracker.spawn(connection(Held { stream, _place: place }, router, draining));
        }
        drop(self.listener);
        tracker.close();
        streams.close();
        let ended = async { tokio::join!(tracker.wait(), streams.wait()) };
        if clock::within(self.options.drain, ended).await.is_none() {
            tracing::warn!(connections = tracker.len() + streams.len(), "some connections did not end in time");
        }
    }
}

pub(super) async fn connection(held: Held, router: Router, draining: CancellationToken) {
    // A look at the first byte, not at readiness: a fresh socket is taken for ready until it was tried.
    let first_byte = clock::within(FIRST_BYTE, held.stream.peek(&mut [0])).await;
    if held.stream.set_nodelay(true).is_err() || !matches!(first_byte, Some(Ok(1..))) {
        return;
    }
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(256).keep_alive_interval(KEEP_ALIVE);
    let asked = Arc::new(AtomicBool::new(false));
    let noting = Arc::clone(&asked);
    let service = TowerToHyperService::new(MapRequest::new(router, move |request: Request<Incoming>| {
        noting.store(true, Ordering::Relaxed);
        request
    }));
    let serving = builder.serve_connection_with_upgrades(TokioIo::new(held), service);
    tokio::pin!(serving);
    // Whoever sends half of a preface, or opens HTTP/2 and asks nothing, holds a place for nothing.
    let silent = async {
        clock::sleep(HEADERS).await;
        if asked.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    let ended = tokio::select! {
        ended = &mut serving => ended,
        () = silent => return,
        () = draining.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended badly");
    }
}

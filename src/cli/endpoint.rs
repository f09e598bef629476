//! A server inside a command: the demo's broker, the endpoints that connectors call.

use super::exit::Fault;
use crate::api::{Server, ServerOptions};
use crate::metrics::Ingress;
use axum::Router;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Loopback, on a port that the system picks.
pub(super) const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// How long connections may take to end.
pub(super) const DRAIN: Duration = Duration::from_secs(2);
const CONNECTIONS: usize = 1_000;

/// Serves until `stop`; gives the URL.
pub(super) async fn serve(address: SocketAddr, router: Router, stop: &CancellationToken) -> Result<String, Fault> {
    let options =
        ServerOptions { max_connections: CONNECTIONS, max_connections_per_address: CONNECTIONS, drain: DRAIN };
    let server = Server::bind(address, options).await?;
    let url = format!("http://{}", server.address()?);
    tokio::spawn(server.serve(router, stop.clone(), TaskTracker::new(), Ingress::default()));
    Ok(url)
}

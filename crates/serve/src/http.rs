//! Listening.

use std::net::SocketAddr;

use axum::Router;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::Error;

/// A service that listens.
#[derive(Debug)]
pub struct Server {
    /// With the port that was chosen, if 0 was asked for.
    pub address: SocketAddr,
    /// Ends after shutdown.
    pub task: JoinHandle<()>,
}

/// Listens on loopback, or elsewhere if that was wanted in so many words.
pub async fn bind(what: &'static str, listen: SocketAddr, allow_remote: bool) -> Result<TcpListener, Error> {
    if !listen.ip().is_loopback() && !allow_remote {
        return Err(Error::NotLoopback { what, listen });
    }
    TcpListener::bind(listen).await.map_err(|source| Error::Listen { what, listen, source })
}

/// Serves `routes` until `shutdown`.
pub async fn serve(
    what: &'static str,
    listen: SocketAddr,
    allow_remote: bool,
    routes: Router,
    shutdown: CancellationToken,
) -> Result<Server, Error> {
    let listener = bind(what, listen, allow_remote).await?;
    let address = listener.local_addr().map_err(|source| Error::Listen { what, listen, source })?;
    tracing::info!(%address, what, "listening");
    let task = tokio::spawn(async move {
        let served = axum::serve(listener, routes).with_graceful_shutdown(shutdown.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::warn!(%error, what, "serving ended");
        }
    });
    Ok(Server { address, task })
}

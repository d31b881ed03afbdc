//! Connections: how many, how slow, how they end.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// How connections are let in and shown out.
#[derive(Debug, Clone, Copy)]
pub struct Door {
    /// Connections at once; others wait in the kernel's line.
    pub max_connections: usize,
    /// How long the head of a request may take to arrive, and a connection may be idle.
    pub header_timeout: Duration,
    /// How long open requests may take to end once the daemon goes down.
    pub farewell: Duration,
}

/// The kernel has no more files for us, or the peer has left already: neither is worth a busy loop.
const PAUSE: Duration = Duration::from_millis(20);

/// Serves until `shutdown`, then lets open requests end.
pub async fn serve(listener: TcpListener, router: Router, door: Door, shutdown: impl Future<Output = ()> + Send) {
    let slots = Arc::new(Semaphore::new(door.max_connections));
    let (closing, closed) = watch::channel(false);
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        let slot = Arc::clone(&slots).acquire_owned();
        let accepted = async { (slot.await, listener.accept().await) };
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            (slot, accepted) = accepted => match accepted {
                Ok((stream, _)) => {
                    let connection = connection(stream, router.clone(), door.header_timeout, closed.clone());
                    connections.spawn(async move {
                        connection.await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    closing.send_replace(true);
    let ended = tokio::time::timeout(door.farewell, async { while connections.join_next().await.is_some() {} });
    if ended.await.is_err() {
        tracing::warn!(connections = connections.len(), "closing connections whose requests have not ended");
    }
}

async fn connection(stream: TcpStream, router: Router, header_timeout: Duration, mut closed: watch::Receiver<bool>) {
    // Replies are small, and somebody waits for each.
    let _ = stream.set_nodelay(true);
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(header_timeout);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = async { drop(closed.wait_for(|closed| *closed).await) } => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}

//! Connections: how many, how slow, how they end.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::io::Errno;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutStream;

use super::idle::{Asked, Connection, Idle};

/// How connections are let in and shown out.
#[derive(Debug, Clone, Copy)]
pub struct Door {
    /// Connections at once; one more closes one that is idle, or waits.
    pub max_connections: usize,
    /// How long the head of a request may take to arrive, and a connection may be idle.
    pub header_timeout: Duration,
    /// How long a part of an answer may wait for whoever asked to take it: then the connection is closed.
    pub write_timeout: Duration,
    /// How long open requests may take to end once the daemon goes down.
    pub farewell: Duration,
}

/// The kernel has no more files for us, or the peer has left already: neither is worth a busy loop.
const PAUSE: Duration = Duration::from_millis(20);

/// Serves until `shutdown`, then lets open requests end.
pub async fn serve(listener: TcpListener, router: Router, door: Door, shutdown: impl Future<Output = ()> + Send) {
    let (slots, idle) = (Arc::new(Semaphore::new(door.max_connections)), Idle::default());
    let (closing, closed) = watch::channel(false);
    let (mut connections, mut came, mut is_told) = (JoinSet::new(), None, false);
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            slot = Arc::clone(&slots).acquire_owned(), if came.is_some() => {
                idle.has_room();
                let Some(stream) = came.take() else { continue };
                let own = Own { connection: idle.connection(), closed: closed.clone() };
                let connection = connection(stream, router.clone(), door, own);
                connections.spawn(async move {
                    connection.await;
                    drop(slot);
                });
            }
            accepted = listener.accept(), if came.is_none() => match accepted {
                Ok((stream, _)) => {
                    (came, is_told) = (Some(stream), false);
                    if slots.available_permits() == 0 {
                        idle.make_room();
                    }
                }
                Err(error) => {
                    // Told once, however often it is tried.
                    if !std::mem::replace(&mut is_told, true) {
                        tracing::warn!(%error, "cannot accept a connection; trying again until it can be");
                    }
                    if is_out_of_files(&error) {
                        idle.make_room();
                    }
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

/// Whether as many files are open as may, by this process or by all: one less connection makes room for the next.
fn is_out_of_files(error: &std::io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

/// What a connection is told.
struct Own {
    connection: Arc<Connection>,
    closed: watch::Receiver<bool>,
}

async fn connection(stream: TcpStream, router: Router, door: Door, own: Own) {
    let Own { connection, mut closed } = own;
    // Replies are small, and somebody waits for each.
    let _ = stream.set_nodelay(true);
    // hyper waits for ever for who asks and does not read, and takes that for no idle connection.
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(door.write_timeout));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(door.header_timeout);
    let router = TowerToHyperService::new(router);
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let (asked, answer) = (connection.ask(), router.call(request));
        async move { answer.await.map(|response| response.map(|body| until_sent(body, asked))) }
    });
    let serving = builder.serve_connection(TokioIo::new(Box::pin(stream)), service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = async { drop(closed.wait_for(|closed| *closed).await) } => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
        // hyper would wait for the first request of one that has sent none.
        () = connection.closed() => match connection.has_asked() {
            false => return,
            true => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        },
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}

/// The body of an answer, which holds what was asked until it has been sent.
fn until_sent(body: Body, asked: Asked) -> Body {
    Body::new(body.map_frame(move |frame| {
        let _held = &asked;
        frame
    }))
}

//! A whole daemon: from its settings to its last breath.

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::house::{House, Plan};
use super::telemetry;
use crate::api::{self, Api, Door};
use crate::clock;
use crate::config::{Config, StoreUrl};
use crate::store::Store;
use crate::store::file::FileStore;
use crate::store::memory::MemoryStore;

/// What a daemon tells when it is ready.
#[derive(Debug, Clone)]
pub struct Ready {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its name.
    pub hostname: String,
    /// Its store, as the operator wrote it.
    pub store: String,
    /// Tasks at once.
    pub concurrency: usize,
    /// The queues it serves; none: all.
    pub queues: Option<Vec<String>>,
    /// Modules it knows.
    pub modules: usize,
}

const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Longer than any long poll takes to notice the end.
const FAREWELL: Duration = Duration::from_secs(5);

/// Runs a daemon until it is told to stop: once, and it drains; twice, and it stops at once.
pub fn serve(config: &Config, ready: impl FnOnce(Ready)) -> anyhow::Result<()> {
    telemetry::start(&config.log);
    let runtime = runtime()?;
    let served = runtime.block_on(async {
        let place = Place::open(&config.store)?;
        let program = std::env::current_exe().context("this program cannot find itself, to start compilers")?;
        let plan = Plan::of(config, place.store, place.cache.clone(), program);
        let house = Arc::new(House::open(plan).await?);
        let served = keep(config, &house, ready, |_| std::future::pending()).await;
        let house = Arc::into_inner(house).context("a connection outlived its daemon")?;
        house.close().await?;
        served
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}

/// The threads of everything but guests: few, since none of it computes for long, and guests want the cores.
pub(super) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let threads = (cores / 2).max(1);
    tokio::runtime::Builder::new_multi_thread().worker_threads(threads).thread_name("lovage").enable_all().build()
}

/// A store, and where the artifacts that belong to it are.
pub(super) struct Place {
    pub(super) store: Arc<dyn Store>,
    pub(super) cache: PathBuf,
    /// Removed with the daemon.
    _temporary: Option<tempfile::TempDir>,
}

impl Place {
    pub(super) fn open(url: &StoreUrl) -> anyhow::Result<Self> {
        match url {
            StoreUrl::Memory => {
                let temporary = tempfile::Builder::new().prefix("lovage-").tempdir()?;
                let cache = temporary.path().join("cache");
                Ok(Self { store: Arc::new(MemoryStore::new()), cache, _temporary: Some(temporary) })
            }
            StoreUrl::File(directory) => {
                let store = FileStore::open(directory, clock::now())
                    .with_context(|| format!("the store in {} cannot be opened", directory.display()))?;
                Ok(Self { store: Arc::new(store), cache: directory.join("cache"), _temporary: None })
            }
        }
    }
}

/// Listens, serves and drains.
pub(super) async fn keep<F: Future<Output = ()>>(
    config: &Config,
    house: &Arc<House>,
    ready: impl FnOnce(Ready),
    meanwhile: impl FnOnce(Arc<House>) -> F,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(config.http.listen).await.with_context(|| taken(config.http.listen))?;
    let (drain, draining) = watch::channel(false);
    let router = api::router(Api { conf: config.json(), ..house.api(draining.clone()) });
    let door =
        Door { max_connections: config.http.max_connections, header_timeout: HEADER_TIMEOUT, farewell: FAREWELL };
    ready(Ready {
        address: listener.local_addr()?,
        hostname: config.worker.hostname.clone(),
        store: shown(&config.store),
        concurrency: config.worker.concurrency,
        queues: config.worker.queues.as_ref().map(|names| names.iter().map(ToString::to_string).collect()),
        modules: house.module_count().await?,
    });
    let (finish, mut finished) = watch::channel(false);
    let serving = api::serve(listener, router, door, async move {
        // Gone together with the daemon: then it is over as well.
        let _ = finished.wait_for(|finished| *finished).await;
    });
    let ending = async {
        tokio::select! {
            stopped = stop_signal() => stopped?,
            () = meanwhile(Arc::clone(house)) => {}
            () = house.broken() => {
                // Nothing can be drained any more. Whoever supervises starts a new one, which runs what is left again.
                finish.send_replace(true);
                anyhow::bail!("a loop of the daemon has ended by a panic, which is above: this is a fault of lovage");
            }
        }
        let seconds = config.worker.drain.as_secs();
        tracing::info!(
            running = house.running.len(),
            "draining, for at most {seconds} s; a second signal stops at once"
        );
        drain.send_replace(true);
        tokio::select! {
            () = house.drain() => {}
            stopped = stop_signal() => {
                stopped?;
                house.stop_now().await;
            }
        }
        finish.send_replace(true);
        anyhow::Ok(())
    };
    let ((), ended) = tokio::join!(serving, ending);
    ended
}

async fn stop_signal() -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

fn taken(address: SocketAddr) -> String {
    format!(
        "cannot listen on {address}: is another daemon running there? Choose another with --listen, or port 0 for any"
    )
}

fn shown(store: &StoreUrl) -> String {
    match store {
        StoreUrl::Memory => "memory:".to_owned(),
        StoreUrl::File(directory) => format!("file:{}", absolute(directory).display()),
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

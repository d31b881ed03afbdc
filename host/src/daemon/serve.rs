//! A whole daemon: from its settings to its last breath.

use std::fs::Permissions;
use std::future::Future;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use lovage_model::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::house::{House, Plan};
use super::signals::Signals;
use super::{files, telemetry};
use crate::api::{self, Api, Door};
use crate::clock;
use crate::config::{Config, StoreUrl};
use crate::control::{Celeryev, Pidbox};
use crate::store::Store;
use crate::store::file::FileStore;
use crate::store::memory::MemoryStore;
use crate::store::redis::{Options, RedisStore};

/// What a daemon tells when it is ready.
#[derive(Debug, Clone)]
pub struct Ready {
    /// When it was.
    pub at: Timestamp,
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
    /// A token that may do everything, made because nobody has one. It is not told again.
    pub token: Option<String>,
}

const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a part of an answer may wait for whoever asked to take it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Longer than any long poll takes to notice the end.
const FAREWELL: Duration = Duration::from_secs(5);

/// Runs a daemon until it is told to stop: once, and it drains; twice, and it stops at once.
pub fn serve(config: &Config, ready: impl FnOnce(Ready)) -> anyhow::Result<()> {
    telemetry::start(&config.log);
    config.idle().iter().for_each(|idle| tracing::warn!("{idle}"));
    files::raise(config.http.max_connections);
    let runtime = runtime()?;
    let served = runtime.block_on(async {
        let place = Place::open(config).await?;
        let program = std::env::current_exe().context("this program cannot find itself, to start compilers")?;
        let plan = Plan::of(config, place.store, place.cache.clone(), program);
        let house = Arc::new(House::open(plan).await?);
        // Not before: what opens may take long, and is stopped by the signal itself.
        let signals = Signals::listen()?;
        let served = keep(config, &house, signals, ready, |_| std::future::pending()).await;
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

/// A directory that goes with who made it, and is for its owner only, whatever the umask.
pub(super) fn temporary(prefix: &str) -> std::io::Result<tempfile::TempDir> {
    tempfile::Builder::new().prefix(prefix).permissions(Permissions::from_mode(0o700)).tempdir()
}

/// A store, and where the artifacts that belong to it are.
pub(super) struct Place {
    pub(super) store: Arc<dyn Store>,
    pub(super) cache: PathBuf,
    /// Removed with the daemon.
    _temporary: Option<tempfile::TempDir>,
}

impl Place {
    pub(super) async fn open(config: &Config) -> anyhow::Result<Self> {
        let chosen = |or: PathBuf| config.cache.clone().unwrap_or(or);
        match &config.store {
            StoreUrl::Memory => {
                let temporary = temporary("lovage-")?;
                let cache = chosen(temporary.path().join("cache"));
                Ok(Self { store: Arc::new(MemoryStore::new()), cache, _temporary: Some(temporary) })
            }
            StoreUrl::File(directory) => {
                let store = FileStore::open(directory, clock::now())
                    .with_context(|| format!("the store in {} cannot be opened", directory.display()))?;
                Ok(Self { store: Arc::new(store), cache: chosen(directory.join("cache")), _temporary: None })
            }
            StoreUrl::Redis(url) => {
                let store = RedisStore::open(options(config, url), clock::now()).await;
                let store = store.context("the store in Redis cannot be opened")?;
                Ok(Self { store: Arc::new(store), cache: chosen(cache_of(&config.worker.hostname)), _temporary: None })
            }
        }
    }
}

fn options(config: &Config, url: &str) -> Options {
    let redis = config.redis.clone();
    Options {
        url: url.to_owned(),
        hostname: config.worker.hostname.clone(),
        global_keyprefix: redis.global_keyprefix,
        result_keyprefix: redis.result_keyprefix,
        priority_steps: redis.priority_steps,
        sep: redis.sep,
        unacked_key: redis.unacked_key,
        unacked_index_key: redis.unacked_index_key,
        unacked_mutex_key: redis.unacked_mutex_key,
        visibility_timeout: redis.visibility_timeout,
        result_expires: config.results_expire,
        track_started: redis.track_started,
        result_extended: redis.result_extended,
    }
}

/// Where a host keeps compiled code that has no directory of its own: each its own, since hosts may share a machine.
fn cache_of(hostname: &str) -> PathBuf {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute()).or_else(home);
    let name: String =
        hostname.chars().map(|c| if c.is_ascii_alphanumeric() || "@-_".contains(c) { c } else { '_' }).collect();
    base.unwrap_or_else(std::env::temp_dir).join("lovage").join(name)
}

/// Listens, serves and drains.
pub(super) async fn keep<F: Future<Output = ()>>(
    config: &Config,
    house: &Arc<House>,
    mut signals: Signals,
    ready: impl FnOnce(Ready),
    meanwhile: impl FnOnce(Arc<House>) -> F,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(config.http.listen).await.map_err(|error| {
        let why = not_bound(config.http.listen, error.kind());
        anyhow::Error::new(error).context(why)
    })?;
    let (drain, draining) = watch::channel(false);
    // Half of the connections are there for others than one tenant, however long its requests wait.
    let waits = u32::try_from(config.http.max_connections / 2).unwrap_or(u32::MAX).max(1);
    let router = api::router(Api { conf: config.json(), waits, ..house.api(draining.clone()) });
    let celeryev = Celeryev::new(house.control(), config.worker.task_events);
    let control = house.control();
    let pidbox = Pidbox { control: house.control(), celeryev: Arc::clone(&celeryev), conf: config.json() };
    let door = Door {
        max_connections: config.http.max_connections,
        header_timeout: HEADER_TIMEOUT,
        write_timeout: WRITE_TIMEOUT,
        farewell: FAREWELL,
    };
    ready(Ready {
        at: clock::now(),
        address: listener.local_addr()?,
        hostname: config.worker.hostname.clone(),
        store: shown(&config.store),
        concurrency: config.worker.concurrency,
        queues: config.worker.queues.as_ref().map(|names| names.iter().map(ToString::to_string).collect()),
        modules: house.module_count().await?,
        token: house.bootstrap().await?,
    });
    let (finish, mut finished) = watch::channel(false);
    let mut over = finished.clone();
    let serving = api::serve(listener, router, door, async move {
        // Gone together with the daemon: then it is over as well.
        let _ = finished.wait_for(|finished| *finished).await;
    });
    let ending = async {
        tokio::select! {
            _ = signals.next() => {}
            () = meanwhile(Arc::clone(house)) => {}
            () = house.standing.left() => {}
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
            _ = signals.next() => house.stop_now().await,
        }
        finish.send_replace(true);
        anyhow::Ok(())
    };
    // Until the last task has ended: who asks meanwhile is answered, and monitors learn how it ended.
    let told = async {
        tokio::select! {
            () = pidbox.run() => {}
            () = celeryev.run() => {}
            () = control.follow_elsewhere() => {}
            _ = over.wait_for(|over| *over) => {}
        }
        celeryev.leave().await;
    };
    let ((), ended, ()) = tokio::join!(serving, ending, told);
    ended
}

/// Why nothing can be heard at an address, and what to do.
fn not_bound(address: SocketAddr, kind: ErrorKind) -> String {
    let why = match kind {
        ErrorKind::PermissionDenied => {
            "a port below 1024 needs a right (CAP_NET_BIND_SERVICE; AmbientCapabilities= in a unit of systemd)."
        }
        ErrorKind::AddrNotAvailable => "this machine has no such address.",
        _ => "is another daemon running there?",
    };
    format!("cannot listen on {address}: {why} Choose another with --listen, or port 0 for any")
}

/// A store, as its operator wrote it; without a password.
pub fn shown(store: &StoreUrl) -> String {
    match store {
        StoreUrl::Memory => "memory:".to_owned(),
        StoreUrl::File(directory) => format!("file:{}", absolute(directory).display()),
        StoreUrl::Redis(url) => StoreUrl::shown(url),
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_cannot_be_had_is_told_with_what_is_in_the_way() {
        let told = |kind| not_bound(SocketAddr::from(([127, 0, 0, 1], 80)), kind);
        let denied = told(ErrorKind::PermissionDenied);
        assert!(denied.contains("below 1024") && !denied.contains("another daemon"), "{denied}");
        assert!(told(ErrorKind::AddrNotAvailable).contains("no such address"));
        assert!(told(ErrorKind::AddrInUse).contains("another daemon"));
    }

    #[test]
    fn what_is_temporary_is_closed_to_others() {
        let mode = temporary("lovage-test-").unwrap().path().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}

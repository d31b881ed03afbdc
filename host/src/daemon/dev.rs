//! A daemon for development: on a temporary store, and pushing module files whenever they change.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use lovage_model::{ModuleName, ModuleVersion, TenantId};

use super::house::{House, Plan};
use super::serve::{Place, keep, runtime};
use super::telemetry;
use crate::clock;
use crate::config::{self, Flags, StoreUrl};

/// How to run a daemon for development.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DevArgs {
    /// Component files to push, and to push again when they change.
    pub modules: Vec<PathBuf>,
    /// Where to listen; a free port of this machine if left out.
    pub listen: Option<SocketAddr>,
    /// A file of settings, all but the store's and the address.
    pub config: Option<PathBuf>,
}

/// What a development daemon tells its user.
#[derive(Debug, Clone, PartialEq)]
pub enum DevNews {
    /// It listens.
    Ready {
        /// Its address.
        url: String,
        /// Where it keeps things until it ends.
        store: String,
        /// A token that may do everything, if tokens are asked for.
        token: Option<String>,
    },
    /// A file was pushed.
    Pushed(ModuleVersion),
    /// A file could not be pushed.
    Refused {
        /// Which.
        path: PathBuf,
        /// Why, and what to do.
        why: String,
    },
}

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// Runs a daemon on a temporary store until it is told to stop.
pub fn dev(args: DevArgs, tell: impl Fn(DevNews)) -> anyhow::Result<()> {
    let directory = tempfile::Builder::new().prefix("lovage-dev-").tempdir()?;
    let flags = Flags { config: args.config.clone(), ..Flags::default() };
    let mut config = config::load(&flags, std::env::vars(), |path| std::fs::read_to_string(path))?;
    config.store = StoreUrl::File(directory.path().to_owned());
    config.http.listen = args.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)));
    telemetry::start(&config.log);
    let runtime = runtime()?;
    runtime.block_on(async {
        let place = Place::open(&config).await?;
        let program = std::env::current_exe().context("this program cannot find itself, to start compilers")?;
        let house = Arc::new(House::open(Plan::of(&config, place.store, place.cache.clone(), program)).await?);
        let ready = |ready: super::Ready| {
            tell(DevNews::Ready { url: format!("http://{}", ready.address), store: ready.store, token: ready.token });
        };
        let kept = Box::pin(keep(&config, &house, ready, |house| watch(house, &args.modules, &tell))).await;
        Arc::into_inner(house).context("a connection outlived its daemon")?.close().await?;
        kept
    })
}

/// Pushes each file now and whenever it changes. Never returns.
async fn watch(house: Arc<House>, files: &[PathBuf], tell: &impl Fn(DevNews)) {
    let mut seen: Vec<Option<(SystemTime, u64)>> = vec![None; files.len()];
    let mut missing_told = vec![false; files.len()];
    loop {
        for (place, path) in files.iter().enumerate() {
            let stamp = stamp(path);
            if stamp.is_none() && !missing_told[place] {
                missing_told[place] = true;
                tell(DevNews::Refused { path: path.clone(), why: "there is no such file yet".to_owned() });
            }
            if stamp.is_some() && stamp != seen[place] {
                seen[place] = stamp;
                tell(
                    push(&house, path)
                        .await
                        .unwrap_or_else(|error| DevNews::Refused { path: path.clone(), why: format!("{error:#}") }),
                );
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.modified().ok()?, meta.len()))
}

async fn push(house: &House, path: &Path) -> anyhow::Result<DevNews> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
    let name = ModuleName::new(&stem).context("the file's name becomes the module's")?;
    let component = tokio::fs::read(path).await?;
    let pushed = house.modules.push(&TenantId::default(), &name, component.into(), false, clock::now()).await?;
    Ok(DevNews::Pushed(pushed))
}

//! A daemon for development: on a temporary store, and pushing module files whenever they change.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use lovage_model::{ModuleName, ModuleVersion, TenantId};

use super::house::{House, Plan};
use super::serve::{Place, keep, runtime, temporary};
use super::signals::Signals;
use super::{files, telemetry};
use crate::clock;
use crate::config::{self, Config, Faults, Flags, StoreUrl};

/// How to run a daemon for development.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DevArgs {
    /// Component files to push, and to push again when they change.
    pub modules: Vec<PathBuf>,
    /// Where to listen; a free port of this machine if left out.
    pub listen: Option<String>,
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

/// Where it listens if nobody says where.
const ANY_PORT: &str = "127.0.0.1:0";
/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// Runs a daemon on a temporary store until it is told to stop.
pub fn dev(args: DevArgs, tell: impl Fn(DevNews)) -> anyhow::Result<()> {
    let mut config = settings(&args)?;
    telemetry::start(&config.log);
    files::raise(config.http.max_connections);
    let runtime = runtime()?;
    runtime.block_on(async {
        // Before there is a directory that would be left.
        let signals = Signals::listen()?;
        let directory = temporary("lovage-dev-")?;
        config.store = StoreUrl::File(directory.path().to_owned());
        let place = Place::open(&config).await?;
        let program = std::env::current_exe().context("this program cannot find itself, to start compilers")?;
        let house = Arc::new(House::open(Plan::of(&config, place.store, place.cache.clone(), program)).await?);
        let ready = |ready: super::Ready| {
            tell(DevNews::Ready { url: format!("http://{}", ready.address), store: ready.store, token: ready.token });
        };
        let kept = Box::pin(keep(&config, &house, signals, ready, |house| watch(house, &args.modules, &tell))).await;
        Arc::into_inner(house).context("a connection outlived its daemon")?.close().await?;
        kept
    })
}

/// What holds, all but the store. The address is proven together with the rest: an open one needs tokens.
fn settings(args: &DevArgs) -> Result<Config, Faults> {
    let listen = args.listen.clone().unwrap_or_else(|| ANY_PORT.to_owned());
    let flags = Flags { config: args.config.clone(), listen: Some(listen), ..Flags::default() };
    config::load(&flags, std::env::vars_os(), |path| std::fs::read_to_string(path))
}

/// Two files that would be versions of one module, if there are any.
pub fn of_one_module(files: &[PathBuf]) -> Option<(&Path, &Path)> {
    let mut seen = BTreeMap::<String, &Path>::new();
    files.iter().find_map(|file| seen.insert(module_of(file), file).map(|before| (before, file.as_path())))
}

/// A file's name becomes the module's.
fn module_of(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().to_lowercase()
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
    let name = ModuleName::new(module_of(path)).context("the file's name becomes the module's")?;
    let component = tokio::fs::read(path).await?;
    let pushed = house.modules.push(&TenantId::default(), &name, component.into(), false, clock::now()).await?;
    Ok(DevNews::Pushed(pushed.version))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening(listen: Option<&str>) -> Result<Config, Faults> {
        settings(&DevArgs { listen: listen.map(str::to_owned), ..DevArgs::default() })
    }

    #[test]
    fn whoever_reaches_an_open_address_needs_a_token() {
        assert_eq!(listening(None).unwrap().http.listen.to_string(), "127.0.0.1:0");
        assert_eq!(listening(Some("localhost:7380")).unwrap().http.listen.to_string(), "127.0.0.1:7380");
        let refused = listening(Some("0.0.0.0:7380")).unwrap_err().to_string();
        assert!(refused.contains("http.tokens must be \"required\""), "{refused}");
        assert!(listening(Some("here")).unwrap_err().to_string().contains("--listen"));
    }

    #[test]
    fn a_module_has_one_file() {
        let files = |paths: &[&str]| paths.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(of_one_module(&files(&["a/x.wasm", "a/y.wasm"])), None);
        let two = files(&["a/x.wasm", "y.wasm", "b/X.wasm"]);
        assert_eq!(of_one_module(&two), Some((Path::new("a/x.wasm"), Path::new("b/X.wasm"))));
    }
}

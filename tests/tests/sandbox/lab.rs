//! One sandbox for all tests of this binary, and attempts for it.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use lovage::attempt::{Attempt, Grants, Progress, Report, Stop};
use lovage::sandbox::{Compiler, Sandbox, Settings};
use lovage_model::TaskDefinition;
use lovage_tests::artifacts::{self, digest_of};
use lovage_tests::attempts::attempt;
use serde_json::Value;
use tokio::sync::watch;

/// Attempts at once.
pub(crate) const PLACES: u32 = 500;
pub(crate) const MEMORY: u64 = 64 << 20;
pub(crate) const PAYLOAD: usize = 1 << 20;
pub(crate) const OUTPUT: usize = 64 << 10;

/// The sandbox that the tests share.
pub(crate) fn sandbox() -> &'static Sandbox {
    static SANDBOX: OnceLock<Sandbox> = OnceLock::new();
    SANDBOX.get_or_init(|| {
        let cache = artifacts::directory();
        Sandbox::new(settings(cache, Compiler::InProcess)).expect("a sandbox")
    })
}

pub(crate) fn settings(cache: &Path, compiler: Compiler) -> Settings {
    Settings { concurrency: PLACES, memory_bytes: MEMORY, cache: cache.to_owned(), compiler, executors: None }
}

/// What a guest says about itself.
pub(crate) async fn admit(guest: &Path) -> Vec<TaskDefinition> {
    let component = std::fs::read(guest).unwrap();
    sandbox().admit(&digest_of(&component), &component).await.unwrap()
}

/// One run to be made.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) attempt: Attempt,
    pub(crate) grants: Grants,
}

impl Run {
    /// A task of a guest, with plenty of everything.
    pub(crate) fn of(guest: &Path, task: &str, args: &Value) -> Self {
        let component = std::fs::read(guest).unwrap();
        Self {
            attempt: attempt(&component, task, args),
            grants: Grants {
                memory_bytes: MEMORY,
                output_bytes: OUTPUT,
                payload_bytes: PAYLOAD,
                subtasks: 1000,
                sent_bytes: 8 * PAYLOAD,
                handler_limit: Duration::from_secs(30),
                ..Grants::of_time(Duration::from_secs(30))
            },
        }
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Grants)) -> Self {
        change(&mut self.grants);
        self
    }

    /// Runs it to its end.
    pub(crate) async fn report(self) -> Report {
        let (_keep, stop) = watch::channel(None);
        self.start(sandbox(), Arc::new(()), stop).await
    }

    /// Runs it somewhere, with somebody who listens; it may be told to stop.
    pub(crate) async fn start(
        self,
        sandbox: &Sandbox,
        progress: Arc<dyn Progress>,
        stop: watch::Receiver<Option<Stop>>,
    ) -> Report {
        let Self { attempt, grants } = self;
        assert!(sandbox.load_cached(&attempt.module, grants.fuel.is_some()).await.unwrap(), "it is compiled");
        sandbox.run(attempt, grants, progress, stop).await
    }
}

//! One task here and now: the house without its door. What runs is what a daemon would run: the same sandbox, the same
//! trace, a store in memory. Retries do not wait, as in Celery's `apply()`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use lovage_model::{
    EventKind, Json, LogLevel, LogRecord, ModuleName, ResultMeta, Seconds, Signature, TaskId, TenantId,
};

use super::house::{House, Plan};
use super::serve::temporary;
use super::signals::Signals;
use super::telemetry;
use crate::attempt::Progress;
use crate::clock;
use crate::config::{self, Flags, Log};
use crate::events::Notice;
use crate::pipeline::Granted;
use crate::queue;
use crate::sandbox::Compiler;
use crate::store::memory::MemoryStore;

/// One run without a daemon.
#[derive(Debug, Clone, PartialEq)]
pub struct ExecArgs {
    /// The component.
    pub module: PathBuf,
    /// A call of one of its tasks, or a canvas of calls that ends in one task.
    pub call: Signature,
    /// Hard limit.
    pub time_limit: Option<Seconds>,
    /// Soft limit.
    pub soft_time_limit: Option<Seconds>,
    /// Units of fuel.
    pub fuel: Option<u64>,
    /// Linear memories and tables together.
    pub memory_bytes: Option<u64>,
    /// A file of settings, for its limits and grants; as for a daemon, variables of the environment go before it.
    pub config: Option<PathBuf>,
}

/// Runs one task and waits for its end. Its retries run too; subtasks that it sends are run while it is waited for. A signal
/// ends it at once ([`Stopped`](super::Stopped)).
pub fn exec(args: ExecArgs, progress: &dyn Progress) -> anyhow::Result<ResultMeta> {
    telemetry::start(&Log { level: "warn".to_owned(), json: false });
    let component = std::fs::read(&args.module).with_context(|| format!("cannot read {}", args.module.display()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let ended = runtime.block_on(async {
        // Before there is a directory that would be left.
        let mut signals = Signals::listen()?;
        let directory = temporary("lovage-exec-")?;
        tokio::select! {
            ended = run_in(directory.path(), args, component.into(), progress) => ended,
            stopped = signals.next() => Err(stopped.into()),
        }
    });
    // What was stopped may still compile or spin: nobody waits for that.
    runtime.shutdown_background();
    ended
}

async fn run_in(
    directory: &Path,
    args: ExecArgs,
    component: bytes::Bytes,
    progress: &dyn Progress,
) -> anyhow::Result<ResultMeta> {
    let id = TaskId::from_uuid(uuid::Uuid::now_v7());
    let house = House::open(plan(&args, directory.join("cache"), id.clone())?).await?;
    let ended = run(&house, args, id, component, progress).await;
    house.close().await?;
    ended
}

fn plan(args: &ExecArgs, cache: PathBuf, id: TaskId) -> anyhow::Result<Plan> {
    let flags = Flags { config: args.config.clone(), ..Flags::default() };
    let mut config = config::load(&flags, std::env::vars_os(), |path| std::fs::read_to_string(path))?;
    config.worker.concurrency = 16;
    // Whichever queue its task is sent to, nobody else would take it.
    config.worker.queues = None;
    if let Some(memory_bytes) = args.memory_bytes {
        config.limits.memory_bytes = memory_bytes;
    }
    Ok(Plan {
        store: Arc::new(MemoryStore::new()),
        cache,
        // The user's own code, on the user's own machine.
        compiler: Compiler::InProcess,
        executors: None,
        granted: Granted::of(config.grants()),
        worker: config.worker,
        limits: config.limits,
        results_expire: config.results_expire,
        beat: BTreeMap::new(),
        tokens: false,
        eager: Some(id),
    })
}

async fn run(
    house: &House,
    args: ExecArgs,
    id: TaskId,
    component: bytes::Bytes,
    progress: &dyn Progress,
) -> anyhow::Result<ResultMeta> {
    // By the name of its file it may have been granted something.
    let stem = args.module.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let (tenant, name) = (TenantId::default(), ModuleName::new(stem).or_else(|_| ModuleName::new("exec"))?);
    let pushed = house.modules.push(&tenant, &name, component, false, clock::now()).await?.version;
    let mut call = args.call;
    // Of a canvas, these hold for each of its tasks.
    call.options.time_limit = args.time_limit.or(call.options.time_limit);
    call.options.soft_time_limit = args.soft_time_limit.or(call.options.soft_time_limit);
    call.options.fuel = args.fuel.or(call.options.fuel);
    let known = queue::Known { modules: &house.modules, tenant: &tenant };
    let sent = queue::admit(call, queue::Ids::Given(id.clone()), &known, &house.admission, clock::now()).map_err(
        |refusal| {
            let names: Vec<_> = pushed.tasks.iter().map(|task| task.name.as_str()).collect();
            match refusal.kind {
                queue::RefusalCode::Wrong | queue::RefusalCode::TooLarge => anyhow::anyhow!("{refusal}"),
                _ => anyhow::anyhow!("{}; the module has {}", refusal.message, names.join(", ")),
            }
        },
    )?;
    if sent.result.children.is_some() {
        anyhow::bail!("the canvas ends in a group, which has no result of its own: put a task after it");
    }
    let mut events = house.hub.follow(&tenant, &id, None);
    house.store.submit(&tenant, vec![sent.plan], clock::now(), house.admission.room).await?;
    loop {
        // The end is looked for when it was told, not before: what was told earlier must be shown first.
        if let Notice::Event(numbered) = events.next().await {
            tell(progress, &numbered.event.kind);
            if !numbered.event.kind.is_terminal() {
                continue;
            }
        }
        let meta = house.store.task(&tenant, &id).await?.context("the task is gone")?;
        if meta.status.is_terminal() {
            return Ok(meta);
        }
    }
}

fn tell(progress: &dyn Progress, kind: &EventKind) {
    let json = |value: &serde_json::Value| Json::from(value.clone());
    match kind {
        EventKind::Progress { state, meta } => progress.state(state, json(meta)),
        EventKind::Custom { event, fields } => progress.event(event, json(fields)),
        EventKind::Retried { exception, .. } => {
            let message = format!("retry: {exception}");
            progress.logged(&LogRecord { at: clock::now(), level: LogLevel::Info, message });
        }
        EventKind::Log { stream, text } => match stream.as_str() {
            "stdout" => progress.wrote("stdout", text.as_bytes()),
            "stderr" => progress.wrote("stderr", text.as_bytes()),
            level => {
                let level = LogLevel::from_name(level).unwrap_or(LogLevel::Info);
                progress.logged(&LogRecord { at: clock::now(), level, message: text.clone() });
            }
        },
        _ => {}
    }
}

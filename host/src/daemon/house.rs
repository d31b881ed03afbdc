//! The rooms of one daemon, built and running: everything but the door.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lovage_model::{EntryName, Message, PeriodicTask, Room, TaskId, TenantId, Timestamp};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::access::{Access, AccessError};
use crate::api::{Api, Bodies, Host};
use crate::attempt::Capabilities;
use crate::beat::Beat;
use crate::canvas::Rules;
use crate::clock::{self, Logical};
use crate::config::{Compile, Config, Limits, Worker};
use crate::control::Control;
use crate::events::Hub;
use crate::modules::Modules;
use crate::outside::Outside;
use crate::pipeline::{Arrived, Caps, Committer, Following, Granted, Overhead, Pipeline, Running, Share, Standing};
use crate::queue;
use crate::sandbox::{Compiler, Executors, GuestRuntime, Sandbox, SandboxError, Settings, guest_threads};
use crate::scheduler::{self, Scheduler};
use crate::store::{Store, StoreError};

/// What a house is built from.
pub struct Plan {
    /// Where things are remembered.
    pub store: Arc<dyn Store>,
    /// Where compiled code is kept.
    pub cache: PathBuf,
    /// Who compiles.
    pub compiler: Compiler,
    /// Who runs guests; none: this process.
    pub executors: Option<Executors>,
    /// What this host runs.
    pub worker: Worker,
    /// What tasks may use.
    pub limits: Limits,
    /// How long results are kept.
    pub results_expire: Duration,
    /// What is sent again and again.
    pub beat: BTreeMap<EntryName, PeriodicTask>,
    /// What some modules may reach outside of their sandboxes.
    pub granted: Granted,
    /// Whether every request needs a token, also before there is one.
    pub tokens: bool,
    /// The one task that all is for, if there is no daemon: retries run at once, and whoever asked is told how it ends.
    pub eager: Option<TaskId>,
}

/// Why a house cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum HouseError {
    /// No sandbox.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No threads.
    #[error("the threads for tasks cannot be started: {0}")]
    Threads(std::io::Error),
}

/// The rooms of one daemon.
pub struct House {
    /// What is remembered.
    pub store: Arc<dyn Store>,
    /// Where tasks run.
    pub sandbox: Arc<Sandbox>,
    /// What a task name runs.
    pub modules: Arc<Modules>,
    /// What runs now.
    pub running: Arc<Running>,
    /// What has been ordered of this host.
    pub standing: Arc<Standing>,
    /// Who is told.
    pub hub: Arc<Hub>,
    /// What may be queued.
    pub admission: queue::Limits,
    access: Arc<Access>,
    beat: Arc<Beat>,
    outside: Arc<Outside>,
    clock: Arc<Logical>,
    since: Timestamp,
    results_expire: Duration,
    limits: Limits,
    worker: Worker,
    scheduler: Arc<Scheduler>,
    loops: JoinHandle<()>,
    /// Closed when the loops end, which only a panic in one of them brings about before the house is closed.
    ended: watch::Receiver<()>,
    /// Where guests run, or where attempts wait for the processes that run them: what is ordered and said there, and asked for, is on
    /// these threads, too.
    guests: Option<GuestRuntime>,
}

impl Plan {
    /// The plan that an operator's settings describe.
    pub fn of(config: &Config, store: Arc<dyn Store>, cache: PathBuf, program: PathBuf) -> Self {
        let Compile { time_limit, memory_bytes } = config.compile;
        let granted = config.grants();
        // Variables are a guest's own: its process has no use for them.
        let reach = granted.values().map(|one| Capabilities { env: BTreeMap::new(), ..one.clone() });
        let executors = config.worker.executors.map(|count| Executors {
            program: program.clone(),
            count,
            granted: reach.collect(),
        });
        Self {
            store,
            cache,
            compiler: Compiler::Child { program, memory_bytes, time: time_limit },
            executors,
            worker: config.worker.clone(),
            limits: config.limits.clone(),
            results_expire: config.results_expire,
            beat: config.beat(),
            granted: Granted::of(granted),
            tokens: config.http.tokens,
            eager: None,
        }
    }

    fn sandbox(&self) -> Result<Sandbox, SandboxError> {
        let concurrency = self.worker.concurrency;
        warn_of_mappings(concurrency, self.executors.as_ref().map_or(1, |executors| executors.count));
        Sandbox::new(Settings {
            concurrency: u32::try_from(concurrency).unwrap_or(u32::MAX),
            memory_bytes: self.limits.memory_bytes,
            cache: self.cache.clone(),
            compiler: self.compiler.clone(),
            executors: self.executors.clone(),
        })
    }
}

impl House {
    /// Builds every room and starts to take messages.
    pub async fn open(plan: Plan) -> Result<Self, HouseError> {
        let guests = GuestRuntime::new(guest_threads()).map_err(HouseError::Threads)?;
        let sandbox = {
            // What other processes say of an attempt is read where the attempt is waited for.
            let _there = guests.handle().enter();
            Arc::new(plan.sandbox()?)
        };
        let Plan { store, worker, limits, results_expire, beat: declared, granted, tokens, eager, .. } = plan;
        let access = Arc::new(Access::open(Arc::clone(&store), tokens).await?);
        let modules = Arc::new(Modules::open(Arc::clone(&store), Arc::clone(&sandbox), Arc::clone(&access)).await?);
        let standing = Arc::new(Standing::of(Share { queues: worker.queues.clone(), slots: worker.concurrency }));
        let (running, hub) = (Arc::new(Running::default()), Arc::new(Hub::new(clock::now()).of_host(&worker.hostname)));
        let (outcomes, committer) = Committer::new(Arc::clone(&store), Arc::clone(&hub));
        let admission = admission(&limits);
        let outside = Arc::new(Outside::new(Arc::clone(&store), limits.key_value_bytes));
        let pipeline = Arc::new(Pipeline {
            store: Arc::clone(&store),
            sandbox: Arc::clone(&sandbox),
            modules: Arc::clone(&modules),
            running: Arc::clone(&running),
            standing: Arc::clone(&standing),
            hub: Arc::clone(&hub),
            outcomes,
            overhead: Arc::new(Overhead::new(sandbox.runs_here())),
            access: Arc::clone(&access),
            caps: caps(&limits),
            granted,
            outside: Arc::clone(&outside),
            rules: admission.rules,
            room: admission.room,
            result_expires: results_expire,
            hostname: worker.hostname.clone(),
            eager,
        });
        let beat =
            Beat::new(Arc::clone(&store), Arc::clone(&modules), Arc::clone(&hub), Arc::clone(&access), admission);
        let beat = Arc::new(beat);
        let host = store.is_shared().then_some(worker.hostname.as_str());
        beat.declare(&declared, host, clock::now()).await?;
        let settings = scheduler::Settings { concurrency: worker.concurrency, lease: worker.lease };
        let scheduler = Scheduler::new(Arc::clone(&pipeline), settings, guests.handle().clone());
        let (alive, ended) = watch::channel(());
        let loops = Loops { pipeline, scheduler: Arc::clone(&scheduler), committer, beat: Arc::clone(&beat) };
        let loops = tokio::spawn(async move {
            let _alive = alive;
            loops.run().await;
        });
        Ok(Self {
            store,
            sandbox,
            modules,
            running,
            standing,
            hub,
            admission,
            access,
            beat,
            outside,
            clock: Arc::default(),
            since: clock::now(),
            results_expire,
            limits,
            worker,
            scheduler,
            loops,
            ended,
            guests: Some(guests),
        })
    }

    /// What the HTTP API stands on.
    pub fn api(&self, draining: watch::Receiver<bool>) -> Api {
        Api {
            store: Arc::clone(&self.store),
            modules: Arc::clone(&self.modules),
            running: Arc::clone(&self.running),
            standing: Arc::clone(&self.standing),
            hub: Arc::clone(&self.hub),
            access: Arc::clone(&self.access),
            beat: Arc::clone(&self.beat),
            outside: Arc::clone(&self.outside),
            limits: self.admission,
            streams: self.limits.streams,
            // Whoever serves it knows how many connections there are.
            waits: u32::MAX,
            bodies: Bodies { module_bytes: self.limits.module_bytes, batch_bytes: self.limits.batch_bytes },
            clock: Arc::clone(&self.clock),
            host: self.host(),
            conf: serde_json::Value::Null,
            draining,
        }
    }

    /// Gives orders to this host, and to others.
    pub fn control(&self) -> Control {
        Control {
            store: Arc::clone(&self.store),
            running: Arc::clone(&self.running),
            hub: Arc::clone(&self.hub),
            modules: Arc::clone(&self.modules),
            standing: Arc::clone(&self.standing),
            clock: Arc::clone(&self.clock),
            host: self.host(),
        }
    }

    fn host(&self) -> Host {
        Host {
            hostname: self.worker.hostname.clone(),
            concurrency: self.worker.concurrency,
            since: self.since,
            timeouts: [self.limits.default_time_limit, self.limits.time_limit],
            result_expires: self.results_expire,
        }
    }

    /// Returns if no more tasks can be run or recorded, by a fault of this program.
    pub async fn broken(&self) {
        let mut ended = self.ended.clone();
        while ended.changed().await.is_ok() {}
    }

    /// Takes no more messages, waits for those that run as long as the operator allows, and gives the rest back.
    pub async fn drain(&self) {
        self.scheduler.drain(self.worker.drain).await;
    }

    /// Takes no more messages and gives those that run back at once.
    pub async fn stop_now(&self) {
        self.scheduler.stop_now().await;
    }

    /// Closes the rooms, the store last. Call it after draining.
    pub async fn close(mut self) -> Result<(), StoreError> {
        self.stop_now().await;
        self.loops.abort();
        // Not before the loops are gone: they use the store.
        let _ = (&mut self.loops).await;
        drop(self.guests.take());
        self.store.close().await
    }

    /// A token for the operator, if nobody has one that could make others and tokens are asked for.
    pub async fn bootstrap(&self) -> Result<Option<String>, AccessError> {
        Ok(self.access.bootstrap(clock::now()).await?.map(|issued| issued.token))
    }

    /// How many modules there are.
    pub async fn module_count(&self) -> Result<usize, StoreError> {
        Ok(self.modules.list(&TenantId::default()).await?.len())
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.loops.abort();
    }
}

/// What goes on for ever in a house.
struct Loops {
    pipeline: Arc<Pipeline>,
    scheduler: Arc<Scheduler>,
    committer: Committer,
    beat: Arc<Beat>,
}

impl Loops {
    async fn run(self) {
        let Self { pipeline, scheduler, committer, beat } = self;
        // Apart, since it decides about many tasks at once; what is recorded must not wait for that.
        let mut apart = JoinSet::new();
        apart.spawn(following(&pipeline));
        let (modules, access) = (Arc::clone(&pipeline.modules), Arc::clone(&pipeline.access));
        apart.spawn(async move { modules.follow().await });
        apart.spawn(async move { access.follow().await });
        apart.spawn(async move { beat.run().await });
        let refused = move |lease: &_, settlement, why: &_| pipeline.refused(lease, settlement, why);
        tokio::join!(scheduler.run(), committer.run(refused), ends(&mut apart));
    }
}

/// Deals with those who wait for others, for ever.
fn following(pipeline: &Arc<Pipeline>) -> impl Future<Output = ()> + Send + use<> {
    let decide = {
        let pipeline = Arc::clone(pipeline);
        move |message: &Message, arrived: Arrived<'_>| pipeline.follow(message, arrived)
    };
    let complete = {
        let pipeline = Arc::clone(pipeline);
        move |tenant: &_, group: &_, end| pipeline.complete(tenant, group, end)
    };
    let (store, hub) = (Arc::clone(&pipeline.store), Arc::clone(&pipeline.hub));
    Following { store, hub, decide, complete, message_bytes: pipeline.rules.message_bytes }.run()
}

/// Waits for loops that run apart; a panic in one of them is one here.
async fn ends(loops: &mut JoinSet<()>) {
    while let Some(ended) = loops.join_next().await {
        if let Err(error) = ended
            && let Ok(panic) = error.try_into_panic()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

fn admission(limits: &Limits) -> queue::Limits {
    queue::Limits {
        rules: Rules {
            message_bytes: limits.message_bytes,
            canvas_tasks: limits.canvas_tasks,
            lineage_depth: limits.lineage_depth,
            replacements: limits.replacements,
        },
        room: Room {
            queued_tasks: limits.queued_tasks,
            scheduled_tasks: limits.scheduled_tasks,
            descendants: limits.lineage_tasks,
        },
    }
}

fn caps(limits: &Limits) -> Caps {
    Caps {
        memory_bytes: limits.memory_bytes,
        time_limit: limits.time_limit,
        default_time_limit: limits.default_time_limit,
        fuel: limits.fuel,
        output_bytes: limits.output_bytes,
        payload_bytes: limits.result_bytes,
        subtasks: limits.subtasks,
        deliveries: limits.deliveries,
    }
}

/// Mappings that one running instance needs.
const MAPPINGS_PER_INSTANCE: usize = 6;

fn warn_of_mappings(concurrency: usize, processes: usize) {
    let needed = concurrency.div_ceil(processes) * MAPPINGS_PER_INSTANCE;
    let most = std::fs::read_to_string("/proc/sys/vm/max_map_count").ok().and_then(|text| text.trim().parse().ok());
    if let Some(most) = most.filter(|most: &usize| needed > *most) {
        tracing::warn!(
            "{concurrency} tasks at once may need {needed} memory mappings in a process, the system allows {most}: set \
             vm.max_map_count higher"
        );
    }
}

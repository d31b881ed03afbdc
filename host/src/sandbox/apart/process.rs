//! One process that runs guests, as its daemon sees it: orders go in, words come out, and it may die at any time.

mod started;

use std::collections::{HashMap, HashSet};
use std::io::Result;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use lovage_model::Digest;
use tokio::io::BufReader;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::AbortHandle;

use super::super::Refusal;
use super::super::engine::{Allocator, Flavour};
use super::super::engines::{Code, Described};
use super::super::until::ordered;
use super::allowed::{Allowed, FRAME_BYTES};
use super::door::{self, Order, Turn, Walls, Word};
use super::orders::Orders;
use crate::attempt::{Answer, Ask, Attempt, Grants, Progress, Report, Stop};
use crate::clock;

pub(super) use started::Started;

/// How long after its last limit an attempt must have ended; then the process is broken.
const GRACE: Duration = Duration::from_secs(30);

/// How long a process may take to load a component, which was compiled before.
const LOAD_TIME: Duration = Duration::from_secs(60);

/// What an attempt may have asked for and not got; more is refused.
const MOST_ASKED: usize = 64;

/// It is gone, or broken.
#[derive(Debug)]
pub(super) struct Died;

/// An attempt, and what it is run with.
pub(super) struct Work {
    pub(super) attempt: Box<Attempt>,
    pub(super) grants: Grants,
    pub(super) progress: Arc<dyn Progress>,
}

/// Why there is no report of an attempt.
pub(super) enum NotRun {
    /// It died before the attempt came to it, which may run elsewhere.
    Unbegun(Box<Work>),
    /// It died with the attempt.
    Died,
}

/// A process that is ready.
pub(super) struct Process {
    pub(super) id: u32,
    pub(super) allocator: Allocator,
    pub(super) walls: Walls,
    turns: AtomicU64,
    /// How long a word may be: as long as any attempt's that came here.
    longest: AtomicUsize,
    open: Mutex<Open>,
    orders: Orders,
    /// Why it is.
    why: OnceLock<&'static str>,
    broken: Notify,
}

/// What it has been asked and has not answered.
#[derive(Default)]
struct Open {
    runs: HashMap<Turn, Run>,
    questions: HashMap<Turn, oneshot::Sender<std::result::Result<Described, Refusal>>>,
    /// What it has been told to load.
    loaded: HashSet<Code>,
    loading: Vec<(Code, Loaded)>,
}

/// Who waits for something to be loaded, and hears why it was not.
type Loaded = oneshot::Sender<Option<Refusal>>;

struct Run {
    module: Digest,
    progress: Arc<dyn Progress>,
    answer: oneshot::Sender<Report>,
    allowed: Allowed,
    asked: HashMap<u64, Errand>,
}

/// What is done because an attempt asked for it; not any more once this is dropped.
struct Errand(AbortHandle);

impl Drop for Errand {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Process {
    /// One that has said it is ready.
    fn new(id: u32, allocator: Allocator, walls: Walls, orders: OwnedWriteHalf) -> Self {
        Self {
            id,
            allocator,
            walls,
            turns: AtomicU64::new(0),
            longest: AtomicUsize::new(FRAME_BYTES),
            open: Mutex::default(),
            orders: Orders::to(orders),
            why: OnceLock::new(),
            broken: Notify::new(),
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends it: it does not do what it must.
    pub(super) fn breaks(&self, why: &'static str) {
        let _ = self.why.set(why);
        self.broken.notify_one();
    }

    /// Whether it takes nothing any more: it is dead, or will be.
    pub(super) fn is_gone(&self) -> bool {
        self.why.get().is_some()
    }

    fn turn(&self) -> Turn {
        self.turns.fetch_add(1, Ordering::Relaxed)
    }

    /// Has a verified artifact loaded.
    pub(super) async fn load(&self, key: &Code, artifact: &Path) -> std::result::Result<(), Loading> {
        let (answer, mut answered) = oneshot::channel();
        {
            let mut open = self.open();
            if self.is_gone() {
                return Err(Loading::Died(Died));
            }
            open.loaded.insert(key.clone());
            open.loading.push((key.clone(), answer));
            self.orders.give(&load(key, artifact));
        }
        let loaded = match tokio::time::timeout(LOAD_TIME, &mut answered).await {
            Ok(loaded) => loaded,
            Err(_late) => {
                self.breaks("it did not load a component in time");
                answered.await
            }
        };
        match loaded {
            Ok(None) => Ok(()),
            Ok(Some(refusal)) => Err(Loading::Refused(refusal)),
            Err(_) => Err(Loading::Died(Died)),
        }
    }

    /// Whether it has been told to load something.
    pub(super) fn has(&self, code: &Code) -> bool {
        self.open().loaded.contains(code)
    }

    /// Frees what a component takes.
    pub(super) fn unload(&self, digest: &Digest) {
        let mut open = self.open();
        let before = open.loaded.len();
        open.loaded.retain(|(loaded, _)| loaded != digest);
        if open.loaded.len() < before && !self.is_gone() {
            self.orders.give(&Order::Unload { digest: digest.clone() });
        }
    }

    /// Asks a component that was loaded for its tasks.
    pub(super) async fn describe(
        &self,
        digest: &Digest,
        grants: Grants,
    ) -> std::result::Result<std::result::Result<Described, Refusal>, Died> {
        let (turn, most) = (self.turn(), grants.hard_limit + GRACE);
        let (answer, mut answered) = oneshot::channel();
        {
            let mut open = self.open();
            if self.is_gone() {
                return Err(Died);
            }
            open.questions.insert(turn, answer);
            self.orders.give(&Order::Describe { turn, digest: digest.clone(), grants });
        }
        if let Ok(answer) = tokio::time::timeout(most, &mut answered).await {
            return answer.map_err(|_| Died);
        }
        self.breaks("it did not describe a component in time");
        answered.await.map_err(|_| Died)
    }

    /// Runs an attempt. Dropped, the attempt is stopped.
    pub(super) async fn run(
        &self,
        artifact: &Path,
        work: Work,
        mut stop: watch::Receiver<Option<Stop>>,
    ) -> std::result::Result<Report, NotRun> {
        let Work { attempt, grants, progress } = work;
        let handlers = u32::try_from(attempt.handlers.len()).unwrap_or(u32::MAX);
        // What may follow the run, or an order to stop.
        let after = grants.handler_limit.saturating_mul(handlers).saturating_add(GRACE);
        let most = grants.hard_limit.saturating_add(after);
        let key = (attempt.module.clone(), Flavour::of(&grants));
        let turn = self.turn();
        let allowed = Allowed::by(&grants, handlers, clock::instant());
        self.longest.fetch_max(allowed.frame_bytes(), Ordering::Relaxed);
        let (answer, mut answered) = oneshot::channel();
        {
            let mut open = self.open();
            if self.is_gone() {
                return Err(NotRun::Unbegun(Box::new(Work { attempt, grants, progress })));
            }
            if !open.loaded.contains(&key) {
                self.orders.give(&load(&key, artifact));
                open.loaded.insert(key.clone());
            }
            open.runs.insert(turn, Run { module: key.0, progress, answer, allowed, asked: HashMap::new() });
            self.orders.give(&Order::Run { turn, attempt, grants });
        }
        let _asked = Asked { process: self, turn };
        let broken = tokio::time::sleep(most);
        tokio::pin!(broken);
        let mut told = false;
        loop {
            tokio::select! {
                biased;
                report = &mut answered => return report.map_err(|_| NotRun::Died),
                stop = ordered(&mut stop), if !told => {
                    told = true;
                    self.orders.give(&Order::Stop { turn, stop });
                    let soon = tokio::time::Instant::from_std(clock::instant() + after);
                    if soon < broken.deadline() {
                        broken.as_mut().reset(soon);
                    }
                }
                () = &mut broken => {
                    self.breaks("an attempt did not end at its limit");
                    return answered.await.map_err(|_| NotRun::Died);
                }
            }
        }
    }

    async fn listen(self: &Arc<Self>, words: &mut BufReader<OwnedReadHalf>) -> Result<()> {
        let mut frame = Vec::new();
        loop {
            let word = door::next(words, &mut frame, || self.longest.load(Ordering::Relaxed)).await?;
            self.hear(word)?;
        }
    }

    /// An error: it says what no honest one would.
    fn hear(self: &Arc<Self>, word: Word) -> Result<()> {
        match word {
            Word::Ready { .. } => {}
            Word::Loaded { digest, flavour, refusal } => {
                let key = (digest, flavour);
                let mut open = self.open();
                let was_told = refusal.is_some() && open.loaded.remove(&key);
                match (open.loading.iter().position(|(loading, _)| *loading == key), refusal) {
                    (Some(first), refusal) => {
                        let unheard = open.loading.remove(first).1.send(refusal);
                        // Who waited has given up. An attempt may count on it still.
                        if let Err(Some(refusal)) = unheard
                            && open.runs.values().any(|run| run.module == key.0)
                        {
                            self.refuses(&key.0, &refusal);
                        }
                    }
                    (None, Some(refusal)) if was_told => self.refuses(&key.0, &refusal),
                    (None, _) => {}
                }
            }
            Word::State { turn, state, meta } => {
                if let Some(progress) = self.told(turn, |allowed| allowed.state(&state, &meta))? {
                    progress.state(&state, meta);
                }
            }
            Word::Wrote { turn, stderr, text } => {
                if let Some(progress) = self.told(turn, |allowed| allowed.wrote(stderr, &text))? {
                    progress.wrote(if stderr { "stderr" } else { "stdout" }, text.as_bytes());
                }
            }
            Word::Logged { turn, record } => {
                if let Some(progress) = self.told(turn, |allowed| allowed.logged(&record))? {
                    progress.logged(&record);
                }
            }
            Word::Event { turn, name, fields } => {
                if let Some(progress) = self.told(turn, |allowed| allowed.event(&name, &fields))? {
                    progress.event(&name, fields);
                }
            }
            Word::Ask { turn, number, ask } => self.ask(turn, number, ask)?,
            Word::Unask { turn, number } => {
                if let Some(run) = self.open().runs.get_mut(&turn) {
                    run.asked.remove(&number);
                }
            }
            Word::Ended { turn, report } => {
                let mut open = self.open();
                let Some(run) = open.runs.get(&turn) else { return Ok(()) };
                let report = run.allowed.report(*report, clock::instant()).ok_or_else(excessive)?;
                if let Some(run) = open.runs.remove(&turn) {
                    let _ = run.answer.send(report);
                }
            }
            Word::Described { turn, described } => {
                if let Some(answer) = self.open().questions.remove(&turn) {
                    let _ = answer.send(described);
                }
            }
        }
        Ok(())
    }

    /// It refuses a component that an attempt needs, and that another process could load: no attempt of it would ever begin here.
    fn refuses(&self, module: &Digest, refusal: &Refusal) {
        tracing::warn!(executor = self.id, %module, %refusal, "an executor refuses a component that another took");
        // What was taken away meanwhile is nowhere.
        if !refusal.is_of_absence() {
            self.breaks("it refuses a component that another took");
        }
    }

    /// Who is to be told what an attempt does, if it may.
    fn told(&self, turn: Turn, may: impl FnOnce(&mut Allowed) -> bool) -> Result<Option<Arc<dyn Progress>>> {
        let mut open = self.open();
        let Some(run) = open.runs.get_mut(&turn) else { return Ok(None) };
        if may(&mut run.allowed) { Ok(Some(Arc::clone(&run.progress))) } else { Err(excessive()) }
    }

    fn answer(&self, turn: Turn, number: u64, answer: Answer) {
        if !self.orders.answer(&Order::Answer { turn, number, answer }) {
            self.breaks("it does not read what it asks for");
        }
    }

    /// Has done what an attempt asks for, unless it ends before, or does not want it any more.
    fn ask(self: &Arc<Self>, turn: Turn, number: u64, ask: Ask) -> Result<()> {
        let mut open = self.open();
        let Some(run) = open.runs.get_mut(&turn) else { return Ok(()) };
        if !run.allowed.may_ask_for(&ask) {
            return Err(excessive());
        }
        if run.asked.len() >= MOST_ASKED {
            self.answer(turn, number, Answer::Refused);
            return Ok(());
        }
        let (process, answered) = (Arc::clone(self), run.progress.ask(ask));
        let errand = tokio::spawn(async move {
            let answer = answered.await;
            let mut open = process.open();
            if open.runs.get_mut(&turn).is_some_and(|run| run.asked.remove(&number).is_some()) {
                process.answer(turn, number, answer);
            }
        });
        run.asked.insert(number, Errand(errand.abort_handle()));
        Ok(())
    }

    /// It is dead: nothing is answered any more. What ran in it.
    fn ended(&self) -> Vec<Run> {
        // First of all, so that nobody who hears of it comes back here.
        let _ = self.why.set("it has ended");
        let Open { runs, .. } = std::mem::take(&mut *self.open());
        runs.into_values().collect()
    }
}

/// Why something was not loaded.
pub(super) enum Loading {
    Refused(Refusal),
    Died(Died),
}

/// An attempt that has been asked for: nobody waits for it once this is dropped.
struct Asked<'a> {
    process: &'a Process,
    turn: Turn,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let mut open = self.process.open();
        if open.runs.remove(&self.turn).is_some() && !self.process.is_gone() {
            self.process.orders.give(&Order::Stop { turn: self.turn, stop: Stop::Interrupted });
        }
    }
}

fn load((digest, flavour): &Code, artifact: &Path) -> Order {
    Order::Load { digest: digest.clone(), flavour: *flavour, artifact: PathBuf::from(artifact) }
}

fn excessive() -> std::io::Error {
    door::broken("it says more of an attempt than the attempt may".to_owned())
}

#[cfg(test)]
pub(super) mod tests;

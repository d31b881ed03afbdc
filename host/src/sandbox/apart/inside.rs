//! The process that runs guests, as it is from inside: it does what its daemon orders, and ends with it.

use std::collections::HashMap;
use std::io::{BufReader, ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Waker;

use lovage_model::{Json, LogRecord};
use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::sync::{oneshot, watch};

use super::super::confined::close_inherited;
use super::super::engine::Pool;
use super::super::engines::Engines;
use super::super::{GuestRuntime, lock};
use super::door::{self, Begin, LENGTH, Order, Turn, Walls, Word};
use super::outbox::{Outbox, Whose};
use super::walls;
use crate::attempt::{Answer, Answered, Ask, Progress, Stop};

/// How much sooner it is ended than others where memory runs out: of -1000 to 1000.
const OOM_SCORE: &str = "500";
/// What an attempt has told that is held back until its turn is over; more goes out at once.
const MOST_HELD_BYTES: usize = 64 << 10;

/// The main function of an executor: a child of a daemon, with the door as its standard input.
pub fn executor_child() -> ExitCode {
    // A host function that panics may leave anything behind: better to be gone, and begun again.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        hook(panic);
        std::process::abort();
    }));
    // What it has to say otherwise, the daemon reads and puts into its own log, with the time.
    let log = tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_writer(std::io::stderr);
    let _ = log.with_target(false).with_ansi(false).without_time().try_init();
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            use std::io::Write;
            // The daemon reads it, if it is still there.
            let _ = writeln!(std::io::stderr(), "{why:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> anyhow::Result<()> {
    use anyhow::Context as _;
    close_inherited();
    let door = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let mut orders = BufReader::with_capacity(1 << 16, door.try_clone()?);
    let Some(Order::Begin(begin)) = next(&mut orders)? else { anyhow::bail!("an executor is started by a daemon") };
    let walls = confine(&begin).context("it could not be confined")?;
    let inside = Inside::new(&begin, Outbox::to(door)?)?;
    inside.outbox.say(None, &Word::Ready { allocator: inside.engines.allocator(), walls });
    while let Some(order) = next(&mut orders)? {
        inside.obey(order);
    }
    Ok(())
}

/// Gives up what no guest needs. Before there are other threads: they would not be held to it.
fn confine(begin: &Begin) -> anyhow::Result<Walls> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    // Where memory runs out, the daemon stays. Where that cannot be said, such as in some containers, all are equal.
    let _ = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    walls::raise(begin)
}

/// The next order; none: the daemon is gone.
fn next(orders: &mut impl Read) -> std::io::Result<Option<Order>> {
    let mut head = [0; LENGTH];
    match orders.read_exact(&mut head) {
        Err(error) if [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset].contains(&error.kind()) => {
            return Ok(None);
        }
        read => read?,
    }
    let mut frame = vec![0; door::length(head)?];
    orders.read_exact(&mut frame)?;
    door::read(&frame).map(Some)
}

/// What runs here.
struct Inside {
    engines: Arc<Engines>,
    outbox: Arc<Outbox>,
    running: Arc<Mutex<HashMap<Turn, Running>>>,
    runtime: GuestRuntime,
}

/// An attempt: how it is told to stop, and what it waits for.
struct Running {
    stop: watch::Sender<Option<Stop>>,
    asked: Arc<Asked>,
}

/// What an attempt has asked for and has not got.
#[derive(Default)]
struct Asked {
    last: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
}

impl Inside {
    fn new(begin: &Begin, outbox: Arc<Outbox>) -> anyhow::Result<Self> {
        let pool = Pool { instances: begin.places, memory_bytes: begin.memory_bytes };
        let runtime = GuestRuntime::new(begin.threads)?;
        let engines = Arc::new(Engines::new(pool, begin.threads)?);
        Ok(Self { engines, outbox, running: Arc::default(), runtime })
    }

    fn obey(&self, order: Order) {
        match order {
            Order::Begin(_) => {}
            Order::Load { digest, flavour, artifact } => {
                // SAFETY: the daemon has verified the file, which lies where only its user can write.
                let loaded = unsafe { self.engines.load(&digest, flavour, &artifact) };
                self.outbox.say(None, &Word::Loaded { digest, flavour, refusal: loaded.err() });
            }
            Order::Unload { digest } => self.engines.unload(&digest),
            Order::Stop { turn, stop } => {
                if let Some(running) = lock(&self.running).get(&turn) {
                    let _ = running.stop.send(Some(stop));
                }
            }
            Order::Answer { turn, number, answer } => {
                let asked = lock(&self.running).get(&turn).map(|running| Arc::clone(&running.asked));
                if let Some(waiting) = asked.and_then(|asked| lock(&asked.waiting).remove(&number)) {
                    let _ = waiting.send(answer);
                }
            }
            Order::Run { turn, attempt, grants } => {
                let (stop, stopped) = watch::channel(None);
                let asked = Arc::<Asked>::default();
                lock(&self.running).insert(turn, Running { stop, asked: Arc::clone(&asked) });
                let (engines, outbox, running) =
                    (Arc::clone(&self.engines), Arc::clone(&self.outbox), Arc::clone(&self.running));
                let whose = Whose { tenant: attempt.tenant.clone(), weight: grants.weight };
                let (talks, held) = (AtomicBool::new(false), Mutex::default());
                let teller = Arc::new(Teller { turn, whose, outbox, talks, held, asked });
                self.spawn(async move {
                    let progress = Arc::clone(&teller) as Arc<dyn Progress>;
                    let report = engines.run(*attempt, grants, progress, stopped).await;
                    lock(&running).remove(&turn);
                    teller.say(&Word::Ended { turn, report: Box::new(report) });
                    teller.flush();
                });
            }
            Order::Describe { turn, digest, grants } => {
                let (engines, outbox) = (Arc::clone(&self.engines), Arc::clone(&self.outbox));
                self.spawn(async move {
                    let described = engines.describe(&digest, grants).await;
                    outbox.say(None, &Word::Described { turn, described });
                });
            }
        }
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.runtime.handle().spawn(work);
    }
}

/// Tells the daemon what an attempt does.
struct Teller {
    turn: Turn,
    whose: Whose,
    outbox: Arc<Outbox>,
    /// Whether it has told anything.
    talks: AtomicBool,
    /// What it has told since it had its turn: it goes out together.
    held: Mutex<Vec<u8>>,
    asked: Arc<Asked>,
}

/// Something that was asked for, as long as it is wanted.
struct Wanted {
    turn: Turn,
    whose: Whose,
    number: u64,
    outbox: Arc<Outbox>,
    asked: Arc<Asked>,
}

impl Drop for Wanted {
    fn drop(&mut self) {
        let Self { turn, number, .. } = *self;
        if lock(&self.asked.waiting).remove(&number).is_some() {
            self.outbox.say(Some(&self.whose), &Word::Unask { turn, number });
        }
    }
}

impl Teller {
    fn say(&self, word: &Word) {
        self.talks.store(true, Ordering::Relaxed);
        let mut held = lock(&self.held);
        door::write(&mut held, word);
        if held.len() >= MOST_HELD_BYTES {
            self.outbox.pass(Some(&self.whose), std::mem::take(&mut *held));
        }
    }
}

impl Progress for Teller {
    fn state(&self, state: &str, meta: Json) {
        self.say(&Word::State { turn: self.turn, state: state.to_owned(), meta });
    }

    fn wrote(&self, stream: &'static str, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes).into_owned();
        self.say(&Word::Wrote { turn: self.turn, stderr: stream == "stderr", text });
    }

    fn logged(&self, record: &LogRecord) {
        self.say(&Word::Logged { turn: self.turn, record: record.clone() });
    }

    fn event(&self, name: &str, fields: Json) {
        self.say(&Word::Event { turn: self.turn, name: name.to_owned(), fields });
    }

    fn flush(&self) {
        let mut held = lock(&self.held);
        if !held.is_empty() {
            self.outbox.pass(Some(&self.whose), std::mem::take(&mut *held));
        }
    }

    fn is_behind(&self, waker: &Waker) -> bool {
        // Who has told nothing is not kept by others that talk.
        self.talks.load(Ordering::Relaxed) && self.outbox.is_behind(&self.whose, waker)
    }

    fn ask(&self, ask: Ask) -> Answered {
        let (turn, number) = (self.turn, self.asked.last.fetch_add(1, Ordering::Relaxed));
        let (outbox, asked) = (Arc::clone(&self.outbox), Arc::clone(&self.asked));
        let (answer, answered) = oneshot::channel();
        lock(&asked.waiting).insert(number, answer);
        self.say(&Word::Ask { turn, number, ask });
        self.flush();
        let wanted = Wanted { turn, whose: self.whose.clone(), number, outbox, asked };
        Box::pin(async move {
            let _wanted = wanted;
            answered.await.unwrap_or(Answer::Refused)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All words that have come.
    fn heard(theirs: &mut UnixStream) -> Vec<Word> {
        let (mut bytes, mut words) = (Vec::new(), Vec::new());
        // What would wait for more ends it.
        let _ = theirs.read_to_end(&mut bytes);
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (head, after) = rest.split_at(LENGTH);
            let (frame, after) = after.split_at(door::length(head.try_into().unwrap()).unwrap());
            words.push(door::read(frame).unwrap());
            rest = after;
        }
        words
    }

    #[test]
    fn what_is_told_in_a_turn_is_said_together_and_before_an_ask() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let whose = Whose { tenant: "t".parse().unwrap(), weight: 1 };
        let (outbox, talks) = (Outbox::to(ours).unwrap(), AtomicBool::new(false));
        let teller = Teller { turn: 7, whose, outbox, talks, held: Mutex::default(), asked: Arc::default() };
        teller.wrote("stdout", b"a");
        teller.state("PROGRESS", Json::null());
        assert!(heard(&mut theirs).is_empty(), "its turn goes on");
        teller.flush();
        assert!(matches!(heard(&mut theirs)[..], [Word::Wrote { .. }, Word::State { .. }]));
        teller.wrote("stderr", b"b");
        let answered = teller.ask(Ask::Secret("s".to_owned()));
        assert!(matches!(heard(&mut theirs)[..], [Word::Wrote { stderr: true, .. }, Word::Ask { .. }]));
        drop(answered);
        assert!(matches!(heard(&mut theirs)[..], [Word::Unask { .. }]));
        // More than is held back.
        teller.wrote("stdout", &[b'c'; MOST_HELD_BYTES]);
        assert!(matches!(heard(&mut theirs)[..], [Word::Wrote { .. }]));
    }
}

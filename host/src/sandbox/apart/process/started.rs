//! A process from its start to its death.

use std::io::Result;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use lovage_model::Digest;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::Notify;

use super::super::door::{self, Begin, Order, Word};
use super::super::orders::Orders;
use super::{Process, Run, next};

/// How long a process may take to be ready.
const START_TIME: Duration = Duration::from_secs(30);

/// A process that runs, and what is held until it dies.
pub(in super::super) struct Started {
    pub(in super::super) process: Arc<Process>,
    child: Child,
    words: BufReader<OwnedReadHalf>,
}

impl Started {
    /// Starts a process and waits until it is ready. Dropped, it is killed.
    pub(in super::super) async fn of(program: &Path, begin: Begin) -> Result<Self> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut child = Command::new(program)
            .arg("executor-child")
            .env_clear()
            .current_dir("/")
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // What a terminal tells the daemon, such as to end, is not for its children.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let id = child.id().unwrap_or_default();
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(relay(id, stderr));
        }
        let (words, mut orders) = UnixStream::from_std(ours)?.into_split();
        let mut words = BufReader::with_capacity(1 << 16, words);
        let mut first = Vec::new();
        door::write(&mut first, &Order::Begin(begin));
        let ready = async {
            orders.write_all(&first).await?;
            next(&mut words, &mut Vec::new()).await
        };
        let late = || std::io::Error::other(format!("it was not ready within {} s", START_TIME.as_secs()));
        let Word::Ready { allocator, walls } = tokio::time::timeout(START_TIME, ready).await.map_err(|_| late())??
        else {
            return Err(std::io::Error::other("it did not say that it is ready"));
        };
        let process = Process {
            id,
            allocator,
            walls,
            turns: AtomicU64::new(0),
            open: Mutex::default(),
            orders: Orders::to(orders),
            why: OnceLock::new(),
            broken: Notify::new(),
        };
        Ok(Self { process: Arc::new(process), child, words })
    }

    /// Passes orders and words until the process dies.
    pub(in super::super) async fn dies(mut self) -> Death {
        let process = Arc::clone(&self.process);
        let why = tokio::select! {
            error = process.listen(&mut self.words) => error.err(),
            error = process.orders.pass() => error.err(),
            () = process.broken.notified() => process.why.get().map(|why| std::io::Error::other(*why)),
        };
        // Before it is waited for: what comes meanwhile is not lost with it.
        let lost = process.ended();
        // If it is dead already, it stays so.
        let _ = self.child.start_kill();
        let status = match self.child.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        let why = why.filter(|error| error.kind() != std::io::ErrorKind::UnexpectedEof);
        let text = why.map_or_else(|| status.clone(), |error| format!("{status}: {error}"));
        Death { how: text, lost }
    }
}

/// How a process died. Who waits for its attempts hears of it when this is dropped.
pub(in super::super) struct Death {
    pub(in super::super) how: String,
    lost: Vec<Run>,
}

impl Death {
    /// The module of each attempt that ran.
    pub(in super::super) fn running(&self) -> Vec<&Digest> {
        self.lost.iter().map(|run| &run.module).collect()
    }
}

/// What it says on its way out goes to the log.
async fn relay(id: u32, stderr: ChildStderr) {
    const MOST_LINES: usize = 100;
    let mut lines = BufReader::new(stderr.take(64 << 10)).lines();
    for _ in 0..MOST_LINES {
        let Ok(Some(line)) = lines.next_line().await else { return };
        tracing::error!(executor = id, "{line}");
    }
}

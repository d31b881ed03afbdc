//! A process from its start to its death.

use std::cmp::Ordering;
use std::io::Result;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use lovage_model::Digest;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::process::{Child, Command};

use super::super::allowed::FRAME_BYTES;
use super::super::door::{self, Begin, Order, Word};
use super::{Process, Run};
use crate::clock;

/// How long a process may take to be ready.
const START_TIME: Duration = Duration::from_secs(30);
/// What is logged of what a process says in a minute.
const MOST_LINES: u32 = 100;
const MINUTE: Duration = Duration::from_secs(60);
/// A longer line is several.
const MOST_LINE_BYTES: u64 = 4 << 10;

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
            door::next(&mut words, &mut Vec::new(), || FRAME_BYTES).await
        };
        let late = || std::io::Error::other(format!("it was not ready within {} s", START_TIME.as_secs()));
        let Word::Ready { allocator, walls } = tokio::time::timeout(START_TIME, ready).await.map_err(|_| late())??
        else {
            return Err(std::io::Error::other("it did not say that it is ready"));
        };
        let process = Process::new(id, allocator, walls, orders);
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

/// What it says goes to the log: no more of it than so many lines in a minute, and the rest to nowhere, so that it never waits.
async fn relay(id: u32, stderr: impl AsyncRead + Unpin) {
    let (mut stderr, mut line) = (BufReader::new(stderr), Vec::new());
    let (mut since, mut lines) = (clock::instant(), 0_u32);
    while let Ok(1..) = (&mut stderr).take(MOST_LINE_BYTES).read_until(b'\n', &mut line).await {
        let now = clock::instant();
        if now.saturating_duration_since(since) >= MINUTE {
            (since, lines) = (now, 0);
        }
        lines = lines.saturating_add(1);
        match lines.cmp(&MOST_LINES) {
            Ordering::Less => pass_on(id, String::from_utf8_lossy(&line).trim()),
            Ordering::Equal => tracing::warn!(executor = id, "an executor says more in a minute than is logged of it"),
            Ordering::Greater => {}
        }
        line.clear();
    }
}

fn pass_on(id: u32, line: &str) {
    match line.strip_prefix("WARN ") {
        Some(warning) => tracing::warn!(executor = id, "{warning}"),
        None => tracing::error!(executor = id, "{}", line.strip_prefix("ERROR ").unwrap_or(line)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_says_very_much_is_read_to_the_end() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 10);
        let relayed = tokio::spawn(relay(1, ours));
        for _ in 0..10 * MOST_LINES {
            theirs.write_all(b"WARN it is so\n").await.unwrap();
        }
        theirs.write_all(&vec![b'x'; 1 << 20]).await.unwrap();
        drop(theirs);
        relayed.await.unwrap();
    }
}

//! What an attempt writes: stdout, and stderr and log records together, each with a limit, and never an error for the guest.
//!
//! wasmtime's own memory pipe closes when it is full, and a guest's `println!` panics on a closed pipe; these sinks take
//! everything and keep the first bytes. Of stderr they also keep the last ones: that is where a panic says what happened.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use lovage_model::{AttemptLog, LogRecord};
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::attempt::{Progress, record_bytes};

/// How much of the end of stderr is kept besides its beginning.
const TAIL_BYTES: usize = 4096;
/// How much a guest may write in one call.
const PERMIT_BYTES: usize = 64 << 10;

/// The output of one attempt. Clones share it.
#[derive(Clone)]
pub(super) struct Output {
    kept: Arc<Mutex<Kept>>,
    progress: Arc<dyn Progress>,
}

#[derive(Default)]
struct Kept {
    /// Of stdout, and of stderr and records together.
    limit_bytes: usize,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    stderr_tail: VecDeque<u8>,
    records: Vec<LogRecord>,
    record_bytes: usize,
    dropped: u64,
}

impl Output {
    pub(super) fn new(limit_bytes: usize, progress: Arc<dyn Progress>) -> Self {
        Self { kept: Arc::new(Mutex::new(Kept { limit_bytes, ..Kept::default() })), progress }
    }

    pub(super) fn stdout(&self) -> Sink {
        Sink { output: self.clone(), stream: "stdout" }
    }

    pub(super) fn stderr(&self) -> Sink {
        Sink { output: self.clone(), stream: "stderr" }
    }

    /// Keeps a log record, if there is room.
    pub(super) fn log(&self, record: LogRecord) {
        let mut kept = self.lock();
        let bytes = record_bytes(&record);
        if bytes > kept.room_beside_stdout() {
            kept.dropped += record.message.len().max(1) as u64;
            return;
        }
        kept.record_bytes += bytes;
        self.progress.logged(&record);
        kept.records.push(record);
    }

    /// The end of stderr, as text.
    pub(super) fn last_words(&self) -> String {
        let mut kept = self.lock();
        String::from_utf8_lossy(kept.stderr_tail.make_contiguous()).into_owned()
    }

    /// Everything that was kept.
    pub(super) fn take(&self, retries: u32) -> AttemptLog {
        let kept = std::mem::take(&mut *self.lock());
        AttemptLog {
            retries,
            stdout: text(kept.stdout),
            stderr: text(kept.stderr),
            records: kept.records,
            dropped: kept.dropped,
        }
    }

    fn write(&self, stream: &'static str, bytes: &[u8]) {
        let mut kept = self.lock();
        if stream == "stderr" {
            kept.remember_end(bytes);
        }
        let room = if stream == "stdout" {
            kept.limit_bytes.saturating_sub(kept.stdout.len())
        } else {
            kept.room_beside_stdout()
        };
        let fits = bytes.len().min(room);
        let buffer = if stream == "stdout" { &mut kept.stdout } else { &mut kept.stderr };
        buffer.extend_from_slice(&bytes[..fits]);
        kept.dropped += (bytes.len() - fits) as u64;
        drop(kept);
        if fits > 0 {
            self.progress.wrote(stream, &bytes[..fits]);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn room_beside_stdout(&self) -> usize {
        self.limit_bytes.saturating_sub(self.stderr.len() + self.record_bytes)
    }

    fn remember_end(&mut self, bytes: &[u8]) {
        let end = &bytes[bytes.len().saturating_sub(TAIL_BYTES)..];
        let too_many = (self.stderr_tail.len() + end.len()).saturating_sub(TAIL_BYTES);
        self.stderr_tail.drain(..too_many);
        self.stderr_tail.extend(end);
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// One standard stream of the guest.
#[derive(Clone)]
pub(super) struct Sink {
    output: Output,
    stream: &'static str,
}

impl IsTerminal for Sink {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Sink {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Sink {
    async fn ready(&mut self) {}
}

impl OutputStream for Sink {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.output.write(self.stream, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PERMIT_BYTES)
    }
}

impl AsyncWrite for Sink {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.output.write(self.stream, bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use lovage_model::{LogLevel, Timestamp};

    use super::*;

    #[test]
    fn stderr_and_records_share_a_limit_and_stdout_has_one_of_its_own() {
        let output = Output::new(1000, Arc::new(()));
        let record = |bytes: usize| LogRecord {
            at: Timestamp::from_micros(0),
            level: LogLevel::Info,
            message: "x".repeat(bytes),
        };
        output.write("stderr", &[b'e'; 500]);
        output.write("stdout", &[b'o'; 900]);
        output.log(record(300));
        output.log(record(300));
        output.write("stderr", &[b'e'; 500]);
        output.write("stdout", &[b'o'; 900]);
        let log = output.take(0);
        // A record takes 64 bytes besides its text.
        assert_eq!((log.stdout.len(), log.stderr.len(), log.records.len()), (1000, 636, 1));
        assert_eq!(log.dropped, 800 + 364 + 300);
    }
}

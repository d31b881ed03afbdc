//! From what wasmtime says to what happened: every way a run can end, told apart.

use std::collections::HashSet;
use std::fmt::{self, Write};

use lovage_model::{Exception, Json, Seconds, exc_module};
use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use super::bindings::lovage::task::types::{self, Ending};
use super::guest::Guest;
use super::imports::{cut, exception_of};
use super::limiter::Refused;
use crate::attempt::{Fault, FaultKind, Outcome, Stop};

/// The hard limit was met by code that was running.
#[derive(Debug, thiserror::Error)]
#[error("the hard time limit has passed")]
pub(super) struct HardLimit;

/// More frames than this are not kept, and no function recurses so deep by intent.
const MAX_FRAMES: usize = 20;
/// The longest name of a function, as it is written and as it is read: a module may give its functions names of megabytes, or short
/// ones that stand for long ones.
const MAX_NAME_BYTES: usize = 1000;

/// What `run` returned, as an outcome.
pub(super) fn returned(guest: &Guest, result: Result<String, Ending>) -> Outcome {
    let most = guest.grants.payload_bytes;
    match result {
        Ok(value) if value.len() > most => {
            let text =
                format!("the result has {} bytes, at most {most} are allowed (limits.result_bytes)", value.len());
            fault(FaultKind::ResultLimit, "ResultLimitExceeded", text, None)
        }
        Ok(value) => match Json::parse(value) {
            Ok(value) => Outcome::Returned(value),
            Err(error) => contract(format!("the result is not JSON: {error}")),
        },
        Err(Ending::Failure(raised)) => raised_by(raised),
        Err(Ending::Retry) if guest.effects.retry.is_some() => Outcome::Retried,
        Err(Ending::Retry) => contract("it ended for a retry that it did not ask for".to_owned()),
        Err(Ending::Replaced) if guest.effects.replace.is_some() => Outcome::Replaced,
        Err(Ending::Replaced) => contract("it ended for a replacement that it did not name".to_owned()),
        Err(Ending::Ignore) => Outcome::Ignored,
        Err(Ending::Reject(requeue)) => Outcome::Rejected(requeue),
    }
}

/// An exception with where it came from, as text for a log.
pub(super) fn described(raised: types::Exception) -> String {
    let traceback = raised.traceback.clone();
    let text = exception_of(raised).unwrap_or_else(|invalid| invalid).to_string();
    if traceback.is_empty() { text } else { format!("{text}\n{traceback}") }
}

fn raised_by(mut raised: types::Exception) -> Outcome {
    let traceback = Some(std::mem::take(&mut raised.traceback)).filter(|text| !text.is_empty()).map(cut);
    match exception_of(raised) {
        Ok(exception) => Outcome::Raised(exception, traceback),
        Err(invalid) => contract(invalid.to_string()),
    }
}

/// The hard limit was met by a guest that waited: there is no code to point at.
pub(super) fn late(guest: &Guest) -> Outcome {
    time_limit(guest, None)
}

/// What an error of wasmtime means.
pub(super) fn failed(guest: &Guest, error: &wasmtime::Error) -> Outcome {
    if error.is::<PoolConcurrencyLimitError>() {
        return no_room(error);
    }
    let traceback = error.downcast_ref::<WasmBacktrace>().and_then(traceback);
    if error.downcast_ref::<HardLimit>().is_some() {
        return time_limit(guest, traceback);
    }
    if let Some(exit) = error.downcast_ref::<I32Exit>() {
        return exited(exit.0, traceback);
    }
    if let Some(trap) = error.downcast_ref::<Trap>() {
        return trapped(guest, *trap, error.downcast_ref::<WasmBacktrace>(), traceback);
    }
    if let Some(limit) = refused(guest, traceback.clone()) {
        return limit;
    }
    if let Some(wasmtime::component::ResourceTableError::Full) = error.downcast_ref() {
        let text = "it holds more handles (pollables, streams) than it may";
        return fault(FaultKind::HandleLimit, "HandleLimitExceeded", text, traceback);
    }
    let cause = error.root_cause().to_string();
    // wasmtime has no public type for this one; the test `a_flood_of_data_is_a_host_call_limit` pins the text.
    if cause.contains("fuel allocated for hostcalls") {
        let text = "it passed more data in one call than it may (limits.message_bytes, limits.result_bytes)";
        return fault(FaultKind::HostCallLimit, "HostCallLimitExceeded", text, traceback);
    }
    if guest.instantiated.is_some() || traceback.is_some() {
        // Once an instance is there, or code of it was running (such as a start function), only the guest can have caused it: an
        // invalid pointer or text passed to the host, and so on.
        return fault(FaultKind::Contract, "ContractViolation", cause, traceback);
    }
    no_room(error)
}

/// No trap, nothing refused, nothing of it has run: the machine has no room for one more instance. Not the task's fault.
fn no_room(error: &wasmtime::Error) -> Outcome {
    tracing::warn!(error = %error.root_cause(), "no sandbox could be set up; the task goes back to its queue");
    Outcome::Stopped(Stop::Interrupted)
}

fn trapped(guest: &Guest, trap: Trap, frames: Option<&WasmBacktrace>, traceback: Option<String>) -> Outcome {
    let words = guest.output.last_words();
    let recursive = frames.is_some_and(recurses);
    match trap {
        Trap::OutOfFuel => {
            let fuel = guest.grants.fuel.unwrap_or_default();
            let exception = Exception::with_args(exc_module::LOVAGE, "FuelLimitExceeded", &[fuel]);
            Outcome::Faulted(Fault { kind: FaultKind::FuelLimit, exception, traceback })
        }
        Trap::StackOverflow => fault(FaultKind::StackOverflow, "StackOverflow", "it called itself too deep", traceback),
        // A guest keeps a stack of its own in linear memory, which recursion may exhaust first.
        Trap::MemoryOutOfBounds if recursive => {
            fault(FaultKind::StackOverflow, "StackOverflow", "it called itself too deep", traceback)
        }
        Trap::UnreachableCodeReached => match panic_message(&words) {
            Some(message) => fault(FaultKind::Panic, "Panic", message, traceback),
            None => refused(guest, traceback.clone())
                .unwrap_or_else(|| fault(FaultKind::Trap, "Trap", trap.to_string(), traceback)),
        },
        _ => fault(FaultKind::Trap, "Trap", trap.to_string(), traceback),
    }
}

fn refused(guest: &Guest, traceback: Option<String>) -> Option<Outcome> {
    let most = guest.limiter.limit_bytes();
    match guest.limiter.refused()? {
        Refused::Memory(more) => {
            let text = format!("it asked for {more} bytes more than the {most} bytes of memory it may have");
            Some(fault(FaultKind::MemoryLimit, "MemoryLimitExceeded", text, traceback))
        }
        Refused::Table(more) => {
            let text = format!("it asked for {more} table elements more than fit into the {most} bytes it may have");
            Some(fault(FaultKind::TableLimit, "TableLimitExceeded", text, traceback))
        }
    }
}

fn exited(code: i32, traceback: Option<String>) -> Outcome {
    // Only a command may end a run by `exit`, and a task module is none: without a result there is nothing to return.
    let text = format!("it called exit({code}) instead of returning");
    fault(FaultKind::Exit, "Exit", text, traceback)
}

fn time_limit(guest: &Guest, traceback: Option<String>) -> Outcome {
    let limit = Seconds::from(guest.grants.hard_limit);
    let exception = Exception::with_args(exc_module::BILLIARD, "TimeLimitExceeded", &[limit]);
    Outcome::Faulted(Fault { kind: FaultKind::TimeLimit, exception, traceback })
}

fn contract(message: String) -> Outcome {
    fault(FaultKind::Contract, "ContractViolation", message, None)
}

fn fault(kind: FaultKind, exc_type: &str, message: impl Into<String>, traceback: Option<String>) -> Outcome {
    let exception = Exception::new(exc_module::LOVAGE, exc_type, cut(message.into()));
    Outcome::Faulted(Fault { kind, exception, traceback })
}

/// The guest's functions, innermost first, one a line. None: none of it was running.
fn traceback(frames: &WasmBacktrace) -> Option<String> {
    let mut text = String::from("Traceback (innermost call first):\n");
    for (depth, name) in names(frames).enumerate() {
        let _ = writeln!(text, "  {depth}: {name}");
    }
    (!frames.frames().is_empty()).then(|| cut(text))
}

fn names(frames: &WasmBacktrace) -> impl Iterator<Item = String> {
    let all = frames.frames().iter().map(|frame| match frame.func_name() {
        Some(name) => readable(name),
        None => format!("function {}", frame.func_index()),
    });
    all.skip_while(|name| is_machinery(name)).take(MAX_FRAMES)
}

fn readable(name: &str) -> String {
    let name = &name[..name.floor_char_boundary(MAX_NAME_BYTES)];
    let mut short = Short(String::new());
    // It fails where the name ends that is kept.
    let _ = write!(short, "{:#}", rustc_demangle::demangle(name));
    short.0
}

/// The first bytes of what is written; the rest is not even made.
struct Short(String);

impl Write for Short {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let fits = text.floor_char_boundary(MAX_NAME_BYTES - self.0.len());
        self.0.push_str(&text[..fits]);
        if fits < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

/// What a panic calls on its way out says nothing about why.
fn is_machinery(name: &str) -> bool {
    let own = ["std::", "__rustc", "__rust", "core::panicking::", "alloc::alloc::", "abort", "__abort"];
    own.iter().any(|prefix| name.trim_start_matches('<').starts_with(prefix))
}

/// Whether a full backtrace consists of a few functions over and over.
fn recurses(frames: &WasmBacktrace) -> bool {
    const FEW: usize = 5;
    let all: Vec<String> = names(frames).collect();
    all.len() >= MAX_FRAMES && all.iter().collect::<HashSet<_>>().len() <= FEW
}

/// What Rust's panic wrote: `thread '..' panicked at src/lib.rs:1:2:`, the message, then a note.
fn panic_message(stderr: &str) -> Option<String> {
    let (_, after) = stderr.rsplit_once("panicked at ")?;
    let (place, rest) = after.split_once('\n').unwrap_or((after, ""));
    let message = rest.split("\nnote: ").next().unwrap_or_default();
    let message = message.strip_prefix("note: ").map_or(message, |_| "").trim_end();
    Some(format!("{} ({})", if message.is_empty() { "explicit panic" } else { message }, place.trim_end_matches(':')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_demangled_and_never_long() {
        assert_eq!(readable("_ZN5walls4spin17h0123456789abcdefE"), "walls::spin");
        assert!(readable(&"\u{e9}".repeat(10_000_000)).len() <= MAX_NAME_BYTES);
    }

    /// Tuples of ten of a tuple of ten of a tuple of ten: each level says where the one before it stands in the name.
    #[test]
    fn a_short_name_that_stands_for_a_long_one_is_cut() {
        let (tens, hundreds) = ("B7_".repeat(10), "Bj_".repeat(10));
        let name = readable(&format!("_RINvC1a1fTmmmmmmmmmmET{tens}ET{hundreds}EE"));
        assert!(name.starts_with("a::f::<(u32, u32, ") && name.len() == MAX_NAME_BYTES, "{} bytes: {name}", name.len());
    }

    #[test]
    fn a_panic_says_what_and_where() {
        let stderr = "hello\n\nthread '<unnamed>' (1) panicked at src/lib.rs:7:5:\nindex out of bounds\nnote: run with";
        assert_eq!(panic_message(stderr).unwrap(), "index out of bounds (src/lib.rs:7:5)");
        assert_eq!(panic_message("memory allocation of 8 bytes failed"), None);
    }
}

//! Compiling a component, in a process that may die of it.
//!
//! A component can be made to cost any amount of time or memory to compile. So the daemon starts itself again as a compiler
//! with limits of its own ([`compile_child`]), confined to the files that it needs, waits no longer than it may, and believes what
//! comes back only by its exit.

use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, setpriority_process, setrlimit};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

use super::confined::{close_inherited, confine};
use super::engine::{self, Flavour};
use super::{Refusal, broken_cache, broken_disk};

/// How much the compiler gives way to others on a processor.
const NICENESS: i32 = 10;

/// Who compiles.
#[derive(Debug, Clone)]
pub enum Compiler {
    /// This program (the `lovage` binary), started as a child with these limits.
    Child {
        /// The `lovage` binary.
        program: PathBuf,
        /// The most address space, in bytes.
        memory_bytes: u64,
        /// The most time.
        time: Duration,
    },
    /// This process, without limits: for code that is the user's own.
    InProcess,
}

/// The most that one compiled flavour may take on the disk.
const MOST_CODE_BYTES: u64 = 2 << 30;
/// The most files that the child may have open.
const MOST_FILES: u64 = 64;

/// So much is read of what the child says: it may be in the hands of what it compiles.
const MOST_SAID_BYTES: u64 = 64 << 10;

/// The child's exit codes, each with a code of a refusal; the reason is on its standard output.
const EXITS: [(u8, &str); 3] = [(3, "invalid_component"), (4, "disk_full"), (5, "cache_unusable")];

impl Compiler {
    /// Compiles a component file into `<directory>/<flavour>`, for both flavours.
    pub(super) async fn compile(&self, component: &Path, directory: &Path) -> Result<(), Refusal> {
        match self {
            Self::InProcess => {
                let (component, directory) = (component.to_owned(), directory.to_owned());
                let work = move || compile_all(&component, &directory);
                tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| Err(invalid(panic.to_string())))
            }
            Self::Child { program, memory_bytes, time } => {
                let mut command = Command::new(program);
                command.arg("compile-child").arg(component).arg(directory).arg(memory_bytes.to_string());
                command.arg(time.as_secs().max(1).to_string());
                supervise(command, *time).await
            }
        }
    }
}

async fn supervise(mut command: Command, time: Duration) -> Result<(), Refusal> {
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let child = command.spawn().map_err(|error| host_fault(format!("no compiler could be started: {error}")))?;
    let (status, said) = match tokio::time::timeout(time, ended(child)).await {
        // Dropping the wait kills the child.
        Err(_) => return Err(too_long(time)),
        Ok(ended) => ended.map_err(|error| host_fault(format!("the compiler could not be awaited: {error}")))?,
    };
    if status.success() {
        return Ok(());
    }
    if let Some((_, code)) = EXITS.iter().find(|(exit, _)| status.code() == Some(i32::from(*exit))) {
        return Err(Refusal::new(code, String::from_utf8_lossy(&said).into_owned()));
    }
    if std::os::unix::process::ExitStatusExt::signal(&status) == Some(rustix::process::Signal::XCPU.as_raw()) {
        return Err(too_long(time));
    }
    Err(Refusal {
        code: "compile_failed",
        message: format!(
            "compiling the component ended with {status}: it needs more memory than compile.memory_bytes, or is built to break \
             compilers; make the module smaller"
        ),
    })
}

/// How a child ended, and the first of what it said: once that is too much, nobody listens any more.
async fn ended(mut child: Child) -> std::io::Result<(ExitStatus, Vec<u8>)> {
    let mut said = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(MOST_SAID_BYTES).read_to_end(&mut said).await?;
    }
    Ok((child.wait().await?, said))
}

fn too_long(time: Duration) -> Refusal {
    let seconds = time.as_secs();
    let message = format!(
        "compiling the component takes longer than {seconds} s (compile.time_limit_seconds): make the module smaller"
    );
    Refusal { code: "compile_too_long", message }
}

fn invalid(why: String) -> Refusal {
    Refusal::new("invalid_component", format!("not a valid component: {why}"))
}

fn host_fault(message: String) -> Refusal {
    Refusal { code: "compiler_unavailable", message }
}

fn compile_all(component: &Path, directory: &Path) -> Result<(), Refusal> {
    let bytes = std::fs::read(component).map_err(broken_disk)?;
    for flavour in Flavour::ALL {
        let compile = || engine::compiler(flavour)?.precompile_component(&bytes);
        let code = compile().map_err(|error| invalid(format!("{error:#}")))?;
        std::fs::write(directory.join(flavour.name()), code).map_err(broken_disk)?;
    }
    Ok(())
}

/// The main function of the compiling child: limits itself, then compiles.
pub fn compile_child(component: &Path, directory: &Path, memory_bytes: u64, cpu_seconds: u64) -> ExitCode {
    close_inherited();
    let limits = [
        (Resource::As, memory_bytes),
        (Resource::Core, 0),
        (Resource::Cpu, cpu_seconds.saturating_mul(2)),
        (Resource::Fsize, MOST_CODE_BYTES),
        (Resource::Nofile, MOST_FILES),
    ];
    for (resource, most) in limits {
        // At the lower limit of processor time a signal tells why; at the higher one the process is killed.
        if let Err(error) = setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most.saturating_add(1)) }) {
            return refuse(&broken_cache(format!("the compiler could not be limited: {error}")));
        }
    }
    // Tasks go before it. Where that cannot be had, all are equal.
    let _ = setpriority_process(None, NICENESS);
    if let Err(error) = confine(component, directory) {
        return refuse(&broken_cache(format!("the compiler could not be confined: {error}")));
    }
    match compile_all(component, directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => refuse(&refusal),
    }
}

fn refuse(refusal: &Refusal) -> ExitCode {
    use std::io::Write;
    // If the parent does not listen any more, the exit code still says it.
    let _ = std::io::stdout().write_all(refusal.message.as_bytes());
    let exit = EXITS.iter().find(|(_, code)| *code == refusal.code).map_or(1, |(exit, _)| *exit);
    ExitCode::from(exit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_child_that_talks_without_end_is_not_listened_to() {
        let mut command = Command::new("sh");
        command.args(["-c", "head -c 100000000 /dev/zero; exit 3"]).stdout(Stdio::piped()).kill_on_drop(true);
        let (status, said) = ended(command.spawn().unwrap()).await.unwrap();
        assert_eq!((status.code(), said.len() as u64), (Some(3), MOST_SAID_BYTES));
    }
}

//! Daemons for tests: the real binary, on a store of its own and a free port, gone with the test that started it.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use lovage_client::{AsyncResult, Client};
use lovage_model::{EventKind, TaskId};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::{NamedTempFile, TempDir};

use crate::artifacts;

/// How long anything may take that is not expected to take any time.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The binary that Cargo put next to the tests.
pub fn program() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let program = test.ancestors().nth(2).expect("target/<profile>/deps/<test>").join("lovage");
    assert!(program.is_file(), "{} is missing: run `cargo build -p lovage` first", program.display());
    program
}

/// How a command ended.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// Its data.
    pub stdout: String,
    /// Everything else it said.
    pub stderr: String,
}

impl Ran {
    /// Its standard output, if it went well.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout.trim_end().to_owned()
    }

    /// Its standard output as JSON, if it went well.
    #[track_caller]
    pub fn json(self) -> serde_json::Value {
        let text = self.ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Its standard error, if it ended with this code and without data.
    #[track_caller]
    pub fn fails(self, code: i32) -> String {
        assert_eq!((self.code, self.stdout.as_str()), (Some(code), ""), "{self:?}");
        self.stderr
    }
}

/// A command of the binary, without settings of whoever runs the tests.
pub fn command<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(program());
    let foreign = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("LOVAGE"));
    foreign.for_each(|(name, _)| _ = command.env_remove(name));
    command.args(args).env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub fn run(mut command: Command) -> Ran {
    let output = command.output().expect("the binary starts");
    let text = |bytes| String::from_utf8(bytes).expect("the binary speaks UTF-8");
    Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// A process that says on standard error when it is ready; killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    lines: Receiver<String>,
    said: String,
}

impl Process {
    /// Starts it.
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the binary starts");
        let (sender, lines) = channel();
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        std::thread::spawn(move || {
            // Nobody reads any more: the process is gone, or going.
            stderr.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok())
        });
        Self { child, lines, said: String::new() }
    }

    /// Waits for a line with these words, and returns it.
    #[track_caller]
    pub fn wait_for(&mut self, words: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.said.push_str(&line);
                    self.said.push('\n');
                    if line.contains(words) {
                        return line;
                    }
                }
                Err(_) => panic!("{words:?} was not said, but:\n{}", self.said),
            }
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("a child has an id");
        // It may have ended by itself.
        let _ = kill_process(pid, signal);
    }

    /// Waits for its end; its standard error closes then.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.said.push_str(&format!("{line}\n")),
                Err(RecvTimeoutError::Disconnected) => return self.child.wait().expect("its status"),
                Err(RecvTimeoutError::Timeout) => panic!("it does not end; it said:\n{}", self.said),
            }
        }
    }

    /// What it has said so far, as far as it was waited for.
    pub fn said(&self) -> &str {
        &self.said
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }
}

/// A daemon.
#[derive(Debug)]
pub struct Daemon {
    process: Process,
    url: String,
    home: TempDir,
    store: String,
    flags: Vec<String>,
    settings: Option<NamedTempFile>,
}

impl Daemon {
    /// A daemon with these modules, compiled before, and these flags besides those for store and address.
    pub fn start(modules: &[&Path], flags: &[&str]) -> Self {
        let home = TempDir::with_prefix("lovage-test-").expect("a temporary directory");
        artifacts::seed(&home.path().join("store/cache"), modules).expect("a temporary directory");
        let store = store_url(&home);
        let daemon = Self::on(home, store, flags);
        for module in modules {
            daemon.push(module).ok();
        }
        daemon
    }

    /// A host of its own name on a store that others may be on, too, with settings in TOML. What was compiled before it finds,
    /// wherever it is pushed.
    pub fn host(store: &str, name: &str, compiled: &[&Path], settings: &str) -> Self {
        let home = TempDir::with_prefix("lovage-test-").expect("a temporary directory");
        artifacts::seed(&home.path().join("store/cache"), compiled).expect("a temporary directory");
        let file = home.path().join("lovage.toml");
        std::fs::write(&file, settings).expect("a temporary directory");
        Self::on(home, store.to_owned(), &["--hostname", name, "--config", &file.to_string_lossy()])
    }

    /// A daemon that may have so many files open at once.
    pub fn with_files(most: u32) -> Self {
        let home = TempDir::with_prefix("lovage-test-").expect("a temporary directory");
        let limited = ["-c", "ulimit -n \"$1\"; shift; exec \"$@\"", "sh", &most.to_string()].map(str::to_owned);
        let mut command = Command::new("sh");
        let daemon = serve_command(&home, "memory:", &[]);
        command.args(limited).arg(daemon.get_program()).args(daemon.get_args()).current_dir(home.path());
        command.env("NO_COLOR", "1").stdin(Stdio::null());
        let (process, url) = ready(command);
        Self { process, url, home, store: "memory:".to_owned(), flags: vec![], settings: None }
    }

    fn on(home: TempDir, store: String, flags: &[&str]) -> Self {
        let flags: Vec<String> = flags.iter().map(ToString::to_string).collect();
        let (process, url) = serve(&home, &store, &flags);
        Self { process, url, home, store, flags, settings: None }
    }

    /// A daemon with these modules and these settings, in TOML.
    pub fn configured(modules: &[&Path], settings: &str) -> Self {
        let file = NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), settings).expect("a temporary file");
        let mut daemon = Self::start(modules, &["--config", &file.path().to_string_lossy()]);
        daemon.settings = Some(file);
        daemon
    }

    /// Pushes a file under its own name.
    pub fn push(&self, module: &Path) -> Ran {
        let name = module.file_stem().expect("a module has a name");
        self.lovage([OsStr::new("module"), OsStr::new("push"), name, module.as_os_str()])
    }

    /// Runs a command of the binary against this daemon.
    pub fn lovage<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Ran {
        run(self.command(args))
    }

    /// A command of the binary against this daemon.
    pub fn command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = command(args);
        command.env("LOVAGE_URL", &self.url);
        command
    }

    /// A client of it.
    pub fn client(&self) -> Client {
        Client::new(&self.url).expect("the address is one").with_patience(PATIENCE)
    }

    /// The handle of a task.
    pub fn task(&self, id: &str) -> AsyncResult {
        self.client().async_result(TaskId::new(id).expect("an id"))
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its store's directory.
    pub fn store(&self) -> PathBuf {
        self.home.path().join("store")
    }

    /// Its store, as `--store` takes it.
    pub fn store_url(&self) -> String {
        self.store.clone()
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The processes that it runs tasks in.
    pub fn executors(&self) -> Vec<Pid> {
        let parent = format!("PPid:\t{}\n", self.process.child.id());
        let entries = std::fs::read_dir("/proc").expect("Linux").filter_map(Result::ok);
        let children = entries.filter(|entry| {
            let of = |file| std::fs::read_to_string(entry.path().join(file)).unwrap_or_default();
            of("status").contains(&parent) && of("cmdline").contains("executor-child")
        });
        children.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)).collect()
    }

    /// Ends it as a power cut would.
    pub fn kill9(&mut self) {
        self.process.signal(Signal::KILL);
        self.process.wait();
    }

    /// Asks it to end (SIGTERM), and waits until it has.
    pub fn terminate(&mut self) -> ExitStatus {
        self.process.signal(Signal::TERM);
        self.process.wait()
    }

    /// Starts it again on the same store; at another port.
    pub fn restart(&mut self) {
        (self.process, self.url) = serve(&self.home, &self.store, &self.flags);
    }

    /// Starts it again with other flags.
    pub fn restart_with(&mut self, flags: &[&str]) {
        self.flags = flags.iter().map(ToString::to_string).collect();
        self.restart();
    }
}

fn store_url(home: &TempDir) -> String {
    format!("file:{}", home.path().join("store").display())
}

fn serve(home: &TempDir, store: &str, flags: &[String]) -> (Process, String) {
    ready(serve_command(home, store, flags))
}

fn serve_command(home: &TempDir, store: &str, flags: &[String]) -> Command {
    let mut command = command(["serve", "--store", store, "--listen", "127.0.0.1:0"]);
    command.args(flags).current_dir(home.path()).env("LOVAGE__CACHE__DIR", home.path().join("store/cache"));
    command
}

fn ready(command: Command) -> (Process, String) {
    let mut process = Process::start(command);
    let line = process.wait_for("api ");
    let url = line.split_whitespace().last().expect("the address").to_owned();
    (process, url)
}

/// Whether a task runs: that it has started is told until it sets a state of its own.
pub fn runs(kind: &EventKind) -> bool {
    matches!(kind, EventKind::Started | EventKind::Progress { .. })
}

/// Waits until something happens to a task; what has happened already counts if it is the latest.
pub async fn until(task: &AsyncResult, what: impl Fn(&EventKind) -> bool) -> EventKind {
    let mut events = task.events();
    let mut seen = Vec::new();
    let found = tokio::time::timeout(PATIENCE, async {
        while let Some(event) = events.next().await.expect("events") {
            if what(&event.kind) {
                return Some(event.kind);
            }
            seen.push(event.kind);
        }
        None
    });
    found.await.ok().flatten().unwrap_or_else(|| panic!("it did not come, only {seen:?}"))
}

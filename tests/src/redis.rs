//! Redis servers for tests: a real one each, on a free port, in a directory of its own, gone with the test that started it; and
//! a way to it that can be cut, held up and closed.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::{Client, Connection};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::daemon::PATIENCE;

/// What the server is started with, unless a test says otherwise: nothing that it has acknowledged is lost.
const CAREFUL: [&str; 6] = ["--save", "", "--appendonly", "yes", "--appendfsync", "always"];
/// Somebody else may take a port between its choice and its use.
const TRIES: usize = 5;

/// A server.
#[derive(Debug)]
pub struct RedisServer {
    child: Child,
    port: u16,
    home: TempDir,
    settings: Vec<String>,
}

impl RedisServer {
    /// One that loses nothing.
    pub fn start() -> Self {
        Self::with(&CAREFUL)
    }

    /// One with these settings.
    pub fn with(settings: &[&str]) -> Self {
        let home = TempDir::with_prefix("lovage-redis-").expect("a temporary directory");
        let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
        for _ in 0..TRIES {
            let port = free_port();
            if let Some(child) = launch(port, home.path(), &settings) {
                return Self { child, port, home, settings };
            }
        }
        panic!("redis-server does not start: install it (apt-get install redis-server)");
    }

    /// Where it is, as `--store` takes it.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Its port on the loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A connection to it.
    pub fn connect(&self) -> Connection {
        Client::open(self.url()).and_then(|client| client.get_connection()).expect("the server is there")
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.child.id().cast_signed()).expect("a child has an id"), signal)
            .expect("it lives");
    }

    /// Ends it by a signal.
    pub fn end(&mut self, signal: Signal) {
        self.signal(signal);
        self.child.wait().expect("its status");
    }

    /// Starts it again, at the same port, with what it has kept.
    pub fn restart(&mut self) {
        let again = (0..TRIES).find_map(|_| launch(self.port, self.home.path(), &self.settings));
        self.child = again.expect("its port is free again");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // A stopped one does not hear of its end.
        let _ = kill_process(Pid::from_raw(self.child.id().cast_signed()).expect("a child has an id"), Signal::CONT);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// None: it ended instead, as when its port is taken.
fn launch(port: u16, home: &Path, settings: &[String]) -> Option<Child> {
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir"]).arg(home).args(settings);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let is_up = lines.by_ref().map_while(Result::ok).any(|line| line.contains("eady to accept connections"));
    // Whatever else it says is read, or it would stand still.
    std::thread::spawn(move || lines.for_each(drop));
    if is_up {
        return Some(child);
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}

/// A way to a server, on a port of its own.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    state: Arc<AtomicU8>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

const PASSES: u8 = 0;
const HELD: u8 = 1;
const CUT: u8 = 2;
/// How often a connection that is held up looks whether it still is.
const LOOK: Duration = Duration::from_millis(5);

impl Proxy {
    /// A way to a port of the loopback, which lets everything pass.
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let own = listener.local_addr().expect("its address").port();
        let (state, open) = (Arc::new(AtomicU8::new(PASSES)), Arc::default());
        let (of_loop, opened) = (Arc::clone(&state), Arc::clone(&open));
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if of_loop.load(Ordering::Acquire) != CUT
                    && let Ok(server) = TcpStream::connect(("127.0.0.1", port))
                {
                    join(client, server, &of_loop, &opened);
                }
            }
        });
        Self { port: own, state, open }
    }

    /// Where the server seems to be.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Lets everything pass from now on.
    pub fn pass(&self) {
        self.state.store(PASSES, Ordering::Release);
    }

    /// Lets nothing pass, and says so to nobody: connections stay open, and stand still.
    pub fn hold(&self) {
        self.state.store(HELD, Ordering::Release);
    }

    /// Closes every connection, and every new one at once.
    pub fn cut(&self) {
        self.state.store(CUT, Ordering::Release);
        self.reset();
    }

    /// Closes every connection; new ones pass.
    pub fn reset(&self) {
        for stream in self.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // It may be closed already.
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

fn join(client: TcpStream, server: TcpStream, state: &Arc<AtomicU8>, open: &Mutex<Vec<TcpStream>>) {
    let copies = || Some((client.try_clone().ok()?, server.try_clone().ok()?));
    let (Some((from_client, to_server)), Some((kept, also_kept))) = (copies(), copies()) else { return };
    open.lock().unwrap_or_else(PoisonError::into_inner).extend([kept, also_kept]);
    for (from, to) in [(from_client, to_server), (server, client)] {
        let state = Arc::clone(state);
        std::thread::spawn(move || carry(from, to, &state));
    }
}

/// Carries bytes one way until either side closes.
fn carry(mut from: TcpStream, mut to: TcpStream, state: &AtomicU8) {
    use std::io::{Read, Write};
    let mut bytes = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        while state.load(Ordering::Acquire) == HELD {
            std::thread::sleep(LOOK);
        }
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
    let _ = from.shutdown(std::net::Shutdown::Both);
}

/// Looks until something is so.
#[track_caller]
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: it did not come to that");
        std::thread::sleep(LOOK);
    }
}

//! Where is a Redis to be tested against? One for all tests of a process, started by the first and gone with the process.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::store::redis::Options;

/// Ends the server when its own standard input does: that is held by whoever started it, and by nobody else.
const SCRIPT: &str = r#"redis-server "$@" & server=$!; read -r _; kill -9 $server; rm -rf "$2""#;

/// A server in a directory of its own.
pub(in crate::store) struct Server {
    socket: PathBuf,
    _child: Child,
}

impl Server {
    /// Starts one, with settings as redis.conf has them.
    pub(in crate::store) fn start(settings: &[&str]) -> Self {
        let dir = tempfile::Builder::new().prefix("lovage-redis-").tempdir().unwrap().keep();
        let socket = dir.join("socket");
        let mut command = Command::new("sh");
        command.arg("-c").arg(SCRIPT).arg("sh").arg("--dir").arg(&dir);
        command.args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"]).arg(&socket).args(settings);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let is_up = lines.by_ref().map_while(Result::ok).any(|line| line.contains("eady to accept connections"));
        assert!(is_up, "redis-server does not start: install it (apt-get install redis-server)");
        // Whatever else it says is read, or it would stand still.
        std::thread::spawn(move || lines.for_each(drop));
        Self { socket, _child: child }
    }

    /// How it is opened: with keys that no other test has.
    pub(in crate::store) fn options(&self) -> Options {
        static STORES: AtomicU64 = AtomicU64::new(0);
        let number = STORES.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("test-{number}:");
        Options {
            global_keyprefix: prefix.clone(),
            result_keyprefix: prefix,
            ..Options::new(format!("redis+unix://{}", self.socket.display()), "host-1")
        }
    }

    /// The one for all tests.
    pub(in crate::store) fn of_all() -> &'static Self {
        static SERVER: OnceLock<Server> = OnceLock::new();
        SERVER.get_or_init(|| Self::start(&[]))
    }
}

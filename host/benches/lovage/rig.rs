//! What the parts share: the guest, temporary places, daemons, and the one table.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use lovage_client::Client;

/// The guest and how thorough to be.
pub(crate) struct Rig {
    pub(crate) quick: bool,
    pub(crate) component: Vec<u8>,
}

impl Rig {
    pub(crate) fn new(quick: bool) -> anyhow::Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace")?;
        let path = root.join("target/guests/wasm32-wasip2/guest/examples/load.wasm");
        let component =
            std::fs::read(&path).with_context(|| format!("{}: run `make bench`, which builds it", path.display()))?;
        Ok(Self { quick, component })
    }

    /// The whole of it, or a tenth.
    pub(crate) fn count(&self, whole: usize) -> usize {
        if self.quick { whole / 10 } else { whole }
    }
}

/// The real daemon in a process of its own, killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    pub(crate) url: String,
    _place: tempfile::TempDir,
}

impl Daemon {
    /// One whose sandboxes are where `worker.isolation` says.
    pub(crate) fn start(isolation: &str, options: &[&str]) -> anyhow::Result<Self> {
        let place = tempfile::tempdir()?;
        let store = format!("file:{}", place.path().join("store").display());
        let mut child = Command::new(env!("CARGO_BIN_EXE_lovage"))
            .args(["serve", "--store", &store, "--listen", "127.0.0.1:0"])
            .args(options)
            .env("LOVAGE__WORKER__ISOLATION", isolation)
            .stderr(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(child.stderr.take().context("its standard error")?).lines();
        let url = loop {
            let line = lines.next().context("the daemon ended before it was ready")??;
            if let Some((_, url)) = line.split_once("http://") {
                break format!("http://{}", url.trim());
            }
        };
        // Its log must not fill the pipe and stop it.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { child, url, _place: place })
    }

    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::new(&self.url)?)
    }

    /// Memory in MiB of the daemon and of the processes that it runs tasks in. What several share counts once, in parts.
    pub(crate) fn memory_mib(&self) -> anyhow::Result<f64> {
        let all = std::iter::once(self.child.id()).chain(executors(self.child.id())?);
        let kib: f64 = all.map(pss_kib).sum::<anyhow::Result<f64>>()?;
        Ok(kib / 1024.0)
    }
}

/// Where sandboxes are unless the operator says otherwise.
pub(crate) const PROCESSES: &str = "processes";

/// The processes in which a daemon runs tasks.
fn executors(of: u32) -> anyhow::Result<Vec<u32>> {
    let parent = format!("PPid:\t{of}\n");
    let entries = std::fs::read_dir("/proc")?.filter_map(Result::ok);
    let own = entries.filter(|entry| {
        let said = |file| std::fs::read_to_string(entry.path().join(file)).unwrap_or_default();
        said("status").contains(&parent) && said("cmdline").contains("executor-child")
    });
    Ok(own.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

/// A process's own share of memory (Pss).
fn pss_kib(pid: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let rollup = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let line = rollup.lines().find(|line| line.starts_with("Pss:")).with_context(|| format!("{path}: Pss"))?;
    Ok(line.split_whitespace().nth(1).context("a number")?.parse()?)
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The results.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<[String; 4]>,
}

impl Table {
    /// Adds a row, and shows it at once: the whole takes minutes.
    pub(crate) fn row(
        &mut self,
        part: &str,
        what: impl Into<String>,
        value: impl Into<String>,
        ratio: impl Into<String>,
    ) {
        let row = [part.to_owned(), what.into(), value.into(), ratio.into()];
        eprintln!("{:3} {:58} {:>18}  {}", row[0], row[1], row[2], row[3]);
        self.rows.push(row);
    }

    pub(crate) fn print(&self) {
        println!("| part | what | value | against |\n|---|---|---|---|");
        for [part, what, value, ratio] in &self.rows {
            println!("| {part} | {what} | {value} | {ratio} |");
        }
    }
}

/// The best of some runs: noise only ever adds.
pub(crate) fn best_rate(runs: usize, mut run: impl FnMut() -> anyhow::Result<f64>) -> anyhow::Result<f64> {
    let mut best = 0.0_f64;
    for _ in 0..runs {
        best = best.max(run()?);
    }
    ensure!(best > 0.0, "nothing was measured");
    Ok(best)
}

/// Things a second.
pub(crate) fn rate(count: usize, since: Instant) -> f64 {
    count as f64 / since.elapsed().as_secs_f64()
}

/// A value of a sorted list at a fraction of its length.
pub(crate) fn percentile(sorted: &[Duration], fraction: f64) -> Duration {
    sorted[((sorted.len() - 1) as f64 * fraction).round() as usize]
}

pub(crate) fn ms(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1e3)
}

/// One message for the task of that name.
pub(crate) fn message(task: &str, args: serde_json::Value) -> lovage_model::Message {
    let (id, task) = (lovage_model::TaskId::from_uuid(uuid::Uuid::now_v7()), task.parse().expect("a name"));
    lovage_model::Message { args: args.into(), ..lovage_model::Message::new(id, task) }
}

/// Processor time of this thread so far.
pub(crate) fn thread_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// Processor time of this process so far. Unlike a rate it hardly depends on what else the machine does.
pub(crate) fn cpu() -> anyhow::Result<Duration> {
    const TICKS_A_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(") ").context("/proc/self/stat")?;
    let ticks: f64 = fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    Ok(Duration::from_secs_f64(ticks / TICKS_A_SECOND))
}

/// Microseconds of processor time for each of so many.
pub(crate) fn each_us(spent: Duration, count: usize) -> String {
    format!("{:.1} µs CPU each", spent.as_secs_f64() * 1e6 / count as f64)
}

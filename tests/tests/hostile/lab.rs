//! What becomes of a hostile component, and of its neighbours.
//!
//! Each group of cases has a sandbox of its own with two places. Components are compiled by the child process that compiles
//! them for a daemon, and run by one that runs them for it. While a hostile task runs, and after it, a well-behaved one does in the place beside it.

use std::sync::Arc;
use std::time::Duration;

use lovage::attempt::{Fault, FaultKind, Grants, Outcome, Report};
use lovage::sandbox::{Compiler, Executors, Refusal, Sandbox, Settings};
use lovage_tests::artifacts::digest_of;
use lovage_tests::attempts::attempt;
use lovage_tests::daemon;
use tokio::sync::watch;

use crate::skeleton::Holes;

/// What a run may have, and what a component may have from its start.
pub(crate) const MEMORY: u64 = 32 << 20;
pub(crate) const PAYLOAD: usize = 64 << 10;
pub(crate) const OUTPUT: usize = 16 << 10;
/// Attempts at once.
const PLACES: u32 = 2;
/// What a child may take that compiles.
const COMPILE_MEMORY: u64 = 768 << 20;
const COMPILE_TIME: Duration = Duration::from_secs(120);
/// For what is built to take for ever: nobody waits for all of it.
const BRIEF_COMPILE_TIME: Duration = Duration::from_secs(4);
/// What replaces a text that no JSON is: three bytes for one.
const LOSSY: usize = 3;

/// A component and what must become of it.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) component: Vec<u8>,
    pub(crate) grants: fn(&mut Grants),
    pub(crate) expected: Expected,
}

/// What must become of a component. Texts need to be contained.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expected {
    /// It does not come in: the code, the text.
    Refused(&'static str, &'static str),
    /// It does not come in, for one of these codes.
    RefusedFor(&'static [&'static str]),
    /// Its task runs into this wall: the kind, the text.
    Fault(FaultKind, &'static str),
    /// Its task raises an exception with this class, if one is named, and text.
    Raised(&'static str, &'static str),
    /// Its task returns this JSON.
    Returned(&'static str),
    /// It does not come in, or its task ends somehow.
    Harmless,
}

/// A case with plenty of time.
pub(crate) fn case(name: impl Into<String>, component: Vec<u8>, expected: Expected) -> Case {
    Case { name: name.into(), component, grants: |_| {}, expected }
}

/// A case that ends only at its time limit.
pub(crate) fn endless(name: impl Into<String>, component: Vec<u8>) -> Case {
    case(name, component, Expected::Fault(FaultKind::TimeLimit, "TimeLimitExceeded")).with(brief)
}

/// Little time.
pub(crate) fn brief(grants: &mut Grants) {
    grants.hard_limit = Duration::from_millis(120);
}

/// Little fuel.
pub(crate) fn little_fuel(grants: &mut Grants) {
    grants.fuel = Some(3_000_000);
}

impl Case {
    /// With other grants.
    pub(crate) fn with(self, grants: fn(&mut Grants)) -> Self {
        Self { grants, ..self }
    }
}

/// A sandbox, a neighbour in it, and what went wrong so far.
pub(crate) struct Lab {
    pub(crate) sandbox: Sandbox,
    neighbour: Vec<u8>,
    wrong: Vec<String>,
    tried: usize,
    cache: tempfile::TempDir,
}

impl Lab {
    /// A new sandbox, with the neighbour admitted.
    pub(crate) async fn new() -> Self {
        Self::with(COMPILE_TIME).await
    }

    async fn with(compile_time: Duration) -> Self {
        let cache = tempfile::tempdir().expect("a directory");
        let compiler = Compiler::Child { program: daemon::program(), memory_bytes: COMPILE_MEMORY, time: compile_time };
        let executors = Some(Executors { program: daemon::program(), count: 1, granted: Vec::new() });
        let cache_path = cache.path().to_owned();
        let settings = Settings { concurrency: PLACES, memory_bytes: MEMORY, cache: cache_path, compiler, executors };
        let sandbox = Sandbox::new(settings).expect("a sandbox");
        let neighbour = Holes::default().bytes();
        let admitted = sandbox.admit(&digest_of(&neighbour), &neighbour).await;
        assert_eq!(admitted.map(|tasks| tasks.len()), Ok(1), "the neighbour comes in");
        Self { sandbox, neighbour, wrong: Vec::new(), tried: 0, cache }
    }

    /// Where its compiled code is.
    pub(crate) fn cache(&self) -> &std::path::Path {
        self.cache.path()
    }

    /// Uploads, runs and judges.
    pub(crate) async fn tries(&mut self, case: Case) {
        self.tried += 1;
        let (refusal, report) = self.meets(&case).await;
        if !case.expected.is(refusal.as_ref(), report.as_ref()) {
            let end = report.as_ref().map(|report| brief_text(&report.outcome));
            self.wrong.push(format!("{}: {:?} expected, not {refusal:?} {end:?}", case.name, case.expected));
        }
        if let Some(flaw) = report.as_ref().and_then(excess) {
            self.wrong.push(format!("{}: {flaw}", case.name));
        }
        self.expects_the_neighbour(&case.name, "after it").await;
    }

    /// Uploads a component and, if it comes in, runs its task beside the neighbour's.
    async fn meets(&mut self, case: &Case) -> (Option<Refusal>, Option<Report>) {
        let digest = digest_of(&case.component);
        if let Err(refusal) = self.sandbox.admit(&digest, &case.component).await {
            return (Some(refusal), None);
        }
        let mut grants = grants();
        (case.grants)(&mut grants);
        assert!(self.sandbox.load_cached(&digest, grants.fuel.is_some()).await.expect("a cache"), "{}", case.name);
        let beside = digest_of(&self.neighbour);
        assert!(self.sandbox.load_cached(&beside, grants.fuel.is_some()).await.expect("a cache"), "the neighbour");
        let kind = |fuel: &Grants| Grants { fuel: fuel.fuel.map(|_| 1 << 40), ..self::grants() };
        let neighbour = kind(&grants);
        let (report, beside) =
            tokio::join!(run(&self.sandbox, &case.component, grants), run(&self.sandbox, &self.neighbour, neighbour));
        self.sandbox.forget(&digest);
        self.judge_the_neighbour(&case.name, "beside it", &beside);
        (None, Some(report))
    }

    async fn expects_the_neighbour(&mut self, case: &str, when: &str) {
        let report = run(&self.sandbox, &self.neighbour, grants()).await;
        self.judge_the_neighbour(case, when, &report);
    }

    fn judge_the_neighbour(&mut self, case: &str, when: &str, report: &Report) {
        if !Expected::Returned("1").is(None, Some(report)) {
            self.wrong.push(format!("{case}: its neighbour {when}: {}", brief_text(&report.outcome)));
        }
    }

    async fn tries_all(mut self, cases: Vec<Case>) {
        for case in cases {
            self.tries(case).await;
        }
        self.ends();
    }

    /// Fails if anything was wrong.
    pub(crate) fn ends(self) {
        println!("{} components tried", self.tried);
        assert!(self.wrong.is_empty(), "{} are wrong:\n{}", self.wrong.len(), self.wrong.join("\n"));
    }
}

/// Tries cases in a sandbox of their own.
pub(crate) async fn try_all(cases: Vec<Case>) {
    Lab::new().await.tries_all(cases).await;
}

/// Tries cases that may take too long to compile, and may be refused for that on a slow machine and come in on a fast one.
pub(crate) async fn try_compiling(cases: Vec<Case>) {
    Lab::with(BRIEF_COMPILE_TIME).await.tries_all(cases).await;
}

/// Plenty of everything.
pub(crate) fn grants() -> Grants {
    Grants {
        memory_bytes: MEMORY,
        output_bytes: OUTPUT,
        payload_bytes: PAYLOAD,
        subtasks: 100,
        sent_bytes: 8 * PAYLOAD,
        handler_limit: Duration::from_secs(1),
        ..Grants::of_time(Duration::from_secs(30))
    }
}

/// Runs the task of a component that was admitted.
pub(crate) async fn run(sandbox: &Sandbox, component: &[u8], grants: Grants) -> Report {
    let attempt = attempt(component, "it.runs", &serde_json::json!([]));
    let (_keep, stop) = watch::channel(None);
    sandbox.run(attempt, grants, Arc::new(()), stop).await
}

impl Expected {
    fn is(&self, refusal: Option<&Refusal>, report: Option<&Report>) -> bool {
        match (self, refusal, report.map(|report| &report.outcome)) {
            (Self::Refused(code, text), Some(refusal), None) => refusal.code == *code && refusal.message.contains(text),
            (Self::RefusedFor(codes), Some(refusal), None) => codes.contains(&refusal.code),
            (Self::Fault(kind, text), None, Some(Outcome::Faulted(Fault { kind: was, exception, .. }))) => {
                kind == was && exception.to_string().contains(text)
            }
            (Self::Raised(class, text), None, Some(Outcome::Raised(exception, _))) => {
                (class.is_empty() || exception.exc_type == *class) && exception.to_string().contains(text)
            }
            (Self::Returned(json), None, Some(Outcome::Returned(was))) => was.as_str() == *json,
            (Self::Harmless, Some(refusal), None) => !refusal.is_of_host(),
            (Self::Harmless, None, Some(outcome)) => !matches!(outcome, Outcome::Stopped(_)),
            _ => false,
        }
    }
}

/// What a report has more of than any may have.
fn excess(report: &Report) -> Option<String> {
    let Report { usage, log, outcome, effects } = report;
    if usage.peak_memory_bytes > MEMORY {
        return Some(format!("{usage:?}"));
    }
    let records: usize = log.records.iter().map(|record| record.message.len()).sum();
    for (what, bytes, most) in [
        ("stdout", log.stdout.len(), LOSSY * OUTPUT),
        ("stderr", log.stderr.len(), LOSSY * OUTPUT),
        ("records", records, OUTPUT),
        ("subtasks", effects.subtasks.len(), grants().subtasks),
        ("the outcome", format!("{outcome:?}").len(), 16 * PAYLOAD),
    ] {
        if bytes > most {
            return Some(format!("{what}: {bytes}, at most {most}"));
        }
    }
    None
}

/// An outcome, for people.
pub(crate) fn brief_text(outcome: &Outcome) -> String {
    let text = format!("{outcome:?}");
    text.chars().take(600).collect()
}

//! What a process is not believed: words that no honest one says.

use lovage_model::Json;
use tokio::net::UnixStream;

use super::super::super::admission::question;
use super::super::allowed::tests::few;
use super::*;
use crate::attempt::{Bytes, HttpRequest, Outcome};

/// A process in which one attempt runs, what its daemon has read of it, and where the report comes.
pub(in super::super) fn process() -> (Arc<Process>, UnixStream, oneshot::Receiver<Report>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (_, orders) = ours.into_split();
    let process = Process::new(1, Allocator::Pool, Walls { landlock: true, seccomp: true }, orders);
    let (answer, answered) = oneshot::channel();
    let allowed = Allowed::by(&few(), 0, clock::instant());
    let module = Digest::from_bytes(&[7; 32]);
    let run = Run { module, progress: Arc::new(()), answer, allowed, asked: HashMap::new() };
    process.open().runs.insert(1, run);
    (Arc::new(process), theirs, answered)
}

/// It says why it does not load a component.
pub(in super::super) fn refuses(process: &Arc<Process>, (digest, flavour): &Code, code: &'static str) {
    let refusal = Some(Refusal { code, message: "it is so".to_owned() });
    process.hear(Word::Loaded { digest: digest.clone(), flavour: *flavour, refusal }).unwrap();
}

fn ended(value: &str) -> Word {
    let outcome = Outcome::Returned(Json::parse(value.to_owned()).unwrap());
    Word::Ended { turn: 1, report: Box::new(Report { outcome, ..Report::stopped(Stop::Lost) }) }
}

#[tokio::test]
async fn who_says_more_of_an_attempt_than_it_may_is_not_heard() {
    let wrote = |bytes| Word::Wrote { turn: 1, stderr: false, text: "x".repeat(bytes) };
    let (process, _theirs, mut answered) = process();
    assert!(process.hear(wrote(300)).is_ok());
    assert!(process.hear(wrote(1)).is_err(), "it keeps a hundred bytes");
    assert!(process.hear(Word::State { turn: 1, state: "S".to_owned(), meta: Json::empty_object() }).is_ok());
    assert!(process.hear(ended("12345678901")).is_err() && answered.try_recv().is_err());
    assert_eq!(process.open().runs.len(), 1, "it is lost with the process");
    assert!(process.hear(ended("1234567890")).is_ok());
    assert!(answered.try_recv().is_ok_and(|report| report.usage.cpu_seconds == 0.0));
    assert!(process.hear(ended("12345678901")).is_ok(), "nobody waits for it any more");
}

#[tokio::test]
async fn who_asks_for_more_than_a_guest_can_is_not_heard() {
    let (process, _theirs, _answered) = process();
    let asks = |headers: usize| {
        let headers = vec![("a".to_owned(), Bytes::default()); headers];
        let (method, url) = ("GET".to_owned(), "http://a".to_owned());
        let request = HttpRequest { method, url, headers, body: Bytes::default(), timeout_millis: None };
        process.hear(Word::Ask { turn: 1, number: 1, ask: Ask::Http(request) })
    };
    assert!(asks(400).is_ok() && asks(100_000).is_err());
}

#[tokio::test]
async fn a_word_that_is_longer_than_any_attempt_may_have_is_not_read() {
    let longest = AtomicUsize::new(100);
    let read = async |bytes: usize| {
        let (mut words, mut frame) = (Vec::new(), Vec::new());
        door::write(&mut words, &Word::Wrote { turn: 1, stderr: false, text: "x".repeat(bytes) });
        let word = door::next::<Word>(&mut words.as_slice(), &mut frame, || longest.load(Ordering::Relaxed)).await;
        word.map(|_| frame.len())
    };
    assert!(read(10).await.is_ok_and(|length| length < 100));
    assert!(read(100).await.is_err());
    longest.fetch_max(200, Ordering::Relaxed);
    assert!(read(100).await.is_ok());
}

#[tokio::test]
async fn who_refuses_what_another_took_is_broken() {
    let (process, _theirs, _answered) = process();
    let code = (Digest::from_bytes(&[7; 32]), Flavour::Epoch);
    let refuses = |reason: &'static str| {
        refuses(&process, &code, reason);
        process.why.get().copied()
    };
    let (answer, mut answered) = oneshot::channel();
    process.open().loading.push((code.clone(), answer));
    assert_eq!(refuses("too_demanding"), None, "somebody waits for it, who knows better");
    assert!(answered.try_recv().is_ok_and(|refusal| refusal.is_some()));
    assert_eq!(refuses("too_demanding"), None, "it was not told to load it");
    process.open().loaded.insert(code.clone());
    assert_eq!(refuses("removed"), None, "it is nowhere");
    assert!(!process.has(&code));
    process.open().loaded.insert(code.clone());
    assert_eq!(refuses("too_demanding"), Some("it refuses a component that another took"));
}

#[tokio::test]
async fn what_nobody_waits_for_any_more_is_refused_to_the_attempts_that_need_it() {
    let (process, _theirs, _answered) = process();
    let breaks_by = |module: u8| {
        let code = (Digest::from_bytes(&[module; 32]), Flavour::Epoch);
        // Who waits has given up.
        let (answer, _) = oneshot::channel();
        process.open().loaded.insert(code.clone());
        process.open().loading.push((code.clone(), answer));
        refuses(&process, &code, "too_demanding");
        process.is_gone()
    };
    assert!(!breaks_by(8), "nobody needs it");
    assert!(breaks_by(7), "an attempt would wait for it to the end");
}

#[tokio::test]
async fn who_comes_when_it_is_gone_has_not_begun_and_is_not_lost() {
    let (process, _theirs, _answered) = process();
    process.breaks("it does not read what it asks for");
    let module = Digest::from_bytes(&[8; 32]);
    let attempt = Box::new(question(&module));
    let (_order, stop) = watch::channel(None);
    let work = Work { attempt, grants: few(), progress: Arc::new(()) };
    let Err(NotRun::Unbegun(same)) = process.run(Path::new("/nowhere"), work, stop).await else {
        panic!("it is not run")
    };
    assert_eq!(same.attempt.module, module, "it may run elsewhere");
    let (lost, death) = (process.ended(), process.why.get());
    assert!(lost.iter().all(|run| run.module != module) && lost.len() == 1);
    assert_eq!(death, Some(&"it does not read what it asks for"));
    let code = (module, Flavour::Epoch);
    assert!(matches!(process.load(&code, Path::new("/nowhere")).await, Err(Loading::Died(Died))));
}

#[tokio::test]
async fn a_process_that_breaks_says_why() {
    let (process, ..) = process();
    process.breaks("it does not read what it asks for");
    process.breaks("an attempt did not end at its limit");
    assert_eq!(process.why.get(), Some(&"it does not read what it asks for"));
    process.broken.notified().await;
}

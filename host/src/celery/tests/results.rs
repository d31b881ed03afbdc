//! Results: what a worker kept is read, and written again as it was.

use super::*;
use lovage_model::{Exception, State};
use meta::Meta;

fn metas(name: &str) -> Vec<Vec<u8>> {
    let all = transcript(name).into_iter().filter(|said| said.key().starts_with("celery-task-meta-"));
    all.map(|mut said| said.words.pop().unwrap()).collect()
}

fn read(raw: &[u8]) -> Meta {
    meta::read(raw, &LIMITS).unwrap()
}

#[test]
fn every_meta_is_written_as_it_was() {
    let mut seen = 0;
    for (name, _) in TRANSCRIPTS.iter().filter(|(name, _)| !["compressed_results", "python_types"].contains(name)) {
        for raw in metas(name) {
            // Who revokes a task that runs nowhere has no children, and says so by a `null`.
            let text = String::from_utf8(raw).unwrap().replace("\"children\": null", "\"children\": []");
            assert_eq!(meta::write(&read(text.as_bytes())).unwrap(), text);
            seen += 1;
        }
    }
    assert!(seen > 40, "{seen}");
}

#[test]
fn states_are_told_apart() {
    let all: Vec<Meta> =
        ["plain", "failed", "retried", "revoked"].iter().flat_map(|name| metas(name)).map(|raw| read(&raw)).collect();
    let of = |state: State| all.iter().filter(move |meta| meta.status == state);
    let exceptions = |state| of(state).map(|meta| meta::exception(&meta.result).repr()).collect::<Vec<_>>();
    assert!(exceptions(State::Failure).contains(&"ValueError('deliberate', {'k': 1})".to_owned()));
    assert!(exceptions(State::Failure).contains(&"NotRegistered('parity.nobody')".to_owned()));
    assert!(exceptions(State::Retry).contains(&"KeyError('not yet')".to_owned()));
    for reason in ["revoked", "expired", "terminated"] {
        assert!(exceptions(State::Revoked).contains(&format!("TaskRevokedError('{reason}')")), "{reason}");
    }
    let progress = of(State::Custom("PROGRESS".to_owned())).next().unwrap();
    assert_eq!((progress.result.as_str(), progress.date_done), (r#"{"done": 3, "total": 10}"#, None));
    assert!(of(State::Success).all(|meta| meta.date_done.is_some() && meta.traceback.is_none()));
    assert!(of(State::Retry).all(|meta| meta.children.len() == 1));
}

#[test]
fn extended_metas_say_what_was_called() {
    let extended: Vec<_> = metas("stamped").iter().map(|raw| read(raw).extended.unwrap()).collect();
    let add = extended.iter().find(|it| it.name.as_deref() == Some("parity.add")).unwrap();
    assert_eq!(add.stamps["build"].as_str(), "12");
    assert_eq!(
        (add.worker.as_deref(), add.queue.as_deref(), add.retries),
        (Some("parity@recorder"), Some("celery"), Some(0))
    );
    let echo = extended.iter().find(|it| it.name.as_deref() == Some("parity.echo")).unwrap();
    assert_eq!((echo.args.as_str(), echo.kwargs.as_str()), ("[1, [2]]", r#"{"k": {"l": null}}"#));
}

#[test]
fn compressed_results_are_read() {
    let all = metas("compressed_results");
    assert!(all.iter().all(|raw| raw.starts_with(b"\0celery-compressed\0")));
    let results: Vec<_> = all.iter().map(|raw| read(raw).result.to_string()).collect();
    assert!(results.contains(&format!("\"{}\"", "a".repeat(300))) && results.contains(&"10".to_owned()), "{results:?}");
    assert_eq!(parts("compressed_results").len(), 2);
    let bomb = meta::read(&all[0], &Limits { body_bytes: 10 });
    assert!(bomb.unwrap_err().to_string().contains("larger than 10 bytes"));
}

fn parts(name: &str) -> Vec<(Vec<u8>, meta::PartEnd)> {
    let all = transcript(name).into_iter().filter(|said| said.command == "ZADD" && said.key().ends_with(".j"));
    all.map(|mut said| said.words.pop().unwrap())
        .map(|raw| (raw.clone(), meta::read_part(&raw, &LIMITS).unwrap()))
        .collect()
}

#[test]
fn parts_of_chords_are_written_as_they_were() {
    let all = parts("chorded");
    assert!(all.len() >= 6, "{}", all.len());
    for (raw, part) in &all {
        assert_eq!(meta::write_part(part).unwrap().as_bytes(), raw);
    }
    let failed = all.iter().find(|(_, part)| part.state == State::Failure).unwrap();
    assert_eq!(meta::exception(&failed.1.result).exc_type, "ValueError");
}

#[test]
fn groups_are_written_as_they_were() {
    let is_group = |said: &Said| said.key().starts_with("celery-taskset-meta-") && !said.key().ends_with(".j");
    let all: Vec<_> = TRANSCRIPTS.iter().flat_map(|(name, _)| transcript(name)).filter(is_group).collect();
    assert!(!all.is_empty());
    for said in all {
        let raw = said.words.iter().find(|word| word.starts_with(b"{")).unwrap();
        let group = meta::read_group(raw, &LIMITS).unwrap();
        assert!(group.children.as_ref().is_some_and(|all| !all.is_empty()));
        assert_eq!(meta::write_group(&group).unwrap().as_bytes(), raw);
    }
}

#[test]
fn numbers_that_json_has_not_do_not_stop_anybody() {
    let part = meta::read_part(b"[1, \"a\", \"SUCCESS\", [1, NaN]]", &LIMITS).unwrap();
    assert_eq!((part.state, part.result.read::<(u8, String)>().unwrap()), (State::Success, (1, "NaN".to_owned())));
    let with_nan = metas("python_types").into_iter().find(|raw| String::from_utf8_lossy(raw).contains("NaN")).unwrap();
    assert_eq!(read(&with_nan).result.read::<String>().unwrap(), "NaN");
}

#[test]
fn exceptions_that_are_spelled_oddly_are_some_exception() {
    let of = |text: &str| meta::exception(&json(text));
    let null_module = of(r#"{"exc_type":"Own","exc_message":["x"],"exc_module":null}"#);
    assert_eq!(null_module, Exception::new("builtins", "Own", "x"));
    assert_eq!(of("\"text\""), Exception::new("builtins", "Exception", "text"));
    assert_eq!(of(r#"{"exc_type":"a.B","exc_message":"x","exc_module":"m"}"#).repr(), "B('x')");
}

#[test]
fn what_is_no_meta_is_an_error() {
    for raw in ["", "1", "{}", r#"{"status":"SUCCESS"}"#, r#"{"task_id":"a b","status":"SUCCESS"}"#] {
        assert!(meta::read(raw.as_bytes(), &LIMITS).unwrap_err().to_string().starts_with("no result of Celery's: "));
    }
}

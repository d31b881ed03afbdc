//! What waits for others, through crashes and faults.

use futures_util::FutureExt;
use lovage_model::{Arrival, Followed, Join, Message, Planned, Then};

use super::*;
use crate::store::suite::{ids, json};
use crate::store::{Completed, FollowUp, Joins, Orders, Paused};

fn part(name: &str, index: u32) -> Planned {
    let then = Some(Then::Part { group: id("g"), index });
    Planned { message: Message { then, stamps: [("job".to_owned(), json("7"))].into(), ..message(name) }, awaits: None }
}

/// A group of `a`, `b` and `c`, whose values `body` waits for.
fn chord() -> Plan {
    let body = Planned { message: message("body"), awaits: Some(id("g")) };
    let tasks = vec![part("a", 0), part("b", 1), part("c", 2), body];
    Plan { tasks, joins: vec![Join { group: id("g"), size: 3, then: Then::Next }] }
}

async fn store_chord(dir: &Path) -> FileStore {
    let store = FileStore::open(dir, at(0)).unwrap();
    let stored = store.submit(&tenant(), vec![chord()], at(0), Room::UNLIMITED).await.unwrap();
    assert_eq!(stored, [Submitted::Stored]);
    store
}

/// Runs the next task; its value is its name.
async fn run_next(store: &FileStore) {
    let lease = store.lease(ask(1, at(1))).await.unwrap().leases.remove(0);
    let value = format!("\"{}\"", lease.message.id);
    let arrival = lease.message.then.is_some().then(|| Arrival::Value(json(&value)));
    let end = lovage_model::Settlement { arrival, ..settlement(success(&value), at(2)) };
    assert_eq!(store.commit(lease.key, end).await.unwrap(), Fenced::Applied);
}

fn last(followed: Vec<(lovage_model::TaskId, Followed)>) -> FollowUp {
    FollowUp::last(followed)
}

/// What is there after a power cut, in a directory of its own.
fn cut(from: &Path, to: &Path) -> FileStore {
    copy_as_is(from, to);
    let heir = FileStore::open(to, at(3)).unwrap();
    assert_eq!(check(to).unwrap().problems, Vec::<String>::new());
    heir
}

#[tokio::test]
async fn a_chord_survives_a_crash_at_each_of_its_steps() {
    let dir = tempfile::tempdir().unwrap();
    let path = |step: &str| dir.path().join(step);
    let first = store_chord(&path("first")).await;
    run_next(&first).await;
    let second = cut(&path("first"), &path("second"));
    assert!(second.any_ended().now_or_never().is_none(), "nothing is complete");
    run_next(&second).await;
    run_next(&second).await;
    let third = cut(&path("second"), &path("third"));
    third.any_ended().await;
    let ended = third.ended(9).await.unwrap().remove(0);
    let values = ["a", "b", "c"].map(|name| Arrival::Value(json(&format!("\"{name}\""))));
    assert_eq!(ended.outcome, Completed::Join { parts: values.into(), then: Then::Next });
    let body = store_follower(&third).await;
    let step = last(vec![(id("body"), Followed::Released(Box::new(body)))]);
    assert_eq!(third.follow(ended.key, step.clone(), at(4)).await.unwrap(), Fenced::Applied);
    let fourth = cut(&path("third"), &path("fourth"));
    assert_eq!(fourth.follow(ended.key, step, at(5)).await.unwrap(), Fenced::Refused, "it is done once");
    run_next(&fourth).await;
    assert_eq!(state(&fourth, "body").await, State::Success);
    let nothing: i64 = Connection::open(path("fourth").join(DATABASE))
        .unwrap()
        .query_row(
            "SELECT (SELECT count(*) FROM joint) + (SELECT count(*) FROM part) + (SELECT count(*) FROM ended)
             + (SELECT count(*) FROM blocked) + (SELECT count(*) FROM stamp)",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(nothing, 0, "a chord leaves nothing but its results");
}

async fn store_follower(store: &FileStore) -> Message {
    store.followers(&tenant(), &id("g"), 9).await.unwrap().remove(0)
}

#[tokio::test]
async fn a_pause_survives_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let store = store_chord(&dir.path().join("live")).await;
    let paused = store.pause(&tenant(), &lovage_model::QueueName::default(), true).await.unwrap();
    assert_eq!(paused, Paused::Changed);
    let heir = cut(&dir.path().join("live"), &dir.path().join("dead"));
    assert!(heir.lease(ask(9, at(4))).await.unwrap().leases.is_empty());
    let goes_on = heir.pause(&tenant(), &lovage_model::QueueName::default(), false).await.unwrap();
    assert_eq!(goes_on, Paused::Changed);
    assert_eq!(ids(&heir.lease(ask(9, at(5))).await.unwrap().leases), ["a", "b", "c"]);
}

#[tokio::test]
async fn those_that_wait_for_a_message_that_cannot_be_read_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let store = store_chord(dir.path()).await;
    store.inject("UPDATE message SET body = x'7b' WHERE seq IN (1, 4)").await.unwrap();
    assert_eq!(ids(&store.lease(ask(2, at(0))).await.unwrap().leases), ["b"]);
    store.lease(ask(9, at(20))).await.unwrap();
    for seq in [2, 3] {
        let token =
            store.writer.run(Need::BRIEF, move |ledger| Ok(ledger.book.held(seq).unwrap().token)).await.unwrap();
        let key = crate::store::LeaseKey { task: seq, token: token.unsigned_abs() };
        let end =
            lovage_model::Settlement { arrival: Some(Arrival::Value(json("1"))), ..settlement(success("1"), at(21)) };
        assert_eq!(store.commit(key, end).await.unwrap(), Fenced::Applied);
    }
    let ended = store.ended(9).await.unwrap().remove(0);
    let Completed::Join { parts, .. } = &ended.outcome else { panic!("{ended:?}") };
    assert!(
        matches!(&parts[0], Arrival::Failed { task, exception } if *task == id("a") && exception.exc_type == "StoreCorrupt")
    );
    assert!(store.followers(&tenant(), &id("g"), 9).await.unwrap().is_empty(), "the body cannot be read");
    assert_eq!(store.follow(ended.key, last(vec![]), at(22)).await.unwrap(), Fenced::Applied);
    assert_eq!(state(&store, "body").await, State::Failure);
}

#[tokio::test]
async fn one_message_that_cannot_be_ended_does_not_hold_up_its_batch() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path(), at(0)).unwrap();
    submit(&store, &["spoilt", "good"]).await.unwrap();
    store
        .inject(
            "UPDATE message SET body = x'7b' WHERE seq = 1;
             CREATE TRIGGER stuck BEFORE INSERT ON result BEGIN SELECT RAISE(ABORT, 'stuck'); END",
        )
        .await
        .unwrap();
    assert_eq!(ids(&store.lease(ask(9, at(0))).await.unwrap().leases), ["good"]);
    assert_eq!(state(&store, "spoilt").await, State::Started);
    store.inject("DROP TRIGGER stuck").await.unwrap();
    assert_eq!(ids(&store.lease(ask(9, at(20))).await.unwrap().leases), ["good"]);
    assert_eq!(state(&store, "spoilt").await, State::Failure);
}

#[tokio::test]
async fn a_check_finds_what_waits_in_vain() {
    let faults = [
        ("DELETE FROM joint", "waits for what is not there, or has ended: body"),
        ("UPDATE blocked SET awaits = 'nobody'", "waits for what is not there, or has ended: body"),
        ("UPDATE blocked SET pos = 99", "is blocked without being the task of that place"),
        ("DELETE FROM blocked", "must have one place"),
        ("UPDATE line SET blocked = 9", "counted wrongly"),
        ("UPDATE joint SET counted = 2", "counts its parts wrongly: g"),
        ("UPDATE joint SET size = 1", "has all its parts and has not ended, or the other way round: g"),
        (
            "INSERT INTO ended VALUES (99, 1, 'g', NULL)",
            "has all its parts and has not ended, or the other way round: g",
        ),
        ("INSERT INTO ended VALUES (99, 1, 'other', NULL)", "has ended or has parts, and is not there: other"),
        ("UPDATE stamp SET seq = 77 WHERE seq = 2", "has a stamp, and has ended or is not there: number 77"),
        ("UPDATE task SET follows = NULL WHERE seq = 2", "for something else than its message says: b"),
    ];
    for (sql, expected) in faults {
        let dir = tempfile::tempdir().unwrap();
        let store = store_chord(dir.path()).await;
        run_next(&store).await;
        assert_eq!(check(dir.path()).unwrap().problems, Vec::<String>::new());
        store.inject(sql).await.unwrap();
        let found = check(dir.path()).unwrap().problems;
        assert!(found.iter().any(|problem| problem.contains(expected)), "{sql}: {found:?}");
    }
}

#[tokio::test]
async fn a_join_that_does_not_fit_into_memory_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = store_chord(dir.path()).await;
    let value = json(&format!("\"{}\"", "x".repeat(30 << 20)));
    for lease in store.lease(ask(3, at(1))).await.unwrap().leases {
        let arrival = Some(Arrival::Value(value.clone()));
        let end = lovage_model::Settlement { arrival, ..settlement(success("null"), at(2)) };
        assert_eq!(store.commit(lease.key, end).await.unwrap(), Fenced::Applied);
    }
    let Completed::Join { parts, .. } = store.ended(9).await.unwrap().remove(0).outcome else { panic!("no join") };
    let [Arrival::Failed { exception, .. }] = &parts[..] else { panic!("{} parts", parts.len()) };
    assert!(exception.message().contains("group g"), "{exception}");
}

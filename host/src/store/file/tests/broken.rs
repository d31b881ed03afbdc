//! Files that are broken, or that do not belong together, and what of them cannot be read.

use lovage_model::{Arrival, Message, Planned, Settlement, Then};

use super::*;
use crate::store::suite::{ids, in_queue, json, periodic};
use crate::store::{Completed, Joins, Revoked, Schedules, Waiting};

#[tokio::test]
async fn what_is_not_a_store_is_refused_with_the_cure() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(DATABASE);
    let open = || match FileStore::open(dir.path(), at(0)) {
        Err(StoreError::Corrupt(why)) => why,
        other => panic!("{:?}", other.err()),
    };
    fs::write(&path, "no database ".repeat(1000)).unwrap();
    assert!(open().contains("backup"));
    let checked = check(dir.path()).unwrap_err().to_string();
    assert!(checked.contains("backup") && !checked.contains("store check"), "it was just asked: {checked}");
    fs::remove_file(&path).unwrap();
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE mine (a)").unwrap();
    assert!(open().contains("another program"));
    fs::remove_file(&path).unwrap();
    let store = FileStore::open(dir.path(), at(0)).unwrap();
    let names: Vec<String> = (0..200).map(|n| format!("t{n}")).collect();
    submit(&store, &names.iter().map(String::as_str).collect::<Vec<_>>()).await.unwrap();
    store.close().await.unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let tail = bytes.len() - 3 * 4096;
    bytes[tail..].fill(0xA5);
    fs::write(&path, bytes).unwrap();
    assert!(open().contains("lovage store check"));
    assert!(!check(dir.path()).unwrap().is_sound());
    let nothing = dir.path().join("nothing");
    assert!(check(&nothing).unwrap_err().to_string().contains("no store"));
    assert!(!nothing.exists(), "a check makes nothing");
    let no_directory = FileStore::open(&path, at(0)).err().unwrap().to_string();
    assert!(no_directory.contains("must name a directory"), "{no_directory}");
    // As where nobody else may look.
    let hidden = check(&path).unwrap_err().to_string();
    assert!(!hidden.contains("no store") && hidden.contains("os error"), "{hidden}");
}

#[tokio::test]
async fn a_message_that_cannot_be_read_ends_its_task() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path(), at(0)).unwrap();
    submit(&store, &["spoilt", "gone", "good"]).await.unwrap();
    store
        .inject("UPDATE message SET body = CAST('{\"id\": 7' AS BLOB) WHERE seq = 1; DELETE FROM message WHERE seq = 2")
        .await
        .unwrap();
    let leased = store.lease(ask(2, at(0))).await.unwrap();
    assert!(leased.leases.is_empty());
    assert_eq!(leased.next_due, Some(at(0)), "there is more");
    assert_eq!(store.lease(ask(2, at(0))).await.unwrap().leases.len(), 1);
    for name in ["spoilt", "gone"] {
        let task = store.task(&tenant(), &id(name)).await.unwrap().unwrap();
        assert_eq!((task.status, task.fault.as_deref()), (State::Failure, Some("store-corrupt")));
        assert_eq!(task.name.as_str(), "tour.add");
    }
    let redone = store.resubmit(&tenant(), &id("spoilt"), at(1), Room::UNLIMITED).await;
    assert!(matches!(redone, Err(StoreError::Corrupt(why)) if why.contains("spoilt")));
}

#[tokio::test]
async fn what_is_whole_and_cannot_be_is_refused_with_the_cure() {
    for sql in ["DELETE FROM tenant", "UPDATE line SET tenant = 9", "UPDATE scheduled SET line = 9"] {
        let dir = tempfile::tempdir().unwrap();
        let store = FileStore::open(dir.path(), at(0)).unwrap();
        let due = Plan::of(Message { eta: Some(at(50)), ..message("a") });
        store.submit(&tenant(), vec![due], at(0), Room::UNLIMITED).await.unwrap();
        store.inject(sql).await.unwrap();
        store.close().await.unwrap();
        drop(store);
        let Err(StoreError::Corrupt(why)) = FileStore::open(dir.path(), at(1)) else { panic!("{sql}: it was opened") };
        assert!(why.contains("not there") && why.contains("lovage store check"), "{sql}: {why}");
    }
}

#[tokio::test]
async fn a_message_in_a_line_that_is_not_there_stops_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path(), at(0)).unwrap();
    let due = Plan::of(Message { eta: Some(at(50)), ..message("due") });
    store.submit(&tenant(), vec![due], at(0), Room::UNLIMITED).await.unwrap();
    store.inject("UPDATE scheduled SET line = 9").await.unwrap();
    let (hastened, stored) =
        in_one_batch(&store, store.hasten(vec![(1, at(50))], at(1)), submit(&store, &["other"])).await;
    assert!(matches!(hastened, Err(StoreError::Corrupt(why)) if why.contains("not there")));
    assert_eq!(stored.unwrap(), [Submitted::Stored]);
}

#[tokio::test]
async fn who_waits_in_a_line_that_is_not_there_is_released_and_revoked_as_others_are() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path(), at(0)).unwrap();
    let first = ["a", "d"].map(|name| Message { then: Some(Then::Next), ..message(name) });
    let mut tasks: Vec<_> = first.into_iter().map(|message| Planned { message, awaits: None }).collect();
    for (name, awaits) in [("b", "a"), ("e", "d")] {
        tasks.push(Planned { message: message(name), awaits: Some(id(awaits)) });
    }
    store.submit(&tenant(), vec![Plan { tasks, joins: vec![] }], at(0), Room::UNLIMITED).await.unwrap();
    store.inject("UPDATE blocked SET line = 9").await.unwrap();
    assert_eq!(store.revoke(&tenant(), &id("e"), at(1)).await.unwrap(), Revoked::Waiting);
    let lease = store.lease(ask(1, at(1))).await.unwrap().leases.remove(0);
    assert_eq!(lease.message.id, id("a"));
    let end = Settlement { arrival: Some(Arrival::Value(json("1"))), ..settlement(success("1"), at(2)) };
    assert_eq!(store.commit(lease.key, end).await.unwrap(), Fenced::Applied);
    assert_eq!(ids(&store.lease(ask(9, at(3))).await.unwrap().leases), ["d", "b"]);
}

#[tokio::test]
async fn a_check_finds_what_is_wrong() {
    let faults = [
        ("DELETE FROM ready WHERE seq = 1", "must have one place"),
        ("UPDATE line SET ready = 7", "counted wrongly"),
        ("UPDATE ready SET pos = 99 WHERE seq = 1", "without being the task of that place"),
        ("DELETE FROM message WHERE seq = 1", "has no message"),
        ("UPDATE message SET body = CAST('{' AS BLOB) WHERE seq = 1", "cannot be read"),
        ("INSERT INTO result (seq, result) VALUES (77, '1')", "number 77"),
        ("UPDATE task SET ended = 5 WHERE seq = 1", "not an end"),
        ("UPDATE module SET active = 0", "one active version"),
        ("INSERT INTO value_room VALUES (1, 7)", "values of a tenant are counted wrongly"),
        ("DELETE FROM tenant", "a tenant that is not there"),
    ];
    for (sql, expected) in faults {
        let dir = tempfile::tempdir().unwrap();
        let store = FileStore::open(dir.path(), at(0)).unwrap();
        submit(&store, &["a", "b"]).await.unwrap();
        push(&store, b"component").await;
        assert_eq!(check(dir.path()).unwrap().problems, Vec::<String>::new());
        store.inject(sql).await.unwrap();
        let found = check(dir.path()).unwrap().problems;
        assert!(found.iter().any(|problem| problem.contains(expected)), "{sql}: {found:?}");
    }
}

#[tokio::test]
async fn a_check_reads_the_components() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path(), at(0)).unwrap();
    submit(&store, &["a"]).await.unwrap();
    let digest = push(&store, b"component").await;
    let report = check(dir.path()).unwrap();
    assert_eq!(report, CheckReport { tasks: 1, unfinished: 1, components: 1, problems: vec![] });
    let path = dir.path().join("modules").join(format!("{digest}.wasm"));
    fs::write(&path, "other").unwrap();
    assert!(check(dir.path()).unwrap().problems[0].contains("not what was pushed"));
    let components = components::Components::of(dir.path());
    assert!(components.missing(std::slice::from_ref(&digest)).is_empty());
    fs::remove_file(&path).unwrap();
    assert_eq!(components.missing(std::slice::from_ref(&digest)), [path], "which an opening warns of");
    assert!(check(dir.path()).unwrap().problems[0].contains("push its module again"));
    assert!(matches!(store.component(&digest).await, Err(StoreError::Corrupt(why)) if why.contains("push")));
    push(&store, b"another").await;
    store.rollback(&tenant(), &ModuleName::new("tour").unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_periodic_task_that_cannot_be_read_keeps_no_other_from_being_sent() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path(), at(0)).unwrap();
    for name in ["good", "spoilt"] {
        store.set_periodic(periodic(name)).await.unwrap();
    }
    store.inject("UPDATE periodic SET entry = '{\"task\": 1}' WHERE name = 'spoilt'").await.unwrap();
    let all = store.periodic(None).await.unwrap();
    assert_eq!(all.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["good"]);
    assert!(store.remove_periodic(&tenant(), &"spoilt".parse().unwrap()).await.unwrap());
    // A tenant that goes has none any more, readable or not.
    store.inject("UPDATE periodic SET entry = '{\"task\": 1}'").await.unwrap();
    store.drop_periodic(&tenant()).await.unwrap();
    assert!(!store.remove_periodic(&tenant(), &"good".parse().unwrap()).await.unwrap());
}

#[tokio::test]
async fn an_end_that_cannot_be_read_keeps_no_other_from_being_followed() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path(), at(0)).unwrap();
    submit(&store, &["a"]).await.unwrap();
    store
        .inject(
            "INSERT INTO ended (key, tenant, id, arrival) SELECT 1, id, 'spoilt', '{' FROM tenant;
             INSERT INTO ended (key, tenant, id, arrival) SELECT 2, id, 'gone', NULL FROM tenant;
             INSERT INTO ended (key, tenant, id, arrival) SELECT 3, id, 'good', '{\"value\":1}' FROM tenant",
        )
        .await
        .unwrap();
    let ended = store.ended(9).await.unwrap();
    let Completed::Task(Arrival::Failed { exception, .. }) = &ended[0].outcome else { panic!("{ended:?}") };
    assert_eq!(exception.exc_type, "StoreCorrupt");
    assert!(matches!(&ended[1].outcome, Completed::Join { parts, .. } if parts.is_empty()));
    assert!(matches!(&ended[2].outcome, Completed::Task(Arrival::Value(_))));
}

#[tokio::test]
async fn a_line_that_cannot_be_read_loses_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path(), at(0)).unwrap();
    let of = |name: &str| Plan::of(in_queue(name, name));
    store.submit(&tenant(), ["a", "b", "c"].map(of).into(), at(0), Room::UNLIMITED).await.unwrap();
    store.inject("UPDATE ready SET priority = 1000 WHERE seq = 2").await.unwrap();
    assert!(store.lease(ask(9, at(0))).await.is_err());
    store.inject("UPDATE ready SET priority = 4 WHERE seq = 2").await.unwrap();
    assert_eq!(ids(&store.lease(ask(9, at(0))).await.unwrap().leases), ["a", "b", "c"]);
}

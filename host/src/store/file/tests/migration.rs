//! Stores that an older version has left.

use lovage_model::ResultTuple;

use super::*;
use crate::store::Groups as _;
use crate::store::suite::{ids, in_queue};

/// What version 1 left behind: a task that has ended with a child, one that runs, one that waits, one that waits for a time.
const LEFT: &str = r#"
INSERT INTO tenant VALUES (1, 'default');
INSERT INTO line VALUES (1, 1, 'celery', 1, 1, 1);
UPDATE store SET opens = 3, next_task = 5, next_pos = 5;
INSERT INTO task VALUES
    (1, 1, 'done', 'tour.add', 'celery', 4, 1, NULL, 1800000000000000, 'SUCCESS', 1800000001000000, 'host-1', 1),
    (2, 1, 'running', 'tour.add', 'celery', 4, 2, NULL, 1800000000000000, 'PENDING', NULL, NULL, 0),
    (3, 1, 'waiting', 'tour.add', 'celery', 4, 3, NULL, 1800000000000000, 'PENDING', NULL, NULL, 0),
    (4, 1, 'later', 'tour.add', 'celery', 4, 4, 1800000050000000, 1800000000000000, 'RETRY', NULL, NULL, 0);
INSERT INTO leased VALUES (2, 7, 1800000009000000, 'host-1', NULL, NULL, 1, 4, 2, 1800000000000000, 1);
INSERT INTO ready VALUES (1, 4, 3, 3, 1800000000000000, 0);
INSERT INTO scheduled VALUES (1800000050000000, 4, 4, 1, 4, 1);
INSERT INTO result VALUES (1, '[1.10]', NULL, NULL, '["child-1","child-2"]', NULL);
"#;

fn version_1(dir: &Path) {
    let db = Connection::open(dir.join(DATABASE)).unwrap();
    db.execute_batch(schema::STEPS[0]).unwrap();
    db.pragma_update(None, "application_id", schema::APPLICATION_ID).unwrap();
    db.pragma_update(None, "user_version", 1).unwrap();
    db.execute_batch(LEFT).unwrap();
    for (seq, name) in [(1, "done"), (2, "running"), (3, "waiting"), (4, "later")] {
        let body = serde_json::to_string(&in_queue(name, "celery")).unwrap();
        db.execute("INSERT INTO message VALUES (?1, ?2)", rusqlite::params![seq, body]).unwrap();
    }
}

#[tokio::test]
async fn a_store_of_version_1_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    version_1(dir.path());
    let store = FileStore::open(dir.path(), at(0)).unwrap();
    assert_eq!(check(dir.path()).unwrap().problems, Vec::<String>::new());
    let done = store.task(&tenant(), &id("done")).await.unwrap().unwrap();
    assert_eq!((done.status, done.result.as_str(), done.args), (State::Success, "[1.10]", message("done").args));
    assert_eq!(done.children, ["child-1", "child-2"].map(|child| ResultTuple::of(id(child))));
    let leases = store.lease(ask(9, at(60))).await.unwrap().leases;
    assert_eq!(ids(&leases), ["running", "waiting", "later"]);
    assert_eq!(leases.iter().map(|lease| lease.deliveries).collect::<Vec<_>>(), [2, 1, 2]);
    for lease in leases {
        assert_eq!(lease.message, in_queue(lease.message.id.as_str(), "celery"));
        assert_eq!(store.commit(lease.key, settlement(success("1"), at(61))).await.unwrap(), Fenced::Applied);
    }
    assert!(check(dir.path()).unwrap().is_sound());
}

#[test]
fn a_store_of_version_1_is_not_checked_before_it_was_opened() {
    let dir = tempfile::tempdir().unwrap();
    version_1(dir.path());
    assert!(check(dir.path()).unwrap_err().to_string().contains("start lovage on it once"));
    drop(FileStore::open(dir.path(), at(0)).unwrap());
    assert!(check(dir.path()).unwrap().is_sound());
}

#[tokio::test]
async fn groups_that_were_saved_before_they_counted_count() {
    let dir = tempfile::tempdir().unwrap();
    let groups =
        schema::STEPS.iter().position(|step| step.starts_with("\n-- Saved groups take of the same room")).unwrap();
    let db = Connection::open(dir.path().join(DATABASE)).unwrap();
    schema::STEPS[..groups].iter().for_each(|step| db.execute_batch(step).unwrap());
    db.pragma_update(None, "application_id", schema::APPLICATION_ID).unwrap();
    db.pragma_update(None, "user_version", groups as u32).unwrap();
    let saved = "INSERT INTO saved_group VALUES (1, 'g', 5, '[[\"g\", null], []]'), (2, 'g', 5, '[[\"g\", null], []]');
        INSERT INTO value VALUES (1, 'b', 'k', x'00'); INSERT INTO value_room VALUES (1, 67);
        INSERT INTO tenant VALUES (1, 'default'), (2, 'other');";
    db.execute_batch(saved).unwrap();
    drop(db);
    let store = FileStore::open(dir.path(), at(0)).unwrap();
    assert_eq!(check(dir.path()).unwrap().problems, Vec::<String>::new());
    assert!(store.delete_group(&tenant(), &id("g")).await.unwrap());
    assert_eq!(store.expire_groups(at(0), 9).await.unwrap(), 1);
    assert_eq!(check(dir.path()).unwrap().problems, Vec::<String>::new());
}

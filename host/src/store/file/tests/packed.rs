//! Messages that ask to be written shorter.

use lovage_model::{Arrival, Message, Planned, Settlement, Then};

use super::*;
use crate::store::Redone;
use crate::store::suite::json;

fn packed(name: &str) -> Message {
    let long = format!("[\"{}\"]", "long ".repeat(1000));
    let overrides = [("compression", r#""zstd""#), ("serializer", r#""msgpack""#)];
    let overrides = overrides.map(|(option, value)| (option.to_owned(), json(value)));
    Message { args: json(&long), kwargs: json("{}"), overrides: overrides.into(), ..message(name) }
}

/// The first byte of each message, and whether it is much shorter than its arguments.
fn bodies(dir: &Path) -> Vec<(u8, bool)> {
    let db = Connection::open(dir.join(DATABASE)).unwrap();
    let mut statement = db.prepare("SELECT body FROM message ORDER BY seq").unwrap();
    let bodies = statement.query_map([], |row| row.get::<_, Vec<u8>>(0)).unwrap();
    bodies.map(|body| body.unwrap()).map(|body| (body[0], body.len() < 1000)).collect()
}

#[tokio::test]
async fn a_packed_message_goes_every_way_of_a_plain_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path(), at(0)).unwrap();
    let first = Planned { message: Message { then: Some(Then::Next), ..packed("first") }, awaits: None };
    let second = Planned { message: packed("second"), awaits: Some(id("first")) };
    let plan = Plan { tasks: vec![first.clone(), second], joins: vec![] };
    store.submit(&tenant(), vec![plan, Plan::of(message("plain"))], at(0), Room::UNLIMITED).await.unwrap();
    assert_eq!(bodies(dir.path()), [(5, true), (5, true), (b'{', true)]);
    assert_eq!(store.task(&tenant(), &id("first")).await.unwrap().unwrap().args, packed("first").args);
    let leases = store.lease(ask(9, at(1))).await.unwrap().leases;
    assert_eq!((&leases[0].message, &leases[1].message), (&first.message, &message("plain")));
    let publish = Plan::of(packed("child"));
    let end = Settlement { arrival: Some(Arrival::Value(json("7"))), publish, ..settlement(success("7"), at(2)) };
    assert_eq!(store.commit(leases[0].key, end).await.unwrap(), Fenced::Applied);
    let next = store.lease(ask(9, at(3))).await.unwrap().leases;
    let args = packed("second").args.after(&json("7")).unwrap();
    assert_eq!(next.iter().map(|lease| &lease.message.args).collect::<Vec<_>>(), [&packed("child").args, &args]);
    assert_eq!(store.resubmit(&tenant(), &id("first"), at(4), Room::UNLIMITED).await.unwrap(), Redone::Done);
    assert_eq!(bodies(dir.path()), [(5, true), (5, true), (b'{', true), (5, true)]);
    assert!(check(dir.path()).unwrap().is_sound());
}

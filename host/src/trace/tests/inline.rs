//! Messages in Celery's own form: what follows stays in that form.

use lovage_model::{Embed, Sender, WireSignature};

use super::*;

fn sig(name: &str) -> WireSignature {
    let text = format!(r#"{{"task": "py.{name}", "args": [], "kwargs": {{}}, "options": {{"task_id": "{name}"}}}}"#);
    serde_json::from_str(&text).unwrap()
}

/// A part of a chord with a callback and an errback, and a step after it.
fn whole() -> Message {
    let embed = Embed {
        callbacks: vec![sig("callback")],
        errbacks: vec![sig("errback")],
        chain: vec![sig("next")],
        chord: Some(sig("body").into()),
        ..Embed::default()
    };
    Message { group: "g".parse().ok(), group_index: Some(2), embed: Some(Box::new(embed)), ..message() }
}

fn settled_whole(outcome: Outcome, effects: Effects) -> Settlement {
    settle(attempted(&whole()), report(outcome, effects)).unwrap()
}

fn sent(settlement: &Settlement) -> Vec<&str> {
    settlement.inline.messages.iter().map(|one| one.task.as_str()).collect()
}

fn states(settlement: &Settlement) -> Vec<&str> {
    settlement.inline.parts.iter().map(|part| part.state.as_str()).collect()
}

#[test]
fn every_end_counts_in_the_chord_and_says_what_becomes_of_the_rest() {
    let returned = settled_whole(Outcome::Returned(Json::null()), Effects::default());
    assert_eq!((sent(&returned), states(&returned)), (vec!["py.callback", "py.next"], vec!["SUCCESS"]));
    assert_eq!(returned.inline.parts[0].sender, Sender::of(&whole()));
    let failed = settled_whole(Outcome::Raised(value_error(), None), Effects::default());
    assert_eq!((sent(&failed), states(&failed)), (vec!["py.errback"], vec!["FAILURE"]));
    for (outcome, state) in [(Outcome::Stopped(Stop::Revoked), "REVOKED"), (Outcome::Ignored, "FAILURE")] {
        let ended = settled_whole(outcome, Effects::default());
        assert_eq!((sent(&ended), states(&ended)), (vec![], vec![state]));
        assert_eq!((ended.inline.ends[0].id.as_str(), ended.inline.ends[0].state.as_str()), ("next", state));
    }
    let unknown = scoped(|scope| settle_unrun(attempted(&whole()), Unrun::NotRegistered, scope));
    assert_eq!(
        (sent(&unknown), states(&unknown)),
        (vec!["py.errback"], vec!["FAILURE"]),
        "a chord does not wait for it"
    );
    for settlement in [&returned, &failed, &unknown] {
        assert!(settlement.publish.is_empty() && settlement.arrival.is_none());
    }
}

#[test]
fn what_goes_on_counts_nowhere_yet() {
    for (outcome, effects) in [
        (Outcome::Retried, Effects { retry: Some(retry(1.0)), ..Effects::default() }),
        (Outcome::Rejected(true), Effects::default()),
    ] {
        let settlement = settled_whole(outcome, effects);
        assert!(settlement.inline.is_empty(), "{settlement:?}");
    }
}

#[test]
fn a_replacement_goes_on_under_the_id() {
    let other = text(&call("py.other"));
    let replaced = settled_whole(Outcome::Replaced, Effects { replace: Some(other), ..Effects::default() });
    assert_eq!(replaced.verdict, Verdict::HandedOn { to: "py.other".parse().unwrap() });
    let [by] = replaced.inline.messages.as_slice() else { panic!("{:?}", replaced.inline.messages) };
    assert_eq!((&by.id, by.replaced_task_nesting), (&message().id, 1));
    assert!(replaced.inline.parts.is_empty());
}

#[test]
fn what_it_sends_is_its_child() {
    let other = text(&call("py.other"));
    let id: TaskId = "child".parse().unwrap();
    let effects = Effects { subtasks: vec![(id.clone(), other.clone())], ..Effects::default() };
    let settlement = settled_whole(Outcome::Returned(Json::null()), effects);
    assert_eq!(sent(&settlement), ["py.other", "py.callback", "py.next"]);
    assert_eq!(settlement.children[0], ResultTuple::of(id.clone()));
    let effects = Effects { subtasks: vec![(id.clone(), other)], add_to_chord: vec![id], ..Effects::default() };
    let settlement = settled_whole(Outcome::Returned(Json::null()), effects);
    assert_eq!(settlement.inline.grown, ["g".parse::<TaskId>().unwrap()]);
    assert!(settlement.inline.messages[0].embed.as_ref().is_some_and(|embed| embed.chord.is_some()));
}

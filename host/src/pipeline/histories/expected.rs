//! What must have come of every task of a canvas, given what became of those that ran?

use std::collections::{BTreeMap, HashMap};

use lovage_model::State;
use serde_json::Value;

use super::Fate;
use super::shapes::Shape;

type Fates = BTreeMap<u32, (Vec<Value>, Fate)>;

/// What those that follow get.
#[derive(Debug, Clone)]
enum Came {
    Number(u32),
    /// At each place what came there: one value, and what was added to the chord there, in any order.
    List(Vec<Vec<Came>>),
    Nothing,
}

/// What came of a part of a canvas: a value, and what was added beside it to the join that it is a part of.
struct Part {
    came: Came,
    added: Vec<Came>,
}

/// The state of every task, by number; those that were replaced have none.
pub(super) fn states(shape: &Shape, fates: &Fates) -> HashMap<u32, State> {
    let mut oracle = Oracle { fates, states: HashMap::new() };
    oracle.part(shape, None);
    oracle.states
}

struct Oracle<'a> {
    fates: &'a Fates,
    states: HashMap<u32, State>,
}

impl Oracle<'_> {
    fn part(&mut self, shape: &Shape, before: Option<&Came>) -> Part {
        match shape {
            Shape::Task { number, immutable } => self.task(*number, *immutable, before),
            Shape::Chain(steps) => {
                let (first, others) = steps.split_first().expect("a step");
                let first = self.part(first, before);
                others.iter().fold(first, |before, step| self.part(step, Some(&before.came)))
            }
            Shape::Group(members) => self.group(members, before),
            Shape::Chord(header, body) => {
                let header = self.group(header, before);
                self.part(body, Some(&header.came))
            }
        }
    }

    fn group(&mut self, members: &[Shape], before: Option<&Came>) -> Part {
        let parts = members.iter().map(|member| self.part(member, before));
        let list: Vec<Vec<Came>> = parts.map(|Part { came, added }| [vec![came], added].concat()).collect();
        let fails = list.iter().flatten().any(|came| matches!(came, Came::Nothing));
        Part { came: if fails { Came::Nothing } else { Came::List(list) }, added: Vec::new() }
    }

    fn task(&mut self, number: u32, immutable: bool, before: Option<&Came>) -> Part {
        let nothing = Part { came: Came::Nothing, added: Vec::new() };
        let Some((got, fate)) = self.fates.get(&number) else {
            assert!(matches!(before, Some(Came::Nothing)), "task {number} did not run, though it could");
            self.states.insert(number, State::Failure);
            return nothing;
        };
        if !matches!(fate, Fate::Revoked) {
            assert!(!matches!(before, Some(Came::Nothing)), "task {number} ran after a failure");
            match (before, got.as_slice()) {
                (Some(came), [value]) if !immutable => {
                    assert!(is(came, value), "task {number} got {value}, not {came:?}")
                }
                (None, []) => {}
                (Some(_), []) if immutable => {}
                other => panic!("task {number} got {other:?}"),
            }
        }
        match fate {
            Fate::Returned(added) => {
                self.states.insert(number, State::Success);
                let added = added.iter().map(|added| self.task(*added, true, None));
                let added = added.flat_map(|part| [vec![part.came], part.added].concat()).collect();
                Part { came: Came::Number(number), added }
            }
            Fate::Failed => {
                self.states.insert(number, State::Failure);
                nothing
            }
            Fate::Revoked => {
                self.states.insert(number, State::Revoked);
                nothing
            }
            Fate::Replaced(by) => self.part(by, None),
        }
    }
}

fn is(came: &Came, value: &Value) -> bool {
    match (came, value) {
        (Came::Number(number), value) => value.as_u64() == Some(u64::from(*number)),
        (Came::List(places), Value::Array(items)) => {
            let mut items = items.as_slice();
            let in_order = places.iter().all(|place| {
                let Some((here, rest)) = items.split_at_checked(place.len()) else { return false };
                items = rest;
                place.iter().all(|came| here.iter().any(|value| is(came, value)))
            });
            in_order && items.is_empty()
        }
        (Came::List(_) | Came::Nothing, _) => false,
    }
}

//! With which arguments does a task run again that asked for another attempt?
//!
//! As in Celery 5.7: other positional arguments take the place of keywords for the same parameters, and a keyword that of the
//! positional argument for its parameter; what does not collide stays.

use std::collections::BTreeMap;

use lovage_model::{Json, Message, TaskDefinition};

use crate::attempt::RetryRequest;

/// The next attempt of a task.
pub fn again(message: &Message, retry: RetryRequest, task: Option<&TaskDefinition>) -> Message {
    let RetryRequest { args, kwargs, eta, .. } = retry;
    let (args, kwargs) = match (args, kwargs, task) {
        (Some(args), None, Some(task)) => {
            let kwargs = without_taken(task, &args, &message.kwargs);
            (args, kwargs)
        }
        (None, Some(kwargs), Some(task)) => in_their_places(task, &message.args, kwargs),
        (args, kwargs, _) => {
            (args.unwrap_or_else(|| message.args.clone()), kwargs.unwrap_or_else(|| message.kwargs.clone()))
        }
    };
    Message { retries: message.retries + 1, eta: Some(eta), args, kwargs, ..message.clone() }
}

type Named = BTreeMap<String, Json>;

/// The keywords whose parameters no positional argument takes.
fn without_taken(task: &TaskDefinition, args: &Json, kwargs: &Json) -> Json {
    let (Ok(args), Ok(mut named)) = (args.read::<Vec<Json>>(), kwargs.read::<Named>()) else { return kwargs.clone() };
    for parameter in task.ones().take(args.len()) {
        named.remove(&parameter.name);
    }
    Json::of(&named).unwrap_or_else(|_| kwargs.clone())
}

/// Keywords for parameters that have a positional argument already take its place.
fn in_their_places(task: &TaskDefinition, args: &Json, kwargs: Json) -> (Json, Json) {
    let (Ok(mut places), Ok(mut named)) = (args.read::<Vec<Json>>(), kwargs.read::<Named>()) else {
        return (args.clone(), kwargs);
    };
    for (place, parameter) in places.iter_mut().zip(task.ones()) {
        if let Some(value) = named.remove(&parameter.name) {
            *place = value;
        }
    }
    match (Json::of(&places), Json::of(&named)) {
        (Ok(places), Ok(named)) => (places, named),
        _ => (args.clone(), kwargs),
    }
}

#[cfg(test)]
mod tests {
    use lovage_model::{Exception, Parameter, Seconds, Timestamp};

    use super::*;

    fn run(args: &str, kwargs: &str, other: (Option<&str>, Option<&str>)) -> (String, String) {
        let json = |text: &str| Json::parse(text.to_owned()).unwrap();
        let task = TaskDefinition {
            name: "t.f".parse().unwrap(),
            doc: String::new(),
            parameters: ["foo", "bar", "label"].map(|name| Parameter::one(name, true)).to_vec(),
            options: lovage_model::TaskOptions::default(),
            handlers: Vec::new(),
        };
        let message = Message {
            args: json(args),
            kwargs: json(kwargs),
            ..Message::new("a".parse().unwrap(), "t.f".parse().unwrap())
        };
        let retry = RetryRequest {
            exception: Exception::new("builtins", "ValueError", "x"),
            eta: Timestamp::from_micros(7),
            countdown: Seconds::new(1.0).unwrap(),
            args: other.0.map(json),
            kwargs: other.1.map(json),
            throw: true,
        };
        let again = again(&message, retry, Some(&task));
        assert_eq!((again.retries, again.eta), (1, Some(Timestamp::from_micros(7))));
        (again.args.to_string(), again.kwargs.to_string())
    }

    #[test]
    fn arguments_that_collide_give_way_to_the_new_ones() {
        let of = |args: &str, kwargs: &str| (args.to_owned(), kwargs.to_owned());
        let named = r#"{"bar":2,"foo":1,"label":"kept"}"#;
        assert_eq!(run("[]", named, (Some("[2,3]"), None)), of("[2,3]", r#"{"label":"kept"}"#));
        assert_eq!(run("[1,2]", "{}", (None, Some(r#"{"foo":2,"label":9}"#))), of("[2,2]", r#"{"label":9}"#));
        assert_eq!(run("[1,2]", named, (None, None)), of("[1,2]", named));
        assert_eq!(run("[1]", "{}", (Some("[2]"), Some(r#"{"bar":3}"#))), of("[2]", r#"{"bar":3}"#));
    }
}

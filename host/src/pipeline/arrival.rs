//! What do those that wait for something get, now that it has ended? Pure.
//!
//! Invariant: what arrives fits into a message.

use lovage_model::{Arrival, Exception, Json, TaskId, exc_module};

/// What a join comes to: the list of its parts' values in their order, or the first failure in that order. A list of more
/// than `most` bytes is a failure as well: it would make a message that no sender could have sent.
pub(super) fn joined(group: &TaskId, parts: &[Arrival], most: usize) -> Arrival {
    let mut values = Vec::with_capacity(parts.len());
    for part in parts {
        match part {
            Arrival::Value(value) => values.push(value.as_str()),
            Arrival::Failed { .. } => return part.clone(),
        }
    }
    // Brackets, and a comma after each but the last.
    let bytes = values.iter().map(|value| value.len() + 1).sum::<usize>().max(1) + 1;
    if bytes > most {
        let text = format!(
            "the {} results of group {group} are a list of {bytes} bytes, at most {most} fit into a message \
             (limits.message_bytes): return less, or keep the data elsewhere and return where it is",
            values.len()
        );
        return failed(group, text);
    }
    match Json::parse(format!("[{}]", values.join(","))) {
        Ok(list) => Arrival::Value(list),
        Err(error) => failed(group, format!("the list of the results of group {group} cannot be passed on: {error}")),
    }
}

fn failed(group: &TaskId, text: String) -> Arrival {
    Arrival::Failed { task: group.clone(), exception: Exception::new(exc_module::BUILTINS, "ValueError", text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group() -> TaskId {
        TaskId::new("the-group").unwrap()
    }

    fn value(text: &str) -> Arrival {
        Arrival::Value(Json::parse(text.to_owned()).unwrap())
    }

    fn failure(task: &str) -> Arrival {
        let exception = Exception::new(exc_module::BUILTINS, "KeyError", task);
        Arrival::Failed { task: TaskId::new(task).unwrap(), exception }
    }

    fn text(arrival: Arrival) -> String {
        match arrival {
            Arrival::Value(value) => value.to_string(),
            Arrival::Failed { exception, .. } => exception.to_string(),
        }
    }

    #[test]
    fn values_are_a_list_in_order_whatever_they_are() {
        assert_eq!(joined(&group(), &[value("1"), value("[2, 3]"), value("null")], 100), value("[1,[2, 3],null]"));
        assert_eq!(joined(&group(), &[], 100), value("[]"));
    }

    #[test]
    fn the_first_failure_in_order_is_the_joins() {
        assert_eq!(joined(&group(), &[value("1"), failure("b"), failure("a"), value("2")], 100), failure("b"));
    }

    #[test]
    fn a_list_is_as_large_as_a_message_at_most() {
        let parts = [value("10"), value("20")];
        assert_eq!(joined(&group(), &parts, 7), value("[10,20]"));
        let refused = text(joined(&group(), &parts, 6));
        for part in ["ValueError", "the 2 results of group the-group", "7 bytes", "at most 6", "limits.message_bytes"] {
            assert!(refused.contains(part), "{part}: {refused}");
        }
    }

    #[test]
    fn a_list_that_is_nested_too_deep_is_a_failure() {
        let deep = value(&format!("{}{}", "[".repeat(Json::MAX_DEPTH), "]".repeat(Json::MAX_DEPTH)));
        assert!(text(joined(&group(), &[deep], 10_000)).contains("nested 128 deep"));
    }
}

//! Can a task be called so? Celery's `typing`: the number and the names of arguments are checked where it is sent.
//!
//! Absent: their types, which only the task knows.

use lovage_model::{Json, ParameterKind, TaskDefinition};

use super::Invalid;

/// Says in Python's words what is wrong with the arguments.
pub(super) fn check(task: &TaskDefinition, args: &Json, kwargs: &Json) -> Result<(), Invalid> {
    let wrong = |field: &str, text: String| {
        let name = task.name.as_str();
        let function = name.rsplit('.').next().unwrap_or(name);
        Err(Invalid::wrong(field, format!("do not fit: {function}() {text} (typing = false sends it unchecked)")))
    };
    let count = args.read::<Vec<Json>>().map_or(0, |args| args.len());
    if let Some(most) = task.most_args()
        && count > most
    {
        return wrong("args", format!("takes {most} positional argument{} but {count} were given", plural(most)));
    }
    let named: std::collections::BTreeMap<String, Json> = kwargs.read().unwrap_or_default();
    for name in named.keys() {
        match task.ones().position(|parameter| parameter.name == *name) {
            None if task.takes_any(ParameterKind::Kwargs) => {}
            None => return wrong("kwargs", format!("got an unexpected keyword argument '{name}'")),
            Some(place) if place < count => {
                return wrong("kwargs", format!("got multiple values for argument '{name}'"));
            }
            Some(_) => {}
        }
    }
    let missing = task.ones().skip(count).filter(|it| it.required && !named.contains_key(&it.name));
    let missing: Vec<_> = missing.map(|parameter| format!("'{}'", parameter.name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let text = format!(
        "missing {} required positional argument{}: {}",
        missing.len(),
        plural(missing.len()),
        missing.join(", ")
    );
    wrong("args", text)
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_checked_where_they_are_sent() {
        let task: TaskDefinition = serde_json::from_str(
            r#"{"name": "t.add", "parameters": [{"name": "x", "required": true}, {"name": "y", "required": false}]}"#,
        )
        .unwrap();
        let json = |text: &str| Json::parse(text.to_owned()).unwrap();
        let says = |args: &str, kwargs: &str| match check(&task, &json(args), &json(kwargs)) {
            Ok(()) => String::new(),
            Err(invalid) => format!("{}: {}", invalid.field, invalid.message),
        };
        for (args, kwargs) in [("[1]", "{}"), ("[1,2]", "{}"), ("[]", r#"{"x":1}"#), ("[1]", r#"{"y":1}"#)] {
            assert_eq!(says(args, kwargs), "");
        }
        let any: TaskDefinition = serde_json::from_str(
            r#"{"name": "t.any", "parameters": [{"name": "x", "required": true}, {"name": "rest", "required": false, "kind": "args"},
                {"name": "named", "required": false, "kind": "kwargs"}]}"#,
        )
        .unwrap();
        assert!(check(&any, &json("[1,2,3]"), &json(r#"{"rest":1,"other":2}"#)).is_ok());
        assert!(check(&any, &json("[]"), &json(r#"{"other":2}"#)).unwrap_err().message.contains("argument: 'x'"));
        for (args, kwargs, text) in [
            ("[1,2,3]", "{}", "args: do not fit: add() takes 2 positional arguments but 3 were given"),
            ("[1]", r#"{"z":1}"#, "kwargs: do not fit: add() got an unexpected keyword argument 'z'"),
            ("[1]", r#"{"x":1}"#, "kwargs: do not fit: add() got multiple values for argument 'x'"),
            ("[]", "{}", "args: do not fit: add() missing 1 required positional argument: 'x'"),
        ] {
            assert!(says(args, kwargs).starts_with(text), "{}", says(args, kwargs));
        }
    }
}

//! Which argument is which parameter?
//!
//! As in Python: positional ones in order, keywords by name, and the same errors in the same words, in the order in
//! which CPython checks. Each argument stays the text it came in until its type reads it, so a type that keeps the text
//! (such as `Json`) sees integers of any size and floats as they were written.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::definition::{Parameter, ParameterKind};
use crate::{Definition, TaskError};

/// The arguments of one call, not yet matched to parameters.
#[derive(Debug, Clone, Default)]
pub struct Arguments {
    positional: Vec<Box<RawValue>>,
    keyword: BTreeMap<String, Box<RawValue>>,
}

impl Arguments {
    /// From a JSON array and a JSON object. Fails with a TypeError if they are something else.
    pub fn parse(args: &str, kwargs: &str) -> Result<Self, TaskError> {
        let positional =
            serde_json::from_str(args).map_err(|error| type_error(format!("args must be a JSON array: {error}")))?;
        let keyword = serde_json::from_str(kwargs)
            .map_err(|error| type_error(format!("kwargs must be a JSON object: {error}")))?;
        Ok(Self { positional, keyword })
    }

    /// Gives each parameter its argument. Fails with Python's TypeError if they do not fit.
    pub fn bind(self, task: &Definition) -> Result<Bound, TaskError> {
        // Those that take one come first: `#[task]` sees to it.
        let (ones, given) = (ones(task), self.positional.len());
        let mut positional = self.positional.into_iter();
        let mut values: Vec<Option<Box<RawValue>>> = positional.by_ref().take(ones.len()).map(Some).collect();
        values.resize_with(ones.len(), || None);
        let rest = positional.collect();
        let takes = |kind| task.parameters.iter().any(|parameter| parameter.kind == kind);
        let mut named = BTreeMap::new();
        for (name, value) in self.keyword {
            match ones.iter().position(|parameter| parameter.name == name) {
                Some(place) if values[place].is_some() => {
                    return Err(fault(task, format!("got multiple values for argument '{name}'")));
                }
                Some(place) => values[place] = Some(value),
                None if takes(ParameterKind::Kwargs) => _ = named.insert(name, value),
                None => return Err(fault(task, format!("got an unexpected keyword argument '{name}'"))),
            }
        }
        if given > ones.len() && !takes(ParameterKind::Args) {
            return Err(fault(task, too_many(task, given)));
        }
        let missing: Vec<&str> =
            ones.iter().zip(&values).filter(|(p, v)| p.required && v.is_none()).map(|(p, _)| p.name).collect();
        if missing.is_empty() {
            Ok(Bound { task: *task, values, rest, named })
        } else {
            Err(fault(task, lacking(&missing)))
        }
    }
}

/// The arguments of one call, each in its parameter's place.
#[derive(Debug, Clone)]
pub struct Bound {
    task: Definition,
    values: Vec<Option<Box<RawValue>>>,
    rest: Vec<Box<RawValue>>,
    named: BTreeMap<String, Box<RawValue>>,
}

impl Bound {
    /// Reads the argument at a place that must be passed. Fails with a TypeError that names it, if it is ill-typed.
    pub fn required<T: DeserializeOwned>(&mut self, place: usize) -> Result<T, TaskError> {
        let name = self.task.parameters[place].name;
        self.optional(place)?.ok_or_else(|| fault(&self.task, lacking(&[name])))
    }

    /// Reads the arguments that no other parameter takes: those without a name as a list, or those with one as an object.
    /// Fails with a TypeError that names the parameter, if one is ill-typed.
    pub fn all<T: DeserializeOwned>(&mut self, place: usize) -> Result<T, TaskError> {
        let parameter = self.task.parameters[place];
        let text = match parameter.kind {
            ParameterKind::Kwargs => serde_json::to_string(&std::mem::take(&mut self.named)),
            _ => serde_json::to_string(&std::mem::take(&mut self.rest)),
        };
        let read = text.and_then(|text| serde_json::from_str(&text));
        read.map_err(|error| type_error(format!("{}() argument '{}': {error}", self.task.function, parameter.name)))
    }

    /// Reads the argument at a place, if it was passed. Fails with a TypeError that names it, if it is ill-typed.
    pub fn optional<T: DeserializeOwned>(&mut self, place: usize) -> Result<Option<T>, TaskError> {
        let Some(raw) = self.values[place].take() else { return Ok(None) };
        serde_json::from_str(raw.get()).map(Some).map_err(|error| {
            let name = self.task.parameters[place].name;
            type_error(format!("{}() argument '{name}': {}", self.task.function, reason(&error, raw.get())))
        })
    }
}

/// What serde says; with the position only where there is more than one value to look at.
fn reason(error: &serde_json::Error, text: &str) -> String {
    let said = error.to_string();
    if text.starts_with(['[', '{']) {
        return said;
    }
    let position = format!(" at line {} column {}", error.line(), error.column());
    said.strip_suffix(&position).unwrap_or(&said).to_owned()
}

fn type_error(message: String) -> TaskError {
    TaskError::unlocated("TypeError", &message)
}

fn fault(task: &Definition, what: String) -> TaskError {
    type_error(format!("{}() {what}", task.function))
}

/// The parameters that take one argument each.
fn ones(task: &Definition) -> &'static [Parameter] {
    let count = task.parameters.iter().take_while(|parameter| parameter.kind.is_one()).count();
    &task.parameters[..count]
}

fn too_many(task: &Definition, given: usize) -> String {
    let most = ones(task).len();
    let least = ones(task).iter().filter(|p| p.required).count();
    let (takes, one) =
        if least == most { (most.to_string(), most == 1) } else { (format!("from {least} to {most}"), false) };
    let plural = if one { "" } else { "s" };
    let were = if given == 1 { "was" } else { "were" };
    format!("takes {takes} positional argument{plural} but {given} {were} given")
}

fn lacking(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
    let plural = if names.len() == 1 { "" } else { "s" };
    let list = match quoted.as_slice() {
        [] | [_] => quoted.concat(),
        [first, second] => format!("{first} and {second}"),
        [first @ .., last] => format!("{}, and {last}", first.join(", ")),
    };
    format!("missing {} required positional argument{plural}: {list}", names.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Json, TaskOptions};

    const fn definition(function: &'static str, parameters: &'static [Parameter]) -> Definition {
        Definition { name: "m.f", function, doc: "", parameters, options: TaskOptions::DEFAULT }
    }

    const fn must(name: &'static str) -> Parameter {
        Parameter { name, required: true, kind: ParameterKind::One }
    }

    const fn may(name: &'static str) -> Parameter {
        Parameter { name, required: false, kind: ParameterKind::One }
    }

    const fn all(name: &'static str, kind: ParameterKind) -> Parameter {
        Parameter { name, required: false, kind }
    }

    const FUNCTIONS: [Definition; 6] = [
        definition("any", &[must("x"), all("rest", ParameterKind::Args), all("named", ParameterKind::Kwargs)]),
        definition("add", &[must("x"), must("y")]),
        definition("opt", &[must("x"), may("y")]),
        definition("three", &[must("a"), must("b"), must("c")]),
        definition("none", &[]),
        definition("one", &[must("a")]),
    ];

    fn bind(function: &str, args: &str, kwargs: &str) -> Result<Bound, String> {
        let task = FUNCTIONS.into_iter().find(|task| task.function == function).expect("in the table");
        Arguments::parse(args, kwargs)
            .and_then(|arguments| arguments.bind(&task))
            .map_err(|error| error.exception().to_string())
    }

    #[test]
    fn faults_are_told_in_pythons_words() {
        // As CPython 3.11 says it for `def add(x, y)`, `def opt(x, y=1)`, `def three(a, b, c)`, `def none()`, `def one(a)`.
        let table = [
            ("add", "[1]", "{}", "add() missing 1 required positional argument: 'y'"),
            ("add", "[]", "{}", "add() missing 2 required positional arguments: 'x' and 'y'"),
            ("three", "[]", "{}", "three() missing 3 required positional arguments: 'a', 'b', and 'c'"),
            ("three", "[1]", r#"{"c":1}"#, "three() missing 1 required positional argument: 'b'"),
            ("three", "[]", r#"{"c":1}"#, "three() missing 2 required positional arguments: 'a' and 'b'"),
            ("opt", "[]", r#"{"y":1}"#, "opt() missing 1 required positional argument: 'x'"),
            ("add", "[1,2,3]", "{}", "add() takes 2 positional arguments but 3 were given"),
            ("opt", "[1,2,3]", "{}", "opt() takes from 1 to 2 positional arguments but 3 were given"),
            ("none", "[1]", "{}", "none() takes 0 positional arguments but 1 was given"),
            ("none", "[1,2]", "{}", "none() takes 0 positional arguments but 2 were given"),
            ("one", "[1,2]", "{}", "one() takes 1 positional argument but 2 were given"),
            ("add", "[1,2]", r#"{"z":1}"#, "add() got an unexpected keyword argument 'z'"),
            ("add", "[1,2,3]", r#"{"z":1}"#, "add() got an unexpected keyword argument 'z'"),
            ("one", "[]", r#"{"b":1}"#, "one() got an unexpected keyword argument 'b'"),
            ("add", "[1,2]", r#"{"x":1}"#, "add() got multiple values for argument 'x'"),
            ("add", "[1,2,3]", r#"{"x":1}"#, "add() got multiple values for argument 'x'"),
            ("add", "[1]", r#"{"x":1}"#, "add() got multiple values for argument 'x'"),
        ];
        for (function, args, kwargs, said) in table {
            assert_eq!(
                bind(function, args, kwargs).unwrap_err(),
                format!("TypeError: {said}"),
                "{function} {args} {kwargs}"
            );
        }
    }

    #[test]
    fn positional_and_keyword_arguments_find_their_places() {
        let mut bound = bind("three", "[1]", r#"{"c":3,"b":2}"#).unwrap();
        let read: Vec<i64> = (0..3).map(|place| bound.required(place).unwrap()).collect();
        assert_eq!(read, [1, 2, 3]);
        let mut bound = bind("opt", "[1]", "{}").unwrap();
        assert_eq!(bound.optional::<i64>(1).unwrap(), None);
    }

    #[test]
    fn what_is_left_over_is_taken_by_who_takes_all() {
        let mut bound = bind("any", "[1,2,[3]]", r#"{"rest":4,"z":5}"#).unwrap();
        assert_eq!(bound.required::<i64>(0).unwrap(), 1);
        assert_eq!(bound.all::<Json>(1).unwrap().as_str(), "[2,[3]]");
        assert_eq!(bound.all::<Json>(2).unwrap().as_str(), r#"{"rest":4,"z":5}"#);
        let mut bound = bind("any", "[1]", "{}").unwrap();
        assert_eq!((bound.all::<Vec<u8>>(1).unwrap(), bound.all::<Json>(2).unwrap().as_str()), (vec![], "{}"));
        let mut bound = bind("any", r#"[1,"a"]"#, "{}").unwrap();
        let told = bound.all::<Vec<u8>>(1).unwrap_err().exception().message();
        assert!(told.starts_with("any() argument 'rest': invalid type: string"), "{told}");
        assert!(bind("any", "[]", "{}").unwrap_err().contains("missing 1 required positional argument: 'x'"));
    }

    #[test]
    fn an_ill_typed_argument_is_named() {
        let said = |text: &str| {
            let mut bound = bind("one", &format!("[{text}]"), "{}").unwrap();
            bound.required::<i64>(0).unwrap_err().exception().message()
        };
        assert_eq!(said(r#""a""#), r#"one() argument 'a': invalid type: string "a", expected i64"#);
        assert_eq!(said("null"), "one() argument 'a': invalid type: null, expected i64");
        let mut bound = bind("one", "[[1, true]]", "{}").unwrap();
        let nested = bound.required::<Vec<i64>>(0).unwrap_err().exception().message();
        assert_eq!(nested, "one() argument 'a': invalid type: boolean `true`, expected i64 at line 1 column 8");
    }

    #[test]
    fn what_is_not_read_is_not_changed() {
        let text = r#"{"z":123456789012345678901234567890,"a":1.10}"#;
        let mut bound = bind("one", &format!("[{text}]"), "{}").unwrap();
        assert_eq!(bound.required::<Json>(0).unwrap().as_str(), text);
    }

    #[test]
    fn arguments_of_another_shape_are_refused() {
        assert!(bind("one", "{}", "{}").unwrap_err().starts_with("TypeError: args must be a JSON array"));
        assert!(bind("one", "[]", "[]").unwrap_err().starts_with("TypeError: kwargs must be a JSON object"));
    }
}

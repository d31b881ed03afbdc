//! Signatures as Celery's clients write them, whole.
//!
//! Where [`Signature`](crate::Signature) is what a caller may ask of us, checked field by field, a [`WireSignature`] is what
//! travels between workers: nothing of it is refused, and what nobody here knows goes on to whoever comes next. Values are
//! JSON text, so integers of any size, the order of keys and kombu's tagged values survive.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use serde::de::{DeserializeOwned, Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Json, TaskId, WireName};

/// A JSON object whose keys keep their order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Fields(Vec<(String, Json)>);

impl Fields {
    /// The value of a key.
    pub fn get(&self, name: &str) -> Option<&Json> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// A value that is there and not `null`, read as a type; none if it is not of that type.
    pub fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        self.get(name).filter(|value| value.as_str() != "null").and_then(|value| value.read().ok())
    }

    /// Sets a key, in its old place or at the end.
    pub fn set(&mut self, name: &str, value: Json) {
        match self.0.iter_mut().find(|(key, _)| key == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// Takes a key out.
    pub fn remove(&mut self, name: &str) -> Option<Json> {
        let place = self.0.iter().position(|(key, _)| key == name)?;
        Some(self.0.remove(place).1)
    }

    /// The keys with their values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Json)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// So many keys are looked through one by one.
const FEW: usize = 32;

impl FromIterator<(String, Json)> for Fields {
    /// As in JSON, the last of equal keys counts.
    fn from_iter<I: IntoIterator<Item = (String, Json)>>(all: I) -> Self {
        let mut fields = Vec::<(String, Json)>::new();
        // Looked up by name once there are so many that looking through all of them would take long.
        let mut places = HashMap::<String, usize>::new();
        for (name, value) in all {
            if fields.len() == FEW {
                places.extend(fields.iter().enumerate().map(|(place, (name, _))| (name.clone(), place)));
            }
            let place = if fields.len() < FEW {
                fields.iter().position(|(key, _)| *key == name)
            } else {
                places.get(&name).copied()
            };
            match place {
                Some(place) => fields[place].1 = value,
                None => {
                    if fields.len() >= FEW {
                        places.insert(name.clone(), fields.len());
                    }
                    fields.push((name, value));
                }
            }
        }
        Self(fields)
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                std::iter::from_fn(|| map.next_entry().transpose()).collect()
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// A signature: `{"task", "args", "kwargs", "options", "subtask_type", "immutable"}`.
/// See <https://docs.celeryq.dev/en/stable/reference/celery.html#celery.signature>.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WireSignature {
    /// Name of the task; of a canvas `celery.chain`, `celery.group`, `celery.chord`.
    pub task: WireName,
    /// Positional arguments: a JSON array.
    pub args: Json,
    /// What it is made of.
    pub shape: WireShape,
    /// How to run it.
    pub options: WireOptions,
    /// What Celery calls the shape: `chain`, `group`, `chord`, `xmap`, `xstarmap`, `chunks`; none for a task.
    pub subtask_type: Option<String>,
    /// Whether the result of what comes before it is left out of its arguments.
    pub immutable: bool,
}

/// What a signature is made of: its `kwargs`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum WireShape {
    /// A task, also a map: its keyword arguments.
    Task(Fields),
    /// One after the other.
    Chain(Vec<WireSignature>),
    /// All at once.
    Group(Vec<WireSignature>),
    /// All of a header at once, then a body.
    Chord {
        /// The tasks of the header. (Whether a list or a group was written is the same to Celery.)
        header: Vec<WireSignature>,
        /// What gets their results.
        body: Option<Box<WireSignature>>,
        /// Keyword arguments for the header.
        kwargs: Fields,
    },
}

/// The options of a signature: those that canvases are made with by their names, all others as they came.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct WireOptions {
    /// The id it will have; of a chain that of its last task, of a group that of the group.
    pub task_id: Option<TaskId>,
    /// The group it is a member of.
    pub group_id: Option<TaskId>,
    /// Which member.
    pub group_index: Option<u64>,
    /// The first ancestor.
    pub root_id: Option<TaskId>,
    /// What comes before it.
    pub parent_id: Option<TaskId>,
    /// The body of the chord that it is a part of.
    pub chord: Option<Arc<WireSignature>>,
    /// What follows it, the next one last.
    pub chain: Option<Vec<WireSignature>>,
    /// Sent with its result once it has returned.
    pub link: Vec<WireSignature>,
    /// Sent with its id once it has failed.
    pub link_error: Vec<WireSignature>,
    /// All others: `queue`, `reply_to`, `stamped_headers` and the stamps, ...
    pub rest: Fields,
}

impl WireSignature {
    /// A task without options.
    pub fn task(task: WireName, args: Json, kwargs: Fields) -> Self {
        let shape = WireShape::Task(kwargs);
        Self { task, args, shape, options: WireOptions::default(), subtask_type: None, immutable: false }
    }
}

#[derive(Serialize, Deserialize)]
struct Written<K> {
    task: WireName,
    #[serde(default = "Json::empty_array")]
    args: Json,
    kwargs: K,
    #[serde(default)]
    options: WireOptions,
    #[serde(default)]
    subtask_type: Option<String>,
    #[serde(default)]
    immutable: bool,
}

#[derive(Deserialize)]
struct Tasks {
    tasks: Vec<WireSignature>,
}

#[derive(Deserialize)]
struct Chord {
    header: Json,
    #[serde(default)]
    body: Option<Box<WireSignature>>,
    #[serde(default)]
    kwargs: Fields,
}

/// The tasks of a header that is written as a list, or as a group, or as one signature.
fn header(written: &Json) -> Result<Vec<WireSignature>, serde_json::Error> {
    if written.is_array() {
        return written.read();
    }
    let one: WireSignature = written.read()?;
    Ok(match one.shape {
        WireShape::Group(tasks) | WireShape::Chain(tasks) => tasks,
        _ => vec![one],
    })
}

impl<'de> Deserialize<'de> for WireSignature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Written { task, args, kwargs, options, subtask_type, immutable } =
            Written::<Option<Json>>::deserialize(deserializer)?;
        let kwargs = kwargs.unwrap_or_else(Json::empty_object);
        let shape = match subtask_type.as_deref() {
            Some("chain") => kwargs.read::<Tasks>().map(|it| WireShape::Chain(it.tasks)),
            Some("group") => kwargs.read::<Tasks>().map(|it| WireShape::Group(it.tasks)),
            Some("chord") => kwargs.read::<Chord>().and_then(|Chord { header: written, body, kwargs }| {
                Ok(WireShape::Chord { header: header(&written)?, body, kwargs })
            }),
            _ => kwargs.read().map(WireShape::Task),
        };
        let shape = shape.map_err(|error| D::Error::custom(format_args!("kwargs of {task}: {error}")))?;
        Ok(Self { task, args, shape, options, subtask_type, immutable })
    }
}

impl Serialize for WireSignature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_map(Some(6))?;
        fields.serialize_entry("task", &self.task)?;
        fields.serialize_entry("args", &self.args)?;
        fields.serialize_entry("kwargs", &self.shape)?;
        fields.serialize_entry("options", &self.options)?;
        fields.serialize_entry("subtask_type", &self.subtask_type)?;
        fields.serialize_entry("immutable", &self.immutable)?;
        fields.end()
    }
}

impl Serialize for WireShape {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Task(kwargs) => kwargs.serialize(serializer),
            Self::Chain(tasks) | Self::Group(tasks) => {
                let mut fields = serializer.serialize_map(Some(1))?;
                fields.serialize_entry("tasks", tasks)?;
                fields.end()
            }
            Self::Chord { header, body, kwargs } => {
                let mut fields = serializer.serialize_map(Some(3))?;
                fields.serialize_entry("kwargs", kwargs)?;
                fields.serialize_entry("header", header)?;
                fields.serialize_entry("body", body)?;
                fields.end()
            }
        }
    }
}

impl Serialize for WireOptions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_map(None)?;
        let ids = [
            ("task_id", &self.task_id),
            ("group_id", &self.group_id),
            ("root_id", &self.root_id),
            ("parent_id", &self.parent_id),
        ];
        for (name, id) in ids {
            if let Some(id) = id {
                fields.serialize_entry(name, id)?;
            }
        }
        if let Some(index) = self.group_index {
            fields.serialize_entry("group_index", &index)?;
        }
        for (name, value) in self.rest.iter() {
            fields.serialize_entry(name, value)?;
        }
        for (name, all) in [("link", &self.link), ("link_error", &self.link_error)] {
            if !all.is_empty() {
                fields.serialize_entry(name, all)?;
            }
        }
        if let Some(chord) = &self.chord {
            fields.serialize_entry("chord", chord)?;
        }
        if let Some(chain) = &self.chain {
            fields.serialize_entry("chain", chain)?;
        }
        fields.end()
    }
}

impl<'de> Deserialize<'de> for WireOptions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut rest = Option::<Fields>::deserialize(deserializer)?.unwrap_or_default();
        Ok(Self {
            task_id: take(&mut rest, "task_id")?,
            group_id: take(&mut rest, "group_id")?,
            group_index: take(&mut rest, "group_index")?,
            root_id: take(&mut rest, "root_id")?,
            parent_id: take(&mut rest, "parent_id")?,
            chord: take(&mut rest, "chord")?,
            chain: take(&mut rest, "chain")?,
            link: one_or_many(&mut rest, "link")?,
            link_error: one_or_many(&mut rest, "link_error")?,
            rest,
        })
    }
}

/// Whatever never runs once a step before this chain has failed: its steps, what they are made of, and what follows those in turn.
/// (Headers of chords are left out: nobody waits for them but their bodies.)
pub fn unrun(chain: &[WireSignature]) -> impl Iterator<Item = &WireSignature> {
    let mut pending: VecDeque<&WireSignature> = chain.iter().collect();
    std::iter::from_fn(move || {
        let step = pending.pop_front()?;
        match &step.shape {
            WireShape::Chord { body: Some(body), .. } => pending.push_back(body),
            // Their members are what somebody may wait for.
            WireShape::Group(tasks) | WireShape::Chain(tasks) => pending.extend(tasks),
            WireShape::Chord { body: None, .. } | WireShape::Task(_) => {}
        }
        pending.extend(step.options.chain.iter().flatten());
        Some(step)
    })
}

/// One option out of many, also a `null`; the error names it.
fn take<T: DeserializeOwned, E: serde::de::Error>(all: &mut Fields, name: &str) -> Result<Option<T>, E> {
    let value = all.remove(name).map(|value| value.read::<Option<T>>()).transpose();
    value.map(Option::flatten).map_err(|error| E::custom(format_args!("{name}: {error}")))
}

fn one_or_many<E: serde::de::Error>(all: &mut Fields, name: &str) -> Result<Vec<WireSignature>, E> {
    match all.get(name) {
        Some(one) if one.is_object() => Ok(take(all, name)?.into_iter().collect()),
        _ => Ok(take(all, name)?.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> WireSignature {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn what_nobody_knows_goes_on() {
        let text = concat!(
            r#"{"task":"py.any","args":[123456789012345678901234567890,{"__type__":"bytes","__value__":"x"}],"#,
            r#""kwargs":{"z":1,"a":2},"options":{"task_id":"t","reply_to":"r","x-own":{"b":1,"a":2}},"#,
            r#""subtask_type":null,"immutable":true}"#
        );
        assert_eq!(serde_json::to_string(&read(text)).unwrap(), text);
    }

    #[test]
    fn the_last_of_equal_keys_counts_in_the_place_of_the_first() {
        for keys in [3, 31, 32, 33, 100_000] {
            let all = (0..keys).chain([1, keys - 1, keys]).enumerate();
            let fields: Fields = all.map(|(n, key)| (key.to_string(), Json::of(&n).unwrap())).collect();
            assert_eq!(fields.iter().map(|(key, _)| key.to_owned()).collect::<Vec<_>>().len(), keys + 1);
            let last = [(1, keys), (keys - 1, keys + 1), (keys, keys + 2)];
            assert!(last.iter().all(|(key, n)| fields.read(&key.to_string()) == Some(*n)), "{keys}");
            assert_eq!(fields.iter().nth(1).unwrap().0, "1");
        }
    }

    #[test]
    fn canvases_are_read_whole() {
        let task = |name: &str| format!(r#"{{"task":"{name}","args":[],"kwargs":{{}},"options":{{}}}}"#);
        let (a, b) = (task("t.a"), task("t.b"));
        let group =
            format!(r#"{{"task":"celery.group","args":[],"kwargs":{{"tasks":[{a},{b}]}},"subtask_type":"group"}}"#);
        for header in [format!("[{a},{b}]"), group] {
            let chord = read(&format!(
                r#"{{"task":"celery.chord","args":[],"kwargs":{{"kwargs":{{}},"header":{header},"body":{a}}},
                    "options":{{"link":{b},"chord":{a},"chain":[{b}],"group_index":null}},"subtask_type":"chord"}}"#
            ));
            let WireShape::Chord { header, body, .. } = &chord.shape else { panic!("{chord:?}") };
            assert_eq!((header.len(), body.is_some()), (2, true));
            assert_eq!((chord.options.link.len(), chord.options.group_index), (1, None));
            assert!(chord.options.chord.is_some() && chord.options.chain.as_ref().is_some_and(|all| all.len() == 1));
            assert_eq!(read(&serde_json::to_string(&chord).unwrap()), chord);
        }
        let wrong = serde_json::from_str::<WireSignature>(
            r#"{"task":"celery.chain","kwargs":{"tasks":7},"subtask_type":"chain"}"#,
        );
        assert!(wrong.unwrap_err().to_string().contains("celery.chain"));
    }
}

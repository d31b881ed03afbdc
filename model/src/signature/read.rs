//! Reads a signature, with all that is linked to it, in one pass over its text.
//!
//! A linked signature of a few bytes takes hundreds in memory, and one may stand in another's links. So they are counted while
//! they are read, all of a text together; and how deep they stand is known on the way down, not measured again at each level.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{Signature, SignatureOptions};
use crate::{Json, TaskOptions};

/// So deep signatures may stand in the links of others. Each level is three of the 127 that parsers read, and a message, or what
/// holds one, is around them.
const MOST_NESTED: usize = 32;

/// What a host sets by itself when it sends a task, and finds in signatures that a Celery client has frozen.
const OF_THE_SENDER: [&str; 6] = ["reply_to", "root_id", "parent_id", "group_index", "replaced_task_nesting", "chord"];

impl Signature {
    /// The most that one signature may have in its links, and in theirs.
    pub const MOST_LINKED: usize = 20_000;

    /// Reads a JSON list of signatures, of which there may be so many, those in their links among them.
    pub fn list(text: &str, most: usize) -> Result<Vec<Self>, serde_json::Error> {
        let mut left = most;
        let mut json = serde_json::Deserializer::from_str(text);
        let all = Deserializer::deserialize_seq(&mut json, Links { left: &mut left, nested: 0 })?;
        json.end()?;
        Ok(all)
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Itself and what is linked to it.
        let mut left = 1 + Self::MOST_LINKED;
        One { left: &mut left, nested: 0 }.deserialize(deserializer)
    }
}

impl<'de> Deserialize<'de> for SignatureOptions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut left = Signature::MOST_LINKED;
        Options { left: &mut left, nested: 0 }.deserialize(deserializer)
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Field {
    Task,
    Args,
    Kwargs,
    Options,
    SubtaskType,
    Immutable,
}

/// Reads one signature: how many may still be read, and in the links of how many others it stands.
struct One<'l> {
    left: &'l mut usize,
    nested: usize,
}

impl<'de> DeserializeSeed<'de> for One<'_> {
    type Value = Signature;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Signature, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for One<'_> {
    type Value = Signature;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a signature")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Signature, A::Error> {
        let Self { left, nested } = self;
        let Some(less) = left.checked_sub(1) else {
            return Err(A::Error::custom("there are too many signatures in it: send several"));
        };
        *left = less;
        let (mut task, mut args, mut kwargs, mut options) = (None, None, None, None);
        let (mut subtask_type, mut immutable) = (None, None);
        while let Some(field) = map.next_key::<Field>()? {
            match field {
                Field::Task => set(&mut task, "task", map.next_value())?,
                Field::Args => set(&mut args, "args", map.next_value())?,
                Field::Kwargs => set(&mut kwargs, "kwargs", map.next_value())?,
                Field::Options => {
                    let read = map.next_value_seed(Options { left: &mut *left, nested });
                    set(&mut options, "options", read)?;
                }
                Field::SubtaskType => set(&mut subtask_type, "subtask_type", map.next_value())?,
                Field::Immutable => set(&mut immutable, "immutable", map.next_value())?,
            }
        }
        let signature = Signature {
            task: task.ok_or_else(|| A::Error::missing_field("task"))?,
            args: args.unwrap_or_else(Json::empty_array),
            kwargs: kwargs.unwrap_or_else(Json::empty_object),
            options: options.unwrap_or_default(),
            subtask_type: subtask_type.unwrap_or_default(),
            immutable: immutable.unwrap_or_default(),
        };
        check_depth(&signature, nested).map(|()| signature)
    }
}

/// Notes a field that may be there once.
fn set<T, E: Error>(field: &mut Option<T>, name: &'static str, value: Result<T, E>) -> Result<(), E> {
    match field.replace(value?) {
        None => Ok(()),
        Some(_) => Err(E::duplicate_field(name)),
    }
}

/// Links are written as lists, whatever they were read as: what stands in them is nested no deeper then than any JSON may be.
fn check_depth<E: Error>(signature: &Signature, nested: usize) -> Result<(), E> {
    let Some(above) = (3 * nested).checked_sub(2) else { return Ok(()) };
    let SignatureOptions { headers, stamps, overrides, .. } = &signature.options;
    let extra = stamps.values().chain(overrides.values()).map(|value| 1 + value.depth());
    let headers = headers.values().map(|value| 2 + value.depth());
    let extra = extra.chain(headers).max().unwrap_or_default();
    let depth = above + 1 + signature.args.depth().max(signature.kwargs.depth()).max(extra);
    if depth <= Json::MAX_DEPTH {
        return Ok(());
    }
    let text = format!("nested {depth} deep once written as lists; at most {} is accepted", Json::MAX_DEPTH);
    Err(E::custom(text))
}

/// Reads the options of a signature that stands in the links of so many others.
struct Options<'l> {
    left: &'l mut usize,
    nested: usize,
}

impl<'de> DeserializeSeed<'de> for Options<'_> {
    type Value = SignatureOptions;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<SignatureOptions, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Options<'_> {
    type Value = SignatureOptions;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of options")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SignatureOptions, A::Error> {
        let Self { left, nested } = self;
        let (mut all, mut link, mut link_error) = (BTreeMap::new(), Vec::new(), Vec::new());
        while let Some(name) = map.next_key::<String>()? {
            let linked = match name.as_str() {
                "link" => &mut link,
                "link_error" => &mut link_error,
                _ => {
                    all.insert(name, map.next_value()?);
                    continue;
                }
            };
            let read = map.next_value_seed(Links { left: &mut *left, nested: nested + 1 });
            *linked = read.map_err(|error| A::Error::custom(format_args!("{name}: {error}")))?;
        }
        others(all).map(|options| SignatureOptions { link, link_error, ..options })
    }
}

/// Reads what is linked, or a list: `null`, one signature, or many.
struct Links<'l> {
    left: &'l mut usize,
    nested: usize,
}

impl<'de> DeserializeSeed<'de> for Links<'_> {
    type Value = Vec<Signature>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<Signature>, D::Error> {
        if self.nested > MOST_NESTED {
            return Err(D::Error::custom(format_args!("signatures are nested more than {MOST_NESTED} deep in links")));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Links<'_> {
    type Value = Vec<Signature>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a signature, or a list of them")
    }

    fn visit_unit<E: Error>(self) -> Result<Vec<Signature>, E> {
        Ok(Vec::new())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Vec<Signature>, A::Error> {
        let Self { left, nested } = self;
        One { left, nested }.visit_map(map).map(|one| vec![one])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<Signature>, A::Error> {
        let (Self { left, nested }, mut all) = (self, Vec::new());
        while let Some(one) = items.next_element_seed(One { left: &mut *left, nested })? {
            all.push(one);
        }
        Ok(all)
    }
}

/// All options but links. Celery writes stamps and options side by side: what `stamped_headers` names is a stamp, a name that
/// is neither that nor an option is an error.
fn others<E: Error>(mut all: BTreeMap<String, Json>) -> Result<SignatureOptions, E> {
    // `max_retries` is the one that `null` says something about: for ever.
    all.retain(|name, value| value.as_str() != "null" || name == "max_retries");
    let stamped_headers: Vec<String> = take(&mut all, "stamped_headers")?.unwrap_or_default();
    let stamps = stamped_headers.iter().filter_map(|name| all.remove_entry(name)).collect();
    if all.contains_key("chord") {
        return Err(E::custom("chord: is set by the host; send a signature of subtask_type \"chord\""));
    }
    for name in OF_THE_SENDER {
        all.remove(name);
    }
    let options = SignatureOptions {
        task_id: take(&mut all, "task_id")?,
        group_id: take(&mut all, "group_id")?,
        queue: take(&mut all, "queue")?,
        priority: take(&mut all, "priority")?,
        countdown: take(&mut all, "countdown")?,
        eta: take(&mut all, "eta")?,
        expires: take(&mut all, "expires")?,
        time_limit: take(&mut all, "time_limit")?,
        soft_time_limit: take(&mut all, "soft_time_limit")?,
        fuel: take(&mut all, "fuel")?,
        ignore_result: take(&mut all, "ignore_result")?,
        shadow: take(&mut all, "shadow")?,
        headers: take(&mut all, "headers")?.unwrap_or_default(),
        link: Vec::new(),
        link_error: Vec::new(),
        add_to_parent: take(&mut all, "add_to_parent")?,
        overrides: all,
        stamped_headers,
        stamps,
    };
    match options.overrides.keys().find(|name| !TaskOptions::knows(name)) {
        Some(unknown) => Err(E::custom(format_args!("{unknown}: there is no such option"))),
        None => Ok(options),
    }
}

/// One option out of many; the error names it.
fn take<T: DeserializeOwned, E: Error>(all: &mut BTreeMap<String, Json>, name: &str) -> Result<Option<T>, E> {
    let value = all.remove(name).map(|value| value.read());
    value.transpose().map_err(|error| E::custom(format_args!("{name}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A signature in the links of so many others, which are lists or not.
    fn nested(levels: usize, (open, close): (&str, &str), inner: &str) -> String {
        let open = format!(r#"{{"task":"a.b","options":{{"link":{open}"#);
        format!("{}{inner}{}", open.repeat(levels), format!("{close}}}}}").repeat(levels))
    }

    fn read(text: &str) -> Result<Signature, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_read_can_be_read_again() {
        for around in [("", ""), ("[", "]")] {
            let deepest = read(&nested(MOST_NESTED, around, r#"{"task":"a.b"}"#)).unwrap();
            assert_eq!(read(&serde_json::to_string(&deepest).unwrap()).unwrap(), deepest);
            let error = read(&nested(MOST_NESTED + 1, around, r#"{"task":"a.b"}"#)).unwrap_err();
            assert!(error.contains("nested") && error.contains("32"), "{error}");
        }
        let deep = |arrays: usize| {
            let args = format!("{}{}", "[".repeat(arrays), "]".repeat(arrays));
            read(&nested(MOST_NESTED, ("", ""), &format!(r#"{{"task":"a.b","args":{args}}}"#)))
        };
        let error = (1..127).find_map(|arrays| deep(arrays).err()).unwrap();
        assert!(error.contains("nested 128 deep") && error.contains("127"), "{error}");
    }

    #[test]
    fn what_is_linked_is_counted_while_it_is_read() {
        let many = |count: usize| vec![r#"{"task":"a"}"#; count].join(",");
        let linked = |name: &str, count| format!(r#"{{"task":"a","options":{{"{name}":[{}]}}}}"#, many(count));
        for name in ["link", "link_error"] {
            assert_eq!(read(&linked(name, Signature::MOST_LINKED)).map(|_| ()), Ok(()));
            let error = read(&linked(name, Signature::MOST_LINKED + 1)).unwrap_err();
            assert!(error.contains("too many signatures"), "{error}");
        }
        // Those in others' links count, wherever they stand.
        let each = linked("link_error", Signature::MOST_LINKED / 4);
        let error = read(&nested(1, ("[", "]"), &[each.as_str(); 4].join(","))).unwrap_err();
        assert!(error.contains("too many signatures"), "{error}");
        assert_eq!(Signature::list(&format!("[{}]", many(3)), 3).unwrap().len(), 3);
        assert!(Signature::list(&format!("[{}]", many(4)), 3).is_err());
        assert!(Signature::list("[] []", 3).is_err() && Signature::list("{}", 3).is_err());
    }

    #[test]
    fn a_field_is_there_once_and_known() {
        let error = |text: &str| read(text).unwrap_err();
        assert!(error(r#"{"task":"a","task":"b"}"#).contains("duplicate field `task`"));
        assert!(error(r#"{"task":"a","tusk":1}"#).contains("unknown field `tusk`"));
        assert!(error("{}").contains("missing field `task`"));
        assert!(error("[]").contains("a signature"));
        assert!(read(r#"{"task":"a","options":{"link":null}}"#).unwrap().options.link.is_empty());
    }
}

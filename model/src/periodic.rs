//! What is sent again and again, and when: the entries of Celery's beat.

use serde::{Deserialize, Deserializer, Serialize};

use crate::{Json, Seconds, SignatureOptions, TaskName};

/// One periodic task. See <https://docs.celeryq.dev/en/stable/userguide/periodic-tasks.html>.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct PeriodicTask {
    /// Which task.
    pub task: TaskName,
    /// Positional arguments: a JSON array.
    pub args: Json,
    /// Keyword arguments: a JSON object.
    pub kwargs: Json,
    /// How to run it.
    pub options: SignatureOptions,
    /// When.
    pub schedule: Schedule,
    /// Whether it is sent at all.
    pub enabled: bool,
    /// Whether the latest of the times that came while no daemon ran is made up for.
    pub catch_up: bool,
}

/// When a periodic task is due.
#[derive(Debug, Clone, PartialEq)]
pub enum Schedule {
    /// At each multiple of this span since 1970.
    Every(Seconds),
    /// When the clock on the wall looks like this.
    Crontab {
        /// How it must look.
        crontab: Crontab,
        /// Where the wall is: a name of the IANA database; UTC if left out.
        timezone: Option<String>,
    },
}

/// Celery's crontab: five fields, each a number, a name, `*`, a range, a step, or a list of those. All must match.
/// See <https://docs.celeryq.dev/en/stable/reference/celery.schedules.html#celery.schedules.crontab>.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Crontab {
    /// 0 to 59.
    pub minute: String,
    /// 0 to 23.
    pub hour: String,
    /// 0 or `sun` to 6 or `sat`.
    pub day_of_week: String,
    /// 1 to 31.
    pub day_of_month: String,
    /// 1 or `jan` to 12 or `dec`.
    pub month_of_year: String,
}

impl Default for Crontab {
    /// Every minute.
    fn default() -> Self {
        let any = || "*".to_owned();
        Self { minute: any(), hour: any(), day_of_week: any(), day_of_month: any(), month_of_year: any() }
    }
}

impl std::str::FromStr for Crontab {
    type Err = String;

    /// Reads five fields in cron's order: minute, hour, day of month, month of year, day of week.
    fn from_str(text: &str) -> Result<Self, String> {
        let fields: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        let [minute, hour, day_of_month, month_of_year, day_of_week] =
            fields.try_into().map_err(|fields: Vec<_>| {
                format!(
                    "{text:?} has {} fields, not five: minute, hour, day of month, month of year, day of week",
                    fields.len()
                )
            })?;
        Ok(Self { minute, hour, day_of_week, day_of_month, month_of_year })
    }
}

/// A field as it may be written: `5`, `"*/5"`, `[5, "10-12"]`.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a number, a text such as \"*/15\", or a list of those")]
enum Field {
    Number(u8),
    Text(String),
    List(Vec<Field>),
}

impl Field {
    fn text(self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text,
            Self::List(fields) => fields.into_iter().map(Self::text).collect::<Vec<_>>().join(","),
        }
    }
}

impl<'de> Deserialize<'de> for Crontab {
    /// From a table of fields, or from a text as cron has it.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Fields {
            minute: Option<Field>,
            hour: Option<Field>,
            day_of_week: Option<Field>,
            day_of_month: Option<Field>,
            month_of_year: Option<Field>,
        }
        struct Either;
        impl<'de> serde::de::Visitor<'de> for Either {
            type Value = Crontab;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(
                    "a table with minute, hour, day_of_week, day_of_month, month_of_year, or a text of five fields",
                )
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Crontab, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Crontab, A::Error> {
                let fields = Fields::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                let text = |field: Option<Field>| field.map_or_else(|| "*".to_owned(), Field::text);
                Ok(Crontab {
                    minute: text(fields.minute),
                    hour: text(fields.hour),
                    day_of_week: text(fields.day_of_week),
                    day_of_month: text(fields.day_of_month),
                    month_of_year: text(fields.month_of_year),
                })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// A periodic task as it is written.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    task: TaskName,
    #[serde(default = "Json::empty_array")]
    args: Json,
    #[serde(default = "Json::empty_object")]
    kwargs: Json,
    #[serde(default)]
    options: SignatureOptions,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    every: Option<Seconds>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crontab: Option<Crontab>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timezone: Option<String>,
    #[serde(default = "yes")]
    enabled: bool,
    #[serde(default = "yes")]
    catch_up: bool,
}

fn yes() -> bool {
    true
}

impl TryFrom<Written> for PeriodicTask {
    type Error = String;
    fn try_from(written: Written) -> Result<Self, String> {
        let schedule = match (written.every, written.crontab) {
            (Some(every), None) if written.timezone.is_none() => Schedule::Every(every),
            (Some(_), None) => return Err("timezone: an interval has none; leave it out, or use crontab".to_owned()),
            (None, Some(crontab)) => Schedule::Crontab { crontab, timezone: written.timezone },
            (None, None) => {
                return Err("every or crontab is missing: how many seconds apart, or at which times?".to_owned());
            }
            (Some(_), Some(_)) => return Err("every stands beside crontab: give one of the two".to_owned()),
        };
        let Written { task, args, kwargs, options, enabled, catch_up, .. } = written;
        Ok(Self { task, args, kwargs, options, schedule, enabled, catch_up })
    }
}

impl From<PeriodicTask> for Written {
    fn from(entry: PeriodicTask) -> Self {
        let PeriodicTask { task, args, kwargs, options, schedule, enabled, catch_up } = entry;
        let (every, crontab, timezone) = match schedule {
            Schedule::Every(every) => (Some(every), None, None),
            Schedule::Crontab { crontab, timezone } => (None, Some(crontab), timezone),
        };
        Self { task, args, kwargs, options, every, crontab, timezone, enabled, catch_up }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<PeriodicTask, String> {
        serde_json::from_str(text).map_err(|error: serde_json::Error| error.to_string())
    }

    #[test]
    fn an_entry_is_read_as_it_is_written() {
        let every = read(r#"{"task": "a", "every": 30, "args": [1]}"#).unwrap();
        assert!(every.enabled && every.catch_up);
        let table =
            read(r#"{"task": "a", "crontab": {"hour": 7, "minute": [0, "30-45/5"]}, "timezone": "Europe/Rome"}"#);
        let table = table.unwrap();
        let Schedule::Crontab { crontab, .. } = &table.schedule else { panic!("{table:?}") };
        assert_eq!(
            (crontab.hour.as_str(), crontab.minute.as_str(), crontab.day_of_week.as_str()),
            ("7", "0,30-45/5", "*")
        );
        let text = read(r#"{"task": "a", "crontab": "0,30-45/5 7 * * *", "timezone": "Europe/Rome"}"#).unwrap();
        assert_eq!(text, table);
        for entry in [every, table] {
            assert_eq!(read(&serde_json::to_string(&entry).unwrap()).unwrap(), entry);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, says) in [
            (r#"{"task": "a"}"#, "every or crontab is missing"),
            (r#"{"task": "a", "every": 1, "crontab": "* * * * *"}"#, "one of the two"),
            (r#"{"task": "a", "every": 1, "timezone": "UTC"}"#, "timezone"),
            (r#"{"task": "a", "every": -1}"#, "-1"),
            (r#"{"task": "a", "crontab": "* * *"}"#, "3 fields"),
            (r#"{"task": "a", "crontab": {"minutes": 1}}"#, "minutes"),
            (r#"{"task": "a", "crontab": {"minute": true}}"#, "a list of those"),
            (r#"{"task": "a", "evry": 1}"#, "evry"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}

//! What a task declares about how it runs, and what a call may ask for instead.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Exception, Json, Seconds};

/// Options a task declares, with Celery's names. A call may override each of them; the operator's limits hold for both.
/// See <https://docs.celeryq.dev/en/stable/userguide/tasks.html#list-of-options>.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct TaskOptions {
    /// How many retries before it fails; none: for ever.
    pub max_retries: Option<u32>,
    /// Seconds to wait before a retry that does not say.
    #[cfg_attr(feature = "openapi", schema(value_type = f64))]
    pub default_retry_delay: Seconds,
    /// Exceptions that make the task retry by itself: `KeyError`, `mymodule.Error`, or `Exception` for all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub autoretry_for: Vec<String>,
    /// Exceptions that do not, though `autoretry_for` names them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dont_autoretry_for: Vec<String>,
    /// Seconds before the first automatic retry, doubled for each that follows; none: `default_retry_delay` each time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<f64>))]
    pub retry_backoff: Option<Seconds>,
    /// The longest wait that `retry_backoff` comes to.
    #[cfg_attr(feature = "openapi", schema(value_type = f64))]
    pub retry_backoff_max: Seconds,
    /// Whether `retry_backoff` is the most of a random wait, so that many tasks do not come back at once.
    pub retry_jitter: bool,
    /// Exceptions that are no news to the operator: logged without alarm.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub throws: Vec<String>,
    /// Whether the message is kept until the task has ended, so that it runs again if its host dies. False: it runs at
    /// most once, and is FAILURE (WorkerLostError) if its host dies. (Celery's default is false.)
    pub acks_late: bool,
    /// Whether a failure ends the message. False: it is also told as rejected, as a dead letter.
    pub acks_on_failure: bool,
    /// With `acks_late`: whether it runs again after its host died. (Celery's default is false.)
    pub reject_on_worker_lost: bool,
    /// Keep no result.
    pub ignore_result: bool,
    /// Whether exceptions are kept even so. (Celery's default is false.)
    pub store_errors_even_if_ignored: bool,
    /// Whether a running task shows as STARTED; else it shows as PENDING. (Celery's default is false; here it costs
    /// nothing.)
    pub track_started: bool,
    /// How many of it may start in a time, on each host.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub rate_limit: Option<RateLimit>,
    /// Hard limit in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<f64>))]
    pub time_limit: Option<Seconds>,
    /// Soft limit in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<f64>))]
    pub soft_time_limit: Option<Seconds>,
    /// Revoke it instead of starting it more than so many seconds after it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<f64>))]
    pub expires: Option<Seconds>,
    /// 0 (first) to 9 (last), for messages that do not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// How its messages are written.
    pub serializer: Serializer,
    /// Whether its messages are compressed, and how.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// The most bytes of a result that events show.
    pub resultrepr_maxsize: usize,
    /// Whether the tasks it sends are recorded as its children.
    pub trail: bool,
    /// Another name for logs and lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow: Option<String>,
    /// Whether the number and names of arguments are checked when it is sent.
    pub typing: bool,
}

impl Default for TaskOptions {
    /// Celery's defaults, except where Celery loses work by them: the fields say so.
    fn default() -> Self {
        let seconds = |seconds| Seconds::from(std::time::Duration::from_secs(seconds));
        Self {
            max_retries: Some(3),
            default_retry_delay: seconds(180),
            autoretry_for: Vec::new(),
            dont_autoretry_for: Vec::new(),
            retry_backoff: None,
            retry_backoff_max: seconds(600),
            retry_jitter: true,
            throws: Vec::new(),
            acks_late: true,
            acks_on_failure: true,
            reject_on_worker_lost: true,
            ignore_result: false,
            store_errors_even_if_ignored: true,
            track_started: true,
            rate_limit: None,
            time_limit: None,
            soft_time_limit: None,
            expires: None,
            priority: None,
            serializer: Serializer::Json,
            compression: None,
            resultrepr_maxsize: 1024,
            trail: true,
            shadow: None,
            typing: true,
        }
    }
}

/// An option that cannot be what a call asks for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} is {value}: {why}")]
pub struct BadOption {
    /// Which one.
    pub name: String,
    /// What was asked for.
    pub value: String,
    /// What is wrong with it.
    pub why: String,
}

impl TaskOptions {
    /// Whether there is an option of this name.
    pub fn knows(name: &str) -> bool {
        Self::NAMES.contains(&name)
    }

    /// The name of every option.
    pub const NAMES: [&str; 25] = [
        "max_retries",
        "default_retry_delay",
        "autoretry_for",
        "dont_autoretry_for",
        "retry_backoff",
        "retry_backoff_max",
        "retry_jitter",
        "throws",
        "acks_late",
        "acks_on_failure",
        "reject_on_worker_lost",
        "ignore_result",
        "store_errors_even_if_ignored",
        "track_started",
        "rate_limit",
        "time_limit",
        "soft_time_limit",
        "expires",
        "priority",
        "serializer",
        "compression",
        "resultrepr_maxsize",
        "trail",
        "shadow",
        "typing",
    ];

    /// These options, with some of them as a call asks for.
    ///
    /// Fails for a value that the option cannot have. Names that there are not are left to the caller, see
    /// [`TaskOptions::knows`].
    pub fn overridden(&self, by: &BTreeMap<String, Json>) -> Result<Self, BadOption> {
        let mut options = self.clone();
        for (name, value) in by {
            options = options.with(name, value).map_err(|why| BadOption {
                name: name.clone(),
                value: value.as_str().chars().take(40).collect(),
                why,
            })?;
        }
        Ok(options)
    }

    fn with(self, name: &str, value: &Json) -> Result<Self, String> {
        let text = |error: serde_json::Error| error.to_string();
        let mut all: serde_json::Map<String, serde_json::Value> =
            serde_json::to_value(&self).and_then(serde_json::from_value).map_err(text)?;
        all.insert(name.to_owned(), value.read().map_err(text)?);
        serde_json::from_value(serde_json::Value::Object(all)).map_err(text)
    }

    /// Whether it must not run again when the host that ran it is lost.
    pub fn runs_once(&self) -> bool {
        !(self.acks_late && self.reject_on_worker_lost)
    }

    /// Whether an exception is one that `throws` names.
    pub fn expects(&self, exception: &Exception) -> bool {
        self.throws.iter().any(|name| exception.is_a(name))
    }
}

/// So many starts in a time: `10/s`, `100/m`, `5/h`, or a number a second. 0 is no limit, as in Celery.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "serde_json::Value", into = "String")]
pub struct RateLimit {
    count: f64,
    unit: char,
}

impl RateLimit {
    /// Starts a second; none: no limit.
    pub fn per_second(self) -> Option<f64> {
        let seconds = match self.unit {
            'h' => 3600.0,
            'm' => 60.0,
            _ => 1.0,
        };
        Some(self.count / seconds).filter(|rate| *rate > 0.0)
    }
}

impl FromStr for RateLimit {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (count, unit) = text.split_once('/').unwrap_or((text, "s"));
        let unit = Some(unit).filter(|unit| ["s", "m", "h"].contains(unit)).and_then(|unit| unit.chars().next());
        let count = count.trim().parse::<f64>().ok().filter(|count| (0.0..=1e9).contains(count));
        match (count, unit) {
            (Some(count), Some(unit)) => Ok(Self { count, unit }),
            _ => Err(format!("{text:?} is not a rate such as \"10/s\", \"100/m\", \"5/h\" or 2.5 (a second)")),
        }
    }
}

impl TryFrom<serde_json::Value> for RateLimit {
    type Error = String;
    fn try_from(value: serde_json::Value) -> Result<Self, String> {
        match value {
            serde_json::Value::String(text) => text.parse(),
            other => other.to_string().parse(),
        }
    }
}

impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.unit)
    }
}

impl From<RateLimit> for String {
    fn from(limit: RateLimit) -> String {
        limit.to_string()
    }
}

/// How messages are written where they travel or rest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Serializer {
    /// As text.
    #[default]
    Json,
    /// As MessagePack: smaller where there are many numbers.
    Msgpack,
}

/// How messages are made smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// As `gzip` does.
    Gzip,
    /// As `zstd` does: faster, and smaller.
    Zstd,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_is_listed_and_can_be_overridden_by_its_own_value() {
        let full = TaskOptions {
            autoretry_for: vec!["KeyError".to_owned()],
            dont_autoretry_for: vec!["TypeError".to_owned()],
            retry_backoff: Seconds::new(1.0).ok(),
            throws: vec!["KeyError".to_owned()],
            rate_limit: "10/m".parse().ok(),
            time_limit: Seconds::new(2.0).ok(),
            soft_time_limit: Seconds::new(1.0).ok(),
            expires: Seconds::new(60.0).ok(),
            priority: Some(3),
            compression: Some(Compression::Zstd),
            shadow: Some("other".to_owned()),
            ..TaskOptions::default()
        };
        let all: BTreeMap<String, Json> = Json::of(&full).unwrap().read().unwrap();
        let names: Vec<&str> = all.keys().map(String::as_str).collect();
        let mut known = TaskOptions::NAMES.to_vec();
        known.sort_unstable();
        assert_eq!(names, known);
        assert_eq!(TaskOptions::default().overridden(&all), Ok(full));
    }

    #[test]
    fn a_value_that_an_option_cannot_have_is_named() {
        let by = |name: &str, value: serde_json::Value| {
            let by = BTreeMap::from([(name.to_owned(), Json::from(value))]);
            TaskOptions::default().overridden(&by).unwrap_err().to_string()
        };
        assert!(by("rate_limit", "fast".into()).starts_with("rate_limit is \"fast\": "));
        assert!(by("max_retries", (-1).into()).starts_with("max_retries is -1: "));
        assert!(by("serializer", "pickle".into()).contains("`json` or `msgpack`"));
    }

    #[test]
    fn what_throws_names_is_expected() {
        let options =
            TaskOptions { throws: vec!["KeyError".to_owned(), "shop.SoldOut".to_owned()], ..TaskOptions::default() };
        let expects = |module: &str, class: &str| options.expects(&Exception::new(module, class, "no"));
        assert!(expects("builtins", "KeyError") && expects("shop", "SoldOut"));
        assert!(!expects("builtins", "ValueError") && !expects("other", "SoldOut"));
    }

    #[test]
    fn rates_are_celerys() {
        let rate = |text: &str| text.parse::<RateLimit>().unwrap().per_second();
        assert_eq!(rate("10/s"), Some(10.0));
        assert_eq!(rate("120/m"), Some(2.0));
        assert_eq!(rate("3600/h"), Some(1.0));
        assert_eq!(rate("2.5"), Some(2.5));
        assert_eq!(rate("0"), None);
        for bad in ["", "x", "10/d", "-1/s", "10/ss", "NaN"] {
            assert!(bad.parse::<RateLimit>().is_err(), "{bad}");
        }
    }
}

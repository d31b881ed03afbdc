//! What is to be sent? A task with arguments and options, or a signature; the same for `submit`, `run` and `exec`.

use std::io::Read;

use clap::Args;
use lovage_model::api::SubmitRequest;
use lovage_model::{Expires, Json, QueueName, Seconds, Signature, SignatureOptions, TaskId, TaskName, Timestamp};

use super::exit::Usage;
use super::value::{self, Stdin};

/// A task and what to call it with.
#[derive(Debug, Args)]
pub(crate) struct Send {
    /// Name of the task; its last part is enough while only one task ends in it
    #[arg(required_unless_present = "canvas")]
    task: Option<TaskName>,
    /// Positional arguments: JSON, else a string; @FILE, @base64:FILE and - read them (see below)
    #[arg(value_name = "ARG", allow_negative_numbers = true)]
    args: Vec<String>,
    /// Keyword arguments: a JSON object, @FILE or -
    #[arg(long, value_name = "JSON")]
    kwargs: Option<String>,
    /// Instead of TASK and ARG: a signature as Celery serialises it, in a file (or as JSON, or -)
    #[arg(long, value_name = "@FILE", conflicts_with_all = ["task", "args", "kwargs"])]
    canvas: Option<String>,
    #[command(flatten)]
    options: Options,
}

/// Celery's options.
#[derive(Debug, Args)]
#[command(next_help_heading = "Task options")]
pub(crate) struct Options {
    /// Run no earlier than this many seconds from now
    #[arg(long, value_name = "SECONDS", value_parser = seconds, conflicts_with = "eta")]
    countdown: Option<Seconds>,
    /// Run no earlier than at this time: ISO 8601, UTC if it has no offset
    #[arg(long, value_name = "TIME", value_parser = Timestamp::parse)]
    eta: Option<Timestamp>,
    /// Revoke instead of starting it after this: seconds from now, or a time
    #[arg(long, value_name = "SECONDS|TIME", value_parser = expires)]
    expires: Option<Expires>,
    /// 0 (first) to 9 (last)
    #[arg(long, value_name = "0-9", value_parser = clap::value_parser!(u8).range(0..=9))]
    priority: Option<u8>,
    /// Queue to go to
    #[arg(long)]
    queue: Option<QueueName>,
    /// Id the task shall have; sent twice, it runs once
    #[arg(long)]
    id: Option<TaskId>,
    /// Keep no result
    #[arg(long)]
    ignore_result: bool,
    #[command(flatten)]
    limits: Limits,
}

/// What one run may use.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Limits {
    /// Hard limit: after this many seconds the task is killed
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) time_limit: Option<Seconds>,
    /// Soft limit: after this many seconds the task is told
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) soft_time_limit: Option<Seconds>,
    /// Units of fuel it may burn; one is about one WebAssembly instruction
    #[arg(long, value_name = "N")]
    pub(crate) fuel: Option<u64>,
}

/// A span as it is typed.
pub(crate) fn seconds(text: &str) -> Result<Seconds, String> {
    let number: f64 = text.parse().map_err(|_| format!("{text:?} is not a number of seconds, such as 1.5"))?;
    Seconds::new(number).map_err(|error| error.to_string())
}

fn expires(text: &str) -> Result<Expires, String> {
    match text.parse::<f64>() {
        Ok(_) => seconds(text).map(Expires::In),
        Err(_) => Timestamp::parse(text).map(Expires::At),
    }
}

impl Send {
    /// What may be meant otherwise than it is sent.
    pub(crate) fn doubts(&self) -> Vec<String> {
        value::doubts(&self.args)
    }

    /// The body to send.
    pub(crate) fn request(self, stdin: &mut Stdin<impl Read>) -> anyhow::Result<SubmitRequest> {
        if let Some(canvas) = self.canvas {
            let mut signature = signature(&canvas, stdin)?;
            self.options.apply(&mut signature.options);
            return Ok(SubmitRequest { signature: Some(signature), ..SubmitRequest::default() });
        }
        let mut options = SignatureOptions::default();
        self.options.apply(&mut options);
        Ok(SubmitRequest {
            task: self.task,
            args: Some(value::arguments(&self.args, stdin)?),
            kwargs: Some(value::kwargs(self.kwargs.as_deref(), stdin)?),
            options: Some(options),
            signature: None,
        })
    }
}

impl Options {
    /// What was typed takes the place of what was there.
    fn apply(self, to: &mut SignatureOptions) {
        fn set<T>(to: &mut Option<T>, from: Option<T>) {
            if from.is_some() {
                *to = from;
            }
        }
        if self.countdown.is_some() || self.eta.is_some() {
            (to.countdown, to.eta) = (self.countdown, self.eta);
        }
        set(&mut to.expires, self.expires);
        set(&mut to.priority, self.priority);
        set(&mut to.queue, self.queue);
        set(&mut to.task_id, self.id);
        set(&mut to.ignore_result, self.ignore_result.then_some(true));
        set(&mut to.time_limit, self.limits.time_limit);
        set(&mut to.soft_time_limit, self.limits.soft_time_limit);
        set(&mut to.fuel, self.limits.fuel);
    }
}

/// A signature as it is typed.
pub(super) fn signature(text: &str, stdin: &mut Stdin<impl Read>) -> anyhow::Result<Signature> {
    let json: Json = value::document(text, "--canvas", stdin)?;
    json.read().map_err(|error| Usage::error(format!("--canvas: not a signature: {error}")))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        send: Send,
    }

    fn body(typed: &[&str]) -> String {
        let line = Line::try_parse_from([&["x"], typed].concat()).unwrap();
        serde_json::to_string(&line.send.request(&mut Stdin::new(&b""[..])).unwrap()).unwrap()
    }

    fn refused(typed: &[&str]) -> String {
        match Line::try_parse_from([&["x"], typed].concat()) {
            Ok(line) => line.send.request(&mut Stdin::new(&b""[..])).unwrap_err().to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_is_typed_is_what_is_sent() {
        let table: [(&[&str], &str); 6] = [
            (&["add", "1", "-2", "x"], r#"{"task":"add","args":[1,-2,"x"],"kwargs":{},"options":{}}"#),
            (&["add", "--kwargs", r#"{"y":1}"#], r#"{"task":"add","args":[],"kwargs":{"y":1},"options":{}}"#),
            (&["a", "--", "--x"], r#"{"task":"a","args":["--x"],"kwargs":{},"options":{}}"#),
            (
                &["a", "--countdown", "1.5", "--expires", "60", "--priority", "9", "--queue", "q", "--id", "i"],
                r#"{"task":"a","args":[],"kwargs":{},"options":{"task_id":"i","queue":"q","priority":9,"countdown":1.5,"expires":60.0}}"#,
            ),
            (
                &["a", "--time-limit", "2", "--soft-time-limit", "1", "--fuel", "5", "--ignore-result"],
                r#"{"task":"a","args":[],"kwargs":{},"options":{"time_limit":2.0,"soft_time_limit":1.0,"fuel":5,"ignore_result":true}}"#,
            ),
            (
                &["a", "--eta", "2026-11-21T12:00:00", "--expires", "2026-11-22T00:00:00+02:00"],
                r#"{"task":"a","args":[],"kwargs":{},"options":{"eta":"2026-11-21T12:00:00.000000+00:00","expires":"2026-11-21T22:00:00.000000+00:00"}}"#,
            ),
        ];
        for (typed, sent) in table {
            assert_eq!(body(typed), sent, "{typed:?}");
        }
    }

    #[test]
    fn a_signature_is_sent_with_what_was_typed_on_top() {
        let json = r#"{"task":"tour.add","args":[1],"options":{"countdown":5.0,"queue":"slow"}}"#;
        let sent = body(&["--canvas", json, "--queue", "fast", "--eta", "2026-11-21T00:00:00Z"]);
        let sent: serde_json::Value = serde_json::from_str(&sent).unwrap();
        assert_eq!(sent["signature"]["options"]["queue"], "fast");
        assert!(sent["signature"]["options"].get("countdown").is_none(), "the ETA takes its place: {sent}");
        assert_eq!(sent["signature"]["args"][0], 1);
    }

    #[test]
    fn nonsense_is_refused_with_its_place() {
        let table: [(&[&str], &str); 9] = [
            (&[], "<TASK>"),
            (&["no good"], "task name"),
            (&["a", "--countdown", "-1"], "--countdown"),
            (&["a", "--countdown", "soon"], "not a number of seconds"),
            (&["a", "--eta", "tomorrow"], "ISO 8601"),
            (&["a", "--priority", "10"], "--priority"),
            (&["a", "--countdown", "1", "--eta", "2026-11-21T00:00:00Z"], "cannot be used with"),
            (&["a", "--canvas", "{}"], "cannot be used with"),
            (&["--canvas", r#"{"task":"a","arg":[]}"#], "--canvas: not a signature: unknown field `arg`"),
        ];
        for (typed, says) in table {
            let error = refused(typed);
            assert!(error.contains(says), "{typed:?}: {error}");
        }
    }
}

//! Tasks that leave something outside: in a file, or on the Redis server of the suite.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use lovage_guest::prelude::*;
use serde_json::Value;

fn failed(error: impl std::fmt::Display) -> TaskError {
    TaskError::builtin("OSError", error.to_string())
}

/// Gives the server a command.
fn redis(command: &[&[u8]]) -> TaskResult<()> {
    let address = std::env::var("REDIS_PORT").map_err(failed)?;
    let mut stream = TcpStream::connect(format!("127.0.0.1:{address}")).map_err(failed)?;
    let mut request = format!("*{}\r\n", command.len()).into_bytes();
    for word in command {
        request.extend(format!("${}\r\n", word.len()).into_bytes());
        request.extend(*word);
        request.extend(b"\r\n");
    }
    stream.write_all(&request).map_err(failed)?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).map_err(failed)?;
    if answer.starts_with(':') { Ok(()) } else { Err(failed(answer)) }
}

fn rpush(key: &str, value: &[u8]) -> TaskResult<()> {
    redis(&[b"RPUSH", key.as_bytes(), value])
}

/// A value as a client of Redis writes it: texts and numbers by themselves, and what kombu tags as bytes.
fn written(value: &Value) -> TaskResult<Vec<u8>> {
    match value {
        Value::String(text) => Ok(text.clone().into_bytes()),
        Value::Number(number) => Ok(number.to_string().into_bytes()),
        Value::Object(tagged) if tagged.get("__type__") == Some(&json!("bytes")) => {
            Ok(tagged["__value__"].as_str().unwrap_or_default().as_bytes().to_vec())
        }
        other => Err(TaskError::raise("DataError", "redis.exceptions", [format!("Invalid input: {other}")])),
    }
}

#[task(name = "t.integration.tasks.write_to_file_and_return_int")]
pub(crate) fn write_to_file_and_return_int(file_name: String, i: i64) -> TaskResult<i64> {
    let mut file = OpenOptions::new().append(true).create(true).open(file_name).map_err(failed)?;
    writeln!(file, "{i}").map_err(failed)?;
    Ok(i)
}

#[task(name = "t.integration.tasks.sum_and_record")]
pub(crate) fn sum_and_record(ctx: &Context, values: Vec<i64>, redis_key: String) -> TaskResult<i64> {
    rpush(&redis_key, ctx.request().id.as_str().as_bytes())?;
    Ok(values.iter().sum())
}

#[task(name = "t.integration.tasks.redis_echo")]
pub(crate) fn redis_echo(message: Value, #[default("redis-echo")] redis_key: String) -> TaskResult<()> {
    rpush(&redis_key, &written(&message)?)
}

#[task(name = "t.integration.tasks.redis_echo_group_id")]
pub(crate) fn redis_echo_group_id(
    ctx: &Context,
    _of: Json,
    #[default("redis-group-ids")] redis_key: String,
) -> TaskResult<()> {
    let group = ctx.request().group.as_ref().map(ToString::to_string).unwrap_or_default();
    rpush(&redis_key, group.as_bytes())
}

#[task(name = "t.integration.tasks.redis_count")]
pub(crate) fn redis_count(#[default("redis-count")] redis_key: String) -> TaskResult<()> {
    redis(&[b"INCR", redis_key.as_bytes()])
}

/// What an errback is told of the task that failed.
#[derive(Serialize, Deserialize)]
pub(crate) struct Failed {
    id: String,
}

#[task(name = "t.integration.tasks.errback_old_style")]
pub(crate) fn errback_old_style(request_id: String) -> TaskResult<String> {
    redis(&[b"INCR", request_id.as_bytes()])?;
    Ok(request_id)
}

#[task(name = "t.integration.tasks.errback_new_style")]
pub(crate) fn errback_new_style(request: Failed, exc: Json, tb: Json) -> TaskResult<String> {
    let _ = (exc, tb);
    redis(&[b"INCR", request.id.as_bytes()])?;
    Ok(request.id)
}

#[task(name = "t.integration.tasks.errback_old_style_with_args")]
pub(crate) fn errback_old_style_with_args(request_id: String, label: String) -> TaskResult<()> {
    rpush(&request_id, label.as_bytes())
}

#[task(name = "t.integration.tasks.errback_new_style_with_args")]
pub(crate) fn errback_new_style_with_args(request: Failed, exc: Json, tb: Json, label: String) -> TaskResult<()> {
    let _ = (exc, tb);
    rpush(&request.id, label.as_bytes())
}

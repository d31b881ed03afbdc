//! Tasks that talk to their host while they run.

use lovage_guest::prelude::*;

use crate::plain::add;

/// Reports how far it is, in `steps` steps of `seconds` each.
#[task]
pub fn progress(ctx: &Context, #[default(10)] steps: u32, #[default(0.2)] seconds: f64) -> TaskResult<u32> {
    for current in 0..steps {
        ctx.update_state("PROGRESS", json!({"current": current, "total": steps}))?;
        ctx.sleep(seconds)?;
    }
    Ok(steps)
}

/// Fails that often before it works, and asks for a retry each time.
#[task(default_retry_delay = 1.0, max_retries = 5)]
pub fn flaky(ctx: &Context, #[default(2)] fails: u32) -> TaskResult<String> {
    let tried = ctx.request().retries;
    if tried < fails {
        ctx.warning(format_args!("attempt {} fails", tried + 1));
        return Err(ctx.retry().exc(TaskError::builtin("ConnectionError", "no answer")).into());
    }
    Ok(format!("worked after {tried} retries"))
}

/// Lets another task do the work under its own id.
#[task]
pub fn double(ctx: &Context, x: i64) -> TaskResult<()> {
    Err(ctx.replace(add::s(x, x)))
}

/// Sends `n` subtasks and returns their ids; it does not wait for them.
#[task]
pub fn fan_out(ctx: &Context, n: i64) -> TaskResult<Vec<AsyncResult>> {
    (0..n).map(|i| add::delay(ctx, i, i)).collect()
}

/// Works for `seconds`; once the soft time limit passes it returns what it has.
#[task]
pub fn careful(ctx: &Context, seconds: f64) -> TaskResult<String> {
    let mut done = 0.0;
    while done < seconds {
        match ctx.sleep(0.05) {
            Ok(()) => done += 0.05,
            Err(error) if error.is_soft_time_limit_exceeded() => return Ok(format!("had to stop after {done:.1} s")),
            Err(error) => return Err(error),
        }
    }
    Ok("all done".to_owned())
}

/// Sleeps, and fails with SoftTimeLimitExceeded if the soft limit passes first.
#[task]
pub fn sleepy(ctx: &Context, seconds: f64) -> TaskResult<()> {
    ctx.sleep(seconds)
}

#[cfg(test)]
mod tests {
    use lovage_guest::testing::{FakeHost, Outcome};

    use super::*;

    #[test]
    fn progress_counts_up() {
        let host = FakeHost::new();
        assert_eq!(host.run::<progress>((3, 0.5)).value::<u32>(), 3);
        let metas: Vec<String> = host.states().into_iter().map(|(_, meta)| meta.to_string()).collect();
        assert_eq!(metas[2], r#"{"current":2,"total":3}"#);
        assert_eq!(host.slept(), 1.5);
    }

    #[test]
    fn flaky_retries_until_it_works() {
        let first = FakeHost::new().run::<flaky>((2,));
        let why = first.retry().exc.clone().expect("it says why");
        assert_eq!(why.exception.to_string(), "ConnectionError: no answer");
        assert_eq!(FakeHost::new().retries(2).run::<flaky>((2,)).value::<String>(), "worked after 2 retries");
        let last = FakeHost::new().retries(5).run::<flaky>((9,));
        assert_eq!(last.exception().to_string(), "ConnectionError: no answer");
    }

    #[test]
    fn double_is_replaced_by_add() {
        let outcome = FakeHost::new().run::<double>((21,));
        let signature = outcome.replacement();
        assert_eq!((signature.task.as_str(), signature.args.as_str()), ("tour.add", "[21,21]"));
    }

    #[test]
    fn fan_out_sends_a_task_for_each() {
        let host = FakeHost::new();
        assert_eq!(host.run::<fan_out>((2,)).value::<Vec<String>>(), ["subtask-1", "subtask-2"]);
        assert_eq!(host.subtasks()[1].args.as_str(), "[1,1]");
    }

    #[test]
    fn careful_falls_back_and_sleepy_does_not() {
        let host = FakeHost::new().soft_time_limit(1.0);
        assert_eq!(host.run::<careful>((5,)).value::<String>(), "had to stop after 1.0 s");
        assert_eq!(host.run::<sleepy>((5,)).exception().exc_type, "SoftTimeLimitExceeded");
        assert_eq!(host.run::<sleepy>((0.5,)), Outcome::Returned(Json::null()));
    }
}

//! Tasks that are tried again, and that are told how they ended.

use lovage_guest::prelude::*;

/// Fails that often before it works, and leaves it to its options to try again.
#[task(autoretry_for = ["ConnectionError"], retry_backoff = 0.5, retry_backoff_max = 5, max_retries = 5)]
pub fn shaky(ctx: &Context, #[default(2)] fails: u32) -> TaskResult<String> {
    let tried = ctx.request().retries;
    if tried < fails {
        return Err(TaskError::builtin("ConnectionError", format!("attempt {} got no answer", tried + 1)));
    }
    Ok(format!("worked after {tried} retries"))
}

/// Does a page at a time: asks for the next attempt at once, and goes on with this one's work.
#[task(max_retries = None, default_retry_delay = 0.1)]
pub fn page_by_page(ctx: &Context, #[default(3)] pages: u32) -> TaskResult<String> {
    let page = ctx.request().retries + 1;
    if page < pages {
        ctx.retry_later(ctx.retry())?;
    }
    ctx.info(format_args!("page {page} of {pages}"));
    Ok(format!("did {page} pages"))
}

fn begins(ctx: &Context) {
    ctx.info("before_start");
}

fn succeeded(ctx: &Context, retval: &Json) {
    ctx.info(format_args!("on_success: {retval}"));
}

fn tried(ctx: &Context, exc: &Raised) {
    ctx.info(format_args!("on_retry: {}", exc.exception));
}

fn failed(ctx: &Context, exc: &Raised) {
    ctx.info(format_args!("on_failure: {}", exc.exception));
}

fn returned(ctx: &Context, status: &str, _retval: Retval<'_>) {
    ctx.info(format_args!("after_return: {status}"));
}

/// Ends as it is told (`well`, `badly`, `again`, `panic`), and logs what its handlers hear of it.
#[task(
    max_retries = 1,
    default_retry_delay = 0.1,
    before_start = begins,
    on_success = succeeded,
    on_retry = tried,
    on_failure = failed,
    after_return = returned
)]
pub fn told(ctx: &Context, #[default("well")] how: String) -> TaskResult<String> {
    match how.as_str() {
        "well" => Ok("all is well".to_owned()),
        "again" => Err(ctx.retry().exc(TaskError::builtin("ConnectionError", "no answer")).into()),
        "panic" => panic!("as it was told"),
        other => Err(TaskError::builtin("ValueError", other)),
    }
}

#[cfg(test)]
mod tests {
    use lovage_guest::testing::FakeHost;

    use super::*;

    #[test]
    fn shaky_is_tried_again_after_a_while() {
        let again = FakeHost::new().retries(1).random(0.5).run::<shaky>((2,));
        assert_eq!(again.retry().countdown, Some(0.5));
        assert_eq!(FakeHost::new().retries(2).run::<shaky>((2,)).value::<String>(), "worked after 2 retries");
    }

    #[test]
    fn pages_follow_each_other() {
        let first = FakeHost::new();
        assert_eq!(first.run::<page_by_page>(()).value::<String>(), "did 1 pages");
        assert!(first.retry_later().is_some());
        let last = FakeHost::new().retries(2);
        assert_eq!(last.run::<page_by_page>(()).value::<String>(), "did 3 pages");
        assert_eq!(last.retry_later(), None);
    }

    #[test]
    fn handlers_hear_how_it_ended() {
        let heard = |how: &str| {
            let host = FakeHost::new();
            let _ = host.run::<told>((how,));
            host.logs().into_iter().map(|(_, text)| text).collect::<Vec<_>>()
        };
        assert_eq!(heard("well"), ["before_start", "on_success: \"all is well\"", "after_return: SUCCESS"]);
        assert_eq!(heard("badly"), ["before_start", "on_failure: ValueError: badly", "after_return: FAILURE"]);
        assert_eq!(heard("again"), ["before_start", "on_retry: ConnectionError: no answer"]);
    }
}

//! Tasks that let others work: canvases, built and sent.

use lovage_guest::prelude::*;

use crate::plain::add;

/// Adds up numbers.
#[task]
pub fn total(numbers: Vec<i64>) -> i64 {
    numbers.iter().sum()
}

/// Adds up lists of numbers.
#[task]
pub fn grand_total(lists: Vec<Vec<i64>>) -> i64 {
    lists.iter().flatten().sum()
}

/// Is replaced by a chord: `n` additions at once, then the total of what they return.
#[task]
pub fn sums(ctx: &Context, #[default(10)] n: i64) -> TaskResult<i64> {
    Err(ctx.replace(chord((0..n).map(|i| add::s(i, i)), total::partial())))
}

/// Is replaced by a chain: `n` additions of 1, one after the other.
#[task]
pub fn steps(ctx: &Context, #[default(5)] n: i64) -> TaskResult<i64> {
    Err(ctx.replace(chain((0..n.max(1)).map(|i| if i == 0 { add::s(0, 1) } else { add::partial().arg(1) }))))
}

/// Is replaced by one task that makes `n` additions, one after the other, and returns the list of their sums.
#[task]
pub fn pairs(ctx: &Context, #[default(5)] n: i64) -> TaskResult<Vec<i64>> {
    Err(ctx.replace(add::starmap((0..n).map(|i| (i, i)))))
}

/// The same in chunks of `size`, which run at once, and the total of all.
#[task]
pub fn chunked(ctx: &Context, #[default(10)] n: i64, #[default(3)] size: usize) -> TaskResult<i64> {
    Err(ctx.replace(add::chunks((0..n).map(|i| (i, i)), size) | grand_total::partial()))
}

/// As a part of a chord: adds a part to it, so that the body gets a value more.
#[task]
pub fn grow(ctx: &Context, x: i64) -> TaskResult<i64> {
    ctx.add_to_chord(add::s(x, 1))?;
    Ok(x)
}

/// Sends a group of `n` additions that can be found, and revoked, by the stamp `batch`.
#[task]
pub fn stamped(ctx: &Context, batch: String, #[default(3)] n: i64) -> TaskResult<AsyncResult> {
    group((0..n).map(|i| add::s(i, i))).stamp("batch", batch).delay(ctx)
}

/// Divides, and lets `hear` know what became of it.
#[task]
pub fn linked(ctx: &Context, x: f64, y: f64) -> TaskResult<AsyncResult> {
    let divide = crate::plain::divide::s(x, y);
    divide.link(hear::partial()).link_error(hear::partial()).delay(ctx)
}

/// Logs what it is told: a result, or the id of a task that failed.
#[task]
pub fn hear(ctx: &Context, told: Json) -> Json {
    ctx.info(format_args!("told {told}"));
    told
}

#[cfg(test)]
mod tests {
    use lovage_guest::testing::FakeHost;

    use super::*;

    #[test]
    fn canvases_take_the_place_of_a_task() {
        let host = FakeHost::new();
        let sums = host.run::<sums>((3,));
        assert_eq!(sums.replacement().subtask_type.as_deref(), Some("chord"));
        let steps = host.run::<steps>((3,)).replacement().kwargs.to_string();
        assert_eq!(steps.matches("tour.add").count(), 3);
        assert_eq!(host.run::<pairs>((2,)).replacement().task.as_str(), "celery.starmap");
        assert_eq!(host.run::<chunked>(()).replacement().task.as_str(), "celery.chain");
        assert_eq!(host.run::<total>(([1, 2, 3],)).value::<i64>(), 6);
        assert_eq!(host.run::<grand_total>(([[1, 2], [3, 4]],)).value::<i64>(), 10);
    }

    #[test]
    fn a_part_grows_its_chord_and_nothing_else_does() {
        assert_eq!(FakeHost::new().run::<grow>((1,)).exception().exc_type, "ValueError");
        let host = FakeHost::new().request(|request| request.chord = "g".parse().ok());
        assert_eq!(host.run::<grow>((1,)).value::<i64>(), 1);
        assert_eq!(host.added_to_chord()[0].args.as_str(), "[1,1]");
    }

    #[test]
    fn what_is_sent_says_what_follows() {
        let host = FakeHost::new();
        assert_eq!(host.run::<stamped>(("b1",)).value::<String>(), "subtask-1");
        assert_eq!(host.subtasks()[0].kwargs.to_string().matches(r#""batch":"b1""#).count(), 3);
        assert_eq!(host.run::<linked>((1, 2)).value::<String>(), "subtask-2");
        assert_eq!(host.subtasks()[1].options.link_error[0].task.as_str(), "tour.hear");
        assert_eq!(host.run::<hear>((7,)).value::<i64>(), 7);
    }
}

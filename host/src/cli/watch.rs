//! What happens until the task has ended? The wait for its result decides when that is; its events only wake those who
//! look. A lost event never loses a line or a result.

use std::time::Duration;

use lovage_client::{AsyncResult, EventStream};
use lovage_model::{Event, ResultMeta};

use super::live::Live;
use super::logs::{Line, Tail};

/// How long further events are awaited before the log is read again: a burst of lines is one read.
const BURST: Duration = Duration::from_millis(50);
/// The most that are gathered so.
const BURST_MOST: usize = 100;

/// Shows lines of a log, above the picture if there is one.
pub(crate) type Printer<'a> = dyn FnMut(Option<&Live>, &[Line]) -> anyhow::Result<()> + 'a;

/// What to do with what is seen.
pub(crate) struct Watch<'a> {
    /// The picture of the task, if there is one.
    pub(crate) live: Option<&'a mut Live>,
    /// Takes the lines of its log, if they are wanted.
    pub(crate) lines: Option<&'a mut Printer<'a>>,
}

/// Watches a task until it has ended, or the time is over.
pub(crate) async fn until_ended(
    result: &AsyncResult,
    timeout: Option<Duration>,
    mut watch: Watch<'_>,
) -> anyhow::Result<ResultMeta> {
    let mut tail = Tail::default();
    let mut events = Some(result.events());
    let ended = result.wait(timeout);
    tokio::pin!(ended);
    watch.read_log(result, &mut tail).await?;
    let meta = loop {
        tokio::select! {
            meta = &mut ended => break meta?,
            event = next(&mut events) => {
                watch.picture(&event);
                if watch.lines.is_some() {
                    watch.gather(&mut events).await;
                    watch.read_log(result, &mut tail).await?;
                }
            }
        }
    };
    watch.read_log(result, &mut tail).await?;
    Ok(meta)
}

/// The next event; never, once there are no more or they cannot be had.
async fn next(events: &mut Option<EventStream>) -> Event {
    if let Some(stream) = events {
        if let Ok(Some(event)) = stream.next().await {
            return event;
        }
        *events = None;
    }
    std::future::pending().await
}

impl Watch<'_> {
    fn picture(&mut self, event: &Event) {
        if let Some(live) = &mut self.live {
            live.event(&event.kind);
        }
    }

    async fn gather(&mut self, events: &mut Option<EventStream>) {
        for _ in 0..BURST_MOST {
            match tokio::time::timeout(BURST, next(events)).await {
                Ok(event) => self.picture(&event),
                Err(_) => return,
            }
        }
    }

    async fn read_log(&mut self, result: &AsyncResult, tail: &mut Tail) -> anyhow::Result<()> {
        let Some(lines) = &mut self.lines else { return Ok(()) };
        lines(self.live.as_deref(), &tail.news(&result.logs().await?))
    }
}

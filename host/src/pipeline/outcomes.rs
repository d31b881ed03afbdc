//! What has been settled, and waits to be recorded: each tenant's in turn, and never too much of one.
//!
//! What one tenant's attempts leave behind may be large. So what waits counts in bytes; an attempt whose tenant has too much here
//! waits with its own, and counts as one that the host has; and whose outcomes have taken least of the store, by weight, is next.

use lovage_model::{Arrival, AttemptLog, Exception, Followed, Inline, Message, Settlement, Verdict};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::Listed;
use crate::attempt::record_bytes;
use crate::canvas::call_bytes;
use crate::fair::Fair;
use crate::held::Rooms;
use crate::store::{Lease, json_bytes};

/// What of one tenant may wait, in KiB; one outcome may be larger.
const TENANT_KIB: u32 = 16 << 10;
/// Outcomes that may be on their way; then those who bring more wait, and no more messages are leased.
const ON_THEIR_WAY: usize = 4096;
/// The most in one transaction, in outcomes and, unless it is one alone, in bytes.
const BATCH: usize = 1024;
const BATCH_BYTES: usize = 1 << 20;
/// What an outcome takes at least, and each message that it sends or call that is linked to one takes besides what it says.
const LEAST_BYTES: usize = 512;

/// An attempt that has been settled, not yet recorded.
pub(super) struct Settled {
    pub(super) lease: Lease,
    /// Its tenant's share.
    pub(super) weight: u32,
    pub(super) settlement: Settlement,
    pub(super) listed: Listed,
}

/// One that waits, in the room that it takes.
struct Waiting {
    settled: Settled,
    bytes: usize,
    _room: Option<OwnedSemaphorePermit>,
}

/// The way to who records them.
#[derive(Clone)]
pub struct Outcomes {
    way: mpsc::Sender<Waiting>,
    rooms: Rooms,
}

/// Where they wait.
pub(super) struct Inbox {
    came: mpsc::Receiver<Waiting>,
    lines: Fair<Waiting>,
}

/// An inbox, and the way to it.
pub(super) fn inbox() -> (Outcomes, Inbox) {
    let (way, came) = mpsc::channel(ON_THEIR_WAY);
    (Outcomes { way, rooms: Rooms::of(TENANT_KIB) }, Inbox { came, lines: Fair::default() })
}

impl Outcomes {
    /// Waits until one has room with those of its tenant. Returns about how many bytes it takes.
    pub(super) async fn send(&self, settled: Settled) -> usize {
        let bytes = bytes(&settled.settlement);
        let kib = u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX);
        let room = self.rooms.enter(&settled.lease.tenant, kib).await;
        match self.way.reserve().await {
            Ok(place) => place.send(Waiting { settled, bytes, _room: room }),
            // The house is closing: the message is delivered again when it opens.
            Err(_) => tracing::warn!("an outcome came after the end, and is not recorded"),
        }
        bytes
    }
}

impl Inbox {
    /// What is to be recorded together, when there is something; none: nobody can send any more.
    pub(super) async fn next(&mut self) -> Option<Together> {
        if self.lines.is_empty() {
            let first = self.came.recv().await?;
            self.line_up(first);
        }
        while let Ok(more) = self.came.try_recv() {
            self.line_up(more);
        }
        let (mut together, mut all_bytes) = (Together::default(), 0);
        // A large one is recorded alone: the small ones before it need not wait until that is done.
        while together.settled.len() < BATCH
            && let Some(next) = self.lines.peek()
            && (all_bytes == 0 || all_bytes + next.bytes <= BATCH_BYTES)
        {
            let Some((tenant, Waiting { settled, bytes, _room: room })) = self.lines.pop() else { break };
            self.lines.charge(&tenant, bytes as u64 / u64::from(settled.weight.max(1)));
            all_bytes += bytes;
            together.settled.push(settled);
            together._rooms.extend(room);
        }
        Some(together)
    }

    fn line_up(&mut self, one: Waiting) {
        let tenant = one.settled.lease.tenant.clone();
        self.lines.push(&tenant, one);
    }
}

/// What is recorded together, in the room that it takes until then.
#[derive(Default)]
pub(super) struct Together {
    pub(super) settled: Vec<Settled>,
    _rooms: Vec<OwnedSemaphorePermit>,
}

/// About how much is written for it.
fn bytes(settlement: &Settlement) -> usize {
    let AttemptLog { stdout, stderr, records, .. } = &settlement.log;
    let records: usize = records.iter().map(record_bytes).sum();
    let sent: usize = settlement.publish.tasks.iter().map(|one| of_message(&one.message)).sum();
    let arrival = settlement.arrival.as_ref().map_or(0, Arrival::bytes);
    let text = |text: &Option<String>| text.as_deref().map_or(0, str::len);
    let outcome = match &settlement.verdict {
        Verdict::Success { result } => result.as_str().len(),
        Verdict::Failure { exception, traceback, .. } => of_exception(exception) + text(traceback),
        Verdict::Retry { exception, traceback, again } => of_exception(exception) + text(traceback) + of_message(again),
        Verdict::Replaced { by } => of_message(&by.message),
        Verdict::Revoked { .. } | Verdict::Ignored | Verdict::Requeued | Verdict::HandedOn { .. } => 0,
    };
    LEAST_BYTES + stdout.len() + stderr.len() + records + sent + of_inline(&settlement.inline) + arrival + outcome
}

/// The same for what becomes of a task that waited.
pub(super) fn of_followed(followed: &Followed) -> usize {
    match followed {
        Followed::Released(message) => of_message(message),
        Followed::Settled(settlement) => bytes(settlement),
    }
}

/// The same for what follows in Celery's own form.
pub(super) fn of_inline(inline: &Inline) -> usize {
    let messages: usize = inline.messages.iter().map(of_message).sum();
    let ends: usize = inline.ends.iter().map(|end| LEAST_BYTES + of_exception(&end.exception)).sum();
    let parts: usize = inline.parts.iter().map(|part| LEAST_BYTES + part.result.as_str().len()).sum();
    messages + ends + parts
}

fn of_exception(exception: &Exception) -> usize {
    exception.exc_message.as_str().len()
}

/// A message with all that it carries for others.
pub(super) fn of_message(message: &Message) -> usize {
    let Message { args, kwargs, callbacks, errbacks, embed, .. } = message;
    let links: usize = callbacks.iter().chain(errbacks).map(|call| LEAST_BYTES + call_bytes(call)).sum();
    let carried = message.named_bytes() + links + embed.as_deref().map_or(0, json_bytes);
    LEAST_BYTES + args.as_str().len() + kwargs.as_str().len() + carried
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::task::Poll;

    use lovage_model::{Json, Planned, Signature, Timestamp};

    use super::*;
    use crate::pipeline::Running;
    use crate::store::LeaseKey;

    fn settled(running: &Arc<Running>, tenant: &str, id: usize, result_bytes: usize) -> Settled {
        let message = Message::new(format!("{tenant}-{id}").parse().unwrap(), "t".parse().unwrap());
        let key = LeaseKey { task: id as i64, token: 1 };
        let lease = Lease { key, tenant: tenant.parse().unwrap(), message, deliveries: 1 };
        let result = Json::of(&"x".repeat(result_bytes)).unwrap();
        let settlement = Settlement::of(Verdict::Success { result }, Timestamp::from_micros(1));
        let listed = running.list(&lease);
        Settled { lease, weight: 1, settlement, listed }
    }

    fn tenants(together: &Together) -> Vec<&str> {
        together.settled.iter().map(|settled| settled.lease.tenant.as_str()).collect()
    }

    #[tokio::test]
    async fn large_outcomes_of_one_are_no_line_for_another_to_stand_in() {
        let (running, (outcomes, mut inbox)) = (Arc::default(), inbox());
        for id in 0..5 {
            outcomes.send(settled(&running, "large", id, 2 << 20)).await;
        }
        assert_eq!(tenants(&inbox.next().await.unwrap()), ["large"]);
        for id in 0..100 {
            outcomes.send(settled(&running, "small", id, 10)).await;
        }
        let next = inbox.next().await.unwrap();
        let next = tenants(&next);
        assert_eq!(next, ["small"; 100]);
        drop(outcomes);
        let mut left = 0;
        while let Some(together) = inbox.next().await {
            left += together.settled.len();
        }
        assert_eq!(left + next.len(), 104);
    }

    #[test]
    fn all_that_is_written_counts() {
        let large = Json::of(&"x".repeat(1_000_000)).unwrap();
        let message = || Message::new("a".parse().unwrap(), "t".parse().unwrap());
        let call = Signature::new("t".parse().unwrap(), large.clone());
        let named = BTreeMap::from([("n".to_owned(), large.clone())]);
        let embed = lovage_model::Embed { properties: large.clone(), ..Default::default() };
        let messages = [
            Message { callbacks: vec![call.clone()], ..message() },
            Message { errbacks: vec![call], ..message() },
            Message { headers: named.clone(), ..message() },
            Message { stamps: named.clone(), ..message() },
            Message { overrides: named, ..message() },
            Message { embed: Some(Box::new(embed)), ..message() },
        ];
        let settlement = |verdict| Settlement::of(verdict, Timestamp::from_micros(1));
        for message in messages {
            let mut settlement = settlement(Verdict::Ignored);
            settlement.publish.tasks.push(Planned { message, awaits: None });
            assert!(bytes(&settlement) > 1_000_000);
        }
        let exception = Exception { exc_message: large, ..Exception::new("m", "E", "") };
        let failed = Verdict::Failure { exception, traceback: None, fault: None };
        assert!(bytes(&settlement(failed)) > 1_000_000);
    }

    #[tokio::test]
    async fn who_has_too_much_waiting_waits_with_it_and_nobody_else_does() {
        let (running, (outcomes, mut inbox)) = (Arc::default(), inbox());
        for id in 0..4 {
            outcomes.send(settled(&running, "large", id, 4_000_000)).await;
        }
        let mut fifth = Box::pin(outcomes.send(settled(&running, "large", 4, 4_000_000)));
        let waits = std::future::poll_fn(|cx| Poll::Ready(fifth.as_mut().poll(cx).is_pending())).await;
        assert!(waits, "16 MiB of it are there already");
        outcomes.send(settled(&running, "small", 0, 10)).await;
        drop(inbox.next().await.unwrap());
        fifth.await;
        // One that is larger than the room takes all of it.
        outcomes.send(settled(&running, "huge", 0, 20 << 20)).await;
    }
}

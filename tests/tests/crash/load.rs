//! Clients that send as fast as they can until nobody answers.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lovage_client::Client;
use lovage_model::TaskId;
use lovage_model::api::BatchItem;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::dice::Dice;
use crate::promise::{Kind, Promises};

const CLIENTS: u64 = 4;
const BATCH: u64 = 25;
/// The kill comes somewhere between the first of these acknowledgements and the last.
const PROMISED: (u64, u64) = (80, 400);
const THEN_MILLISECONDS: u64 = 40;

pub(crate) struct Load {
    pub(crate) round: u64,
    pub(crate) client: Client,
}

/// One client.
struct Sender {
    name: String,
    client: Client,
    dice: Dice,
    promises: Arc<Mutex<Promises>>,
    told: watch::Sender<usize>,
}

impl Load {
    /// Sends until `kill` has been called and nobody answers any more.
    pub(crate) async fn until_killed(self, promises: Promises, dice: &mut Dice, kill: impl FnOnce()) -> Promises {
        let before = promises.len();
        let enough = before + usize::try_from(PROMISED.0 + dice.below(PROMISED.1 - PROMISED.0)).unwrap();
        let pause = Duration::from_micros(dice.below(THEN_MILLISECONDS * 1000));
        let promises = Arc::new(Mutex::new(promises));
        let (told, mut promised) = watch::channel(before);
        let mut senders = JoinSet::new();
        for number in 0..CLIENTS {
            let sender = Sender {
                name: format!("{}-{number}", self.round),
                // Who is killed is not waited for.
                client: self.client.clone().with_patience(Duration::ZERO),
                dice: dice.split(),
                promises: Arc::clone(&promises),
                told: told.clone(),
            };
            senders.spawn(sender.send());
        }
        drop(told);
        promised.wait_for(|count| *count >= enough).await.expect("the daemon takes tasks");
        // A kill may come at any moment: this is no wait for something.
        tokio::time::sleep(pause).await;
        kill();
        senders.join_all().await;
        Arc::into_inner(promises).expect("all have ended").into_inner().unwrap()
    }
}

impl Sender {
    async fn send(mut self) {
        let mut count = 0;
        loop {
            count += 1;
            let answered = match self.dice.below(6) {
                0 => self.send_batch().await,
                _ => self.send_one(count).await,
            };
            if !answered {
                return;
            }
            let promised = self.promises.lock().unwrap().len();
            self.told.send_replace(promised);
        }
    }

    /// Whether it was answered.
    async fn send_one(&mut self, count: u64) -> bool {
        let (id, kind) = (TaskId::new(format!("{}-{count}", self.name)).unwrap(), Kind::any(&mut self.dice));
        let sent = self.client.apply_async(kind.call().task_id(id.clone())).await;
        let mut promises = self.promises.lock().unwrap();
        match sent {
            Ok(_) => promises.acknowledged(id, kind),
            Err(ref error) if error.is_retryable() => promises.unanswered(id, kind),
            Err(error) => panic!("{id}: {error}"),
        }
        sent.is_ok()
    }

    /// Ids come with the answer: without one nothing was promised.
    async fn send_batch(&mut self) -> bool {
        let kinds: Vec<Kind> = (0..BATCH).map(|_| Kind::any(&mut self.dice)).collect();
        let calls = kinds.iter().map(|kind| kind.call().build().unwrap()).collect();
        let Ok(reply) = self.client.submit_batch(calls).await else { return false };
        assert_eq!(reply.results.len(), kinds.len());
        let mut promises = self.promises.lock().unwrap();
        for (item, kind) in reply.results.into_iter().zip(kinds) {
            match item {
                BatchItem::Accepted(accepted) => promises.acknowledged(accepted.id, kind),
                BatchItem::Refused(problem) => panic!("{problem:?}"),
            }
        }
        true
    }
}

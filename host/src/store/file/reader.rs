//! Who answers questions while the writer waits for the disk? Threads with read-only connections of their own.
//!
//! Invariant: a question sees one state of the store: it runs in one read transaction, begun after it was asked, so it
//! sees what its asker has written.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::fault::Faults;
use super::schema::open_for_reading;
use super::writer::stopped;
use crate::store::Result;

type Question = Box<dyn FnOnce(&Connection, &Faults) + Send>;

/// The way to the threads. They end when it is closed or dropped.
pub(super) struct Readers {
    questions: Mutex<Option<mpsc::Sender<Question>>>,
}

impl Readers {
    pub(super) fn start(path: &Path, faults: &Faults, threads: usize) -> Result<Self> {
        let (questions, inbox) = mpsc::channel::<Question>();
        let inbox = Arc::new(Mutex::new(inbox));
        for _ in 0..threads {
            let (db, faults, inbox) = (open_for_reading(path, faults)?, faults.clone(), inbox.clone());
            std::thread::Builder::new()
                .name("store-reader".to_owned())
                .spawn(move || {
                    while let Some(question) = next(&inbox) {
                        question(&db, &faults);
                    }
                })
                .map_err(|error| Faults::io(path, &error))?;
        }
        Ok(Self { questions: Mutex::new(Some(questions)) })
    }

    /// Asks a question.
    pub(super) async fn run<T, F>(&self, ask: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let question: Question = Box::new(move |db, faults| {
            if reply.is_closed() {
                return;
            }
            let answer = in_one_state(db, ask).map_err(|error| faults.explain(&error));
            // Who does not wait any more does not mind.
            let _ = reply.send(answer);
        });
        self.send(question)?;
        answer.await.map_err(|_| stopped())?
    }

    fn send(&self, question: Question) -> Result<()> {
        let questions = self.questions.lock().unwrap_or_else(PoisonError::into_inner);
        questions.as_ref().and_then(|questions| questions.send(question).ok()).ok_or_else(stopped)
    }

    /// Ends the threads, after what was asked already.
    pub(super) fn close(&self) {
        self.questions.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

fn next(inbox: &Mutex<mpsc::Receiver<Question>>) -> Option<Question> {
    inbox.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

fn in_one_state<T>(db: &Connection, ask: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    let reading = db.unchecked_transaction()?;
    let answer = ask(&reading)?;
    reading.finish()?;
    Ok(answer)
}

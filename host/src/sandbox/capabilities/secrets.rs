//! `lovage:task/secrets` for guests: the host is asked for each.

use lovage_model::{Exception, exc_module};

use super::super::bindings::lovage::task::secrets;
use super::super::guest::Guest;
use super::super::imports::{self, answer};
use crate::attempt::{Answer, Ask};
use crate::clock;

impl secrets::Host for Guest {
    async fn get(&mut self, name: String) -> imports::Answer<Option<String>> {
        if let Err(told) = self.check_soft_limit(clock::instant()) {
            return answer(Err(told));
        }
        answer(match self.progress.ask(Ask::Secret(name)).await {
            Answer::Secret(found) => found.map_err(|why| Exception::new(exc_module::BUILTINS, "RuntimeError", why)),
            _ => Ok(None),
        })
    }
}

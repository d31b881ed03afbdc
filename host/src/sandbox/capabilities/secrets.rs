//! `lovage:task/secrets` for guests: the host is asked for each.

use lovage_model::{Exception, SecretName, exc_module};

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
        // What cannot be the name of one was not set, and may be very long.
        if name.parse::<SecretName>().is_err() {
            return answer(Ok(None));
        }
        answer(match self.progress.ask(Ask::Secret(name)).await {
            Answer::Secret(found) => found.map_err(|why| Exception::new(exc_module::BUILTINS, "RuntimeError", why)),
            _ => Ok(None),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use lovage_model::Digest;

    use super::super::tests::Unasked;
    use super::*;
    use crate::attempt::Grants;
    use crate::sandbox::admission::question;
    use crate::sandbox::guest::Deadline;

    #[tokio::test]
    async fn what_cannot_be_the_name_of_a_secret_is_not_asked_for() {
        let grants = Grants::of_time(Duration::from_secs(60));
        let deadline = Deadline::start(&grants, clock::instant());
        let mut guest = Guest::new(question(&Digest::from_bytes(&[7; 32])), grants, Arc::new(Unasked), deadline);
        for name in ["", "a b", &"a".repeat(1 << 20)] {
            assert!(matches!(secrets::Host::get(&mut guest, name.to_owned()).await, Ok(Ok(None))));
        }
    }
}

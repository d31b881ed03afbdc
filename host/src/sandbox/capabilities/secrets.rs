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

    use lovage_model::{Digest, Json, LogRecord};

    use super::*;
    use crate::attempt::{Answered, Grants, Progress};
    use crate::sandbox::admission::question;
    use crate::sandbox::guest::Deadline;

    /// Whom nothing may be asked.
    struct Unasked;

    impl Progress for Unasked {
        fn state(&self, _: &str, _: Json) {}
        fn wrote(&self, _: &'static str, _: &[u8]) {}
        fn logged(&self, _: &LogRecord) {}
        fn event(&self, _: &str, _: Json) {}
        fn ask(&self, ask: Ask) -> Answered {
            panic!("it is asked for {ask:?}")
        }
    }

    #[tokio::test]
    async fn what_cannot_be_the_name_of_a_secret_is_not_asked_for() {
        let grants = Grants {
            fuel: None,
            memory_bytes: 0,
            soft_limit: None,
            hard_limit: Duration::from_secs(60),
            output_bytes: 0,
            payload_bytes: 0,
            subtasks: 0,
            weight: 1,
            overhead: Duration::ZERO,
            handler_limit: Duration::ZERO,
            handler_fuel: None,
            capabilities: Arc::default(),
        };
        let deadline = Deadline::start(&grants, clock::instant());
        let mut guest = Guest::new(question(&Digest::from_bytes(&[7; 32])), grants, Arc::new(Unasked), deadline);
        for name in ["", "a b", &"a".repeat(1 << 20)] {
            assert!(matches!(secrets::Host::get(&mut guest, name.to_owned()).await, Ok(Ok(None))));
        }
    }
}

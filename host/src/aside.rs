//! What is worked out where nobody else waits for it?
//!
//! The daemon's runtime has few threads, since nothing on it computes for long. What may, such as hashing a component or expanding a
//! canvas, does so on a thread apart.

/// Works something out on a thread apart. A panic in it is one here; if the runtime ends meanwhile, this does not return.
pub async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Who waits ends with the runtime.
            Err(_) => std::future::pending().await,
        },
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::aside;

    #[tokio::test]
    async fn what_comes_of_it_comes_here_a_panic_as_well() {
        let here = std::thread::current().id();
        assert_ne!(aside(|| std::thread::current().id()).await, here);
        let panic = std::panic::AssertUnwindSafe(aside(|| panic!("in it"))).catch_unwind().await.unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"in it"));
    }
}

//! What is worked out where nobody else waits for it?
//!
//! The daemon's runtime has few threads, since nothing on it computes for long. What may, such as hashing a component or expanding a
//! canvas, does so on a thread apart. And what must come to its end does not end with whoever waits for it.

use tokio::task::JoinHandle;

/// Works something out on a thread apart. A panic in it is one here; if the runtime ends meanwhile, this does not return.
pub async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    came_of(tokio::task::spawn_blocking(work)).await
}

/// Does something to its end, though whoever waits for it may give up before. A panic in it is one here, as above.
pub async fn to_the_end<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    came_of(tokio::spawn(work)).await
}

async fn came_of<T>(task: JoinHandle<T>) -> T {
    match task.await {
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

    use super::{aside, to_the_end};

    #[tokio::test]
    async fn what_comes_of_it_comes_here_a_panic_as_well() {
        let here = std::thread::current().id();
        assert_ne!(aside(|| std::thread::current().id()).await, here);
        let panic = std::panic::AssertUnwindSafe(aside(|| panic!("in it"))).catch_unwind().await.unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"in it"));
    }

    #[tokio::test]
    async fn what_must_come_to_its_end_does_though_nobody_waits() {
        let (go, gone) = tokio::sync::oneshot::channel::<()>();
        let (done, is_done) = tokio::sync::oneshot::channel();
        let work = to_the_end(async move {
            let _ = gone.await;
            done.send(7)
        });
        assert!(work.now_or_never().is_none());
        drop(go);
        assert_eq!(is_done.await, Ok(7));
        assert_eq!(to_the_end(async { 8 }).await, 8);
    }
}

//! The timer with which hyper bounds the arrival of a request's head.
//!
//! hyper makes a new sleep for every request, and registering one takes a lock that all connections share.
//! Here a connection keeps one sleep and moves its deadline, which is an atomic write.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use hyper::rt::{Sleep, Timer};

/// The timer of one connection.
#[derive(Clone, Default)]
pub(super) struct ConnectionTimer {
    /// Created when it is first polled. It is not polled between requests, so it may fire without effect.
    sleep: Arc<Mutex<Option<Pin<Box<tokio::time::Sleep>>>>>,
}

/// A deadline on the connection's sleep. The deadline that was polled last is in force.
struct Deadline {
    timer: ConnectionTimer,
    at: tokio::time::Instant,
}

impl Timer for ConnectionTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.until(tokio::time::Instant::now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        self.until(deadline.into())
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into()
    }
}

impl ConnectionTimer {
    fn until(&self, at: tokio::time::Instant) -> Pin<Box<dyn Sleep>> {
        let timer = self.clone();
        Box::pin(Deadline { timer, at })
    }
}

impl Sleep for Deadline {}

impl Future for Deadline {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.timer.sleep.lock();
        let mut sleep = sleep.unwrap_or_else(PoisonError::into_inner);
        let sleep = sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(self.at)));
        if sleep.deadline() != self.at {
            sleep.as_mut().reset(self.at);
        }
        sleep.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn every_deadline_fires_in_time() {
        let timer = ConnectionTimer::default();
        let start = tokio::time::Instant::now();
        for (seconds, elapsed) in [(3, 3), (1, 4), (10, 14)] {
            // An abandoned deadline does not affect the next one.
            let abandoned = timer.sleep(Duration::from_secs(2 * seconds));
            assert!(
                tokio::time::timeout(Duration::ZERO, abandoned)
                    .await
                    .is_err()
            );
            timer.sleep(Duration::from_secs(seconds)).await;
            assert_eq!(start.elapsed().as_secs(), elapsed);
        }
    }
}

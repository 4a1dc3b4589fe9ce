//! Bounds how many large payloads are written at a time. Gigabytes to thousands of sockets at once overflow the
//! network's queues, and most of them arrive late.

use std::{
    collections::VecDeque,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

/// A bounded number of slots for large payloads.
pub(super) struct WriteSlots {
    free: Arc<Semaphore>,
    max_duration: Duration,
    /// The slots in use, oldest first, with the time at which each may be taken away. No task watches the times. A
    /// request that waits for a slot does.
    in_use: Mutex<VecDeque<(Instant, Weak<SlotPermit>)>>,
}

/// The semaphore permit of a slot; `None` once it was taken away.
type SlotPermit = Mutex<Option<OwnedSemaphorePermit>>;

/// The slot of one large payload. It is released when it is dropped, or taken away when others wait and the client has
/// been too slow. That client continues without a slot.
pub(super) struct WriteSlot {
    _permit: Arc<SlotPermit>,
}

impl WriteSlots {
    /// Creates `at_once_max` slots. While others wait, a slot is released after `max_duration`.
    pub(super) fn new(at_once_max: usize, max_duration: Duration) -> Self {
        Self {
            free: Arc::new(Semaphore::new(at_once_max)),
            max_duration,
            in_use: Mutex::default(),
        }
    }

    /// Waits for a slot, in the order of the calls.
    pub(super) async fn take(&self) -> WriteSlot {
        let mut free = pin!(Arc::clone(&self.free).acquire_owned());
        let permit = loop {
            let next_expiry = self.release_expired();
            if let Ok(permit) = tokio::time::timeout_at(next_expiry, free.as_mut()).await {
                break permit.expect("the semaphore is never closed");
            }
        };
        let permit = Arc::new(Mutex::new(Some(permit)));
        let expiry = Instant::now() + self.max_duration;
        self.in_use().push_back((expiry, Arc::downgrade(&permit)));
        WriteSlot { _permit: permit }
    }

    /// Releases the slots that have lasted too long. Returns the time at which the next one will have.
    fn release_expired(&self) -> Instant {
        let now = Instant::now();
        let mut in_use = self.in_use();
        while let Some((expiry, permit)) = in_use.front() {
            match permit.upgrade() {
                Some(permit) if *expiry <= now => {
                    permit.lock().unwrap_or_else(PoisonError::into_inner).take();
                }
                Some(_) => return *expiry,
                None => {}
            }
            in_use.pop_front();
        }
        now + self.max_duration
    }

    fn in_use(&self) -> MutexGuard<'_, VecDeque<(Instant, Weak<SlotPermit>)>> {
        self.in_use.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn slot_of_a_client_that_does_not_read_is_taken_away() {
        let slots = WriteSlots::new(1, Duration::from_secs(5));
        let start = Instant::now();
        let slow = slots.take().await;
        let _next = slots.take().await;
        assert_eq!(start.elapsed(), Duration::from_secs(5));
        drop(slow);
    }

    #[tokio::test(start_paused = true)]
    async fn released_slots_are_forgotten() {
        let slots = WriteSlots::new(2, Duration::from_secs(5));
        let slow = slots.take().await;
        for _ in 0..100 {
            drop(slots.take().await);
        }
        tokio::time::advance(Duration::from_secs(5)).await;
        drop(slots.take().await);
        assert_eq!(slots.in_use().len(), 1);
        drop(slow);
    }
}

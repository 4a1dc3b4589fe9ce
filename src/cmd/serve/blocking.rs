//! Reads files while the server runs, without blocking its threads.

use std::time::Duration;

use cfgsync_support::duration;

/// How long reading may take. A pipe without a writer would block for ever.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs `read` on a thread for blocking work.
///
/// # Errors
/// A message, if `read` panics or does not return within the timeout.
pub(super) async fn read_blocking<T: Send + 'static>(
    read: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let reading = tokio::task::spawn_blocking(read);
    match tokio::time::timeout(READ_TIMEOUT, reading).await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(panic)) => Err(panic.to_string()),
        Err(_) => Err(format!(
            "it could not be read within {}",
            duration::text(READ_TIMEOUT)
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A pipe in place of a file blocked all further reloads, without a message.
    #[tokio::test(start_paused = true)]
    async fn endless_read_times_out() {
        let (end, wait) = mpsc::channel::<()>();
        let reading = tokio::spawn(read_blocking(move || wait.recv().is_err()));
        tokio::task::yield_now().await;
        tokio::time::advance(READ_TIMEOUT).await;
        let timed_out = reading.await.unwrap();
        assert_eq!(timed_out, Err("it could not be read within 10s".to_owned()));
        drop(end);
        assert_eq!(read_blocking(|| 1).await, Ok(1));
    }
}

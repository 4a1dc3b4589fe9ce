//! Files that are read again while the server serves.

use std::time::Duration;

/// What takes longer to read is given up: it may be a pipe into which nobody writes.
const READ_MAX: Duration = Duration::from_secs(10);

/// What `read` reads, beside the async threads.
///
/// # Errors
/// In words, when it panics or does not come to an end.
pub(super) async fn read_beside<T: Send + 'static>(
    read: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let reading = tokio::task::spawn_blocking(read);
    match tokio::time::timeout(READ_MAX, reading).await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(panic)) => Err(panic.to_string()),
        Err(_) => Err(format!("it could not be read within {READ_MAX:?}")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A pipe in a file's place kept everything from being read again, for good and without a word.
    #[tokio::test(start_paused = true)]
    async fn what_does_not_come_to_an_end_is_given_up() {
        let (end, wait) = mpsc::channel::<()>();
        let reading = tokio::spawn(read_beside(move || wait.recv().is_err()));
        tokio::task::yield_now().await;
        tokio::time::advance(READ_MAX).await;
        let given_up = reading.await.unwrap();
        assert_eq!(given_up, Err("it could not be read within 10s".to_owned()));
        drop(end);
        assert_eq!(read_beside(|| 1).await, Ok(1));
    }
}

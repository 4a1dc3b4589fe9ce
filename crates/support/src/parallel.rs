//! Applies a function to the items of a slice on several threads, with results in the order of the items.
//!
//! The results are the same for any number of threads. So is the returned error.

use std::{
    num::NonZero,
    panic::resume_unwind,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use crate::deep_stack;

/// The average number of pieces for each thread. With one piece each, all threads would wait for the slowest piece.
const PIECES_PER_THREAD: usize = 8;

/// Returns the results of `map` for all items, in order. Uses one thread per `items_per_thread_min` items, and at most
/// one per core. The calling thread is one of them. The others have a stack of [`deep_stack::STACK_BYTES`].
///
/// # Panics
/// Panics if `map` panics.
pub fn map<T: Sync, R: Send>(
    items: &[T],
    items_per_thread_min: usize,
    map: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let infallible = |_, item: &T| Ok::<_, std::convert::Infallible>(map(item));
    match try_map_on(
        threads_for(items.len(), items_per_thread_min),
        items,
        infallible,
    ) {
        Ok(results) => results,
        Err(never) => match never {},
    }
}

/// Like [`map`], for a function that also gets the item's index and may fail. Returns the error of the first item that
/// fails; `map` may not be called for the items behind it.
///
/// # Errors
/// The error of the first failing item.
///
/// # Panics
/// Panics if `map` panics.
pub fn try_map<T: Sync, R: Send, E: Send>(
    items: &[T],
    items_per_thread_min: usize,
    map: impl Fn(usize, &T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    try_map_on(threads_for(items.len(), items_per_thread_min), items, map)
}

fn threads_for(items: usize, items_per_thread_min: usize) -> usize {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    cores.min(items / items_per_thread_min.max(1)).max(1)
}

fn try_map_on<T: Sync, R: Send, E: Send>(
    threads: usize,
    items: &[T],
    map: impl Fn(usize, &T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    if threads <= 1 {
        return (0..).zip(items).map(|(at, item)| map(at, item)).collect();
    }
    let length = items.len().div_ceil(threads * PIECES_PER_THREAD).max(1);
    let next = AtomicUsize::new(0);
    let first_failed = AtomicUsize::new(usize::MAX);
    let work = || {
        let mut done: Vec<(usize, Result<Vec<R>, E>)> = Vec::new();
        loop {
            let start = next.fetch_add(length, Ordering::Relaxed);
            // Threads claim pieces in order. Every item before the first failure has therefore been claimed as well.
            if start >= items.len() || start > first_failed.load(Ordering::Relaxed) {
                return done;
            }
            let piece = &items[start..items.len().min(start + length)];
            let results: Result<Vec<R>, E> = (start..)
                .zip(piece)
                .map(|(at, item)| map(at, item))
                .collect();
            if results.is_err() {
                first_failed.fetch_min(start, Ordering::Relaxed);
            }
            done.push((start, results));
        }
    };
    let mut pieces = thread::scope(|scope| {
        // If the operating system refuses a thread, the others do its work.
        let others: Vec<_> = (1..threads)
            .map_while(|_| deep_stack::builder().spawn_scoped(scope, work).ok())
            .collect();
        let mut pieces = work();
        for other in others {
            pieces.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        pieces
    });
    pieces.sort_unstable_by_key(|(start, _)| *start);
    let mut all = Vec::with_capacity(items.len());
    for (_, results) in pieces {
        all.extend(results?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_the_same_for_any_number_of_threads() {
        let items: Vec<usize> = (0..1000).collect();
        for threads in 0..9 {
            let doubled = try_map_on(threads, &items, |at, item| Ok::<_, ()>(at + item));
            assert_eq!(doubled, Ok((0..1000).map(|at| 2 * at).collect()));
        }
        assert_eq!(map(&items[..0], 1, |item| *item), []);
        assert_eq!(map(&items[..3], 1, |item| *item), [0, 1, 2]);
    }

    #[test]
    fn the_first_failing_item_gives_the_error() {
        let items: Vec<usize> = (0..1000).collect();
        for threads in 1..9 {
            let failed = try_map_on(threads, &items, |at, _| match at {
                417 | 418 | 999 => Err(at),
                fine => Ok(fine),
            });
            assert_eq!(failed, Err(417), "{threads} threads");
        }
    }

    #[test]
    fn panic_reaches_the_caller() {
        let items = [0; 100];
        let caught = std::panic::catch_unwind(|| {
            try_map_on(4, &items, |at, _| {
                assert_ne!(at, 70, "the panic under test");
                Ok::<_, ()>(())
            })
        });
        assert!(caught.is_err());
    }
}

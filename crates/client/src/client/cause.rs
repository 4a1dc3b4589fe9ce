//! Says in plain words why a connection broke. The texts of the HTTP library are about its internals.

use std::{
    error::Error,
    io::{self, ErrorKind},
};

use crate::{UnreachableCause, connect::LookupError};

/// Returns the cause of `error`. The sentence's subject is the server or the system.
pub(crate) fn cause(error: &(dyn Error + 'static)) -> String {
    let mut current = error;
    loop {
        if let Some(words) = current.downcast_ref().and_then(of_http) {
            return words.to_owned();
        }
        if let Some(words) = current.downcast_ref().and_then(of_socket) {
            return words.to_owned();
        }
        match current.source() {
            Some(source) => current = source,
            // Without a cause of its own, an error of the library is about the order of messages.
            None if current.is::<hyper::Error>() => {
                return "the server sent something that is not an answer to the request".to_owned();
            }
            None => return current.to_string(),
        }
    }
}

/// Returns the step in which no connection could be made.
pub(super) fn unreachable_cause(error: &(dyn Error + 'static)) -> UnreachableCause {
    let mut current = Some(error);
    while let Some(error) = current {
        if error.is::<LookupError>() {
            return UnreachableCause::Name;
        }
        current = error.source();
    }
    UnreachableCause::Connection
}

fn of_http(error: &hyper::Error) -> Option<&'static str> {
    match error {
        _ if error.is_incomplete_message() || error.is_closed() || error.is_canceled() => {
            Some(CLOSED)
        }
        _ if error.is_parse_too_large() => Some("the headers of the response are too long"),
        _ if error.is_parse() => Some("the server does not speak HTTP/1.1"),
        _ => None,
    }
}

fn of_socket(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe => Some(CLOSED),
        ErrorKind::ConnectionReset => Some("the connection was reset"),
        _ => None,
    }
}

const CLOSED: &str = "the server closed the connection before its response was complete";

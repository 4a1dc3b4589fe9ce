//! Watches the events of a server. The stream connects again by itself, and continues after the last event.

use std::{collections::VecDeque, time::Duration};

use http_body_util::BodyExt as _;
use hyper::{Method, body::Incoming, header::HeaderValue};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::{Instant, sleep_until, timeout};

use super::{Client, ResponseMeta, cause::cause, error::CallError, transport::RequestOptions};
use crate::{FailureKind, ServerUrl, sanitize::sanitize};
use cfgsync_support::backoff::Backoff;
use cfgsync_support::duration;
use cfgsync_wire::{EventStreamReader, StreamedEvent};

/// Longest event, in bytes. A value of a mebibyte is a third longer as base64.
const EVENT_MAX_BYTES: usize = 4 << 20;

/// Longest time without a byte of the stream. A server sends a heartbeat every 30 s, unless it is configured otherwise.
const SILENCE_MAX: Duration = Duration::from_secs(100);

/// Longest pause that the client accepts from a server before it connects again.
const RETRY_MAX: Duration = Duration::from_secs(30);

/// Which events a stream has, and where it begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WatchOptions {
    /// The names of events. Empty for all.
    pub kinds: Vec<String>,
    /// The namespaces of values. If there are any, the stream has no other events than those of values and aliases.
    pub namespaces: Vec<String>,
    /// The beginnings of keys, with the same effect.
    pub prefixes: Vec<String>,
    /// The nodes. If there are any, the stream has no other events than those of these nodes.
    pub identifiers: Vec<String>,
    /// The id of the event after which the stream begins, or `oldest` for all events that the server has. `None` for the next event.
    pub since: Option<String>,
    /// Whether the stream ends with the newest event.
    pub ends_with_newest: bool,
}

/// One step of an event stream.
#[derive(Debug, Clone)]
pub enum Watched {
    /// The stream has begun, or continues after an interruption.
    Connected,
    /// An event.
    Event(StreamedEvent),
    /// The connection was lost, or the server cannot serve the stream now. The stream connects again by itself.
    Interrupted(CallError),
}

/// The events of a server.
pub struct EventStream {
    client: Client,
    route: String,
    ends_with_newest: bool,
    reader: EventStreamReader,
    /// The body of the response. `None` while there is no connection.
    body: Option<(ServerUrl, Incoming)>,
    /// Events that were read and not returned yet.
    events: VecDeque<StreamedEvent>,
    last_id: Option<String>,
    backoff: Backoff,
    /// The earliest time of the next connection.
    connect_at: Option<Instant>,
    /// Whether a connection was made before.
    was_connected: bool,
    /// How often the first connection may still fail: once for each server.
    first_tries: usize,
}

impl Client {
    /// Returns the stream of the server's events. It connects when the first event is awaited.
    pub fn watch(&self, options: &WatchOptions) -> EventStream {
        let mut query = vec![];
        for (name, values) in [
            ("kinds", &options.kinds),
            ("namespaces", &options.namespaces),
            ("prefixes", &options.prefixes),
            ("identifiers", &options.identifiers),
        ] {
            query.extend(values.iter().map(|value| parameter(name, value)));
        }
        if let Some(since) = &options.since {
            query.push(parameter("since", since));
        }
        if options.ends_with_newest {
            query.push(parameter("follow", "false"));
        }
        EventStream {
            client: self.clone(),
            route: format!("/v1/watch?{}", query.join("&")),
            ends_with_newest: options.ends_with_newest,
            reader: EventStreamReader::new(EVENT_MAX_BYTES),
            body: None,
            events: VecDeque::new(),
            last_id: None,
            backoff: Backoff::default(),
            connect_at: None,
            was_connected: false,
            first_tries: self.servers.given().count(),
        }
    }
}

fn parameter(name: &str, value: &str) -> String {
    format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC))
}

impl EventStream {
    /// Waits for what happens next. Returns `None` at the end of a stream that ends with the newest event. Dropping the
    /// future loses nothing.
    ///
    /// # Errors
    /// The first connection failed with each server, or a server refuses the stream for good.
    pub async fn next(&mut self) -> Result<Option<Watched>, CallError> {
        loop {
            if let Some(event) = self.events.pop_front() {
                self.last_id = Some(event.id.clone());
                return Ok(Some(Watched::Event(event)));
            }
            // The position of the stream may be newer than the last event.
            if !self.reader.last_id().is_empty() {
                self.last_id = Some(self.reader.last_id().to_owned());
            }
            let Some((server, body)) = &mut self.body else {
                return self.connect().await.map(Some);
            };
            let problem = match timeout(SILENCE_MAX, body.frame()).await {
                Ok(Some(Ok(frame))) => {
                    let Ok(bytes) = frame.into_data() else {
                        continue;
                    };
                    let mut events = vec![];
                    if let Err(error) = self.reader.read(&bytes, &mut events) {
                        return Err(CallError::Unusable {
                            server: server.clone(),
                            problem: error.to_string(),
                        });
                    }
                    if !events.is_empty() {
                        self.backoff.reset();
                    }
                    self.events.extend(events);
                    continue;
                }
                Ok(None) if self.ends_with_newest => return Ok(None),
                Ok(None) => "the server ended the stream".to_owned(),
                Ok(Some(Err(error))) => cause(&error),
                Err(_) => {
                    let limit = duration::text(SILENCE_MAX);
                    format!("no byte of the stream arrived for {limit}")
                }
            };
            let server = server.clone();
            self.body = None;
            self.client.avoid(&server, None);
            let error = CallError::Broken { server, problem };
            return self.interrupted(error, None).map(Some);
        }
    }

    /// Connects to a server when it is time for it.
    async fn connect(&mut self) -> Result<Watched, CallError> {
        if let Some(at) = self.connect_at {
            sleep_until(at).await;
        }
        let last_event_id = self.last_id.as_deref();
        let options = RequestOptions {
            last_event_id: last_event_id.and_then(|id| HeaderValue::from_str(id).ok()),
            ..RequestOptions::default()
        };
        let (meta, response) = match self.begin_with_failover(&options).await {
            Ok(begun) => begun,
            Err(error) => {
                let retry_after = match &error {
                    CallError::Refused { meta, .. } => meta.retry_after,
                    _ => None,
                };
                return self.interrupted(error, retry_after);
            }
        };
        let server = meta.server.clone();
        let kind = response.headers().get(hyper::header::CONTENT_TYPE);
        let is_stream = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        if !is_stream {
            let kind = kind.map_or("", |kind| kind.to_str().unwrap_or_default());
            let problem = sanitize(&format!("expected an event stream, found {kind:?}"));
            return Err(CallError::Unusable { server, problem });
        }
        self.reader = EventStreamReader::new(EVENT_MAX_BYTES);
        self.body = Some((server, response.into_body()));
        self.was_connected = true;
        Ok(Watched::Connected)
    }

    /// Begins the stream at the first server that serves it.
    async fn begin_with_failover(
        &self,
        options: &RequestOptions,
    ) -> Result<(ResponseMeta, hyper::Response<Incoming>), CallError> {
        let client = &self.client;
        let mut tries = client.servers.tries();
        let mut last = None;
        while let Some(server) = tries.next() {
            let mut address = None;
            let begun = client.begin(
                &server,
                &mut address,
                &Method::GET,
                &self.route,
                options,
                None,
            );
            let error = match begun.await {
                Ok((meta, response)) if response.status().is_success() => {
                    server.succeed(address);
                    return Ok((meta, response));
                }
                Ok((meta, response)) => client.refusal(meta, response).await,
                Err(error) => error,
            };
            if !tries.goes_on_after(&server, address, &error) {
                return Err(error);
            }
            last = Some(error);
        }
        Err(last.expect("a client has a server, and a request at least one try"))
    }

    /// Returns `error` if the stream cannot go on. Otherwise schedules the next connection.
    fn interrupted(
        &mut self,
        error: CallError,
        retry_after: Option<Duration>,
    ) -> Result<Watched, CallError> {
        let may_pass = matches!(
            error.kind(),
            FailureKind::Unreachable | FailureKind::NotReady | FailureKind::ServerError
        );
        if !self.was_connected {
            self.first_tries = self.first_tries.saturating_sub(1);
        }
        if !may_pass || (!self.was_connected && self.first_tries == 0) {
            return Err(error);
        }
        let wait = self.backoff.next_wait();
        let wait = retry_after.map_or(wait, |asked| wait.max(asked.min(RETRY_MAX)));
        self.connect_at = Some(Instant::now() + wait);
        Ok(Watched::Interrupted(error))
    }
}

//! Joining a cluster: register → await → fetch, whatever happens to the server meanwhile.

use std::{net::IpAddr, time::Duration};

use hyper::StatusCode;
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    Backoff, CallError, Client, Delivered, Distrust, KeyError, KeyPlace, Meta, ServerUrl,
    connect::local_address, disk::DiskError, routes::RouteError, words::Named,
};
use cfgsync_model::{Identifier, Instance, Metadata, NodeRegistration};
use cfgsync_wire::{
    Code, DRAINING, EXPIRED_TOKEN, ErrorBody, NO_KEY, ProgressBody, ReceivedPayload, VerifyKey,
};

/// The first wait asked of a server is short, so that the reason for waiting is soon known.
const WAIT_FIRST: Duration = Duration::from_secs(1);
/// The last wait ends so long before the timeout.
const LAST_ANSWER_BEFORE: Duration = Duration::from_millis(500);
/// With less time than this left nothing new is tried.
const LAST_PAUSE_MIN: Duration = Duration::from_millis(100);
/// How often in a row an answer that cannot be used is asked for again.
const UNUSABLE_MAX: u32 = 3;
/// At least so long after each: a server that is being replaced answers well a little later.
const UNUSABLE_PAUSE: Duration = Duration::from_secs(2);
/// How often in a row a server may ask to come back at once.
const AT_ONCE_MAX: u32 = 5;
/// No server is believed that it needs longer than this to recover.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);
/// A server that does not say whether it still knows this node is told again so often.
const REGISTER_AGAIN_EVERY: Duration = Duration::from_secs(15);

/// Who joins and how.
#[derive(Debug, Clone)]
pub struct JoinOptions {
    /// The node's name.
    pub identifier: Identifier,
    /// Its address.
    pub address: NodeAddress,
    /// What else it brings.
    pub metadata: Metadata,
    /// The cluster that the server must serve.
    pub cluster: Option<String>,
    /// One of these keys must have signed what comes; without any nothing need be signed.
    pub verify_keys: Vec<VerifyKey>,
    /// What was delivered before: nothing older of that instance is taken.
    pub delivered: Option<Delivered>,
    /// How long to try; `None` is forever.
    pub timeout: Option<Duration>,
    /// The longest wait asked of the server in one request. Short waits show progress sooner.
    pub wait_max: Duration,
    /// Where the node's own key is kept, for a server that asks for it.
    pub key: KeyPlace,
}

/// Where others reach the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeAddress {
    /// Here.
    Fixed(IpAddr),
    /// At the local address from which the server is reached, found before the first registration.
    TowardsServer,
}

/// What happens on the way, for whoever watches.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The node's own address was found.
    Address(IpAddr),
    /// No server answers; another attempt follows.
    Unreachable {
        /// The one that was tried last.
        server: ServerUrl,
        /// What happened.
        problem: String,
    },
    /// A server answers, but not well; another attempt follows.
    Troubled {
        /// What it said.
        problem: String,
    },
    /// The registration was accepted.
    Registered {
        /// By whom.
        server: ServerUrl,
        /// The address that was registered.
        ip: IpAddr,
        /// Whether this server, or the one before it, had accepted it already.
        again: bool,
    },
    /// A server asked for the node's own key, and it goes to that server in the clear from now on.
    KeyInTheClear {
        /// To which.
        server: ServerUrl,
    },
    /// Not ready, and why. Comes with every answer, also when nothing changed.
    Waiting {
        /// The reason in words.
        message: String,
        /// In figures; older servers do not tell.
        progress: Option<ProgressBody>,
    },
    /// The payload came, and is what was promised.
    Received {
        /// How many files.
        files: usize,
        /// How many bytes of content.
        bytes: usize,
    },
}

/// Why joining failed. Each variant is one exit code.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The server's fault: an answer, a payload or a path that cannot be used (65).
    #[error("{0}")]
    Unusable(String),
    /// A route that does not fit what came (65).
    #[error(transparent)]
    Route(#[from] RouteError),
    /// No server could be reached within the timeout (69).
    #[error("no answer within {}: {last}", Seconds(*.waited))]
    Unreachable {
        /// How long it was tried.
        waited: Duration,
        /// What happened last.
        last: String,
    },
    /// The cluster failed (70).
    #[error("{0}")]
    Failed(String),
    /// The server is not trusted, or does not trust this node's certificate (77).
    #[error("{server} {distrust}")]
    Untrusted {
        /// Which server.
        server: ServerUrl,
        /// Why.
        distrust: Distrust,
    },
    /// Files could not be written (73).
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The server does not want this node, or its facts (77).
    #[error("{server} refused {identifier}: {message}")]
    Refused {
        /// Who refused.
        server: ServerUrl,
        /// Whom.
        identifier: Identifier,
        /// Why.
        message: String,
        /// The same as a slug.
        reason: Option<String>,
    },
    /// The node's own key cannot be kept (73), or is not for this server (77).
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The server serves another cluster (77).
    #[error("{server} serves {}, not the cluster {wanted:?}", Named(.found))]
    WrongCluster {
        /// Who answered.
        server: ServerUrl,
        /// The cluster asked for.
        wanted: String,
        /// The cluster found; `None` when the server does not tell.
        found: Option<String>,
    },
    /// The cluster was not complete within the timeout (124).
    #[error("not ready within {}: {message}", Seconds(*.waited))]
    NotReady {
        /// How long it was waited for.
        waited: Duration,
        /// What was missing.
        message: String,
    },
}

impl JoinError {
    /// Whether nobody refused anything but the passage of time: a token has expired, or a certificate.
    pub fn is_of_time(&self) -> bool {
        match self {
            Self::Refused { reason, .. } => reason.as_deref() == Some(EXPIRED_TOKEN),
            Self::Untrusted { distrust, .. } => distrust.is_of_time(),
            _ => false,
        }
    }
}

/// One node's way into the cluster. Keeps what it needs to withdraw when it is cut short.
#[derive(Debug)]
pub struct Join {
    client: Client,
    options: JoinOptions,
    started: Instant,
    /// Known once the address is.
    registration: Option<NodeRegistration>,
    /// Whether a server may hold the registration: it was sent.
    sent: bool,
    accepted: Option<Accepted>,
    ever_accepted: bool,
    /// Whose files were received, if the server told.
    cluster: Option<String>,
    /// Of which cluster the servers are that were shown the node's own key.
    shows_key_in: Option<String>,
    /// Whether the next registration only makes sure, which is nothing to tell.
    is_renewal: bool,
    last: Last,
    /// What went wrong at last, whatever came after it.
    problem: Option<String>,
    trouble: Backoff,
    polling: Backoff,
    wait: Duration,
    unusable: u32,
    at_once: u32,
}

/// The registration that is relied on.
#[derive(Debug, Clone, Copy)]
struct Accepted {
    instance: Option<Instance>,
    at: Instant,
}

/// A request for the payload: when, and how long the server was to hold it.
#[derive(Clone, Copy)]
struct Asked {
    at: Instant,
    wait: Duration,
}

/// What decides between "not reachable" and "not ready" when the time is up.
#[derive(Debug)]
enum Last {
    Nothing,
    Unreachable(String),
    NotReady(String),
}

/// Why an attempt brought no payload yet.
enum Setback {
    /// For good.
    End(JoinError),
    /// Ask again after so long.
    Again(Duration),
}

impl Join {
    /// Prepares to join. The timeout counts from now.
    pub fn new(client: Client, options: JoinOptions) -> Self {
        Self {
            client,
            wait: WAIT_FIRST.min(options.wait_max),
            options,
            started: Instant::now(),
            registration: None,
            sent: false,
            accepted: None,
            ever_accepted: false,
            cluster: None,
            shows_key_in: None,
            is_renewal: false,
            last: Last::Nothing,
            problem: None,
            trouble: Backoff::default(),
            polling: Backoff::default(),
            unusable: 0,
            at_once: 0,
        }
    }

    /// Registers and waits until the payload is there. May be dropped at any point; [`Join::withdraw`]
    /// then takes the registration back.
    pub async fn run(
        &mut self,
        mut event: impl FnMut(Event),
    ) -> Result<ReceivedPayload, JoinError> {
        let deadline = self.options.timeout.map(|timeout| self.started + timeout);
        loop {
            let attempt = self.attempt(&mut event, deadline);
            let setback = match deadline {
                None => attempt.await,
                Some(deadline) => match tokio::time::timeout_at(deadline, attempt).await {
                    Ok(outcome) => outcome,
                    Err(_) => return Err(self.out_of_time()),
                },
            };
            let pause = match setback {
                Ok(payload) => return Ok(payload),
                Err(Setback::End(error)) => return Err(error),
                Err(Setback::Again(pause)) => pause,
            };
            let Some(deadline) = deadline else {
                sleep(pause).await;
                continue;
            };
            let left = deadline - Instant::now();
            if left < LAST_PAUSE_MIN {
                sleep_until(deadline).await;
                return Err(self.out_of_time());
            }
            // However slow the attempts have become, some are left for the end.
            sleep(pause.min(left / 2)).await;
        }
    }

    /// Takes the registration back, if one was sent, within two seconds. After the seal the server keeps it.
    pub async fn withdraw(&self) -> Result<(), CallError> {
        match &self.registration {
            Some(registration) if self.sent => self.client.leave(registration).await.map(|_| ()),
            _ => Ok(()),
        }
    }

    /// The facts that are registered, once they are known.
    pub fn registration(&self) -> Option<&NodeRegistration> {
        self.registration.as_ref()
    }

    /// The cluster whose payload was received, if its server told.
    pub fn cluster(&self) -> Option<&str> {
        self.cluster.as_deref()
    }

    async fn attempt(
        &mut self,
        event: &mut impl FnMut(Event),
        deadline: Option<Instant>,
    ) -> Result<ReceivedPayload, Setback> {
        let registration = self.facts(event).await?;
        if self.accepted.is_none() {
            self.register(&registration, event).await?;
        }
        self.fetch(&registration, event, deadline).await
    }

    /// The registration, with this node's address found on the way to the server if need be.
    async fn facts(&mut self, event: &mut impl FnMut(Event)) -> Result<NodeRegistration, Setback> {
        if let Some(known) = &self.registration {
            return Ok(known.clone());
        }
        let ip = match self.options.address {
            NodeAddress::Fixed(ip) => ip,
            NodeAddress::TowardsServer => {
                let server = self.client.server().clone();
                match local_address(&server).await {
                    Ok(ip) => {
                        event(Event::Address(ip));
                        ip
                    }
                    Err(error) => {
                        self.client.turn();
                        let problem = error.to_string();
                        let unreachable = CallError::Unreachable { server, problem };
                        return Err(self.setback(unreachable, event));
                    }
                }
            }
        };
        let registration = NodeRegistration::without_metadata(self.options.identifier.clone(), ip)
            .with_metadata_value(self.options.metadata.clone());
        self.registration = Some(registration.clone());
        Ok(registration)
    }

    async fn register(
        &mut self,
        registration: &NodeRegistration,
        event: &mut impl FnMut(Event),
    ) -> Result<(), Setback> {
        if self.options.cluster.is_some() {
            // Asked before registering, so that no other cluster counts this node even for a moment.
            match self.client.livez().await {
                Ok(answer) => self.insist_on_cluster(&answer.meta)?,
                Err(CallError::Refused { meta, status, .. }) if status.is_client_error() => {
                    self.insist_on_cluster(&meta)?;
                }
                Err(error) => return Err(self.setback(error, event)),
            }
        }
        self.sent = true;
        let answer = match self.client.register(registration).await {
            Ok(answer) => answer,
            Err(CallError::Refused { status, body, meta }) if is_final(status) => {
                self.sent = self.ever_accepted;
                if self.is_asked_for_its_key(&body, &meta) {
                    return Err(self.take_key(&meta, event));
                }
                return Err(Setback::End(refused(meta.server, registration, *body)));
            }
            Err(error) => return Err(self.setback(error, event)),
        };
        if let Err(wrong) = self.insist_on_cluster(&answer.meta) {
            // Another cluster took the server's place since it was asked. A farewell that fails changes nothing.
            let _ = self.client.leave(registration).await;
            return Err(wrong);
        }
        if !std::mem::take(&mut self.is_renewal) {
            event(Event::Registered {
                server: answer.meta.server,
                ip: registration.ip,
                again: self.ever_accepted,
            });
        }
        self.accepted = Some(Accepted {
            instance: answer.meta.instance,
            at: Instant::now(),
        });
        self.ever_accepted = true;
        if matches!(self.last, Last::Unreachable(_)) {
            self.last = Last::Nothing;
        }
        Ok(())
    }

    async fn fetch(
        &mut self,
        registration: &NodeRegistration,
        event: &mut impl FnMut(Event),
        deadline: Option<Instant>,
    ) -> Result<ReceivedPayload, Setback> {
        let at = Instant::now();
        // The wait ends before the timeout, so that the last answer says what was missing.
        let left = deadline.map_or(Duration::MAX, |deadline| deadline - at);
        let whole_seconds = left.saturating_sub(LAST_ANSWER_BEFORE).as_secs();
        let wait = self.wait.min(Duration::from_secs(whole_seconds));
        let asked = Asked { at, wait };
        let answer = match self.client.fetch(registration, Some(wait)).await {
            Ok(answer) => answer,
            Err(CallError::Refused { status, body, meta }) => {
                return Err(self.refusal(registration, status, *body, &meta, asked, event));
            }
            Err(error) => return Err(self.setback(error, event)),
        };
        self.insist_on_cluster(&answer.meta)?;
        if self.is_another_instance(&answer.meta) {
            return Err(self.register_again());
        }
        if let Err(problem) = self.accept(&answer.value) {
            let server = answer.meta.server;
            return Err(self.setback(CallError::Unusable { server, problem }, event));
        }
        let files = answer.value.files.files();
        event(Event::Received {
            files: files.len(),
            bytes: files.iter().map(|file| file.content.len()).sum(),
        });
        self.cluster = answer.meta.cluster;
        Ok(answer.value)
    }

    /// Whether this payload may be written here.
    fn accept(&self, payload: &ReceivedPayload) -> Result<(), String> {
        let options = &self.options;
        if !options.verify_keys.is_empty() {
            let verified = payload.verify(&options.identifier, &options.verify_keys);
            verified.map_err(|error| format!("the payload is not to be trusted: {error}"))?;
        }
        let (Some(before), Some(generation)) = (options.delivered, payload.generation) else {
            return Ok(());
        };
        if payload.instance != Some(before.instance) || generation > before.generation {
            return Ok(());
        }
        if generation < before.generation {
            return Err(format!(
                "it is generation {generation}, and generation {} of the same instance was delivered here \
                 before; if the server's state was set back on purpose, remove the receipt",
                before.generation
            ));
        }
        match payload.digest == Some(before.digest) {
            true => Ok(()),
            false => Err(format!(
                "it is another generation {generation} of the same instance than was delivered here before; \
                 if the server's state was set back on purpose, remove the receipt"
            )),
        }
    }

    /// What an answer that is not a payload means.
    fn refusal(
        &mut self,
        registration: &NodeRegistration,
        status: StatusCode,
        body: ErrorBody,
        meta: &Meta,
        asked: Asked,
        event: &mut impl FnMut(Event),
    ) -> Setback {
        if let Err(wrong) = self.insist_on_cluster(meta) {
            return wrong;
        }
        match status {
            StatusCode::GONE => {
                let reason = body.failure.map_or(body.message, |failure| {
                    format!("the cluster failed ({}): {}", failure.kind, failure.reason)
                });
                Setback::End(JoinError::Failed(reason))
            }
            StatusCode::TOO_EARLY => self.not_ready(body, meta, asked, event),
            _ if body.code == Code::NotReady && !is_final(status) => {
                self.not_ready(body, meta, asked, event)
            }
            _ if self.is_asked_for_its_key(&body, meta) => self.take_key(meta, event),
            _ if is_final(status) => Setback::End(refused(meta.server.clone(), registration, body)),
            _ => {
                let refused = CallError::Refused {
                    status,
                    body: Box::new(body),
                    meta: Box::new(meta.clone()),
                };
                self.setback(refused, event)
            }
        }
    }

    fn not_ready(
        &mut self,
        body: ErrorBody,
        meta: &Meta,
        asked: Asked,
        event: &mut impl FnMut(Event),
    ) -> Setback {
        let known = body
            .progress
            .as_ref()
            .map(|progress| progress.self_registered);
        let is_draining = body.reason.as_deref() == Some(DRAINING);
        self.last = Last::NotReady(reason(&body));
        event(Event::Waiting {
            message: reason(&body),
            progress: body.progress,
        });
        self.trouble.reset();
        self.unusable = 0;
        if known == Some(false) || self.is_another_instance(meta) {
            return self.register_again();
        }
        if known.is_none() && meta.instance.is_none() {
            // A server of the older protocol answers the same whether or not it has lost its memory.
            let is_old = |accepted: Accepted| accepted.at.elapsed() >= REGISTER_AGAIN_EVERY;
            if self.accepted.is_some_and(is_old) {
                self.accepted = None;
                self.is_renewal = true;
            }
        }
        if is_draining && self.client.has_others() && self.at_once < AT_ONCE_MAX {
            self.at_once += 1;
            self.client.turn();
            return Setback::Again(Duration::ZERO);
        }
        // One that claims to have waited and did not would otherwise be asked without a pause.
        let held = meta.waited && !asked.wait.is_zero() && asked.at.elapsed() >= asked.wait / 2;
        if held {
            self.at_once = 0;
            self.polling.reset();
            self.wait = (self.wait * 2).min(self.options.wait_max);
            return Setback::Again(Duration::ZERO);
        }
        if meta.retry_after == Some(Duration::ZERO) && self.at_once < AT_ONCE_MAX {
            self.at_once += 1;
            return Setback::Again(Duration::ZERO);
        }
        let asked_for = meta.retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
        Setback::Again(self.polling.next_wait() + asked_for)
    }

    /// Whether the node's own key is what the server wants, and it has not been shown it yet.
    fn is_asked_for_its_key(&self, body: &ErrorBody, meta: &Meta) -> bool {
        body.reason.as_deref() == Some(NO_KEY) && !self.client.shows_node_key_to(&meta.server)
    }

    /// From now on every request to this server comes with the node's own key. Others must ask for it themselves.
    fn take_key(&mut self, meta: &Meta, event: &mut impl FnMut(Event)) -> Setback {
        if let Err(wrong) = self.insist_on_cluster(meta) {
            return wrong;
        }
        // Servers that are tried in turn are one cluster's: one that calls itself otherwise is a mistake, or worse.
        if let Some(wanted) = &self.shows_key_in
            && meta.cluster.as_ref() != Some(wanted)
        {
            return Setback::End(wrong_cluster(meta, wanted));
        }
        let (place, identifier) = (&self.options.key, &self.options.identifier);
        // Beside a server that is known by its key, one in the clear is nobody.
        let known_by = match meta.server.is_tls() {
            true => self.client.known_by().map(str::to_owned).collect(),
            false => vec![],
        };
        let key = match place.key(meta.cluster.as_deref(), identifier, &known_by) {
            Ok(key) => key,
            Err(error) => return Setback::End(error.into()),
        };
        match self.client.clone().with_node_key(&key, &meta.server) {
            Ok(client) => self.client = client,
            Err(error) => return Setback::End(JoinError::Unusable(error.to_string())),
        }
        self.shows_key_in.clone_from(&meta.cluster);
        if meta.server.is_in_the_clear() {
            let server = meta.server.clone();
            event(Event::KeyInTheClear { server });
        }
        Setback::Again(Duration::ZERO)
    }

    /// The server forgot this node, or is another one: at once the first time, slower if it happens again.
    fn register_again(&mut self) -> Setback {
        self.accepted = None;
        if self.polling.waits() == 0 {
            self.polling.next_wait();
            return Setback::Again(Duration::ZERO);
        }
        Setback::Again(self.polling.next_wait())
    }

    /// What to do about a server that cannot be reached, is in trouble or talks rubbish.
    fn setback(&mut self, error: CallError, event: &mut impl FnMut(Event)) -> Setback {
        let mut at_least = Duration::ZERO;
        self.problem = Some(error.to_string());
        match error {
            CallError::Unreachable { server, problem } => {
                // It may come back without its memory, and not say so.
                self.accepted = None;
                self.is_renewal = false;
                self.last = Last::Unreachable(format!("{server}: {problem}"));
                event(Event::Unreachable { server, problem });
            }
            CallError::Refused { ref meta, .. } => {
                at_least = meta.retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
                let problem = error.to_string();
                self.client.turn();
                self.last = Last::Unreachable(problem.clone());
                event(Event::Troubled { problem });
            }
            CallError::Untrusted { server, distrust } => {
                return Setback::End(JoinError::Untrusted { server, distrust });
            }
            CallError::Unusable { .. } => {
                let problem = error.to_string();
                self.unusable += 1;
                if self.unusable >= UNUSABLE_MAX {
                    return Setback::End(JoinError::Unusable(problem));
                }
                at_least = UNUSABLE_PAUSE;
                self.client.turn();
                self.last = Last::Unreachable(problem.clone());
                event(Event::Troubled { problem });
            }
        }
        Setback::Again(self.trouble.next_wait() + at_least)
    }

    fn is_another_instance(&self, meta: &Meta) -> bool {
        match (
            self.accepted.and_then(|accepted| accepted.instance),
            meta.instance,
        ) {
            (Some(registered), Some(answered)) => registered != answered,
            _ => false,
        }
    }

    fn insist_on_cluster(&self, meta: &Meta) -> Result<(), Setback> {
        match &self.options.cluster {
            Some(wanted) if meta.cluster.as_ref() != Some(wanted) => {
                Err(Setback::End(wrong_cluster(meta, wanted)))
            }
            _ => Ok(()),
        }
    }

    fn out_of_time(&self) -> JoinError {
        let waited = self
            .options
            .timeout
            .unwrap_or_else(|| self.started.elapsed());
        match &self.last {
            Last::NotReady(message) => JoinError::NotReady {
                waited,
                message: message.clone(),
            },
            Last::Unreachable(last) => JoinError::Unreachable {
                waited,
                last: last.clone(),
            },
            Last::Nothing if self.accepted.is_some() => JoinError::NotReady {
                waited,
                message: match &self.problem {
                    None => "registered, and the server did not say what is missing".into(),
                    Some(problem) => {
                        format!("registered, and then there was no answer to use: {problem}")
                    }
                },
            },
            Last::Nothing => JoinError::Unreachable {
                waited,
                last: format!("{} does not answer", self.client.server()),
            },
        }
    }
}

/// Whether asking again cannot help: the request itself is refused.
fn is_final(status: StatusCode) -> bool {
    let passing = [
        StatusCode::REQUEST_TIMEOUT,
        StatusCode::TOO_EARLY,
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::GONE,
    ];
    status.is_client_error() && !passing.contains(&status)
}

fn refused(server: ServerUrl, registration: &NodeRegistration, body: ErrorBody) -> JoinError {
    JoinError::Refused {
        server,
        identifier: registration.identifier.clone(),
        message: body.message,
        reason: body.reason,
    }
}

fn wrong_cluster(meta: &Meta, wanted: &str) -> JoinError {
    JoinError::WrongCluster {
        server: meta.server.clone(),
        wanted: wanted.to_owned(),
        found: meta.cluster.clone(),
    }
}

/// Why the cluster is not ready, in words; without the words "not ready" that everybody adds.
fn reason(body: &ErrorBody) -> String {
    match &body.progress {
        Some(progress) => progress.progress.to_string(),
        None => body.message.clone(),
    }
}

/// A duration as people say it.
struct Seconds(Duration);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.as_secs() {
            0 => write!(f, "{} ms", self.0.as_millis()),
            seconds @ 1..60 => write!(f, "{seconds} s"),
            seconds if seconds % 60 == 0 => write!(f, "{} min", seconds / 60),
            seconds => write!(f, "{} min {} s", seconds / 60, seconds % 60),
        }
    }
}

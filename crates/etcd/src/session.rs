//! A connection to one member of etcd, with the rights of the configured user, and its calls.

use std::{future::Future, sync::Arc, time::Duration};

use rustls::ClientConfig;
use secrecy::ExposeSecret as _;
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Response, Status, Streaming, metadata::AsciiMetadataValue, transport::Channel,
};

use crate::{
    Endpoint, EtcdConfig, EtcdError, EtcdErrorKind,
    api::{
        AlarmMember, AlarmRequest, AuthenticateRequest, LeaseGrantRequest, LeaseKeepAliveRequest,
        LeaseKeepAliveResponse, LeaseRevokeRequest, Member, MemberListRequest, RangeRequest,
        RangeResponse, StatusRequest, StatusResponse, TxnRequest, TxnResponse, WatchCreateRequest,
        WatchProgressRequest, WatchRequest, WatchResponse, auth_client::AuthClient,
        cluster_client::ClusterClient, kv_client::KvClient, lease_client::LeaseClient,
        maintenance_client::MaintenanceClient, watch_client::WatchClient,
        watch_request::RequestUnion,
    },
    connect,
};

/// The time for the answer to one call.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);

/// The largest answer, in bytes: a page of keys, or the events of one revision.
const ANSWER_MAX_BYTES: usize = 64 << 20;

/// The oldest version of etcd that is supported.
const OLDEST_VERSION: (u32, u32) = (3, 4);

/// An open connection to one member.
pub(crate) struct Session {
    endpoint: Endpoint,
    channel: Channel,
    token: Option<AsciiMetadataValue>,
    /// Notified when a call shows that this connection is of no use any more.
    broken: Notify,
}

/// An open watch.
pub(crate) struct Watch {
    requests: mpsc::Sender<WatchRequest>,
    responses: Streaming<WatchResponse>,
    endpoint: Endpoint,
}

impl Session {
    /// Connects to `endpoint`, checks that it is an etcd of a supported version, and authenticates.
    pub(crate) async fn open(
        endpoint: &Endpoint,
        config: &EtcdConfig,
        tls: Arc<ClientConfig>,
    ) -> Result<Self, EtcdError> {
        let (channel, observed) = connect::connect(endpoint, tls).await?;
        let mut session = Self {
            endpoint: endpoint.clone(),
            channel,
            token: None,
            broken: Notify::new(),
        };
        match session.begin(config).await {
            Ok(()) => Ok(session),
            // The connection says more than the call.
            Err(error) if error.is_transient() => Err(observed.cause(endpoint).unwrap_or(error)),
            Err(error) => Err(error),
        }
    }

    async fn begin(&mut self, config: &EtcdConfig) -> Result<(), EtcdError> {
        if let Some((name, password)) = &config.user {
            self.token = Some(self.authenticate(name, password.expose_secret()).await?);
        }
        let status = self.status().await?;
        self.check_version(&status.version)
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Ends the use of this connection: [`Session::broken`] resolves.
    pub(crate) fn mark_broken(&self) {
        self.broken.notify_one();
    }

    /// Resolves when a call has shown that the connection is of no use any more.
    pub(crate) async fn broken(&self) {
        self.broken.notified().await;
    }

    async fn authenticate(
        &self,
        name: &str,
        password: &str,
    ) -> Result<AsciiMetadataValue, EtcdError> {
        let request = Request::new(AuthenticateRequest {
            name: name.to_owned(),
            password: password.to_owned(),
        });
        let mut client = AuthClient::new(self.channel.clone());
        let answer = match self.timed(client.authenticate(request)).await {
            // etcd does not check passwords while its authentication is off.
            Err(error) if error.reason.contains("authentication is not enabled") => {
                let reason = format!(
                    "{}: etcd's authentication is off, so it does not check the user; turn it on \
                     (etcdctl auth enable), or leave the user out",
                    self.endpoint
                );
                return Err(EtcdError::new(EtcdErrorKind::NotPermitted, reason));
            }
            answer => answer?,
        };
        let token = AsciiMetadataValue::try_from(answer.token);
        let mut token = token.map_err(|_| {
            let reason = format!("{}: the token is not valid", self.endpoint);
            EtcdError::new(EtcdErrorKind::NotEtcd, reason)
        })?;
        token.set_sensitive(true);
        Ok(token)
    }

    fn check_version(&self, version: &str) -> Result<(), EtcdError> {
        let mut numbers = version.split('.').map(str::parse::<u32>);
        let number = match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) => (major, minor),
            _ => (0, 0),
        };
        if number < OLDEST_VERSION {
            let (major, minor) = OLDEST_VERSION;
            let reason = format!(
                "{} is etcd {version}; at least {major}.{minor} is needed",
                self.endpoint
            );
            return Err(EtcdError::new(EtcdErrorKind::NotEtcd, reason));
        }
        Ok(())
    }

    /// Returns `message` as a request of the user. A member without a leader refuses it.
    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let metadata = request.metadata_mut();
        metadata.insert("hasleader", AsciiMetadataValue::from_static("true"));
        if let Some(token) = &self.token {
            metadata.insert("authorization", token.clone());
        }
        request
    }

    async fn timed<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, EtcdError> {
        match tokio::time::timeout(CALL_TIMEOUT, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(EtcdError::of_status(&self.endpoint, &status)),
            Err(_) => {
                let seconds = CALL_TIMEOUT.as_secs();
                let reason = format!("{}: no answer within {seconds} s", self.endpoint);
                Err(EtcdError::new(EtcdErrorKind::Ambiguous, reason))
            }
        }
    }

    /// Reads keys.
    pub(crate) async fn range(&self, request: RangeRequest) -> Result<RangeResponse, EtcdError> {
        let mut client =
            KvClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_MAX_BYTES);
        self.timed(client.range(self.request(request))).await
    }

    /// Compares and writes keys.
    pub(crate) async fn txn(&self, request: TxnRequest) -> Result<TxnResponse, EtcdError> {
        let mut client =
            KvClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_MAX_BYTES);
        self.timed(client.txn(self.request(request))).await
    }

    /// Asks the member for its own state.
    pub(crate) async fn status(&self) -> Result<StatusResponse, EtcdError> {
        let mut client = MaintenanceClient::new(self.channel.clone());
        let request = self.request(StatusRequest {});
        self.timed(client.status(request)).await
    }

    /// Begins a lease of `seconds`. Returns its number.
    pub(crate) async fn grant_lease(&self, seconds: i64) -> Result<i64, EtcdError> {
        let mut client = LeaseClient::new(self.channel.clone());
        let request = self.request(LeaseGrantRequest {
            ttl: seconds,
            id: 0,
        });
        Ok(self.timed(client.lease_grant(request)).await?.id)
    }

    /// Ends a lease, and removes its keys.
    pub(crate) async fn revoke_lease(&self, lease: i64) -> Result<(), EtcdError> {
        let mut client = LeaseClient::new(self.channel.clone());
        let request = self.request(LeaseRevokeRequest { id: lease });
        self.timed(client.lease_revoke(request)).await.map(drop)
    }

    /// Renews a lease, and opens its further renewals.
    pub(crate) async fn keep_lease(&self, lease: i64) -> Result<Renewals, EtcdError> {
        let (requests, receiver) = mpsc::channel(1);
        // etcd answers the call with the first renewal.
        let sent = requests.try_send(LeaseKeepAliveRequest { id: lease });
        sent.expect("the channel is new, and has room");
        let mut client = LeaseClient::new(self.channel.clone());
        let call = client.lease_keep_alive(self.request(ReceiverStream::new(receiver)));
        let mut renewals = Renewals {
            lease,
            requests,
            responses: self.timed(call).await?,
            endpoint: self.endpoint.clone(),
        };
        renewals.answered().await?;
        Ok(renewals)
    }

    /// Asks for the members of etcd.
    pub(crate) async fn members(&self) -> Result<Vec<Member>, EtcdError> {
        let mut client = ClusterClient::new(self.channel.clone());
        let request = self.request(MemberListRequest {});
        Ok(self.timed(client.member_list(request)).await?.members)
    }

    /// Asks for the alarms of all members.
    pub(crate) async fn alarms(&self) -> Result<Vec<AlarmMember>, EtcdError> {
        let mut client = MaintenanceClient::new(self.channel.clone());
        // Zero for all fields: get the alarms of all kinds and members.
        let request = self.request(AlarmRequest::default());
        Ok(self.timed(client.alarm(request)).await?.alarms)
    }

    /// Begins a watch.
    pub(crate) async fn watch(&self, create: WatchCreateRequest) -> Result<Watch, EtcdError> {
        let (requests, receiver) = mpsc::channel(2);
        let create = WatchRequest {
            request_union: Some(RequestUnion::CreateRequest(create)),
        };
        let sent = requests.try_send(create);
        sent.expect("the channel is new, and has room");
        let mut client =
            WatchClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_MAX_BYTES);
        let call = client.watch(self.request(ReceiverStream::new(receiver)));
        Ok(Watch {
            requests,
            responses: self.timed(call).await?,
            endpoint: self.endpoint.clone(),
        })
    }
}

/// The open renewals of a lease.
pub(crate) struct Renewals {
    lease: i64,
    requests: mpsc::Sender<LeaseKeepAliveRequest>,
    responses: Streaming<LeaseKeepAliveResponse>,
    endpoint: Endpoint,
}

impl Renewals {
    /// Renews the lease.
    pub(crate) async fn renew(&mut self) -> Result<(), EtcdError> {
        let sent = self
            .requests
            .try_send(LeaseKeepAliveRequest { id: self.lease });
        sent.map_err(|_| self.lost("the renewals of the lease have ended"))?;
        self.answered().await
    }

    async fn answered(&mut self) -> Result<(), EtcdError> {
        let response = tokio::time::timeout(CALL_TIMEOUT, self.responses.message()).await;
        match response {
            Ok(Ok(Some(response))) if response.ttl > 0 => Ok(()),
            Ok(Ok(_)) => Err(self.lost("the lease has ended")),
            Ok(Err(status)) => Err(EtcdError::of_status(&self.endpoint, &status)),
            Err(_) => Err(self.lost("the lease was not renewed in time")),
        }
    }

    fn lost(&self, reason: &str) -> EtcdError {
        EtcdError::new(
            EtcdErrorKind::Ambiguous,
            format!("{}: {reason}", self.endpoint),
        )
    }
}

impl Watch {
    /// Returns the next response.
    pub(crate) async fn next(&mut self) -> Result<WatchResponse, EtcdError> {
        match self.responses.message().await {
            Ok(Some(response)) => Ok(response),
            Ok(None) => {
                let reason = format!("{}: the watch has ended", self.endpoint);
                Err(EtcdError::new(EtcdErrorKind::Ambiguous, reason))
            }
            Err(status) => Err(EtcdError::of_status(&self.endpoint, &status)),
        }
    }

    /// Asks for a response without events, which shows that the connection works.
    pub(crate) fn ask_for_progress(&self) {
        let request = WatchRequest {
            request_union: Some(RequestUnion::ProgressRequest(WatchProgressRequest {})),
        };
        // If the connection does not take it, the silence is noticed.
        let _ = self.requests.try_send(request);
    }
}

//! Runs beside the server until it is to stop: handles signals, reload requests, CMD, and orphans.

use std::pin::pin;

use cfgsync_server::ReloadRequest;
use tokio::sync::{Notify, mpsc};

use super::{
    ServeError,
    cause::Cause,
    child::Child,
    reload::Reload,
    signals::{Request, Signals},
};
use crate::cmd::{
    exit::Exit,
    manager::Manager,
    orphans::{self, OwnChildren},
};

/// Handles signals and reload requests until the server is to stop. Returns the exit code.
pub(super) async fn until_stopped(
    signals: &mut Signals,
    mut child: Option<&mut Child>,
    reload: &Reload<'_>,
    mut requests: mpsc::Receiver<ReloadRequest>,
    manager: Manager,
) -> Result<Exit, ServeError> {
    // Concurrent with the signals: while a spec is being read, the server can still be stopped.
    let hangups = Notify::new();
    let reloading = async {
        loop {
            let request = tokio::select! {
                () = hangups.notified() => None,
                Some(request) = requests.recv() => Some(request),
            };
            manager.reloading();
            match request {
                None => drop(reload.run(None, Cause::Hangup).await),
                Some(ReloadRequest { only, answer }) => {
                    let result = reload.run(only, Cause::Request).await;
                    // The operator may have gone.
                    let _ = answer.send(result);
                }
            }
            manager.ready();
        }
    };
    let mut reloading = pin!(reloading);
    let refreshing = async {
        match reload.tls {
            Some(tls) => {
                tls.keep_fresh(reload.guard, |part| reload.count(part))
                    .await;
            }
            None => std::future::pending().await,
        }
    };
    let mut refreshing = pin!(refreshing);
    let own = OwnChildren::default();
    own.note(child.as_deref().and_then(Child::pid));
    let mut orphans = pin!(orphans::collect(&own));
    loop {
        let ended = async {
            match &mut child {
                Some(child) => child.wait().await,
                None => std::future::pending().await,
            }
        };
        let request = tokio::select! {
            exit = ended => return exit.map_err(ServeError::Child),
            request = signals.next() => request,
            () = &mut reloading => unreachable!("it never completes"),
            () = &mut refreshing => unreachable!("it never completes"),
            Err(error) = &mut orphans => return Err(ServeError::Runtime(error)),
        };
        match (request, &mut child) {
            (Request::Reload, _) => hangups.notify_one(),
            (Request::Stop(stop), Some(child)) => child.stop(stop),
            (Request::Stop(stop), None) => {
                tracing::info!(event = "server_stopping", "{}: stopping", stop.name);
                return Ok(Exit::Done);
            }
        }
    }
}

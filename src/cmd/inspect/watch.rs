//! `inspect --watch`: prints the cluster again when an event says that it has changed.

use std::{io::IsTerminal, time::Duration};

use cfgsync_client::{CallError, Client, EventStream, WatchOptions, Watched};
use cfgsync_wire::ClusterBody;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::presentation::Presentation;
use crate::cmd::{
    error::CommandError,
    exit::Exit,
    output::{Format, Text, print},
};

/// The shortest time between two requests for the state of the cluster. One request shows many events.
const REFRESH_MIN: Duration = Duration::from_millis(250);

/// The longest time between two requests. Some changes have no event: a node begins to wait, or the server refuses one.
const REFRESH_MAX: Duration = Duration::from_secs(5);

/// Prints the cluster again after each change of what is shown. Ends only with an error, or with the process.
pub(super) async fn watch(
    client: &Client,
    presentation: &Presentation,
) -> Result<Exit, CommandError> {
    let mut events = client.watch(&WatchOptions::default());
    let mut shown: Option<Text> = None;
    let mut is_interrupted = false;
    loop {
        let asked = Instant::now();
        match client.snapshot().await {
            Ok(answer) => {
                let text = document(presentation, &answer.value);
                if shown.as_ref() != Some(&text) {
                    print(repainted(
                        presentation.format.data(),
                        &text,
                        shown.is_none(),
                    ))?;
                    shown = Some(text);
                }
            }
            Err(error @ (CallError::Unreachable { .. } | CallError::Broken { .. }))
                if shown.is_some() =>
            {
                warn_once(&error, &mut is_interrupted);
            }
            Err(error) => return Err(error.into()),
        }
        wait_for_news(&mut events, asked, &mut is_interrupted).await?;
    }
}

/// Waits for an event, and until the next request is due.
async fn wait_for_news(
    events: &mut EventStream,
    asked: Instant,
    is_interrupted: &mut bool,
) -> Result<(), CommandError> {
    let refresh_at = asked + REFRESH_MAX;
    while let Ok(watched) = timeout_at(refresh_at, events.next()).await {
        match watched? {
            Some(Watched::Interrupted(error)) => warn_once(&error, is_interrupted),
            Some(Watched::Connected) => *is_interrupted = false,
            Some(Watched::Event(_)) | None => break,
        }
    }
    // Events that have arrived meanwhile are shown by the same request.
    let ask_at = asked + REFRESH_MIN;
    while let Ok(watched) = timeout_at(ask_at, events.next()).await {
        if let Some(Watched::Interrupted(error)) = watched? {
            warn_once(&error, is_interrupted);
        }
    }
    sleep_until(ask_at).await;
    Ok(())
}

fn warn_once(error: &CallError, is_interrupted: &mut bool) {
    if !std::mem::replace(is_interrupted, true) {
        tracing::warn!("{error}; retrying");
    }
}

fn document(presentation: &Presentation, body: &ClusterBody) -> Text {
    match presentation.format.data() {
        Format::Json => presentation.cluster_in_one_line(body),
        Format::Yaml | Format::Table => presentation.cluster(body),
    }
}

/// Returns the text to print: on a terminal a table replaces the former one, elsewhere it is one more document.
fn repainted(format: Format, document: &Text, first: bool) -> Text {
    let mut text = Text::default();
    match format {
        Format::Json => {}
        Format::Yaml => text.push_str("---\n"),
        Format::Table if std::io::stdout().is_terminal() => text.push_control("\x1b[2J\x1b[H"),
        Format::Table if first => {}
        Format::Table => text.push_str("\n"),
    }
    text.push(document.clone());
    text
}

//! The route that imports values into a namespace.

use axum::body::Body;
use bytes::Bytes;
use tokio::task::spawn_blocking;

use super::{
    super::{
        context::Context,
        rejection::Rejection,
        reply::{self, RoutedReply},
    },
    bounded_body,
    values::listed,
};
use cfgsync_cluster::{Import, ImportedChange, ImportedChangeKind, ImportedValue};
use cfgsync_model::Namespace;
use cfgsync_wire::{ImportAnswer, ImportBody, ImportChange, ImportChangeKind, read_import};

/// The longest body of an import, in bytes.
const IMPORT_BODY_MAX_BYTES: usize = 32 << 20;

/// `POST /v1/namespaces/{namespace}/import`.
pub(in super::super) async fn import(
    mut context: Context,
    mut body: Body,
) -> Result<RoutedReply, Rejection> {
    let namespace = context.path_namespace()?;
    context.set_value(namespace.to_string());
    let limit = context.server().config.body_timeout;
    let server = &context.connection().server;
    let server = server.clone();
    let permit = server.replace_bodies.acquire().await;
    let body = bounded_body(&context, &mut body, IMPORT_BODY_MAX_BYTES, limit).await?;
    let coordinator = context.server().coordinator.clone();
    let of_plan = namespace.clone();
    // Decoding megabytes would delay the other requests of this thread.
    let planned = spawn_blocking(move || {
        let body = read_import(&body)?;
        let dry_run = body.dry_run;
        let plan = coordinator.plan_import(import_of(of_plan, body))?;
        Ok::<_, Rejection>((dry_run, plan))
    });
    let (dry_run, plan) = planned.await.map_err(|_| Rejection::Bug)??;
    drop(permit);
    let answer = ImportAnswer {
        dry_run,
        changes: plan.changes.iter().map(change_of).collect(),
        unchanged: plan.unchanged_count,
    };
    if dry_run || plan.changes.is_empty() {
        context.set_unchanged();
    } else {
        let keys = plan.changes.iter().map(|change| &change.key);
        context.set_value(listed(&namespace, keys));
        context.announce().await?;
        context.server().coordinator.commit_import(plan).await?;
    }
    Ok(reply::json(&answer).into())
}

fn import_of(namespace: Namespace, body: ImportBody) -> Import {
    let values = body.entries.into_iter().map(|entry| ImportedValue {
        secret: entry.is_secret(),
        key: entry.key,
        bytes: entry.value.map(|value| Bytes::from(value.0)),
        codec: entry.codec,
        expires_at: entry.expires_at,
    });
    Import {
        namespace,
        values: values.collect(),
        prune: body.prune,
    }
}

fn change_of(change: &ImportedChange) -> ImportChange {
    ImportChange {
        key: change.key.clone(),
        change: match change.kind {
            ImportedChangeKind::Create => ImportChangeKind::Create,
            ImportedChangeKind::Update => ImportChangeKind::Update,
            ImportedChangeKind::Delete => ImportChangeKind::Delete,
        },
    }
}

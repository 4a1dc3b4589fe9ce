//! The routes of values and aliases.

use std::time::Duration;

use axum::body::Body;
use hyper::header::{ETAG, HeaderValue};

use super::{
    super::{
        context::{Context, RequestContext},
        query::{Query, WrongParameter},
        rejection::Rejection,
        reply::{self, RoutedReply},
        request_headers::{EntityTags, if_match},
    },
    bounded_body, small_body,
};
use cfgsync_access::Action;
use cfgsync_cluster::{
    Entry, NAMESPACES_PAGE_DEFAULT_ENTRIES, NAMESPACES_PAGE_MAX_ENTRIES, NewValue,
    PAGE_MAX_ENTRIES, known_codecs,
};
use cfgsync_model::{Digest, Namespace, VALUE_MAX_BYTES, ValueKey};
use cfgsync_wire::{
    AccessBody, AliasAnswer, AliasBody, AliasesBody, CodecsBody, DiffBody, EntriesBody,
    EntryAnswer, EntryBody, NamespacesBody, SetBody, ValuesSnapshotBody, cursor_after, read_alias,
    read_cursor, read_set,
};

/// The longest body of a request that sets a value, in bytes. The value is encoded as base64.
const SET_BODY_MAX_BYTES: usize = VALUE_MAX_BYTES / 3 * 4 + (16 << 10);

/// The longest list of values in a line of the audit log.
const LISTED_MAX: usize = 100;

type Routed = Result<RoutedReply, Rejection>;

/// `GET /v1/namespaces/{namespace}/keys/{key}`.
pub(in super::super) async fn get(mut context: Context) -> Routed {
    let (namespace, key) = context.path_value()?;
    let entry = context.server().coordinator.value(&namespace, &key)?;
    let reveal = reveal(&mut context, [&entry]).await?;
    Ok(entry_reply(entry, reveal))
}

/// `POST /v1/namespaces/{namespace}/keys/{key}`.
pub(in super::super) async fn set(mut context: Context, mut body: Body) -> Routed {
    let (namespace, key) = context.path_value()?;
    let if_version = if_match(&context.head.headers)?;
    let limit = context.server().config.body_timeout;
    let body = bounded_body(&context, &mut body, SET_BODY_MAX_BYTES, limit).await;
    // Existing clients expect the same answer as for a value that is only a little too long.
    let body = body.map_err(|rejection| match rejection {
        Rejection::TooLarge { .. } => Rejection::LongValue,
        other => other,
    })?;
    let set = read_set(&body)?;
    drop(body);
    note(&mut context, &namespace, &key);
    let coordinator = &context.server().coordinator;
    // The content of a short secret could be guessed by its hash.
    if !set.secret && !coordinator.is_secret_value(&namespace, &key) {
        context.attach_hash("value", Digest::of(&set.bytes));
    }
    context.announce().await?;
    let value = new_value(namespace, key, set, if_version);
    let entry = context.server().coordinator.set_value(value).await?;
    // The client knows the content, which it has just sent.
    Ok(entry_reply(entry, true))
}

/// `DELETE /v1/namespaces/{namespace}/keys/{key}`.
pub(in super::super) async fn delete(mut context: Context) -> Routed {
    let (namespace, key) = context.path_value()?;
    let if_version = if_match(&context.head.headers)?;
    note(&mut context, &namespace, &key);
    context.announce().await?;
    let coordinator = &context.server().coordinator;
    coordinator.delete_value(namespace, key, if_version).await?;
    Ok(empty_reply())
}

/// `GET /v1/namespaces/{namespace}/keys`.
pub(in super::super) async fn list(mut context: Context) -> Routed {
    let namespace = context.path_namespace()?;
    let page = {
        let query = Query::of(&context.head.uri);
        let limit = query.limit(
            context.server().config.page_default_entries,
            PAGE_MAX_ENTRIES,
        )?;
        let (prefix, after) = (query.get(&["prefix"]).unwrap_or_default(), cursor(&query)?);
        let coordinator = &context.server().coordinator;
        coordinator.list_values(&namespace, prefix, after.as_deref(), limit)
    };
    let reveal = reveal(&mut context, &page.items).await?;
    let body = EntriesBody {
        entries: bodies(page.items, reveal),
        next_cursor: next_cursor(page.next_after),
        limit: None,
    };
    Ok(reply::json(&body).into())
}

/// `GET /v1/namespaces/{namespace}/keys/{key}/versions`.
pub(in super::super) async fn versions(mut context: Context) -> Routed {
    let (namespace, key) = context.path_value()?;
    let (entries, next, limit) = {
        let query = Query::of(&context.head.uri);
        let limit = query.limit(
            context.server().config.page_default_entries,
            PAGE_MAX_ENTRIES,
        )?;
        let coordinator = &context.server().coordinator;
        let (entries, next) = if let Some(version) = query.number("version")? {
            let entry = coordinator.value_version(&namespace, &key, version)?;
            (vec![entry], None)
        } else {
            let before = cursor(&query)?.map(|before| before.parse());
            let before = before.transpose().map_err(|_| Rejection::WrongCursor)?;
            coordinator.value_versions(&namespace, &key, before, limit)?
        };
        (entries, next, limit)
    };
    let reveal = reveal(&mut context, &entries).await?;
    let body = EntriesBody {
        entries: bodies(entries, reveal),
        next_cursor: next_cursor(next.map(|version| version.to_string())),
        limit: Some(limit),
    };
    Ok(reply::json(&body).into())
}

/// `GET /v1/namespaces/{namespace}/keys/{key}/diff`.
pub(in super::super) async fn diff(mut context: Context) -> Routed {
    let (namespace, key) = context.path_value()?;
    let (first, second) = {
        let query = Query::of(&context.head.uri);
        let version = |name| -> Result<Entry, Rejection> {
            let problem = "it is required, a whole number of at least 1";
            let number = query
                .number(name)?
                .ok_or(WrongParameter { name, problem })?;
            let coordinator = &context.server().coordinator;
            Ok(coordinator.value_version(&namespace, &key, number)?)
        };
        (version("v1")?, version("v2")?)
    };
    let reveal = reveal(&mut context, [&first, &second]).await?;
    let is_same = |a: &Entry, b: &Entry| {
        (&a.content.bytes, &a.content.codec) == (&b.content.bytes, &b.content.codec)
    };
    let changed = !is_same(&first, &second);
    let [first, second] = [first, second].map(|entry| body(entry, reveal));
    let body = DiffBody {
        namespace: first.namespace,
        key: first.key,
        v1: first.version,
        v2: second.version,
        v1_value: first.value,
        v1_codec: first.codec,
        v2_value: second.value,
        v2_codec: second.codec,
        changed,
    };
    Ok(reply::json(&body).into())
}

/// `GET /v1/namespaces/{namespace}/snapshot`.
pub(in super::super) async fn snapshot(mut context: Context) -> Routed {
    let namespace = context.path_namespace()?;
    let (snapshot, etag) = {
        let coordinator = &context.server().coordinator;
        let snapshot = coordinator.values_snapshot(&namespace)?;
        // The same revision has another content with secrets and without.
        let revealed = if context.wants_secrets() {
            "-revealed"
        } else {
            ""
        };
        let revision = snapshot.revision;
        let etag = format!("{}-{revision}{revealed}", coordinator.instance());
        (snapshot, etag)
    };
    if EntityTags::contains(&context.head.headers, &etag) {
        return Ok(reply::not_modified(&etag).into());
    }
    let not_modified = {
        let query = Query::of(&context.head.uri);
        query.get(&["if_none_match", "ifNoneMatch"]) == Some(&*etag)
    };
    let entries = if not_modified {
        vec![]
    } else {
        let reveal = reveal(&mut context, &snapshot.entries).await?;
        bodies(snapshot.entries, reveal)
    };
    let body = ValuesSnapshotBody {
        entries,
        etag: etag.clone(),
        not_modified,
    };
    let mut reply = reply::json(&body);
    let tag = HeaderValue::try_from(format!("\"{etag}\""));
    let tag = tag.expect("hexadecimal digits, a number and a word");
    reply.headers_mut().insert(ETAG, tag);
    Ok(reply.into())
}

/// `GET /v1/namespaces/{namespace}/access`. A client without rights gets an answer too.
pub(in super::super) async fn access(mut context: Context) -> Routed {
    let namespace = context.path_namespace()?;
    let body = AccessBody {
        can_read: context.may(Action::ReadValues, &namespace),
        can_write: context.may(Action::WriteValues, &namespace),
    };
    Ok(reply::json(&body).into())
}

/// `GET /v1/namespaces`.
pub(in super::super) async fn namespaces(context: Context) -> Routed {
    let query = Query::of(&context.head.uri);
    let limit = query.limit(NAMESPACES_PAGE_DEFAULT_ENTRIES, NAMESPACES_PAGE_MAX_ENTRIES)?;
    let (prefix, after) = (query.get(&["prefix"]).unwrap_or_default(), cursor(&query)?);
    let coordinator = &context.server().coordinator;
    let is_shown = |namespace: &Namespace| context.lists(namespace);
    let page = coordinator.list_namespaces(prefix, after.as_deref(), limit, is_shown);
    let body = NamespacesBody {
        namespaces: page.items,
        next_cursor: next_cursor(page.next_after),
    };
    Ok(reply::json(&body).into())
}

/// `GET /v1/codecs`.
pub(in super::super) async fn codecs() -> RoutedReply {
    let codecs = known_codecs().map(str::to_owned).to_vec();
    reply::json(&CodecsBody { codecs }).into()
}

/// `GET /v1/aliases`.
pub(in super::super) async fn aliases(context: Context) -> RoutedReply {
    let aliases = context.server().coordinator.aliases().into_iter();
    let aliases = aliases.map(|(name, alias)| AliasBody::new(name, alias));
    reply::json(&AliasesBody {
        aliases: aliases.collect(),
    })
    .into()
}

/// `GET /v1/aliases/{key}`.
pub(in super::super) async fn get_alias(context: Context) -> Routed {
    let name = context.path_key()?;
    let alias = context.server().coordinator.alias(&name)?;
    let alias = AliasBody::new(name, alias);
    Ok(reply::json(&AliasAnswer { alias }).into())
}

/// `PUT /v1/aliases/{key}`.
pub(in super::super) async fn set_alias(mut context: Context, mut body: Body) -> Routed {
    let name = context.path_key()?;
    let target = read_alias(&small_body(&context, &mut body).await?)?;
    context.set_value(name.to_string());
    context.announce().await?;
    let coordinator = &context.server().coordinator;
    let alias = coordinator.set_alias(name.clone(), target).await?;
    let alias = AliasBody::new(name, alias);
    Ok(reply::json(&AliasAnswer { alias }).into())
}

/// `DELETE /v1/aliases/{key}`.
pub(in super::super) async fn delete_alias(mut context: Context) -> Routed {
    let name = context.path_key()?;
    context.set_value(name.to_string());
    context.announce().await?;
    context.server().coordinator.delete_alias(name).await?;
    Ok(empty_reply())
}

fn new_value(
    namespace: Namespace,
    key: ValueKey,
    set: SetBody,
    if_version: Option<u64>,
) -> NewValue {
    NewValue {
        namespace,
        key,
        bytes: set.bytes,
        codec: set.codec,
        secret: set.secret,
        mode: set.mode,
        if_version,
        ttl: set.ttl_seconds.map(Duration::from_secs),
    }
}

/// Notes for the audit log which value the request changes.
fn note(context: &mut RequestContext, namespace: &Namespace, key: &ValueKey) {
    context.set_value(format!("{namespace}/{key}"));
}

/// Returns the names of values for the audit log: the first hundred, and the number of the others.
pub(super) fn listed<'a>(
    namespace: &Namespace,
    keys: impl ExactSizeIterator<Item = &'a ValueKey>,
) -> String {
    let more = keys.len().saturating_sub(LISTED_MAX);
    let names = keys
        .take(LISTED_MAX)
        .map(|key| format!("{namespace}/{key}"));
    let names = names.collect::<Vec<_>>().join(", ");
    match more {
        0 => names,
        more => format!("{names} and {more} more"),
    }
}

/// Returns whether the request asks for the contents of secrets. If it gets some, the audit log says so.
async fn reveal<'a>(
    context: &mut RequestContext,
    entries: impl IntoIterator<Item = &'a Entry>,
) -> Result<bool, Rejection> {
    if !context.wants_secrets() {
        return Ok(false);
    }
    let secret = entries
        .into_iter()
        .filter(|entry| entry.content.is_secret());
    let mut secret: Vec<&Entry> = secret.collect();
    // The versions of one value.
    secret.dedup_by_key(|entry| &entry.key);
    if let [first, ..] = &secret[..] {
        let names = listed(&first.namespace, secret.iter().map(|entry| &entry.key));
        context.set_value(names);
        context.announce_reveal().await?;
    }
    Ok(true)
}

fn body(entry: Entry, reveal: bool) -> EntryBody {
    EntryBody::new(entry.namespace, entry.key, &entry.content, reveal)
}

fn bodies(entries: Vec<Entry>, reveal: bool) -> Vec<EntryBody> {
    let entries = entries.into_iter();
    entries.map(|entry| body(entry, reveal)).collect()
}

/// 200 with one version, whose number is the entity tag.
fn entry_reply(entry: Entry, reveal: bool) -> RoutedReply {
    let version = entry.content.version;
    let mut reply = reply::json(&EntryAnswer {
        entry: body(entry, reveal),
    });
    let tag = HeaderValue::try_from(format!("\"{version}\"")).expect("a number");
    reply.headers_mut().insert(ETAG, tag);
    reply.into()
}

fn empty_reply() -> RoutedReply {
    reply::json(&serde_json::json!({})).into()
}

fn cursor(query: &Query<'_>) -> Result<Option<String>, Rejection> {
    match query.get(&["cursor"]) {
        None => Ok(None),
        Some(cursor) => read_cursor(cursor).map(Some).ok_or(Rejection::WrongCursor),
    }
}

fn next_cursor(after: Option<String>) -> String {
    after.map(|after| cursor_after(&after)).unwrap_or_default()
}

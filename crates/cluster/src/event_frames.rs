//! The frames of events, which all watchers share: the newest ones are encoded once.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;

use crate::event_filter::name_of;
use cfgsync_model::{Digest, EventId, Instance, NodeRegistration};
use cfgsync_spec::Spec;
use cfgsync_store::{Event, EventKind, PositionedEvent};
use cfgsync_wire::{ValueEventBody, event_frame};

/// The number of frames that are kept.
const FRAMES_MAX: usize = 1024;

/// The size of the frames that are kept, in bytes. One longer frame is kept as well.
const FRAMES_MAX_BYTES: usize = 4 << 20;

/// The frames of the newest events.
#[derive(Default)]
pub(crate) struct EventFrames {
    newest: Mutex<Newest>,
}

#[derive(Default)]
struct Newest {
    /// Oldest first.
    frames: VecDeque<Frame>,
    bytes: usize,
    /// The spec whose secret fields the frames do not show.
    spec: Option<Digest>,
}

struct Frame {
    at: (u64, u32),
    bytes: Bytes,
}

impl EventFrames {
    /// Returns the frame of `event`. The frame of a new event is kept for other watchers, until newer ones take its
    /// place. The fields of metadata that `spec` declares secret are left out.
    pub(crate) fn frame(&self, instance: Instance, event: &PositionedEvent, spec: &Spec) -> Bytes {
        let at = (event.revision.0, event.part);
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.spec != Some(spec.digest) {
            *newest = Newest {
                spec: Some(spec.digest),
                ..Newest::default()
            };
        }
        if let Ok(found) = newest.frames.binary_search_by(|frame| frame.at.cmp(&at)) {
            return newest.frames[found].bytes.clone();
        }
        let is_new = newest.frames.back().is_none_or(|last| last.at < at);
        if !is_new {
            // A watcher that resumes reads old events. They must not push out the new ones.
            drop(newest);
            return encode(instance, event, spec);
        }
        let bytes = encode(instance, event, spec);
        newest.bytes += bytes.len();
        newest.frames.push_back(Frame {
            at,
            bytes: bytes.clone(),
        });
        while newest.frames.len() > FRAMES_MAX
            || (newest.bytes > FRAMES_MAX_BYTES && newest.frames.len() > 1)
        {
            let oldest = newest.frames.pop_front();
            newest.bytes -= oldest.map_or(0, |oldest| oldest.bytes.len());
        }
        bytes
    }
}

fn encode(instance: Instance, event: &PositionedEvent, spec: &Spec) -> Bytes {
    let position = event.position;
    let id = EventId { instance, position }.to_string();
    let (id, name) = (Some(&*id), name_of(&event.kind));
    let value = match &event.kind {
        EventKind::ValueSet {
            namespace,
            key,
            content,
        } => ValueEventBody::set(namespace, key, content),
        EventKind::ValueDeleted { namespace, key } => ValueEventBody::delete(namespace, key),
        EventKind::AliasSet {
            alias,
            target,
            created_at,
        } => ValueEventBody::alias_set(alias, target, *created_at),
        EventKind::AliasDeleted { alias } => ValueEventBody::alias_delete(alias),
        EventKind::NodeRegistered { registration } => {
            let registration = without_secrets(registration, spec);
            let kind = EventKind::NodeRegistered { registration };
            return event_frame(
                id,
                name,
                &Event {
                    kind,
                    ..(**event).clone()
                },
            );
        }
        _ => return event_frame(id, name, &**event),
    };
    event_frame(id, name, &value)
}

/// Returns the registration without the fields of metadata that the spec declares secret.
fn without_secrets(registration: &Arc<NodeRegistration>, spec: &Spec) -> Arc<NodeRegistration> {
    let mut shown = registration.clone();
    for name in spec.metadata.secret_fields() {
        let has_it = (shown.metadata.as_object()).is_some_and(|fields| fields.contains_key(name));
        if has_it && let Some(fields) = Arc::make_mut(&mut shown).metadata.as_object_mut() {
            fields.remove(name);
        }
    }
    shown
}

//! The mark of the render of this server, as it is wanted in etcd.

use std::time::Duration;

use tokio::{sync::watch, time::timeout};

use crate::{
    keys::{Key, ServerId},
    records::{self, MarkRecord},
};
use cfgsync_store::RenderMark;

/// The time in which etcd confirms a mark. Then the render begins without it.
const SET_PATIENCE: Duration = Duration::from_secs(3);

/// The time in which etcd confirms that the mark is removed, when the server stops.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// The mark that this server wants in etcd, and the one that is there.
#[derive(Debug, Default)]
pub(crate) struct OwnMark {
    pub(crate) wanted: watch::Sender<Wanted>,
    /// The number of the newest change that etcd has.
    pub(crate) written: watch::Sender<u64>,
}

/// A mark, or none, with the number of changes so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) number: u64,
    pub(crate) mark: Option<RenderMark>,
}

impl OwnMark {
    /// Wants a mark, or none. Returns the number of this change.
    pub(crate) fn want(&self, mark: Option<RenderMark>) -> u64 {
        let mut number = 0;
        self.wanted.send_if_modified(|wanted| {
            let is_changed = wanted.mark != mark;
            wanted.number += u64::from(is_changed);
            wanted.mark = mark;
            number = wanted.number;
            is_changed
        });
        number
    }

    /// Waits until etcd has the change with this number, or a later one.
    pub(crate) async fn written(&self, number: u64) -> Result<(), String> {
        let mut written = self.written.subscribe();
        let reached = written.wait_for(|written| *written >= number);
        match timeout(SET_PATIENCE, reached).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err("etcd has not confirmed the mark in time".to_owned()),
        }
    }

    /// Removes the mark, because the server stops.
    pub(crate) async fn close(&self) {
        let number = self.want(None);
        // If it stays, another server only waits before it renders.
        let _ = timeout(STOP_PATIENCE, self.written(number)).await;
    }
}

/// Reads the mark of a server. A mark that is not valid is ignored: without it, the render is only tried.
pub(crate) fn read(id: ServerId, value: &[u8]) -> Option<RenderMark> {
    match records::decode(&Key::Rendering(id).to_string(), value) {
        Ok(MarkRecord { render, starts }) => Some(RenderMark { render, starts }),
        Err(error) => {
            tracing::warn!(event = "etcd_record_refused", "{error}");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_read_as_they_are_written() {
        let record = MarkRecord {
            render: "7 2 0 x".to_owned(),
            starts: 2,
        };
        let mark = read(ServerId(1), &records::encode(&record)).unwrap();
        assert_eq!((mark.render, mark.starts), (record.render, record.starts));
        for value in [
            "",
            "{}",
            r#"{"render":"x","starts":-1}"#,
            r#"{"render":"x","starts":1,"x":1}"#,
        ] {
            assert_eq!(read(ServerId(1), value.as_bytes()), None, "{value}");
        }
    }

    #[test]
    fn each_change_of_the_wanted_mark_has_a_number() {
        let own = OwnMark::default();
        let mark = |render: &str| {
            Some(RenderMark {
                render: render.to_owned(),
                starts: 1,
            })
        };
        assert_eq!(own.want(None), 0, "nothing is marked");
        assert_eq!(own.want(mark("a")), 1);
        assert_eq!(own.want(mark("a")), 1);
        assert_eq!(own.want(None), 2);
    }
}

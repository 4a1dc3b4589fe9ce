//! The header that lists the running servers of a cluster, in answers to nodes.
//!
//! The list comes from the records of the servers, which change rarely. It is made again at most once a second, so that an
//! answer costs a look at a clock and a reference count.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use hyper::{
    Uri,
    header::{HeaderName, HeaderValue},
};

use cfgsync_cluster::Coordinator;
use cfgsync_wire::{LISTED_URL_MAX_BYTES, SERVERS_HEADER, SERVERS_LISTED_MAX};

pub(super) const SERVERS: HeaderName = HeaderName::from_static(SERVERS_HEADER);

/// The time for which a list is used.
const LIST_AGE_MAX: Duration = Duration::from_secs(1);

/// The last list.
#[derive(Debug, Default)]
pub(super) struct ListedServers(ArcSwapOption<Listed>);

#[derive(Debug)]
struct Listed {
    made_at: Instant,
    /// `None` if no server has a URL that nodes could use.
    value: Option<HeaderValue>,
}

impl ListedServers {
    /// Returns the value of the header. `None` for a server that shares no store.
    pub(super) fn header(&self, coordinator: &Coordinator, now: Instant) -> Option<HeaderValue> {
        if let Some(listed) = &*self.0.load()
            && now.saturating_duration_since(listed.made_at) < LIST_AGE_MAX
        {
            return listed.value.clone();
        }
        let value = list(coordinator.advertised_urls());
        let listed = Listed {
            made_at: now,
            value: value.clone(),
        };
        self.0.store(Some(Arc::new(listed)));
        value
    }
}

/// Returns the URLs as a header, those that nodes cannot use left out.
fn list(urls: impl IntoIterator<Item = String>) -> Option<HeaderValue> {
    let mut urls: Vec<String> = urls.into_iter().filter(|url| is_usable(url)).collect();
    urls.sort();
    urls.dedup();
    urls.truncate(SERVERS_LISTED_MAX);
    if urls.is_empty() {
        return None;
    }
    HeaderValue::try_from(urls.join(", ")).ok()
}

/// Whether a node can use a URL, and the header can hold it. A URL with a token is a secret.
fn is_usable(url: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b',';
    if url.len() > LISTED_URL_MAX_BYTES || !url.bytes().all(is_plain) || url.contains("token=") {
        return false;
    }
    let Ok(uri) = url.parse::<Uri>() else {
        return false;
    };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let address = host.parse::<IpAddr>();
    uri.scheme().is_some()
        && !host.is_empty()
        && !address.is_ok_and(|address| address.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_has_only_urls_that_a_node_can_use() {
        let long = format!("https://{}", "a".repeat(LISTED_URL_MAX_BYTES));
        let urls = [
            "https://b:4400",
            "https://a:4400",
            "https://b:4400",
            "cfgsync://c/?pin=sha256-47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU",
            "cfgsync://c/?pin=sha256-x&token=hidden",
            "http://0.0.0.0:4400",
            "http://[::]:4400",
            "https://d,e",
            "https://d e",
            "https://d\r\nset-cookie: a",
            "nonsense",
            "",
            &long,
        ];
        let expected = "cfgsync://c/?pin=sha256-47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU, \
                        https://a:4400, https://b:4400";
        assert_eq!(list(urls.map(str::to_owned)).unwrap(), expected);
        assert_eq!(list(["http://0.0.0.0:1".to_owned()]), None);
        let many = (0..100).map(|number| format!("https://server-{number}"));
        let listed = list(many).unwrap();
        let listed = listed.to_str().unwrap().split(',').count();
        assert_eq!(listed, SERVERS_LISTED_MAX);
    }
}

//! The parameters in the query of a request's URI.

use std::borrow::Cow;

use hyper::Uri;
use percent_encoding::percent_decode_str;

/// The parameters of a query, in order, decoded.
#[derive(Debug)]
pub(super) struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

/// A parameter with a value that it cannot have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the parameter `{name}` of the query is wrong: {problem}")]
pub(super) struct WrongParameter {
    /// The name of the parameter.
    pub(super) name: &'static str,
    /// The problem with its value.
    pub(super) problem: &'static str,
}

impl<'a> Query<'a> {
    /// Reads the query of `uri`. Bytes that are not UTF-8 are replaced.
    pub(super) fn of(uri: &'a Uri) -> Self {
        let parameters = uri.query().unwrap_or_default().split('&');
        let pairs = parameters.filter(|parameter| !parameter.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        Self(
            pairs
                .map(|(name, value)| (decode(name), decode(value)))
                .collect(),
        )
    }

    /// Returns the first value of a parameter that has one of these names. An empty value counts as none.
    pub(super) fn get(&self, names: &[&str]) -> Option<&str> {
        let mut parameters = self.0.iter();
        let (_, value) = parameters.find(|(name, _)| names.contains(&&**name))?;
        Some(&**value).filter(|value| !value.is_empty())
    }

    /// Returns all values of a parameter, also empty ones.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let parameters = self.0.iter().filter(move |(found, _)| found == name);
        parameters.map(|(_, value)| &**value)
    }

    /// Returns a whole number of at least 1.
    pub(super) fn number(&self, name: &'static str) -> Result<Option<u64>, WrongParameter> {
        let Some(text) = self.get(&[name]) else {
            return Ok(None);
        };
        match text.parse() {
            Ok(number) if number > 0 => Ok(Some(number)),
            _ => Err(WrongParameter {
                name,
                problem: "it must be a whole number of at least 1",
            }),
        }
    }

    /// Returns the size of a page: `limit`, at most `max`. 0 and an absent parameter stand for `default`.
    pub(super) fn limit(&self, default: usize, max: usize) -> Result<usize, WrongParameter> {
        match self.get(&["limit"]).map(str::parse::<usize>) {
            None | Some(Ok(0)) => Ok(default),
            Some(Ok(limit)) => Ok(limit.min(max)),
            Some(Err(_)) => Err(WrongParameter {
                name: "limit",
                problem: "it must be a whole number",
            }),
        }
    }
}

fn decode(text: &str) -> Cow<'_, str> {
    if text.contains('+') {
        let text = text.replace('+', " ");
        return Cow::Owned(percent_decode_str(&text).decode_utf8_lossy().into_owned());
    }
    percent_decode_str(text).decode_utf8_lossy()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let uri: Uri = "/x?prefix=app%2Fx&a=b+c&a=d&empty=&flag&limit=7"
            .parse()
            .unwrap();
        let query = Query::of(&uri);
        assert_eq!(query.get(&["prefix"]), Some("app/x"));
        assert_eq!(query.get(&["a"]), Some("b c"));
        assert_eq!(query.get(&["none", "prefix"]), Some("app/x"));
        assert_eq!(query.get(&["empty"]), None);
        assert_eq!(query.get(&["flag"]), None);
        assert_eq!(query.all("a").collect::<Vec<_>>(), ["b c", "d"]);
        assert_eq!(query.all("empty").collect::<Vec<_>>(), [""]);
        assert_eq!(query.limit(100, 5), Ok(5));
        assert_eq!(query.number("limit"), Ok(Some(7)));
    }

    #[test]
    fn wrong_numbers_are_refused() {
        for text in ["x", "-1", "1.5", "99999999999999999999"] {
            let uri: Uri = format!("/x?limit={text}&v1={text}").parse().unwrap();
            let query = Query::of(&uri);
            assert!(query.limit(1, 2).is_err(), "{text}");
            assert!(query.number("v1").is_err(), "{text}");
        }
        let uri: Uri = "/x?limit=0&v1=0".parse().unwrap();
        assert_eq!(Query::of(&uri).limit(100, 1000), Ok(100));
        assert!(Query::of(&uri).number("v1").is_err());
    }
}

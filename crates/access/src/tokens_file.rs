//! The tokens file: one token a line, `NAME ROLE sha256:HASH [identifier=PATTERN] [namespace=PATTERN]… [read-only] [expires=TIME]`.
//!
//! Messages repeat only the names and known keywords of the file, nothing else: an operator may have put the secret
//! itself where its hash belongs.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    path::Path,
    sync::Arc,
};

use super::{
    Pattern, Role, TokenUse,
    last_use::LastUse,
    token::{READ_ONLY, Token, hashes_match},
};
use cfgsync_model::Digest;
use cfgsync_support::{bounded_file, clock::Timestamp, nearest::did_you_mean_suffix};

/// The largest accepted file, in bytes.
const FILE_MAX_BYTES: u64 = 4 << 20;
/// The most tokens in one file: one for each node of a large cluster, and as many again while tokens are rotated.
const TOKENS_MAX: usize = 32_768;
/// The longest name, in bytes.
const NAME_MAX_BYTES: usize = 64;
/// The most namespaces of one token.
const NAMESPACES_MAX: usize = 64;
/// How many mistakes one message lists.
const MISTAKES_MAX: usize = 20;

/// The tokens that a server accepts, indexed by their hashes.
#[derive(Debug)]
pub struct Tokens {
    /// The key is the first 8 bytes of the hash. A lookup may reveal these by its duration, which does not help to find
    /// a secret; the rest is compared in constant time.
    by_hash: BTreeMap<u64, Vec<Entry>>,
    count: usize,
    digest: Digest,
}

#[derive(Debug)]
struct Entry {
    token: Token,
    last_use: LastUse,
}

/// A tokens file that cannot be used. The message has one line for each mistake: `FILE:LINE: the mistake`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TokensError(String);

impl Tokens {
    /// Reads the file at `path`, which may have up to 4 MiB.
    pub fn load(path: &Path) -> Result<Self, TokensError> {
        let name = path.display();
        let text = bounded_file::read_text_without_waiting(path, FILE_MAX_BYTES)
            .map_err(|error| TokensError(format!("cannot read the tokens file {name}: {error}")))?;
        Self::parse(&text, &name.to_string())
    }

    /// Parses `text`; `file` is the name that messages show. Empty lines, and everything after a `#`, are ignored.
    pub fn parse(text: &str, file: &str) -> Result<Self, TokensError> {
        let mut tokens = Self {
            by_hash: BTreeMap::new(),
            count: 0,
            digest: Digest::of(text.as_bytes()),
        };
        let mut lines_of: HashMap<String, usize> = HashMap::new();
        let mut mistakes = Vec::new();
        for (at, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let number = at + 1;
            let token = match parse_line(line) {
                Ok(token) => token,
                Err(problem) => {
                    mistakes.push(format!("{file}:{number}: {problem}"));
                    continue;
                }
            };
            if let Some(first) = lines_of.insert(token.name.clone(), number) {
                let name = &token.name;
                mistakes.push(format!(
                    "{file}:{number}: line {first} already has the name {name}; names must be unique, because logs show \
                     them"
                ));
            } else if tokens.find(&token.hash).is_some() {
                let name = &token.name;
                mistakes.push(format!(
                    "{file}:{number}: {name} has the same secret as another line; each token needs its own secret"
                ));
            } else {
                tokens.insert(token);
            }
        }
        if tokens.count > TOKENS_MAX {
            mistakes.push(format!("{file}: there are more than {TOKENS_MAX} tokens"));
        }
        // Refused, because a file that is just being written is empty too. A comment says that no tokens is intended.
        if text.trim().is_empty() {
            mistakes.push(format!(
                "the tokens file {file} is empty; add a token with `cfgsync token new --append {file}`, or a comment \
                 such as `# none` to start without tokens"
            ));
        }
        if mistakes.is_empty() {
            return Ok(tokens);
        }
        let more = mistakes.len().saturating_sub(MISTAKES_MAX);
        mistakes.truncate(MISTAKES_MAX);
        if more > 0 {
            mistakes.push(format!("and {more} more"));
        }
        Err(TokensError(mistakes.join("\n")))
    }

    /// Returns the number of tokens.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Returns the names and expiry times of the tokens that expire.
    pub(super) fn expiring(&self) -> Vec<(String, Timestamp)> {
        let tokens = self.by_hash.values().flatten();
        let expiring =
            tokens.filter_map(|entry| Some((entry.token.name.clone(), entry.token.expires?)));
        expiring.collect()
    }

    /// Returns the hash of the file's text, for the audit log.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Returns a digest of the names, rights and hashes of all tokens. Files with the same tokens in another order, or with
    /// other comments, have the same one. It does not help to guess a token: each hash is of 32 random bytes.
    pub fn rights_digest(&self) -> Digest {
        let tokens = self.by_hash.values().flatten();
        let mut digests: Vec<Digest> = tokens.map(|entry| entry.token.rights_digest()).collect();
        digests.sort_unstable_by_key(|digest| *digest.as_bytes());
        Digest::of_parts(digests.iter().map(|digest| digest.as_bytes().as_slice()))
    }

    /// Returns the token with this hash, even if it has expired.
    pub fn find(&self, hash: &Digest) -> Option<&Token> {
        self.entry(hash).map(|entry| &entry.token)
    }

    /// Returns each token with its last use, in the order of the names. The use is that of the running server.
    pub fn list(&self) -> Vec<(&Token, Option<TokenUse>)> {
        let entries = self.by_hash.values().flatten();
        let mut list: Vec<_> = entries
            .map(|entry| (&entry.token, entry.last_use.get()))
            .collect();
        list.sort_unstable_by(|(one, _), (other, _)| one.name.cmp(&other.name));
        list
    }

    /// Notes a use of the token with this hash.
    pub(super) fn note_use(&self, hash: &Digest, now: Timestamp, from: IpAddr) {
        if let Some(entry) = self.entry(hash) {
            entry.last_use.note(now, from);
        }
    }

    /// Takes the last uses of the same tokens over from `before`.
    pub(super) fn take_uses(&mut self, before: &Self) {
        for entry in self.by_hash.values_mut().flatten() {
            if let Some(old) = before.entry(&entry.token.hash) {
                entry.last_use = LastUse::new(old.last_use.get());
            }
        }
    }

    fn entry(&self, hash: &Digest) -> Option<&Entry> {
        let candidates = self.by_hash.get(&start(hash))?;
        candidates
            .iter()
            .find(|entry| hashes_match(&entry.token.hash, hash))
    }

    fn insert(&mut self, token: Token) {
        let candidates = self.by_hash.entry(start(&token.hash)).or_default();
        let last_use = LastUse::new(None);
        candidates.push(Entry { token, last_use });
        self.count += 1;
    }
}

fn start(hash: &Digest) -> u64 {
    let start = hash.as_bytes().first_chunk();
    u64::from_be_bytes(*start.expect("a digest has 32 bytes"))
}

/// Parses one line without comment.
fn parse_line(line: &str) -> Result<Token, String> {
    let mut words = line.split_ascii_whitespace();
    let name = words.next().unwrap_or_default();
    check_name(name)?;
    let role: Role = match words.next() {
        Some(word) => word.parse()?,
        None => return Err("expected NAME ROLE sha256:HASH".to_owned()),
    };
    let hash = words
        .next()
        .and_then(|word| word.strip_prefix("sha256:"))
        .and_then(|digits| digits.to_ascii_lowercase().parse().ok())
        .ok_or(
            "the third word must be `sha256:` and the 64 hexadecimal digits of the token's hash; do not write the \
             token itself into this file",
        )?;
    let mut token = Token {
        name: name.to_owned(),
        role,
        hash,
        identifier: None,
        namespaces: Arc::default(),
        read_only: false,
        expires: None,
    };
    let mut namespaces: Vec<Pattern> = Vec::new();
    for word in words {
        if word == READ_ONLY {
            if token.read_only {
                return Err(format!("`{READ_ONLY}` is given twice"));
            }
            token.read_only = true;
            continue;
        }
        let Some((key, value)) = word.split_once('=') else {
            return Err(format!(
                "expected KEY=VALUE after the hash, with `identifier`, `namespace` or `expires`, or `{READ_ONLY}`"
            ));
        };
        match key {
            "identifier" if token.identifier.is_none() => {
                let pattern = value.parse().map_err(|e| format!("identifier: {e}"))?;
                token.identifier = Some(pattern);
            }
            "namespace" if namespaces.len() < NAMESPACES_MAX => {
                namespaces.push(value.parse().map_err(|e| format!("namespace: {e}"))?);
            }
            "namespace" => {
                return Err(format!("a token has at most {NAMESPACES_MAX} namespaces"));
            }
            "expires" if token.expires.is_none() => {
                let time = value.parse().map_err(|_| {
                    "expires: expected a time such as 2026-12-31T23:59:59Z".to_owned()
                })?;
                token.expires = Some(time);
            }
            "identifier" | "expires" => return Err(format!("`{key}` is given twice")),
            _ => {
                let near = did_you_mean_suffix(key, ["identifier", "namespace", "expires"]);
                return Err(format!(
                    "unknown key; expected `identifier`, `namespace` or `expires`{near}"
                ));
            }
        }
    }
    let is_limited = token.read_only || !namespaces.is_empty();
    if is_limited && role != Role::Operator {
        return Err(format!(
            "`namespace` and `{READ_ONLY}` limit the role `operator`; the role `{role}` has no access to values"
        ));
    }
    token.namespaces = namespaces.into();
    Ok(token)
}

/// Checks that `name` can be a token's name.
///
/// # Errors
/// A message that says which names are allowed.
pub fn check_name(name: &str) -> Result<(), String> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "._-@".contains(c);
    let fits = (1..=NAME_MAX_BYTES).contains(&name.len());
    if fits && name.chars().all(is_allowed) {
        return Ok(());
    }
    Err(format!(
        "a token's name has 1 to {NAME_MAX_BYTES} characters: letters, digits, '.', '_', '-' and '@'"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb";

    fn parse(text: &str) -> Result<Tokens, String> {
        Tokens::parse(text, "tokens").map_err(|error| error.to_string())
    }

    #[test]
    fn rights_digest_does_not_depend_on_the_order_and_on_comments() {
        let other = format!("web node sha256:{}", Digest::of(b"b"));
        let digest = |lines: [&str; 2]| parse(&lines.join("\n")).unwrap().rights_digest();
        let ops = format!("ops operator {HASH}");
        let both = digest([&ops, &other]);
        assert_eq!(both, digest([&format!("{other} # a comment"), &ops]));
        for changed in [
            format!("ops viewer {HASH}"),
            format!("op operator {HASH}"),
            format!("ops operator {HASH} read-only"),
            format!("ops operator {HASH} namespace=a"),
            format!("ops operator {HASH} expires=2026-12-31T23:59:59Z"),
            format!("ops operator sha256:{}", Digest::of(b"c")),
        ] {
            assert_ne!(both, digest([&changed, &other]), "{changed}");
        }
    }

    #[test]
    fn parses_one_token_a_line() {
        let text = format!(
            "# a comment\n\nops operator {HASH}  # of a\nweb node sha256:{} expires=2026-12-31T23:59:59Z identifier=web-*\n",
            Digest::of(b"b")
        );
        let tokens = parse(&text).unwrap();
        assert_eq!(tokens.count(), 2);
        let ops = tokens.find(&Digest::of(b"a")).unwrap();
        assert_eq!((ops.role, &*ops.name), (Role::Operator, "ops"));
        let web = tokens.find(&Digest::of(b"b")).unwrap();
        assert!(web.identifier.as_ref().unwrap().matches("web-1"));
        let line = format!(
            "team operator {HASH} namespace=team-* namespace=shared read-only expires=2026-12-31T23:59:59Z"
        );
        let team = parse_line(&line).unwrap();
        let namespaces = team.namespaces.iter().map(ToString::to_string);
        assert_eq!(namespaces.collect::<Vec<_>>(), ["team-*", "shared"]);
        assert!(team.read_only);
        assert_eq!(team.to_string(), line);
        // A printed token parses as the same token.
        assert_eq!(parse_line(&web.to_string()).unwrap(), *web);
        assert_eq!(tokens.find(&Digest::of(b"c")), None);
        assert_eq!(parse("# none\n").unwrap().count(), 0);
    }

    #[test]
    fn last_use_survives_a_reload_of_the_same_token() {
        let line =
            |name: &str, secret: &[u8]| format!("{name} node sha256:{}\n", Digest::of(secret));
        let tokens = parse(&(line("b", b"b") + &line("a", b"a"))).unwrap();
        let at = |second| Timestamp::from_second(second).unwrap();
        let from = |last| IpAddr::from([10, 0, 0, last]);
        tokens.note_use(&Digest::of(b"a"), at(7), from(1));
        tokens.note_use(&Digest::of(b"a"), at(9), from(2));
        tokens.note_use(&Digest::of(b"unknown"), at(9), from(2));
        let uses = |tokens: &Tokens| -> Vec<_> {
            let list = tokens.list().into_iter();
            list.map(|(token, used)| (token.name.clone(), used))
                .collect()
        };
        let last = TokenUse {
            at: at(9),
            from: from(2),
        };
        assert_eq!(
            uses(&tokens),
            [("a".into(), Some(last)), ("b".into(), None)]
        );
        // The name changes with the line, the secret does not.
        let mut again = parse(&(line("renamed", b"a") + &line("a", b"c"))).unwrap();
        again.take_uses(&tokens);
        assert_eq!(
            uses(&again),
            [("a".into(), None), ("renamed".into(), Some(last))]
        );
    }

    #[test]
    fn mistakes_name_their_line_and_never_repeat_a_secret() {
        let secret = "cfgsync_PLANTED";
        for (text, message) in [
            (String::new(), "the tokens file tokens is empty"),
            ("\n  \n".to_owned(), "the tokens file tokens is empty"),
            (
                format!("{}\n", "x".repeat(65)),
                "tokens:1: a token's name has 1 to 64",
            ),
            ("web".to_owned(), "tokens:1: expected NAME ROLE sha256:HASH"),
            (
                format!("\nweb {secret} {HASH}"),
                "tokens:2: a role is `node`, `viewer` or `operator`",
            ),
            (
                format!("web node {secret}"),
                "tokens:1: the third word must be `sha256:`",
            ),
            (
                format!("web node sha256:{secret}"),
                "tokens:1: the third word must be `sha256:`",
            ),
            (
                format!("web node {HASH} {secret}"),
                "tokens:1: expected KEY=VALUE after the hash",
            ),
            (
                format!("web node {HASH} expire=now"),
                "tokens:1: unknown key; expected `identifier`, `namespace` or `expires`; did you mean `expires`?",
            ),
            (
                format!("web node {HASH} namespace=a"),
                "tokens:1: `namespace` and `read-only` limit the role `operator`; the role `node`",
            ),
            (
                format!("web viewer {HASH} read-only"),
                "tokens:1: `namespace` and `read-only` limit the role `operator`; the role `viewer`",
            ),
            (
                format!("web operator {HASH} namespace=[{secret}]"),
                "tokens:1: namespace: a pattern has",
            ),
            (
                format!("web operator {HASH}{}", " namespace=a".repeat(65)),
                "tokens:1: a token has at most 64 namespaces",
            ),
            (
                format!("web node {HASH} {secret}=1"),
                "tokens:1: unknown key; expected",
            ),
            (
                format!("web node {HASH} expires={secret}"),
                "tokens:1: expires: expected a time such as",
            ),
            (
                format!("web node {HASH} identifier=[{secret}]"),
                "tokens:1: identifier: a pattern has",
            ),
            (
                format!("web node {HASH} identifier=a identifier=b"),
                "tokens:1: `identifier` is given twice",
            ),
            (
                format!("web node {HASH}\nweb node {HASH}"),
                "tokens:2: line 1 already has the name web",
            ),
            (
                format!("web node {HASH}\nwob node {HASH}"),
                "tokens:2: wob has the same secret as another line",
            ),
        ] {
            let message_text = parse(&text).unwrap_err();
            assert!(
                message_text.starts_with(message),
                "{text:?}: {message_text}"
            );
            assert!(!message_text.contains(secret), "{message_text}");
        }
    }

    #[test]
    fn one_message_lists_up_to_20_mistakes() {
        let message_text = parse(&"x\n".repeat(25)).unwrap_err();
        assert_eq!(message_text.lines().count(), MISTAKES_MAX + 1);
        assert!(message_text.ends_with("and 5 more"));
    }
}

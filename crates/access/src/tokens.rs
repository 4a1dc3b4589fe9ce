//! The file of tokens: one line each, `NAME ROLE sha256:HASH [identifier=PATTERN] [expires=TIME]`.
//!
//! No message repeats what stands in it, but for names and slips of words that it knows: where a hash should stand,
//! somebody may have put the secret.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::Read,
    path::Path,
};

use super::token::{Role, Token, same};
use cfgsync_model::Digest;

/// Largest file, in bytes.
const FILE_MAX_BYTES: u64 = 4 << 20;
/// Most tokens: one for each of a large cluster's nodes, and as many again while they change.
const TOKENS_MAX: usize = 32_768;
/// Longest name, in bytes.
const NAME_MAX_BYTES: usize = 64;
/// So many mistakes are told at once.
const MISTAKES_MAX: usize = 20;

/// The tokens that a server accepts.
#[derive(Debug)]
pub struct Tokens {
    /// By the first bytes of their hashes, which are no secret worth the name: of the rest a comparison tells nothing.
    by_hash: BTreeMap<u64, Vec<Token>>,
    count: usize,
    digest: Digest,
}

/// A file of tokens that cannot be used: one line for each mistake, `FILE:LINE: what, and the way out`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TokensError(String);

impl Tokens {
    /// Reads the file at `path`.
    pub fn load(path: &Path) -> Result<Self, TokensError> {
        let name = path.display();
        let unreadable = |error| TokensError(format!("cannot read the tokens in {name}: {error}"));
        let file = File::open(path).map_err(unreadable)?;
        let mut text = String::new();
        let read = file.take(FILE_MAX_BYTES + 1).read_to_string(&mut text);
        if read.map_err(unreadable)? as u64 > FILE_MAX_BYTES {
            let problem = format!("{name} is larger than {} MiB", FILE_MAX_BYTES >> 20);
            return Err(TokensError(problem));
        }
        Self::parse(&text, &name.to_string())
    }

    /// Reads `text`; `file` is for messages. Empty lines and what follows a `#` are passed over.
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
                    "{file}:{number}: the name {name} stands in line {first} already; logs tell tokens apart by \
                     their names"
                ));
            } else if tokens.find(&token.hash).is_some() {
                let name = &token.name;
                mistakes.push(format!(
                    "{file}:{number}: {name} is the same token as another line's; each needs a secret of its own"
                ));
            } else {
                tokens.insert(token);
            }
        }
        if tokens.count > TOKENS_MAX {
            mistakes.push(format!("{file}: there are more than {TOKENS_MAX} tokens"));
        }
        // A file that is about to be written looks like this; the way to say "none" is a word.
        if text.trim().is_empty() {
            mistakes.push(format!(
                "{file} is empty; make a token with `cfgsync token new --append {file}`, or say with a comment \
                 (`# none`) that there is none"
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

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The hash of their file, in which the hashes of secrets stand.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The token with this hash, whether it is good still or not.
    pub fn find(&self, hash: &Digest) -> Option<&Token> {
        let same_start = self.by_hash.get(&start(hash))?;
        same_start.iter().find(|token| same(&token.hash, hash))
    }

    fn insert(&mut self, token: Token) {
        let same_start = self.by_hash.entry(start(&token.hash)).or_default();
        same_start.push(token);
        self.count += 1;
    }
}

fn start(hash: &Digest) -> u64 {
    let start = hash.as_bytes().first_chunk();
    u64::from_be_bytes(*start.expect("a hash is longer"))
}

/// Reads one line.
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
            "the third word must be `sha256:` and the 64 hexadecimal digits of the token's hash; the token itself \
             does not belong here",
        )?;
    let mut token = Token {
        name: name.to_owned(),
        role,
        hash,
        identifier: None,
        expires: None,
    };
    for word in words {
        let Some((key, value)) = word.split_once('=') else {
            return Err("after the hash stands KEY=VALUE: `identifier=` or `expires=`".to_owned());
        };
        match key {
            "identifier" if token.identifier.is_none() => {
                let pattern = value.parse().map_err(|e| format!("identifier: {e}"))?;
                token.identifier = Some(pattern);
            }
            "expires" if token.expires.is_none() => {
                let time = value.parse().map_err(|_| {
                    "expires: expected a time such as 2026-12-31T23:59:59Z".to_owned()
                })?;
                token.expires = Some(time);
            }
            "identifier" | "expires" => return Err(format!("`{key}` stands there twice")),
            _ => {
                let near =
                    cfgsync_support::nearest::did_you_mean_suffix(key, ["identifier", "expires"]);
                return Err(format!(
                    "unknown key; expected `identifier` or `expires`{near}"
                ));
            }
        }
    }
    Ok(token)
}

/// Whether `name` can be a token's name.
///
/// # Errors
/// What a name is.
pub fn check_name(name: &str) -> Result<(), String> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "._-@".contains(c);
    let fits = (1..=NAME_MAX_BYTES).contains(&name.len());
    match fits && name.chars().all(is_allowed) {
        true => Ok(()),
        false => Err(format!(
            "a token's name is 1 to {NAME_MAX_BYTES} of letters, digits, '.', '_', '-' and '@'"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb";

    fn parse(text: &str) -> Result<Tokens, String> {
        Tokens::parse(text, "tokens").map_err(|error| error.to_string())
    }

    #[test]
    fn lines_are_tokens() {
        let text = format!(
            "# who may come in\n\nops operator {HASH}  # of a\nweb node sha256:{} expires=2026-12-31T23:59:59Z identifier=web-*\n",
            Digest::of(b"b")
        );
        let tokens = parse(&text).unwrap();
        assert_eq!(tokens.count(), 2);
        let ops = tokens.find(&Digest::of(b"a")).unwrap();
        assert_eq!((ops.role, &*ops.name), (Role::Operator, "ops"));
        let web = tokens.find(&Digest::of(b"b")).unwrap();
        assert!(web.identifier.as_ref().unwrap().matches("web-1"));
        // What is printed is read again as the same.
        assert_eq!(parse_line(&web.to_string()).unwrap(), *web);
        assert_eq!(tokens.find(&Digest::of(b"c")), None);
        assert_eq!(parse("# none\n").unwrap().count(), 0);
    }

    #[test]
    fn mistakes_are_told_where_they_stand_and_never_repeat_a_secret() {
        let secret = "cfgsync_PLANTED";
        for (text, message) in [
            (String::new(), "tokens is empty"),
            ("\n  \n".to_owned(), "tokens is empty"),
            (
                format!("{}\n", "x".repeat(65)),
                "tokens:1: a token's name is 1 to 64",
            ),
            ("web".to_owned(), "tokens:1: expected NAME ROLE sha256:HASH"),
            (
                format!("\nweb {secret} {HASH}"),
                "tokens:2: a role is `node` or `operator`",
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
                "tokens:1: after the hash stands KEY=VALUE",
            ),
            (
                format!("web node {HASH} expire=now"),
                "tokens:1: unknown key; expected `identifier` or `expires`; did you mean `expires`?",
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
                "tokens:1: identifier: a pattern is",
            ),
            (
                format!("web node {HASH} identifier=a identifier=b"),
                "tokens:1: `identifier` stands there twice",
            ),
            (
                format!("web node {HASH}\nweb node {HASH}"),
                "tokens:2: the name web stands in line 1 already",
            ),
            (
                format!("web node {HASH}\nwob node {HASH}"),
                "tokens:2: wob is the same token as another line's",
            ),
        ] {
            let told = parse(&text).unwrap_err();
            assert!(told.starts_with(message), "{text:?}: {told}");
            assert!(!told.contains(secret), "{told}");
        }
    }

    #[test]
    fn many_mistakes_are_told_at_once() {
        let told = parse(&"x\n".repeat(25)).unwrap_err();
        assert_eq!(told.lines().count(), MISTAKES_MAX + 1);
        assert!(told.ends_with("and 5 more"));
    }
}

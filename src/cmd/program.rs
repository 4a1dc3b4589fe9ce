//! CMD: finds it, prepares its start, and says why it cannot be executed.

use std::{
    collections::BTreeMap,
    env,
    ffi::{CString, OsStr, OsString, c_char},
    fs::{self, File},
    io::{self, ErrorKind, Read as _},
    os::unix::{ffi::OsStrExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
    ptr,
};

use rustix::fs::{Access, access};

use super::ignored;

/// The search path if PATH is not set, as in the C library.
const DEFAULT_PATH: &str = "/bin:/usr/bin";
/// The first bytes of a program that are read: the header of an ELF file, or the longest `#!` line that Linux reads.
const HEAD_MAX_BYTES: u64 = 256;

/// The reason why CMD cannot be run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProgramError {
    /// No directory of PATH has it.
    #[error("{}: command not found", if .0.is_empty() { "\"\"" } else { .0 })]
    NotInPath(String),
    /// The path leads to no file.
    #[error("{}: no such file", .0.display())]
    Missing(PathBuf),
    /// It exists and cannot be executed.
    #[error("cannot execute {}: {reason}", path.display())]
    NotExecutable {
        /// The file.
        path: PathBuf,
        /// The cause.
        reason: Reason,
    },
}

/// The reason why an existing file cannot be executed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Reason {
    #[error("it is a directory")]
    Directory,
    #[error("it is not executable")]
    NoPermission,
    #[error("its first line ends with CRLF, so Linux looks for the interpreter {0:?}")]
    CarriageReturn(String),
    #[error("its interpreter {0} does not exist")]
    NoInterpreter(String),
    #[error("its dynamic loader does not exist; it was built for another C library")]
    NoLoader,
    #[error("it is built for {of}, but this machine is {}", env::consts::ARCH)]
    OtherArchitecture { of: String },
    #[error(transparent)]
    Other(io::Error),
}

impl ProgramError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        let (path, reason) = match self {
            Self::NotInPath(_) => {
                return Some(
                    "check the name of the program, and that its directory is in PATH".into(),
                );
            }
            Self::Missing(_) => return Some("check the path of the program".into()),
            Self::NotExecutable { path, reason } => (path.display(), reason),
        };
        Some(match reason {
            Reason::NoPermission => format!("chmod +x {path}"),
            Reason::CarriageReturn(_) => {
                format!("remove the carriage returns: sed -i 's/\\r$//' {path}")
            }
            Reason::NoInterpreter(_) => {
                "install the interpreter, or correct the first line of the file".into()
            }
            Reason::NoLoader => "use a build for the C library of this system or image".into(),
            Reason::OtherArchitecture { .. } => {
                format!("use a build for {}", env::consts::ARCH)
            }
            Reason::Directory | Reason::Other(_) => return None,
        })
    }
}

/// Returns the path of `program`, which is searched for in `search_path` if it contains no slash.
///
/// # Errors
/// The program does not exist, or it is known that the kernel will not execute it.
pub(crate) fn find(program: &OsStr, search_path: Option<&OsStr>) -> Result<PathBuf, ProgramError> {
    if program.as_bytes().contains(&b'/') {
        let path = PathBuf::from(program);
        return match check(&path) {
            Ok(()) => Ok(path),
            Err(None) => Err(ProgramError::Missing(path)),
            Err(Some(reason)) => Err(ProgramError::NotExecutable { path, reason }),
        };
    }
    let mut not_executable = None;
    if !program.is_empty() {
        for directory in env::split_paths(search_path.unwrap_or(DEFAULT_PATH.as_ref())) {
            // An empty entry is the current directory.
            let path = Path::new(".").join(directory).join(program);
            match check(&path) {
                Ok(()) => return Ok(path),
                Err(None | Some(Reason::Directory)) => {}
                Err(Some(reason)) => {
                    not_executable.get_or_insert(ProgramError::NotExecutable { path, reason });
                }
            }
        }
    }
    let name = || program.to_string_lossy().into_owned();
    Err(not_executable.unwrap_or_else(|| ProgramError::NotInPath(name())))
}

/// Fails without a reason if there is no such file.
fn check(path: &Path) -> Result<(), Option<Reason>> {
    let metadata = fs::metadata(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => None,
        _ => Some(Reason::Other(error)),
    })?;
    if metadata.is_dir() {
        return Err(Some(Reason::Directory));
    }
    if access(path, Access::EXEC_OK).is_err() {
        return Err(Some(Reason::NoPermission));
    }
    // A program may be executable without being readable.
    let head = head(path).unwrap_or_default();
    match interpreter(&head) {
        Some(interpreter) if !Path::new(&interpreter).exists() => {
            Err(Some(if interpreter.ends_with('\r') {
                Reason::CarriageReturn(interpreter)
            } else {
                Reason::NoInterpreter(interpreter)
            }))
        }
        _ => Ok(()),
    }
}

/// Explains why the kernel did not execute the program at `path`.
pub(crate) fn explain(path: &Path, error: io::Error) -> ProgramError {
    let reason = match check(path) {
        Err(None) => return ProgramError::Missing(path.to_owned()),
        Err(Some(reason)) => reason,
        Ok(()) => {
            let elf = head(path).ok().and_then(|head| machine(&head));
            match (error.raw_os_error(), elf) {
                (Some(libc::ENOEXEC), Some(of)) => Reason::OtherArchitecture { of },
                (Some(libc::ENOENT), Some(_)) => Reason::NoLoader,
                _ => Reason::Other(error),
            }
        }
    };
    ProgramError::NotExecutable {
        path: path.to_owned(),
        reason,
    }
}

fn head(path: &Path) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    File::open(path)?
        .take(HEAD_MAX_BYTES)
        .read_to_end(&mut head)?;
    Ok(head)
}

/// Returns the interpreter of a script, as the kernel reads it.
fn interpreter(head: &[u8]) -> Option<String> {
    let line = head
        .strip_prefix(b"#!")?
        .split(|byte| *byte == b'\n')
        .next()?;
    let line = String::from_utf8_lossy(line);
    // The kernel separates words at blanks and tabs only.
    let mut words = line.split([' ', '\t']).filter(|word| !word.is_empty());
    words.next().map(str::to_owned)
}

/// Returns the name of the machine for which an ELF file is built.
fn machine(head: &[u8]) -> Option<String> {
    const LITTLE_ENDIAN: u8 = 1;
    let number: [u8; 2] = head.get(18..20)?.try_into().ok()?;
    if !head.starts_with(b"\x7fELF") {
        return None;
    }
    let number = if head[5] == LITTLE_ENDIAN {
        u16::from_le_bytes(number)
    } else {
        u16::from_be_bytes(number)
    };
    Some(match number {
        3 => "x86".into(),
        20 => "powerpc".into(),
        21 => "powerpc64".into(),
        22 => "s390x".into(),
        40 => "arm".into(),
        62 => "x86_64".into(),
        183 => "aarch64".into(),
        243 => "riscv".into(),
        258 => "loongarch".into(),
        number => format!("ELF machine {number}"),
    })
}

/// Returns the command that runs the file at `path` under the name `program`, with exactly these variables.
#[allow(
    unsafe_code,
    reason = "the dispositions of signals are set between fork and exec"
)]
pub(crate) fn command(
    path: &Path,
    program: &OsStr,
    arguments: &[OsString],
    variables: &BTreeMap<OsString, OsString>,
) -> io::Result<Command> {
    let mut command = Command::new(path);
    command.arg0(program).args(arguments);
    command.env_clear().envs(variables);
    // A missing file is reported by the start itself.
    let is_elf = head(path).is_ok_and(|head| machine(&head).is_some());
    let image = is_elf
        .then(|| Image::new(path, program, arguments, variables))
        .transpose()?;
    let start = move || {
        ignored::ignore_again();
        image.as_ref().map_or(Ok(()), |image| Err(image.execute()))
    };
    // SAFETY: `start` calls only `signal` and `execve`, which may be called after a fork.
    unsafe { command.pre_exec(start) };
    Ok(command)
}

/// A binary program, ready for `execve`. The C library's `execvp`, which `Command` uses, gives a file that the kernel
/// does not know to a shell, and the shell would take the bytes of a program for another machine as commands.
struct Image {
    path: CString,
    /// The strings that the two lists of pointers lead to. A moved string stays at its address, a copy would not.
    _strings: Vec<CString>,
    arguments: Vec<*const c_char>,
    variables: Vec<*const c_char>,
}

#[allow(unsafe_code, reason = "the pointers lead to strings of the same value")]
// SAFETY: nothing changes the strings, and they live as long as the pointers.
unsafe impl Send for Image {}
#[allow(unsafe_code, reason = "as above")]
// SAFETY: as above.
unsafe impl Sync for Image {}

impl Image {
    fn new(
        path: &Path,
        program: &OsStr,
        arguments: &[OsString],
        variables: &BTreeMap<OsString, OsString>,
    ) -> io::Result<Self> {
        let words = [program]
            .into_iter()
            .chain(arguments.iter().map(AsRef::as_ref));
        let words = words.map(|word| CString::new(word.as_bytes()));
        let words = words.collect::<Result<Vec<_>, _>>()?;
        let pairs = variables
            .iter()
            .map(|(name, value)| CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()));
        let pairs = pairs.collect::<Result<Vec<_>, _>>()?;
        let pointers = |strings: &[CString]| {
            let pointers = strings.iter().map(|string| string.as_ptr());
            pointers.chain([ptr::null()]).collect()
        };
        Ok(Self {
            path: CString::new(path.as_os_str().as_bytes())?,
            arguments: pointers(&words),
            variables: pointers(&pairs),
            _strings: words.into_iter().chain(pairs).collect(),
        })
    }

    /// Replaces the process. Returns only if that fails.
    #[allow(unsafe_code, reason = "only the C function starts no shell")]
    fn execute(&self) -> io::Error {
        let (arguments, variables) = (self.arguments.as_ptr(), self.variables.as_ptr());
        // SAFETY: both lists end with a null pointer, and the strings that they lead to are NUL-terminated.
        unsafe { libc::execve(self.path.as_ptr(), arguments, variables) };
        io::Error::last_os_error()
    }
}

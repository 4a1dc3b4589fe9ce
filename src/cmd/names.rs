//! Pins how glibc looks up names, so that a static program never loads a plugin of the host.

/// Pins the look-ups of hosts, users and groups to files and DNS, whatever nsswitch.conf says. Call it before any
/// thread starts, because it changes the configuration of the whole process.
///
/// Otherwise a static binary loads the host's libnss plugins, and a second libc with them. In an image whose
/// nsswitch.conf names missing plugins, it cannot resolve any name.
#[cfg(target_env = "gnu")]
#[allow(
    unsafe_code,
    reason = "glibc offers this only as a C function; it reads two constant strings"
)]
pub(crate) fn pin() {
    use std::ffi::{CStr, c_char, c_int};

    unsafe extern "C" {
        fn __nss_configure_lookup(database: *const c_char, service_line: *const c_char) -> c_int;
    }

    const PINNED: [(&CStr, &CStr); 3] = [
        (c"hosts", c"files dns"),
        (c"passwd", c"files"),
        (c"group", c"files"),
    ];
    for (database, services) in PINNED {
        // SAFETY: both strings are NUL-terminated and static; no other thread runs yet.
        let answer = unsafe { __nss_configure_lookup(database.as_ptr(), services.as_ptr()) };
        // It fails only for unknown databases and malformed lines, and these are neither.
        debug_assert_eq!(answer, 0, "{database:?}");
    }
}

/// Does nothing: other C libraries have no such plugins.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn pin() {}

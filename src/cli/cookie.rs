//! The cookie: read from its file, or made with it.

use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Why there is no cookie.
#[derive(Debug, thiserror::Error)]
pub(super) enum CookieError {
    #[error("no cookie file: HOME is not set; pass --cookie-file")]
    NoHome,
    #[error("cookie file {} cannot be used", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("cookie file {} can be read by others (mode {mode:03o}); run: chmod 400 {}", path.display(), path.display())]
    Exposed { path: PathBuf, mode: u32 },
    #[error("cookie file {} holds no cookie: one line of printable characters", path.display())]
    Empty { path: PathBuf },
}

/// The cookie in `file`, or in `~/.erlang.cookie`. A missing file is made, as `erl` does, for the owner alone.
pub(super) fn read(file: Option<&Path>) -> Result<String, CookieError> {
    let path = match file {
        Some(file) => file.to_owned(),
        None => {
            let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
            Path::new(&home.ok_or(CookieError::NoHome)?).join(".erlang.cookie")
        }
    };
    let io = |source| CookieError::Io { path: path.clone(), source };
    let cookie = match std::fs::read_to_string(&path) {
        Ok(cookie) => cookie,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let cookie = random();
            let options =
                std::fs::OpenOptions::new().write(true).create_new(true).mode(0o400).open(&path);
            options.and_then(|mut file| file.write_all(cookie.as_bytes())).map_err(io)?;
            return Ok(cookie);
        }
        Err(error) => return Err(io(error)),
    };
    let mode = std::fs::metadata(&path).map_err(io)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(CookieError::Exposed { path, mode });
    }
    let cookie = cookie.trim().to_owned();
    if cookie.is_empty() || cookie.len() > 255 || cookie.chars().any(char::is_control) {
        return Err(CookieError::Empty { path });
    }
    Ok(cookie)
}

/// Twenty capital letters, as OTP makes them.
fn random() -> String {
    let mut bytes = [0; 20];
    getrandom::fill(&mut bytes).expect("the operating system gives random numbers");
    bytes.iter().map(|byte| char::from(b'A' + byte % 26)).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_missing_file_is_made_for_the_owner_alone_and_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cookie");
        let made = read(Some(&path)).unwrap();
        assert_eq!(made.len(), 20);
        assert_eq!(read(Some(&path)).unwrap(), made);
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o400);
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cookie");
        std::fs::write(&path, "secret\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = read(Some(&path)).unwrap_err();
        assert!(matches!(error, CookieError::Exposed { mode: 0o640, .. }));
        assert!(!error.to_string().contains("secret"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
        assert_eq!(read(Some(&path)).unwrap(), "secret");
    }
}

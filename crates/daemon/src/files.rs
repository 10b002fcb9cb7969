//! Files of the state directory, which hold either their old or their new content, whatever happens in between.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Replaces the file at `path` by one with `bytes` and mode 0600, as a whole or not at all, even if the machine loses power.
/// One writer per path: the new content grows in `NAME.new` beside it.
///
/// # Errors
/// The directory cannot be written or is full. The old content is still there then; only an error of the very last step, which
/// makes the change lasting, may leave the new one.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_with(path, bytes, File::sync_all)?;
    sync_directory_of(path)
}

/// Replaces the file at `path` as [`write_atomically`] does, but for the loss of power: nobody waits for the disk. For what
/// is worth nothing after the next start.
///
/// # Errors
/// The directory cannot be written or is full. The old content is still there then.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_with(path, bytes, |_| Ok(()))
}

fn write_with(path: &Path, bytes: &[u8], settle: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
    let new = beside(path, ".new");
    let written = write_new(&new, bytes).and_then(|file| settle(&file));
    written.and_then(|()| fs::rename(&new, path)).inspect_err(|_| {
        // What cannot be removed either is overwritten by the next attempt.
        let _ = fs::remove_file(&new);
    })
}

/// Renames the file at `path` to `NAME.corrupt-UNIXTIME`, so that its owner can start anew and people can look at it.
///
/// # Errors
/// There is no such file, or the directory cannot be written.
pub fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let aside = beside(path, &format!(".corrupt-{seconds}"));
    fs::rename(path, &aside)?;
    sync_directory_of(path)?;
    Ok(aside)
}

fn write_new(new: &Path, bytes: &[u8]) -> io::Result<File> {
    // One that a crash left behind may have other rights or be a link; only a new one is ours for sure.
    match fs::remove_file(new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
    file.write_all(bytes)?;
    Ok(file)
}

/// A rename is lasting only when the directory is on the disk too.
fn sync_directory_of(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn writes_and_replaces_with_tight_rights() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        fs::write(directory.path().join("state.new"), "left behind by a crash").unwrap();
        for content in [&b"one"[..], b"", b"three"] {
            write_atomically(&path, content).unwrap();
            assert_eq!(fs::read(&path).unwrap(), content);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(names(directory.path()), ["state"]);
    }

    #[test]
    fn a_failed_write_leaves_the_old_and_no_litter() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        // A directory that is not empty cannot be replaced by a file, for root neither.
        fs::create_dir_all(path.join("inner")).unwrap();
        assert!(write_atomically(&path, b"new").is_err());
        assert!(write_atomically(&directory.path().join("absent/state"), b"new").is_err());
        assert_eq!(names(directory.path()), ["state"]);
    }

    #[test]
    fn a_corrupt_file_is_set_aside_with_its_content() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        assert_eq!(set_aside(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::write(&path, "garbage").unwrap();
        let aside = set_aside(&path).unwrap();
        assert!(!path.exists());
        assert_eq!(fs::read(&aside).unwrap(), b"garbage");
        let time =
            aside.to_str().unwrap().strip_prefix(path.to_str().unwrap()).unwrap().strip_prefix(".corrupt-").unwrap();
        assert!(time.parse::<u64>().unwrap() > 1_700_000_000);
    }
}

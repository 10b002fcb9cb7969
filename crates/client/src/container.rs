//! Whether the client sees the host, or only the container that it runs in.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use hostwatch_plugins::Roots;

/// What Docker and Podman leave at the root of a container.
const MARKS: [&str; 2] = ["/.dockerenv", "/run/.containerenv"];

/// Where a process runs, as far as it matters here.
struct Place {
    /// The mark of a container.
    mark: Option<&'static str>,
    /// Whether another file system than the container's own is mounted where the host should be.
    shows_host: bool,
    /// Whether this is the first process that it can see.
    is_first: bool,
}

/// What a client in a container lacks to see the host, in a sentence for people; none when it sees it, or is in no
/// container.
pub(crate) fn blindness(roots: &Roots) -> Option<String> {
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev());
    judge(&Place {
        mark: MARKS.into_iter().find(|mark| Path::new(mark).exists()),
        shows_host: device(&roots.rootfs).ok().is_some_and(|host| device(Path::new("/")).is_ok_and(|own| own != host)),
        is_first: std::process::id() == 1,
    })
}

fn judge(place: &Place) -> Option<String> {
    let mark = place.mark?;
    let lacks = match (place.shows_host, place.is_first) {
        (true, false) => return None,
        (true, true) => "--pid=host",
        (false, false) => "-v /:/host:ro,rslave, with [paths] rootfs = \"/host\"",
        (false, true) => "--pid=host and -v /:/host:ro,rslave, with [paths] rootfs = \"/host\"",
    };
    Some(format!(
        "this is a container ({mark} exists), of which alone the figures are; to see the host, start it with {lacks}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_is_in_a_container_can_be_blind() {
        let says = |mark, shows_host, is_first| judge(&Place { mark, shows_host, is_first }).unwrap_or_default();
        for (shows_host, is_first) in [(false, false), (false, true), (true, false), (true, true)] {
            assert_eq!(says(None, shows_host, is_first), "");
        }
        assert_eq!(says(Some("/.dockerenv"), true, false), "");
        assert!(says(Some("/.dockerenv"), true, true).ends_with("start it with --pid=host"));
        assert!(says(Some("/.dockerenv"), false, false).contains("start it with -v /:/host"));
        assert!(says(Some("/.dockerenv"), false, true).contains("--pid=host and -v"));
    }

    #[test]
    fn a_folder_like_any_other_shows_no_host() {
        let folder = tempfile::tempdir().unwrap();
        for rootfs in [folder.path().join("missing"), "/".into()] {
            let roots = Roots { rootfs, ..Roots::default() };
            let in_container = MARKS.iter().any(|mark| Path::new(mark).exists());
            assert_eq!(blindness(&roots).is_some(), in_container);
        }
    }
}

//! Files below the root directory of the host, such as os-release, which inside a container is not `/`.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// The most that is read of one file.
const MAX_BYTES: u64 = 1 << 20;
const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

/// Puts the content of the file `name` below `rootfs` into `content`, which is empty after an error. Links are followed
/// as the host would: on Linux an absolute one leads below `rootfs` again, elsewhere the host's root is `/`.
pub(crate) fn read(rootfs: &Path, name: &str, content: &mut Vec<u8>) -> io::Result<()> {
    content.clear();
    let mut file = File::from(open(rootfs, name)?).take(MAX_BYTES);
    file.read_to_end(content).map(|_| ()).inspect_err(|_| content.clear())
}

#[cfg(target_os = "linux")]
fn open(rootfs: &Path, name: &str) -> rustix::io::Result<OwnedFd> {
    use rustix::fs::ResolveFlags;
    use rustix::io::Errno;

    let root = rustix::fs::open(rootfs, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    match rustix::fs::openat2(&root, name, FLAGS, Mode::empty(), ResolveFlags::IN_ROOT) {
        // The call came with Linux 5.6, and some containers forbid what they do not know.
        Err(Errno::NOSYS | Errno::PERM) => rustix::fs::openat(&root, name, FLAGS, Mode::empty()),
        result => result,
    }
}

#[cfg(not(target_os = "linux"))]
fn open(rootfs: &Path, name: &str) -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(rootfs.join(name), FLAGS, Mode::empty())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn an_absolute_link_stays_below_the_root() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("usr/lib")).unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(root.path().join("usr/lib/os-release"), "NAME=x\n").unwrap();
        symlink("/usr/lib/os-release", root.path().join("etc/os-release")).unwrap();
        let mut content = b"before".to_vec();
        read(root.path(), "etc/os-release", &mut content).unwrap();
        assert_eq!(content, b"NAME=x\n");
        assert!(read(root.path(), "etc/localtime", &mut content).is_err());
        assert!(content.is_empty());
    }
}

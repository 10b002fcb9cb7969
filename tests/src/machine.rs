//! A clean Debian that boots systemd: a container without a network, which finds what apt asks for in apt's own cache.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hostwatch_testkit::{Container, Docker, Page, eventually_every, packages};

/// For whatever has to happen soon.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Each look starts a process in the machine, which is dearer than a look at a file.
const INTERVAL: Duration = Duration::from_millis(300);

/// The version that this tree has.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Its hostname, which is the id of its host.
pub(crate) const HOST: &str = "machine";

/// The release that the packages are for, and the next one, whose systemd is newer.
const RELEASE: &str = "bookworm";
const NEXT_RELEASE: &str = "trixie";

/// The slim image leaves documents out, which hold examples that are to be used; a real machine has them.
/// `PrivateUsers=` together with `User=` needs a right that containers lack; nothing else of the units is changed.
const IMAGE_FILE: &str = r"FROM debian:RELEASE-slim
RUN apt-get update -q && apt-get install -q -y --no-install-recommends dbus systemd systemd-sysv \
    && apt-get install -q -y --download-only apache2-utils curl openssl redis-server
RUN echo 'path-include=/usr/share/doc/*' > /etc/dpkg/dpkg.cfg.d/zz-documents && mkdir /etc/systemd/system/service.d \
    && printf '[Service]\nPrivateUsers=no\n' > /etc/systemd/system/service.d/container.conf
";

/// A booted machine.
pub(crate) struct Machine(pub(crate) Container);

impl Machine {
    /// Boots one on which nothing of ours is installed. The packages of this tree lie in `/packages`, those of an earlier
    /// build in `/earlier`.
    pub(crate) fn boot() -> Result<Self> {
        Self::boot_release(RELEASE)
    }

    /// Boots one of the next release of Debian, on which nothing of ours is installed.
    pub(crate) fn boot_next() -> Result<Self> {
        Self::boot_release(NEXT_RELEASE)
    }

    fn boot_release(release: &str) -> Result<Self> {
        let docker = Docker::shared()?;
        docker.make_debian(release)?;
        let image = format!("hostwatch-test:{release}");
        docker.build(&image, &IMAGE_FILE.replace("RELEASE", release))?;
        let unconfined = ["--security-opt=seccomp=unconfined", "--security-opt=apparmor=unconfined"];
        // Without the latter two root would see of others' processes no more than anybody.
        let rights = ["--cap-add=SYS_ADMIN", "--cap-add=DAC_READ_SEARCH", "--cap-add=SYS_PTRACE"];
        let mounts = ["--tmpfs=/run", "--tmpfs=/run/lock", "--volume=/sys/fs/cgroup:/sys/fs/cgroup:rw"];
        let places = ["--cgroupns=host", "--network=none", "--hostname", HOST];
        // A newer systemd wants to be told that the kernel's older kind of cgroups will do.
        let legacy =
            "--env=SYSTEMD_PROC_CMDLINE=SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1 systemd.unified_cgroup_hierarchy=0";
        let legacy: &[&str] = if release == RELEASE { &[] } else { &[legacy] };
        // systemd hands credentials to a service through a mount, which it takes to be shared as on a real machine.
        let init = [&image, "sh", "-c", "mount --make-rshared / && exec /sbin/init"];
        let container =
            Container::start(&docker, &[&unconfined[..], &rights, &mounts, &places, legacy, &init].concat())?;
        let machine = Self(container);
        machine.eventually("the machine has booted", "systemctl is-system-running | grep -E 'running|degraded'")?;
        Ok(machine)
    }

    /// Boots one, and installs both packages of this tree with what they recommend, and curl; this host is up then.
    pub(crate) fn with_packages() -> Result<Self> {
        let machine = Self::boot()?;
        machine.bring_packages("/packages", VERSION)?;
        machine.run("apt-get install -q -y curl /packages/*.deb")?;
        machine.wait_until_up()?;
        Ok(machine)
    }

    /// Puts both packages, built as `version`, into a folder.
    pub(crate) fn bring_packages(&self, folder: &str, version: &str) -> Result<()> {
        self.0.copy(&packages(version)?, folder)
    }

    pub(crate) fn wait_until_up(&self) -> Result<()> {
        self.until("this host is up", || {
            let page = self.page()?;
            let up = page.value("hostwatch_host_up", &[("instance", HOST)]);
            ensure!(up == Some(1.0), "hostwatch_host_up is {up:?}");
            Ok(())
        })
    }

    /// Runs a script that has to succeed; hands out what it printed.
    pub(crate) fn run(&self, script: &str) -> Result<String> {
        self.0.run(&format!("export DEBIAN_FRONTEND=noninteractive\n{script}")).map(|output| output.trim().to_owned())
    }

    /// Runs a script again and again until it succeeds.
    pub(crate) fn eventually(&self, what: &str, script: &str) -> Result<String> {
        self.until(what, || self.run(script))
    }

    /// Polls a condition; when it does not come true, the journal tells why.
    pub(crate) fn until<T>(&self, what: &str, poll: impl FnMut() -> Result<T>) -> Result<T> {
        eventually_every(INTERVAL, what, DEADLINE, poll).with_context(|| self.journal())
    }

    /// A property of a unit.
    pub(crate) fn show(&self, unit: &str, property: &str) -> Result<String> {
        self.run(&format!("systemctl show --property={property} --value {unit}"))
    }

    /// What the server shows to Prometheus.
    pub(crate) fn page(&self) -> Result<Page> {
        let mut text = self.run("curl --silent --show-error --fail http://127.0.0.1:10120/metrics")?;
        text.push('\n');
        Ok(Page::parse(&text)?)
    }

    fn journal(&self) -> String {
        self.run("journalctl --no-pager --lines=100").unwrap_or_default()
    }
}

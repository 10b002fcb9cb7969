//! The plugin `systemd` beside Debian's node_exporter, over a real systemd: a manager of a user, which speaks as that of the
//! system does, in namespaces of its own.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use hostwatch_testkit::{Page, Process, programs, require};

use crate::fleet::DEADLINE;

/// Makes a `/run` of its own, where the bus of the manager is that of the system, and units of every kind that has
/// figures. The second connection to the socket is refused. In the end it writes both pages, the exporter's with the default
/// filter of its own project: Debian's leaves targets out as well.
const SCRIPT: &str = r#"
until_true() { until "$@" > /dev/null 2>&1; do sleep 0.05; done; }
mount -t tmpfs tmpfs /run
ip link set lo up
mkdir -p /run/systemd/system /run/dbus /run/user/0/systemd/user
ln -s /run/user/0/bus /run/dbus/system_bus_socket
cd /run/user/0/systemd/user
printf '[Service]\nType=oneshot\nExecStart=/bin/false\n' > failing.service
printf '[Service]\nExecStart=/bin/false\nRestart=on-failure\nRestartSec=20ms\nStartLimitIntervalSec=60\nStartLimitBurst=3\n' > restarting.service
printf '[Socket]\nListenStream=127.0.0.1:7\nAccept=yes\nMaxConnections=1\n' > echo.socket
printf '[Service]\nExecStart=/bin/cat\nStandardInput=socket\nStandardOutput=socket\n' > echo@.service
printf '[Timer]\nOnActiveSec=0\nAccuracySec=1ms\nUnit=failing.service\n' > once.timer
export XDG_RUNTIME_DIR=/run/user/0
unset DBUS_SESSION_BUS_ADDRESS
systemd --user --unit=basic.target &
until_true systemctl --user is-active basic.target
systemctl --user start dbus.service echo.socket once.timer
systemctl --user start --no-block restarting.service
until_true systemctl --user is-failed failing.service
until_true systemctl --user is-failed restarting.service
exec 3<> /dev/tcp/127.0.0.1/7
echo x >&3
read -r -u 3 _
exec 4<> /dev/tcp/127.0.0.1/7
refused() { [ "$(systemctl --user show --property=NRefused --value echo.socket)" = 1 ]; }
until_true refused
prometheus-node-exporter --web.listen-address=127.0.0.1:9100 --collector.disable-defaults --collector.systemd \
    --collector.systemd.enable-restarts-metrics --collector.systemd.unit-exclude='.+\.(automount|device|mount|scope|slice)' &
until_true curl -sf http://127.0.0.1:9100/metrics
"$CLIENT" --once --plugin systemd > "$PAGES/client"
curl -sf http://127.0.0.1:9100/metrics > "$PAGES/exporter"
systemctl --user list-units --all --plain --no-legend --state=failed > "$PAGES/failed"
touch "$PAGES/done"
wait
"#;

#[test]
fn units_are_as_debians_prometheus_node_exporter_sees_them() -> Result<()> {
    for program in ["curl", "dbus-daemon", "ip", "prometheus-node-exporter", "systemd"] {
        require(program)?;
    }
    let directory = tempfile::tempdir()?;
    let mut command = Command::new(require("unshare")?);
    command.args(["--mount", "--pid", "--net", "--fork", "--kill-child", "--mount-proc", "bash", "-c", SCRIPT]);
    command.env("PAGES", directory.path()).env("CLIENT", &programs()?.client).env("HOSTWATCH_HOST", "web");
    let mut machine = Process::start("systemd", &command, &directory.path().join("log"))?;
    machine.eventually("both pages are written", DEADLINE, |_| {
        ensure!(directory.path().join("done").exists(), "not yet");
        Ok(())
    })?;
    let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).context(name.to_owned());
    let (client, exporter) = (series(&read("client")?)?, series(&read("exporter")?)?);
    ensure!(exporter.len() > 50, "{exporter:?}");
    for (key, value) in &exporter {
        ensure!(client.get(key) == Some(value), "{key:?}: {:?} in place of {value}", client.get(key));
    }
    // What version 1.5 does not have yet.
    let further: Vec<_> = client.keys().filter(|key| !exporter.contains_key(*key)).map(|(name, _)| name).collect();
    ensure!(further == ["node_systemd_virtualization_info"], "{further:?}");

    let figure = |name: &str, label: (&str, &str)| {
        let found = client
            .iter()
            .find(|((family, labels), _)| family == name && labels.get(label.0).is_some_and(|value| value == label.1));
        found.map(|(_, value)| *value)
    };
    assert_eq!(figure("node_systemd_service_restart_total", ("name", "restarting.service")), Some(3.0));
    assert_eq!(figure("node_systemd_socket_current_connections", ("name", "echo.socket")), Some(1.0));
    assert_eq!(figure("node_systemd_socket_refused_connections_total", ("name", "echo.socket")), Some(1.0));
    assert_eq!(figure("node_systemd_units", ("state", "failed")), Some(read("failed")?.lines().count() as f64));
    Ok(())
}

type Series = BTreeMap<(String, BTreeMap<String, String>), f64>;

/// What a page says of systemd; an empty label is none.
fn series(page: &str) -> Result<Series> {
    let samples = Page::parse(page)?.samples.into_iter().filter(|sample| sample.name.starts_with("node_systemd_"));
    let labels = |labels: BTreeMap<String, String>| labels.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    Ok(samples.map(|sample| ((sample.name, labels(sample.labels)), sample.value)).collect())
}

//! Runs a check of the host's own and reports its state and figures. Source: the Monitoring Plugins Development Guidelines.
//!
//! What runs, and with which arguments, stands in the host's own settings: a server can only name it.

mod child;
mod output;

use std::collections::BTreeSet;
use std::time::Duration;

use hostwatch_wire::MetricType;

use crate::options::BuildError;
use crate::{CollectError, Descriptor, Plugin, Samples};

use output::{Output, values};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "exec",
    collector: "exec",
    about: "state and performance data of a Nagios-compatible check that the host's owner allowed under [allow.exec]",
    on_by_default: false,
    build: |_, options| {
        let Some((name, command)) = options.allowed_command("command") else { return Err(BuildError::noted()) };
        let (name, command, timeout) = (name.to_owned(), command.to_vec(), options.timeout());
        Ok(Box::new(Exec { name, command, timeout }))
    },
};

/// What the exit code of a check says; any other one says no more than this.
const UNKNOWN: i32 = 3;
/// A check with more figures than this is none.
const MAX_VALUES: usize = 1_000;

struct Exec {
    name: String,
    command: Vec<String>,
    timeout: Duration,
}

impl Plugin for Exec {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        let failed = |what: String| CollectError::Command { name: self.name.clone(), what };
        let ended = child::run(&self.command, self.timeout).map_err(failed)?;
        let output = Output::parse(&ended.stdout);
        let code = ended.status.code().filter(|code| (0..=UNKNOWN).contains(code)).unwrap_or(UNKNOWN);
        match (output.message.is_empty(), ended.status.success()) {
            (false, _) => samples.say(&output.message),
            (true, true) => {}
            (true, false) => samples.say(&format!("{}: {}", ended.status, ended.stderr.trim())),
        }

        let command = ("command", self.name.as_str());
        let help = "State of a check: 0 is ok, 1 a warning, 2 critical, 3 unknown.";
        samples.family("hostwatch_check_state", MetricType::Gauge, help);
        samples.push(&[command], f64::from(code));
        let mut labels = BTreeSet::new();
        let mut values = values(&output.figures).filter(|value| labels.insert(value.label.clone())).take(MAX_VALUES);
        let Some(first) = values.next() else { return Ok(()) };
        samples.family("hostwatch_check_value", MetricType::Gauge, "A figure that a check has measured.");
        for value in std::iter::once(first).chain(values) {
            samples.push(&[command, ("label", &value.label), ("unit", value.unit)], value.number);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use hostwatch_wire::{Parameter, Parameters};
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::fs::{CWD, Mode, OFlags, mkfifoat};

    use super::*;
    use crate::{Access, Allowed};

    const LONG: Duration = Duration::from_secs(60);

    /// What a check that is this script of the shell says as a message and as a page.
    fn check(script: &str, timeout: Duration) -> Result<(String, String), String> {
        let command = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        let allowed = Allowed { exec: [("it".to_owned(), command)].into(), ..Allowed::default() };
        let access = Access { allowed, ..Access::default() };
        let parameters = Parameters::from([("command".to_owned(), Parameter::Text("it".to_owned()))]);
        let mut plugin = DESCRIPTOR.build(&access, &parameters, timeout).map_err(|error| error.to_string())?;
        let mut samples = Samples::new();
        samples.collect(&mut *plugin).map_err(|error| error.to_string())?;
        let page = samples.text();
        let lines = page.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
        Ok((samples.message().unwrap_or_default().to_owned(), lines))
    }

    #[test]
    fn state_message_and_figures() {
        let script =
            "echo 'DISK WARNING - 91% used | /=91%;90;95;0;100 /home=7MB'; echo 'long text | inodes=12'; exit 1";
        let (message, page) = check(script, LONG).unwrap();
        assert_eq!(message, "DISK WARNING - 91% used\nlong text");
        let expected = "hostwatch_check_state{command=\"it\"} 1\n\
                        hostwatch_check_value{command=\"it\",label=\"/\",unit=\"percent\"} 91\n\
                        hostwatch_check_value{command=\"it\",label=\"/home\",unit=\"bytes\"} 7340032\n\
                        hostwatch_check_value{command=\"it\",label=\"inodes\",unit=\"\"} 12";
        assert_eq!(page.replace(",unit=\"\"", ""), expected.replace(",unit=\"\"", ""));
    }

    #[test]
    fn an_end_that_says_nothing_is_unknown() {
        for (script, message) in [
            ("exit 7", "exit status: 7: "),
            ("kill -9 $$", "signal: 9 (SIGKILL): "),
            ("echo no such thing >&2; exit 127", "exit status: 127: no such thing"),
        ] {
            let (said, page) = check(script, LONG).unwrap();
            assert_eq!((said.as_str(), page.as_str()), (message, "hostwatch_check_state{command=\"it\"} 3"));
        }
    }

    #[test]
    fn a_check_that_hangs_is_killed_with_all_its_children() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pipe");
        mkfifoat(CWD, &path, Mode::RWXU).unwrap();
        let pipe = rustix::fs::open(&path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).unwrap();
        // Whoever reads the pipe learns of the end of the last process that can write to it.
        let script = format!("exec 3>{}; echo begun >&3; (sleep 1000 & sleep 1000) & sleep 1000", path.display());
        let error = check(&script, Duration::from_secs(2)).unwrap_err();
        assert_eq!(error, "it: did not end within 2s and was killed");
        let mut said = [0; 16];
        assert_eq!(rustix::io::read(&pipe, &mut said).unwrap(), "begun\n".len());
        // Who was killed is gone a moment later.
        let patience = Timespec { tv_sec: 60, tv_nsec: 0 };
        poll(&mut [PollFd::new(&pipe, PollFlags::IN)], Some(&patience)).unwrap();
        assert_eq!(rustix::io::read(&pipe, &mut said), Ok(0), "somebody lives on");
    }

    #[test]
    fn who_leaves_a_child_behind_is_not_waited_for() {
        let (_, page) = check("sleep 1000 & exit 2", LONG).unwrap();
        assert_eq!(page, "hostwatch_check_state{command=\"it\"} 2");
    }

    #[test]
    fn output_without_end_is_cut() {
        let (message, _) = check("yes | head -c 10000000", LONG).unwrap();
        assert!(message.len() <= 4_096, "{}", message.len());
    }

    #[test]
    fn nothing_of_the_clients_environment_is_handed_on() {
        let (message, _) = check("env | grep -v -e ^PATH= -e ^LC_ALL= -e ^PWD= -e ^SHLVL= -e ^_=; true", LONG).unwrap();
        assert_eq!(message, "");
    }

    #[test]
    fn what_was_not_allowed_is_refused() {
        let parameters = Parameters::from([("command".to_owned(), Parameter::Text("/bin/sh".to_owned()))]);
        let error = DESCRIPTOR.build(&Access::default(), &parameters, LONG).err().unwrap();
        assert_eq!(
            error.to_string(),
            "command: \"/bin/sh\" is not allowed on this host, whose [allow.exec] has nothing"
        );
        let error = DESCRIPTOR.build(&Access::default(), &Parameters::new(), LONG).err().unwrap();
        assert_eq!(error.to_string(), "command: missing; name one of the host's [allow.exec], which has nothing");
    }
}

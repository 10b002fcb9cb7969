//! `--once`: what a host would report, as a Prometheus page for people.

use std::collections::BTreeSet;
use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use hostwatch_plugins::{Access, Descriptor, PLUGINS, Run, Samples};
use hostwatch_wire::Parameters;

/// Whoever asks waits no longer for one plugin.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Runs the plugins called `names` once, or every one that is on by default, and writes what they measured to `page`.
///
/// # Errors
/// An unknown plugin, before anything runs; or what failed, after the others have been written.
pub fn once(access: &Access, names: &[String], page: &mut impl Write) -> anyhow::Result<()> {
    let chosen = if names.is_empty() {
        PLUGINS.iter().filter(|plugin| plugin.on_by_default).collect()
    } else {
        names.iter().map(|name| find(name)).collect::<anyhow::Result<Vec<_>>>()?
    };
    // What the client says of itself comes last, when there is something to say.
    let (of_itself, chosen): (Vec<&Descriptor>, Vec<&Descriptor>) =
        chosen.into_iter().partition(|plugin| plugin.name == "client");
    let mut failures = Vec::new();
    let mut done = BTreeSet::new();
    // A family stands once on a page, however often its plugin was named.
    for descriptor in chosen.into_iter().chain(of_itself).filter(|descriptor| done.insert(descriptor.name)) {
        let began = Instant::now();
        let measured = measure(descriptor, access);
        let (plugin, collector) = (descriptor.name, descriptor.collector);
        let run = Run { plugin, collector, took: began.elapsed(), succeeded: measured.is_ok(), left_out: 0 };
        access.ledger.ran(plugin, run);
        match measured {
            Ok(text) => page.write_all(text.as_bytes()).context("cannot write the page")?,
            Err(error) => failures.push(format!("plugin {}: {error:#}", descriptor.name)),
        }
    }
    if failures.is_empty() { Ok(()) } else { bail!("{}", failures.join("; ")) }
}

fn find(name: &str) -> anyhow::Result<&'static Descriptor> {
    hostwatch_plugins::find(name).with_context(|| {
        let known: Vec<_> = PLUGINS.iter().map(|plugin| plugin.name).collect();
        format!("there is no plugin {name:?}; there are {}", known.join(", "))
    })
}

fn measure(descriptor: &Descriptor, access: &Access) -> anyhow::Result<String> {
    let mut plugin = descriptor.build(access, &Parameters::new(), TIMEOUT)?;
    let mut samples = Samples::new();
    samples.collect(&mut *plugin)?;
    Ok(samples.text())
}

#[cfg(test)]
mod tests {
    use hostwatch_plugins::Roots;

    use super::*;

    #[test]
    fn an_unknown_plugin_is_named_with_those_that_exist() {
        let mut page = Vec::new();
        let error = once(&Access::default(), &["nonsense".to_owned()], &mut page).unwrap_err().to_string();
        assert!(error.contains("nonsense") && error.contains("load"), "{error}");
    }

    #[test]
    fn what_can_be_measured_is_written_although_the_rest_fails() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("loadavg"), "0.50 1.00 2.00 1/100 4242\n").unwrap();
        let roots = Roots { procfs: directory.path().to_owned(), ..Roots::default() };
        let mut page = Vec::new();
        let error = once(&roots.into(), &[], &mut page).unwrap_err().to_string();
        let page = String::from_utf8(page).unwrap();
        assert!(page.contains("\nnode_load1 0.5\n"), "{page}");
        assert!(error.contains("plugin cpu") && !error.contains("plugin load"), "{error}");
    }
}

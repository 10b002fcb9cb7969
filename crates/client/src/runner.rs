//! Runs the services of a host configuration: each at its interval, with a deadline, isolated from the others.
//!
//! A run that does not end in time is reported and left alone. Its service says so at every tick until it returns, and
//! nothing ever waits for it: not a reload, not the end of the process.

use std::collections::BTreeMap;
use std::time::Duration;

use hostwatch_plugins::{Access, Descriptor, Ledger, Run as LastRun, Samples};
use hostwatch_wire::{HostConfig, HostId, MAX_SERVICES, Refusal, Revision, ServiceConfig, ServiceName, Status};

use crate::clock::Moment;
use crate::pool::{Finished, Instance, Job, Pool};
use crate::ring::SharedLayout;
use crate::schedule::Schedule;
use crate::ticks::{Batch, Measured, Outcome, Stamp, TickId, Ticks};

/// The client's own floor, whatever a server asks for.
const MIN_INTERVAL: Duration = Duration::from_millis(100);
const MAX_INTERVAL: Duration = Duration::from_secs(86_400);
/// A run may take so long, or its interval if that is shorter, unless the service says otherwise.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// A plugin that found nothing to report is asked again after so long: most machines lack most of what there is, and to
/// find nothing costs as much as to find something.
const REST: Duration = Duration::from_secs(60);

/// How many series may be reported; of what exceeds it, the first ones are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Of one service.
    pub per_service: usize,
    /// Of all services together, which come in the order of their names.
    pub per_host: usize,
}

/// The services in force and the runs under way.
pub(crate) struct Runner {
    catalog: &'static [Descriptor],
    access: Access,
    pool: Pool,
    schedule: Schedule,
    ticks: Ticks,
    services: BTreeMap<ServiceName, Service>,
    budget: Budget,
    revision: Option<Revision>,
    runs: u64,
    /// When the first of the runs under way is overdue.
    deadline: Option<Moment>,
    /// Empty between two calls, kept for its memory.
    finished: Vec<Finished>,
}

struct Service {
    config: ServiceConfig,
    descriptor: &'static Descriptor,
    timeout: Duration,
    state: State,
    /// Whether its newest result was trouble, which is said once.
    is_in_trouble: bool,
    /// How many series its newest result has, and how many were left out, which is said once.
    series: usize,
    left_out: u64,
    /// The layout of its newest result: kept here because the instance may be away on a run when it is asked for.
    layout: Option<SharedLayout>,
    /// Until when it needs no run, since its newest one found nothing to report.
    rests_until: Option<Moment>,
}

enum State {
    Idle(Box<Instance>),
    Running(Run),
    /// It could not be made again after a panic, for this reason.
    Lost(String),
}

struct Run {
    number: u64,
    tick: TickId,
    stamp: Stamp,
    began: Moment,
    deadline: Moment,
    overran: bool,
}

impl Runner {
    /// A runner without services, for those plugins that `catalog` lists.
    #[must_use]
    pub(crate) fn new(
        host: &HostId,
        catalog: &'static [Descriptor],
        access: Access,
        budget: Budget,
        pool: Pool,
    ) -> Self {
        Self {
            catalog,
            access,
            pool,
            schedule: Schedule::new(host),
            ticks: Ticks::default(),
            services: BTreeMap::new(),
            budget,
            revision: None,
            runs: 0,
            deadline: None,
            finished: Vec::new(),
        }
    }

    /// Puts a configuration in force and returns what of it cannot run. A service that stays the same keeps its
    /// instance, its phase and a run under way.
    pub(crate) fn apply(&mut self, config: &HostConfig, now: Moment) -> Vec<Refusal> {
        self.revision = Some(config.revision);
        let mut before = std::mem::take(&mut self.services);
        let mut refused = Vec::new();
        for wanted in &config.services {
            let name = &wanted.name;
            if self.services.contains_key(name) {
                refused.push(Refusal::new(name.clone(), "the name stands twice in the configuration"));
                continue;
            }
            if let Some(same) = before.remove(name).filter(|service| service.config == *wanted) {
                self.services.insert(name.clone(), same);
                continue;
            }
            self.schedule.remove(name);
            match self.admit(wanted) {
                Ok(service) => {
                    self.schedule.insert(name.clone(), service.interval(), now);
                    self.services.insert(name.clone(), service);
                }
                Err(reason) => refused.push(Refusal::new(name.clone(), &reason)),
            }
        }
        before.keys().for_each(|name| self.schedule.remove(name));
        self.access.ledger.retain(|service| self.services.contains_key(service));
        refused
    }

    /// Puts another budget in force, from the next runs on.
    pub(crate) fn set_budget(&mut self, budget: Budget) {
        self.budget = budget;
    }

    /// How many services run.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.services.len()
    }

    /// The layouts of the newest results.
    pub(crate) fn layouts(&self) -> impl Iterator<Item = &SharedLayout> {
        self.services.values().filter_map(|service| service.layout.as_ref())
    }

    /// When [`Runner::advance`] has something to do.
    #[must_use]
    pub(crate) fn next(&self) -> Option<Moment> {
        [self.deadline, self.schedule.next(), self.ticks.next(), self.pool.next()].into_iter().flatten().min()
    }

    /// Comes when there is something to do for [`Runner::take_ended`].
    pub(crate) fn ended(&self) -> impl Future<Output = ()> + use<> {
        self.pool.ended()
    }

    /// Takes the runs that have ended.
    pub(crate) fn take_ended(&mut self, now: Moment) {
        let mut finished = std::mem::take(&mut self.finished);
        self.pool.take_finished(&mut finished);
        if !finished.is_empty() {
            finished.drain(..).for_each(|finished| self.finish(finished, now));
            self.look_for_deadline();
        }
        self.finished = finished;
    }

    fn look_for_deadline(&mut self) {
        self.deadline = self.services.values().filter_map(Service::deadline).min();
    }

    /// How many runs wait for a thread.
    #[must_use]
    pub(crate) fn waiting(&self) -> usize {
        self.pool.waiting()
    }

    /// Ends what is overdue, begins what is due, and returns what is to be reported. `wall_millis` is the wall clock.
    pub(crate) fn advance(&mut self, now: Moment, wall_millis: u64) -> Vec<Batch> {
        self.end_overdue(now);
        self.begin_due(now, wall_millis);
        self.pool.relieve();
        self.ticks.take_ready(now)
    }

    /// What has come of the open ticks, at the end of the client.
    pub(crate) fn take_all(&mut self) -> Vec<Batch> {
        self.ticks.take_all()
    }

    /// Takes the end of a run.
    fn finish(&mut self, finished: Finished, now: Moment) {
        let Some(service) = self.services.get_mut(&finished.service) else { return };
        let State::Running(run) = &service.state else { return };
        // The run of a service of the same name that was replaced meanwhile.
        if run.number != finished.run {
            return;
        }
        let (tick, stamp, overran) = (run.tick, run.stamp, run.overran);
        let outcome = match (&finished.result, &finished.instance) {
            (Ok(()), Some(instance)) => service.outcome(&finished.service, &instance.samples),
            (result, _) => Outcome::Trouble(Status::Failed, result.clone().err().unwrap_or_default()),
        };
        if !overran {
            service.note(&finished.service, &outcome, finished.took, &self.access.ledger);
            service.rests_until = (outcome.is_nothing() && service.left_out == 0).then_some(now + REST);
        }
        if finished.instance.is_none() {
            self.access.ledger.panicked();
        }
        service.state = match finished.instance {
            Some(instance) => State::Idle(instance),
            None => State::made(build(service.descriptor, &self.access, &service.config, service.timeout)),
        };
        if overran {
            tracing::info!(
                service = finished.service.as_str(),
                plugin = service.descriptor.name,
                "service {} has ended after {:.1?}; it was given up before",
                finished.service,
                finished.took
            );
        } else {
            let measured = Measured { service: finished.service, took: finished.took, outcome };
            self.ticks.add(tick, stamp, measured, now);
        }
    }

    fn end_overdue(&mut self, now: Moment) {
        if self.deadline.is_none_or(|deadline| deadline > now) {
            return;
        }
        for (name, service) in &mut self.services {
            if service.deadline().is_none_or(|deadline| deadline > now) {
                continue;
            }
            let State::Running(run) = &mut service.state else { continue };
            run.overran = true;
            let (tick, stamp, took) = (run.tick, run.stamp, now.since(run.began));
            let message = match self.pool.withdraw(run.number) {
                Some(instance) => {
                    service.state = State::Idle(instance);
                    format!("found no free thread within {:?}: too many other runs hang", service.timeout)
                }
                None => format!("did not end within {:?}", service.timeout),
            };
            let outcome = Outcome::Trouble(Status::TimedOut, message);
            service.note(name, &outcome, took, &self.access.ledger);
            self.ticks.add(tick, stamp, Measured { service: name.clone(), took, outcome }, now);
        }
        self.look_for_deadline();
    }

    fn begin_due(&mut self, now: Moment, wall_millis: u64) {
        let due = self.schedule.take_due(now);
        if due.is_empty() {
            return;
        }
        let stamp = Stamp { collected_at_ms: wall_millis, revision: self.revision };
        let tick = self.ticks.next_id();
        let (mut ready, mut jobs) = (Vec::new(), Vec::with_capacity(due.len()));
        let mut due = due.into_iter().peekable();
        let mut series = 0;
        for (name, service) in &mut self.services {
            // Whoever comes first by name keeps its series, so that it is always the same ones that find no room.
            let budget = self.budget.per_service.min(self.budget.per_host.saturating_sub(series));
            series += service.series;
            let Some(name) = due.next_if_eq(name) else { continue };
            if let State::Lost(_) = service.state {
                service.state = State::made(build(service.descriptor, &self.access, &service.config, service.timeout));
            }
            match &service.state {
                State::Idle(_) if service.rests_until.is_some_and(|until| now < until) => {
                    ready.push(Measured { service: name, took: Duration::ZERO, outcome: Outcome::nothing() });
                }
                State::Idle(_) => {
                    self.runs += 1;
                    let deadline = now + service.timeout;
                    let run = Run { number: self.runs, tick, stamp, began: now, deadline, overran: false };
                    if let State::Idle(mut instance) = std::mem::replace(&mut service.state, State::Running(run)) {
                        instance.samples.set_budget(budget);
                        jobs.push(Job { service: name, run: self.runs, instance });
                    }
                }
                State::Running(run) if run.overran => {
                    let took = now.since(run.began);
                    let since = humantime::format_rfc3339_seconds(
                        std::time::UNIX_EPOCH + Duration::from_millis(run.stamp.collected_at_ms),
                    );
                    let outcome = Outcome::Trouble(Status::TimedOut, format!("still running since {since}"));
                    ready.push(Measured { service: name, took, outcome });
                }
                // Its timeout is longer than its interval, so that this tick passes without it.
                State::Running(_) => {}
                State::Lost(reason) => {
                    let outcome = Outcome::Trouble(Status::Failed, reason.clone());
                    ready.push(Measured { service: name, took: Duration::ZERO, outcome });
                }
            }
        }
        self.ticks.begin(tick, stamp, ready, jobs.len(), now);
        self.pool.submit(jobs);
        self.look_for_deadline();
    }

    fn admit(&self, config: &ServiceConfig) -> Result<Service, String> {
        if self.services.len() >= MAX_SERVICES {
            return Err(format!("a host runs at most {MAX_SERVICES} services"));
        }
        let interval = Duration::from_millis(config.interval_ms);
        if !(MIN_INTERVAL..=MAX_INTERVAL).contains(&interval) {
            return Err(format!("an interval of {interval:?} is not between {MIN_INTERVAL:?} and 1 day"));
        }
        let timeout = config.timeout_ms.map_or(interval.min(DEFAULT_TIMEOUT), Duration::from_millis);
        if timeout.is_zero() || timeout > MAX_INTERVAL {
            return Err(format!("a timeout of {timeout:?} is not between 1 ms and 1 day"));
        }
        let descriptor = self.catalog.iter().find(|descriptor| descriptor.name == config.plugin).ok_or_else(|| {
            let known: Vec<_> = self.catalog.iter().map(|descriptor| descriptor.name).collect();
            let version = env!("CARGO_PKG_VERSION");
            format!("unknown plugin {:?}; this client ({version}) has {}", config.plugin, known.join(", "))
        })?;
        let instance = build(descriptor, &self.access, config, timeout)?;
        Ok(Service {
            config: config.clone(),
            descriptor,
            timeout,
            state: State::Idle(instance),
            is_in_trouble: false,
            series: 0,
            left_out: 0,
            layout: None,
            rests_until: None,
        })
    }
}

impl Service {
    fn interval(&self) -> Duration {
        Duration::from_millis(self.config.interval_ms)
    }

    /// When the run under way is overdue; none once it is.
    fn deadline(&self) -> Option<Moment> {
        match &self.state {
            State::Running(run) if !run.overran => Some(run.deadline),
            _ => None,
        }
    }

    /// Says when trouble begins and when it ends, and writes the run into the ledger.
    fn note(&mut self, name: &ServiceName, outcome: &Outcome, took: Duration, ledger: &Ledger) {
        let (service, plugin) = (name.as_str(), self.descriptor.name);
        let succeeded = matches!(outcome, Outcome::Values { .. });
        let run = LastRun { plugin, collector: self.descriptor.collector, took, succeeded, left_out: self.left_out };
        ledger.ran(service, run);
        match outcome {
            Outcome::Trouble(_, why) if !self.is_in_trouble => {
                tracing::warn!(service, plugin, "service {service} ({plugin}) fails: {why}");
            }
            Outcome::Values { .. } if self.is_in_trouble => {
                tracing::info!(service, plugin, "service {service} ({plugin}) works again");
            }
            Outcome::Trouble(..) | Outcome::Values { .. } => {}
        }
        self.is_in_trouble = !succeeded;
    }

    /// The result of a run that measured.
    fn outcome(&mut self, name: &ServiceName, samples: &Samples) -> Outcome {
        if samples.left_out() > 0 && self.left_out == 0 {
            let (service, plugin, kept, more) =
                (name.as_str(), self.descriptor.name, samples.values().len(), samples.left_out());
            tracing::warn!(
                service,
                plugin,
                "service {service} ({plugin}) has {more} series beyond the {kept} that [series] allows; they are left out"
            );
        }
        (self.series, self.left_out) = (samples.values().len(), samples.left_out());
        let message = samples.message().map(str::to_owned);
        if samples.values().is_empty() {
            return Outcome::Values { layout: None, values: Vec::new(), message };
        }
        let id = samples.layout_id();
        if self.layout.as_ref().is_none_or(|layout| layout.id != id) {
            self.layout = Some(SharedLayout { id, encoded: samples.encoded().clone().into() });
        }
        Outcome::Values { layout: self.layout.clone(), values: samples.values().to_vec(), message }
    }
}

impl State {
    fn made(instance: Result<Box<Instance>, String>) -> Self {
        instance.map_or_else(Self::Lost, Self::Idle)
    }
}

fn build(
    descriptor: &Descriptor,
    access: &Access,
    config: &ServiceConfig,
    timeout: Duration,
) -> Result<Box<Instance>, String> {
    let plugin = descriptor.build(access, &config.parameters, timeout).map_err(|error| error.to_string())?;
    Ok(Box::new(Instance { plugin, samples: Samples::new() }))
}

#[cfg(test)]
mod tests;

//! The runner with plugins that count, hang and panic: the ticks in simulated time, the runs on real threads.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex};

use hostwatch_plugins::{BuildError, CollectError, Options, Plugin};
use hostwatch_wire::{ContentHash, MetricType, Parameter};
use proptest::prelude::*;

use super::*;
use crate::clock::Clock;

/// Reports how often this instance has run.
struct Count(f64);

/// Reports so many series.
struct Many(i64);

/// Hangs while the gate is shut.
struct Hang;

/// Panics at its first run in this process, and then once more when it is dropped; counts afterwards.
struct Panic {
    is_broken: bool,
}

const BUDGET: Budget = Budget { per_service: 8, per_host: 10 };

static GATE: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());
static HAS_PANICKED: Mutex<bool> = Mutex::new(false);

static CATALOG: &[Descriptor] = &[
    descriptor("count", |_, _| Ok(Box::new(Count(0.0)))),
    descriptor("many", |_, options| Ok(Box::new(Many(options.integer("series", 0..=100).unwrap_or_default())))),
    descriptor("hang", |_, _| Ok(Box::new(Hang))),
    descriptor("panic", |_, _| Ok(Box::new(Panic { is_broken: false }))),
];

type Build = fn(&hostwatch_plugins::Roots, &mut Options<'_>) -> Result<Box<dyn Plugin>, BuildError>;

const fn descriptor(name: &'static str, build: Build) -> Descriptor {
    Descriptor { name, collector: "", about: "", on_by_default: false, build }
}

impl Plugin for Count {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        self.0 += 1.0;
        samples.family("runs", MetricType::Gauge, "Runs of this instance.");
        samples.push(&[], self.0);
        Ok(())
    }
}

impl Plugin for Many {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        samples.family("many", MetricType::Gauge, "As many series as were asked for.");
        for number in 0..self.0 {
            samples.push(&[("number", &number.to_string())], number as f64);
        }
        Ok(())
    }
}

impl Plugin for Hang {
    fn collect(&mut self, _: &mut Samples) -> Result<(), CollectError> {
        let shut = GATE.1.wait_while(GATE.0.lock().unwrap(), |open| !*open);
        drop(shut);
        Ok(())
    }
}

impl Plugin for Panic {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        if !std::mem::replace(&mut *HAS_PANICKED.lock().unwrap(), true) {
            self.is_broken = true;
            panic!("first run");
        }
        Count(0.0).collect(samples)
    }
}

impl Drop for Panic {
    fn drop(&mut self) {
        assert!(!self.is_broken, "dropped after a panic");
    }
}

/// Opens the gate at the latest when its test ends, because the runtime waits for every thread.
struct OpenGate;

impl Drop for OpenGate {
    fn drop(&mut self) {
        *GATE.0.lock().unwrap() = true;
        GATE.1.notify_all();
    }
}

struct Rig {
    runner: Runner,
    now: Moment,
}

impl Rig {
    fn new(services: &[ServiceConfig]) -> Self {
        let host = "web01".parse().unwrap();
        let runner = Runner::new(&host, CATALOG, Access::default(), BUDGET, Pool::new(Clock::start()));
        let mut rig = Self { runner, now: Moment::from_millis(1_700_000_000_000) };
        assert!(rig.apply(services).is_empty());
        rig
    }

    fn apply(&mut self, services: &[ServiceConfig]) -> Vec<Refusal> {
        self.runner.apply(&config(services), self.now)
    }

    /// Goes on by so much, lets `runs` runs end, and returns what is reported: service, status, value or message.
    async fn step(&mut self, millis: u64, runs: usize) -> Vec<(String, Status, String)> {
        self.now = self.now + Duration::from_millis(millis);
        let mut batches = self.runner.advance(self.now, self.now.as_millis());
        let mut finished = Vec::new();
        while finished.len() < runs {
            // A run that hangs ahead of one that is waited for gives way after a moment.
            self.runner.pool.relieve();
            self.runner.pool.take_finished(&mut finished);
            if finished.len() < runs {
                let _ = tokio::time::timeout(Duration::from_millis(5), self.runner.ended()).await;
            }
        }
        finished.into_iter().for_each(|finished| self.runner.finish(finished, self.now));
        // A run that hangs has to have begun before simulated time goes on, or its deadline would find it still waiting.
        while self.runner.pool.next().is_some() {
            self.runner.pool.relieve();
            tokio::task::yield_now().await;
        }
        batches.extend(self.runner.ticks.take_ready(self.now));
        let results = batches.into_iter().flat_map(|batch| batch.results).map(|result| match result.outcome {
            Outcome::Values { values, .. } => (result.service.to_string(), Status::Ok, format!("{values:?}")),
            Outcome::Trouble(status, message) => (result.service.to_string(), status, message),
        });
        let mut results: Vec<_> = results.collect();
        results.sort_by(|a, b| a.0.cmp(&b.0));
        results
    }

    /// Goes to just before the next tick.
    fn go_to_next_tick(&mut self) {
        self.now = self.runner.schedule.next().unwrap() - Duration::from_millis(1);
    }
}

fn service(name: &str, plugin: &str, interval_ms: u64) -> ServiceConfig {
    let name = name.parse().unwrap();
    ServiceConfig { name, plugin: plugin.to_owned(), interval_ms, timeout_ms: None, parameters: BTreeMap::new() }
}

fn config(services: &[ServiceConfig]) -> HostConfig {
    let services = services.to_vec();
    let revision = Revision { number: 1, content: ContentHash::of(b"") };
    HostConfig { revision, services }
}

fn ok(name: &str, runs: u32) -> (String, Status, String) {
    (name.to_owned(), Status::Ok, format!("[{runs}.0]"))
}

#[tokio::test]
async fn what_stays_the_same_goes_on_and_what_changed_begins_anew() {
    let mut rig = Rig::new(&[service("a", "count", 1_000), service("b", "count", 1_000), service("c", "count", 1_000)]);
    rig.go_to_next_tick();
    assert_eq!(rig.step(1, 3).await, [ok("a", 1), ok("b", 1), ok("c", 1)]);
    let due = rig.runner.schedule.next();
    rig.apply(&[service("a", "count", 1_000), service("b", "count", 500), service("d", "count", 1_000)]);
    assert!(rig.runner.schedule.next() < due, "b has a shorter interval now");
    assert_eq!(rig.step(500, 1).await, [ok("b", 1)]);
    assert_eq!(rig.step(500, 3).await, [ok("a", 2), ok("b", 2), ok("d", 1)]);
}

#[tokio::test]
async fn a_run_that_hangs_costs_only_its_own_results() {
    let mut rig = Rig::new(&[service("fine", "count", 1_000), service("hang", "hang", 1_000)]);
    let gate = OpenGate;
    rig.go_to_next_tick();
    assert!(rig.step(1, 1).await.is_empty(), "the tick waits a little for the second result");
    assert_eq!(rig.step(250, 0).await, [ok("fine", 1)]);
    // The default timeout is the interval, so that the deadline and the next tick are the same instant.
    let hangs = rig.step(750, 1).await;
    assert_eq!(hangs[0], ok("fine", 2));
    let messages: Vec<_> =
        hangs[1..].iter().map(|(name, status, message)| (name.as_str(), *status, message.as_str())).collect();
    assert_eq!(
        messages,
        [
            ("hang", Status::TimedOut, "did not end within 1s"),
            ("hang", Status::TimedOut, "still running since 2023-11-14T22:13:20Z"),
        ]
    );
    // Nobody waits for it: not a new configuration, and not its own service when it is replaced.
    rig.apply(&[service("fine", "count", 1_000), service("hang", "count", 1_000), service("late", "hang", 1_000)]);
    let replaced = rig.step(1_000, 2).await;
    assert_eq!(replaced, []);
    assert_eq!(rig.step(999, 0).await, [ok("fine", 3), ok("hang", 1)]);

    drop(gate);
    // The run of the replaced service is nobody's result; the other one's comes late, on its own.
    assert_eq!(rig.step(0, 2).await, [("late".to_owned(), Status::Ok, "[]".to_owned())]);
    assert_eq!(rig.step(1, 2).await, [ok("fine", 4), ok("hang", 2), ("late".to_owned(), Status::Ok, "[]".to_owned())]);
}

#[tokio::test]
async fn a_plugin_that_finds_nothing_rests() {
    let mut rig = Rig::new(&[service("fine", "count", 10_000), service("none", "many", 10_000)]);
    let nothing = ("none".to_owned(), Status::Ok, "[]".to_owned());
    rig.go_to_next_tick();
    assert_eq!(rig.step(1, 2).await, [ok("fine", 1), nothing.clone()]);
    for runs in 2..7 {
        assert_eq!(rig.step(10_000, 1).await, [ok("fine", runs), nothing.clone()], "it rests and says what it found");
    }
    assert_eq!(rig.step(10_000, 2).await, [ok("fine", 7), nothing]);
}

#[tokio::test]
async fn a_panic_is_a_failure_and_the_plugin_is_made_anew() {
    let mut rig = Rig::new(&[service("bad", "panic", 1_000), service("fine", "count", 1_000)]);
    rig.go_to_next_tick();
    let results = rig.step(1, 2).await;
    assert_eq!(results[0], ("bad".to_owned(), Status::Failed, "the plugin panicked: first run".to_owned()));
    assert_eq!(results[1], ok("fine", 1));
    assert_eq!(rig.step(1_000, 2).await, [ok("bad", 1), ok("fine", 2)]);
}

#[tokio::test]
async fn what_cannot_run_is_refused_with_its_reason_and_the_rest_runs() {
    let mut rig = Rig::new(&[]);
    let with_parameter = ServiceConfig {
        parameters: [("x".to_owned(), Parameter::Boolean(true))].into(),
        ..service("d", "count", 1_000)
    };
    let refused = rig.apply(&[
        service("a", "count", 99),
        service("b", "count", 86_400_001),
        service("c", "nonsense", 1_000),
        with_parameter,
        ServiceConfig { timeout_ms: Some(0), ..service("e", "count", 1_000) },
        service("f", "count", 1_000),
        service("f", "count", 1_000),
    ]);
    let reasons: Vec<_> = refused.iter().map(|refusal| format!("{}: {}", refusal.service, refusal.reason)).collect();
    let expected = [
        "a: an interval of 99ms",
        "b: an interval of",
        "c: unknown plugin \"nonsense\"; this client",
        "d: x: unknown",
        "e: a timeout",
        "f: the name stands twice",
    ];
    assert_eq!(reasons.len(), expected.len(), "{reasons:?}");
    for (reason, expected) in reasons.iter().zip(expected) {
        assert!(reason.starts_with(expected), "{reason}");
    }
    assert!(reasons[2].ends_with("has count, many, hang, panic"), "{}", reasons[2]);
    assert_eq!(rig.runner.len(), 1);
}

fn services() -> impl Strategy<Value = Vec<ServiceConfig>> {
    let one = (
        0..5_usize,
        prop_oneof![4 => Just("count"), 1 => Just("nonsense")],
        prop_oneof![1 => Just(50), 4 => 200..203_u64],
    )
        .prop_map(|(name, plugin, interval)| service(["a", "b", "c", "d", "e"][name], plugin, interval));
    proptest::collection::vec(one, 0..8)
}

proptest! {
    #[test]
    fn every_service_runs_or_is_refused(configs in proptest::collection::vec((services(), 0_u64..1_000), 1..8)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _context = runtime.enter();
        let mut rig = Rig::new(&[]);
        let mut before = BTreeMap::new();
        for (services, wait) in configs {
            rig.now = rig.now + Duration::from_millis(wait);
            rig.runner.schedule.take_due(rig.now);
            let due = rig.runner.schedule.next();
            let refused = rig.apply(&services);
            prop_assert_eq!(rig.runner.len() + refused.len(), services.len());
            let running: BTreeMap<_, _> =
                rig.runner.services.iter().map(|(name, service)| (name.clone(), service.config.clone())).collect();
            for config in running.values() {
                prop_assert!(services.contains(config) && config.plugin == "count" && config.interval_ms >= 100);
            }
            if running == before {
                prop_assert_eq!(rig.runner.schedule.next(), due);
            }
            let far = rig.now + Duration::from_secs(10);
            let mut copy = Rig::new(&[]);
            copy.now = rig.now;
            copy.apply(&services);
            // However it came to be, a schedule is that of its services alone.
            prop_assert_eq!(copy.runner.schedule.next().is_some(), rig.runner.schedule.next().is_some());
            prop_assert_eq!(copy.runner.schedule.take_due(far), running.keys().cloned().collect::<Vec<_>>());
            before = running;
        }
    }
}

#[tokio::test]
async fn series_beyond_the_budget_are_left_out_in_a_stable_order() {
    let many = |name, series| {
        let mut service = service(name, "many", 1_000);
        service.parameters.insert("series".to_owned(), Parameter::Integer(series));
        service
    };
    let mut rig = Rig::new(&[many("a", 6), many("b", 6), many("c", 20)]);
    rig.go_to_next_tick();
    let mut tick = async |millis| {
        let reported = rig.step(millis, 3).await;
        let ledger = format!("{:?}", rig.runner.access.ledger);
        let left_out: Vec<_> =
            ledger.match_indices("left_out: ").map(|(at, text)| ledger.as_bytes()[at + text.len()]).collect();
        (reported.iter().map(|(_, _, values)| values.matches('.').count()).collect::<Vec<_>>(), left_out)
    };
    // At first nobody knows how many series the others have.
    assert_eq!(tick(1).await.0, [6, 6, 8]);
    assert_eq!(tick(1_000).await.0, [6, 4, 0]);
    for _ in 0..3 {
        let (reported, left_out) = tick(1_000).await;
        assert_eq!(reported, [6, 4, 0]);
        assert_eq!(left_out, [b'0', b'2', b'2']);
    }
}

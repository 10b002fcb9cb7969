//! The agent on a clock that only the test moves.

use std::collections::BTreeMap;

use hostwatch_wire::ServiceConfig;

use super::*;

const INTERVAL: Duration = Duration::from_secs(10);

fn config(services: Vec<ServiceConfig>) -> HostConfig {
    let revision = hostwatch_wire::Revision { number: 1, content: HostConfig::content_hash(&services) };
    HostConfig { revision, services }
}

fn agent(clock: Clock) -> Agent {
    let limits = Limits { max_age: Duration::from_secs(900), max_size: 1 << 20 };
    Agent::new(Parts {
        host: "web01".parse().unwrap(),
        labels: BTreeMap::new(),
        access: Access::default(),
        budget: Budget { per_service: 100, per_host: 100 },
        clock,
        ring: Ring::new(Epoch(1), limits),
        pool: Pool::new(clock),
        outbox: Outbox::default(),
        config_file: watch::Sender::new(None),
        read_config_again: Arc::new(Notify::new()),
    })
}

#[tokio::test(start_paused = true)]
async fn a_tick_that_comes_a_little_late_needs_no_heartbeat_before_it() {
    let clock = Clock::start();
    let (mut agent, (inbox, _commands)) = (agent(clock), hostwatch_bus::inbox(1, 1));
    let (name, interval_ms) = ("load".parse().unwrap(), INTERVAL.as_secs() * 1_000);
    let service =
        ServiceConfig { name, plugin: "load".to_owned(), interval_ms, timeout_ms: None, parameters: BTreeMap::new() };
    agent.start_from(config(vec![service]));
    assert!(agent.outbox.is_settled(), "nothing is said before there is a link");
    assert_eq!(agent.session.heartbeat(), INTERVAL);

    let end = agent.runner.next().unwrap() + INTERVAL * 100;
    for turn in 0_u64.. {
        let begins = agent.runner.next().unwrap() <= clock.now();
        agent.advance(&inbox);
        if begins {
            // In real time, while the clock stands still.
            agent.ended().await;
            agent.advance(&inbox);
        }
        let next = agent.next();
        if next.min(agent.runner.next().unwrap()) >= end {
            break;
        }
        // A machine under load wakes up to 20 ms late.
        let late = Duration::from_millis(turn * 7 % 21);
        tokio::time::sleep_until(clock.instant(next + late)).await;
    }
    assert_eq!(agent.reporter.last_seq(), 100);
}

//! Hosts that say too much: what they say beyond their quota was dropped before it got here. They are named, and not
//! listened to for a while, so that Redis need not carry it either.

use std::time::Duration;

use hostwatch_bus::Flood;
use hostwatch_wire::{Channel, HostId};
use tracing::warn;

use super::host::Host;
use super::{Effect, Fleet};
use crate::clock::Now;

/// So long nobody listens to a host that floods.
const MUTED_FOR: Duration = Duration::from_secs(60);

impl Fleet {
    /// These channels said more than they may.
    pub(crate) fn on_floods(&mut self, floods: Vec<Flood>, now: Now) {
        for Flood { channel, dropped } in floods {
            *self.summary.refused.entry("flood").or_default() += dropped;
            let Some((speaker, kind)) = channel.as_deref().and_then(|channel| self.names.parse(channel)) else {
                continue;
            };
            let Some(id) = speaker.parse::<HostId>().ok() else { continue };
            self.blame(&id, |faults| faults.flooded += dropped);
            if let Some(host) = self.hosts.get_mut(&id) {
                // Hellos come by a pattern, which one host cannot be taken out of.
                if kind == Channel::Reports && host.is_known() && host.muted_until.is_none() {
                    host.muted_until = Some(now.monotonic + MUTED_FOR);
                    self.effects.push(Effect::Ignore(id.clone()));
                }
            }
            if let Some(others) = self.log_limit.allow("flood", now.monotonic) {
                warn!(host = %id, "{id} floods: {dropped} of its messages were dropped; {others} others did the like before");
            }
        }
    }

    /// Listens to a host again that had flooded.
    pub(super) fn unmute(&mut self, id: &HostId, now: Now) {
        if let Some(host) = self.hosts.get_mut(id) {
            (host.muted_until, host.unmuted) = (None, Some(now.monotonic));
            self.effects.push(Effect::Listen(id.clone()));
            self.announce_to(id);
        }
    }
}

impl Host {
    /// Whether it is time to listen to it again.
    pub(super) fn is_muted_no_longer(&self, now: Now) -> bool {
        self.is_known() && self.muted_until.is_some_and(|until| now.monotonic >= until)
    }
}

//! TCP connections by state, from /proc/net/tcp and tcp6. Source: Documentation/networking/proc_net_tcp.rst.

use hostwatch_wire::MetricType::Gauge;

use crate::linux::fields::{Malformed, fields, hexadecimal, lines};
use crate::linux::kernel_file::KernelFile;
use crate::{CollectError, Descriptor, Plugin, Samples};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "tcpstat",
    collector: "tcpstat",
    about: "TCP connections by state and the bytes that wait in them, from /proc/net/tcp and tcp6",
    // The kernel walks through all connections.
    on_by_default: false,
    build: |roots, _| {
        Ok(Box::new(Tcpstat { files: ["tcp", "tcp6"].map(|name| KernelFile::of_short_lines(roots.network(name))) }))
    },
};

/// The states by their numbers in the kernel, of which 0 is none. The last ones that follow are no states but bytes.
const STATES: [&str; 14] = [
    "unknown",
    "established",
    "syn_sent",
    "syn_recv",
    "fin_wait1",
    "fin_wait2",
    "time_wait",
    "close",
    "close_wait",
    "last_ack",
    "listen",
    "closing",
    "rx_queued_bytes",
    "tx_queued_bytes",
];
const UNKNOWN: usize = 0;
const RECEIVED: usize = 12;
const SENT: usize = 13;

struct Tcpstat {
    files: [KernelFile; 2],
}

type Counts = [f64; STATES.len()];

impl Plugin for Tcpstat {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        let mut counts = Counts::default();
        let mut is_present = false;
        for file in &mut self.files {
            is_present |= file.parse_if_present(|content| count(content, &mut counts))?.is_some();
        }
        if is_present {
            let help = "TCP connections that are in a state, and bytes that wait in them.";
            samples.family("node_tcp_connection_states", Gauge, help);
            // A state that a later kernel may have is reported only when it is there.
            for (state, count) in STATES.iter().zip(counts).skip(usize::from(counts[UNKNOWN] == 0.0)) {
                samples.push(&[("state", state)], count);
            }
        }
        Ok(())
    }
}

/// Adds up the lines behind the heading: `0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 …`.
fn count(content: &[u8], counts: &mut Counts) -> Result<(), Malformed> {
    for line in lines(content).skip(1) {
        let line = line?;
        let malformed = || Malformed::new("addresses, a state and two queues", line);
        let mut fields = fields(line).skip(3);
        let state = hexadecimal(fields.next().ok_or_else(malformed)?)?;
        let queues = fields.next().ok_or_else(malformed)?;
        let colon = queues.iter().position(|byte| *byte == b':').ok_or_else(malformed)?;
        let state = usize::try_from(state).ok().filter(|state| *state < RECEIVED).unwrap_or(UNKNOWN);
        counts[state] += 1.0;
        counts[SENT] += hexadecimal(&queues[..colon])? as f64;
        counts[RECEIVED] += hexadecimal(&queues[colon + 1..])? as f64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_content_is_counted_or_an_error(content in any::<Vec<u8>>()) {
            let _ = count(&content, &mut Counts::default());
        }

        #[test]
        fn every_connection_counts(connections in prop::collection::vec((1_u8..12, any::<[u32; 2]>()), 0..9)) {
            let line = |(state, [sent, received]): &(u8, [u32; 2])| {
                format!("   0: 0100007F:1F90 00000000:0000 {state:02X} {sent:08X}:{received:08X} 00:00000000 0\n")
            };
            let content = format!("  sl  local_address\n{}", connections.iter().map(line).collect::<String>());
            let mut counts = Counts::default();
            count(content.as_bytes(), &mut counts).unwrap();
            prop_assert_eq!(counts[..RECEIVED].iter().sum::<f64>(), connections.len() as f64);
            prop_assert_eq!(counts[SENT], connections.iter().map(|(_, [sent, _])| f64::from(*sent)).sum::<f64>());
        }
    }
}

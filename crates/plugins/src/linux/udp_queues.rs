//! Bytes in the queues of all UDP sockets, from /proc/net/udp and udp6. Source: proc_net(5).

use hostwatch_wire::MetricType;

use crate::linux::fields::{Malformed, fields, hexadecimal, lines};
use crate::linux::kernel_file::KernelFile;
use crate::{CollectError, Descriptor, Plugin, Samples};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "udp_queues",
    collector: "udp_queues",
    about: "bytes that wait in the queues of UDP sockets, from /proc/net/udp and udp6",
    on_by_default: true,
    build: |roots, _| {
        let files =
            [("v4", "udp"), ("v6", "udp6")].map(|(ip, name)| (ip, KernelFile::of_short_lines(roots.network(name))));
        Ok(Box::new(UdpQueues { files }))
    },
};

struct UdpQueues {
    files: [(&'static str, KernelFile); 2],
}

impl Plugin for UdpQueues {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        let mut is_begun = false;
        for (ip, file) in &mut self.files {
            let Some([sending, receiving]) = file.parse_if_present(parse)? else { continue };
            if !std::mem::replace(&mut is_begun, true) {
                samples.family("node_udp_queues", MetricType::Gauge, "Bytes that wait in the queues of UDP sockets.");
            }
            samples.push(&[("ip", ip), ("queue", "tx")], sending as f64);
            samples.push(&[("ip", ip), ("queue", "rx")], receiving as f64);
        }
        Ok(())
    }
}

/// The sums of what waits to be sent and to be received: the fifth column, `00000000:00000000`.
fn parse(content: &[u8]) -> Result<[u64; 2], Malformed> {
    let mut sums = [0_u64; 2];
    for line in lines(content).skip(1) {
        let line = line?;
        let malformed = || Malformed::new("two lengths of queues", line);
        let queues = fields(line).nth(4).ok_or_else(malformed)?;
        let mut queues = queues.split(|byte| *byte == b':');
        for sum in &mut sums {
            let queue = queues.next().filter(|queue| !queue.is_empty()).ok_or_else(malformed)?;
            *sum = sum.saturating_add(hexadecimal(queue)?);
        }
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_content_is_queues_or_an_error(content in any::<Vec<u8>>()) {
            let _ = parse(&content);
        }

        #[test]
        fn queues_are_summed(queues in prop::collection::vec(any::<[u32; 2]>(), 0..9)) {
            let line = |[sending, receiving]: &[u32; 2]| {
                format!(" 1: 0100007F:0035 00000000:0000 07 {sending:08X}:{receiving:08X} 00:00000000 0 0 0 0 2 0 0\n")
            };
            let content = format!("  sl  local_address\n{}", queues.iter().map(line).collect::<String>());
            let sum = |index: usize| queues.iter().map(|queue| u64::from(queue[index])).sum::<u64>();
            prop_assert_eq!(parse(content.as_bytes()), Ok([sum(0), sum(1)]));
        }
    }
}

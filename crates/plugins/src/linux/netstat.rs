//! Counts of the network protocols from /proc/net/netstat, snmp and snmp6. Source: net/ipv4/proc.c and net/ipv6/proc.c.

use hostwatch_wire::MetricType;

use crate::filter::Filter;
use crate::linux::fields::{Malformed, fields, integer, lines, text};
use crate::linux::kernel_file::KernelFile;
use crate::{CollectError, Descriptor, Plugin, Samples};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "netstat",
    collector: "netstat",
    about: "packets and errors of IP, ICMP, TCP and UDP, from /proc/net/netstat, snmp and snmp6",
    on_by_default: true,
    build: |roots, options| {
        let default = "^(.*_(InErrors|InErrs)|Ip_Forwarding|Ip(6|Ext)_(InOctets|OutOctets)|\
                       Icmp6?_(InMsgs|OutMsgs)|\
                       TcpExt_(Listen.*|Syncookies.*|TCPSynRetrans|TCPTimeouts|TCPOFOQueue|TCPRcvQDrop)|\
                       Tcp_(ActiveOpens|InSegs|OutSegs|OutRsts|PassiveOpens|RetransSegs|CurrEstab)|\
                       Udp6?_(InDatagrams|OutDatagrams|NoPorts|RcvbufErrors|SndbufErrors))$";
        let fields = Filter::including(options, "fields", default);
        let file = |name| KernelFile::of_short_lines(roots.network(name));
        let tables = [file("netstat"), file("snmp")];
        Ok(Box::new(Netstat { tables, snmp6: file("snmp6"), fields, key: String::new(), name: String::new() }))
    },
};

struct Netstat {
    tables: [KernelFile; 2],
    snmp6: KernelFile,
    fields: Filter,
    /// The figure at hand, `Tcp_InSegs`, and its family, kept for their memory.
    key: String,
    name: String,
}

impl Plugin for Netstat {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        let Self { tables, snmp6, fields, key, name } = self;
        let mut report = |protocol: &str, figure: &str, value: f64| {
            key.clear();
            key.extend([protocol, "_", figure]);
            if fields.admits(key) {
                name.clear();
                name.extend(["node_netstat_", key]);
                samples.family(name, MetricType::Unknown, "A figure of the network protocols, as the kernel names it.");
                samples.push(&[], value);
            }
        };
        for table in tables {
            table.parse_if_present(|content| each_of_table(content, &mut report))?;
        }
        snmp6.parse_if_present(|content| each_of_list(content, &mut report))?;
        Ok(())
    }
}

/// Hands on a line of names and the line of values after it: `Tcp: InSegs OutSegs`, `Tcp: 17 4`.
fn each_of_table(content: &[u8], figure: &mut impl FnMut(&str, &str, f64)) -> Result<(), Malformed> {
    let mut lines = lines(content);
    while let Some(names) = lines.next() {
        let names = names?;
        let values = lines.next().ok_or_else(|| Malformed::new("a line of values after", names))??;
        let (mut names, mut values) = (fields(names), fields(values));
        let unlike = || Malformed::new("as many names as values", content);
        let protocol = names.next().and_then(|name| name.strip_suffix(b":")).ok_or_else(unlike)?;
        if values.next().and_then(|name| name.strip_suffix(b":")) != Some(protocol) {
            return Err(unlike());
        }
        for name in names {
            let value = signed(values.next().ok_or_else(unlike)?)?;
            figure(&text(protocol), &text(name), value);
        }
    }
    Ok(())
}

/// Hands on every line such as `Udp6InDatagrams 17`, whose protocol ends with the 6.
fn each_of_list(content: &[u8], figure: &mut impl FnMut(&str, &str, f64)) -> Result<(), Malformed> {
    for line in lines(content) {
        let line = line?;
        let mut fields = fields(line);
        let (Some(name), Some(value), None) = (fields.next(), fields.next(), fields.next()) else {
            return Err(Malformed::new("a name and a number", line));
        };
        let value = integer(value)? as f64;
        if let Some(six) = name.iter().position(|byte| *byte == b'6') {
            let (protocol, name) = name.split_at(six + 1);
            figure(&text(protocol), &text(name), value);
        }
    }
    Ok(())
}

/// A number that may be negative: TCP's limit of connections is -1 when there is none.
fn signed(field: &[u8]) -> Result<f64, Malformed> {
    match field.strip_prefix(b"-") {
        Some(b"") => Err(Malformed::new("a number", field)),
        Some(digits) => Ok(-(integer(digits)? as f64)),
        None => Ok(integer(field)? as f64),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_content_is_figures_or_an_error(content in "([A-Z][a-z6]{0,3}:?( [a-z0-9-]{0,3}){0,4}\n?){0,6}") {
            let _ = each_of_table(content.as_bytes(), &mut |_, _, _| ());
            let _ = each_of_list(content.as_bytes(), &mut |_, _, _| ());
        }

        #[test]
        fn any_bytes_are_survived(content in any::<Vec<u8>>()) {
            let _ = each_of_table(&content, &mut |_, _, _| ());
            let _ = each_of_list(&content, &mut |_, _, _| ());
        }

        #[test]
        fn names_find_their_values(values in any::<[u64; 2]>()) {
            let content = format!("Tcp: A MaxConn B\nTcp: {} -1 {}\n", values[0], values[1]);
            let mut found = Vec::new();
            each_of_table(content.as_bytes(), &mut |_, name, value| found.push((name.to_owned(), value))).unwrap();
            let expected = [("A", values[0] as f64), ("MaxConn", -1.0), ("B", values[1] as f64)];
            prop_assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value)));
        }
    }
}

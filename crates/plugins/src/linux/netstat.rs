//! Counts of the network protocols from /proc/net/netstat, snmp and snmp6. Source: net/ipv4/proc.c and net/ipv6/proc.c.

use hostwatch_wire::MetricType;

use crate::filter::Filter;
use crate::linux::fields::{Malformed, fields, integer, lines, text};
use crate::linux::kernel_file::KernelFile;
use crate::linux::named_lines::NamedLines;
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
        let file = |name| KernelFile::of_one_piece(roots.network(name));
        let table = |name| Table { file: file(name), headings: Vec::new() };
        let tables = ["netstat", "snmp"].map(table);
        Ok(Box::new(Netstat { tables, snmp6: file("snmp6"), lines: NamedLines::default(), fields }))
    },
};

struct Netstat {
    tables: [Table; 2],
    snmp6: KernelFile,
    lines: NamedLines,
    fields: Filter,
}

/// A file of pairs of lines: `Tcp: InSegs OutSegs`, `Tcp: 17 4`.
struct Table {
    file: KernelFile,
    /// The lines of names at the last sample. That they are the same is seen sooner than what is in them.
    headings: Vec<Heading>,
}

struct Heading {
    names: Vec<u8>,
    /// The columns that are wanted, and what they are called.
    wanted: Vec<(usize, String)>,
}

impl Plugin for Netstat {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        let Self { tables, snmp6, lines, fields } = self;
        let family = |key: &str| fields.admits(key).then(|| format!("node_netstat_{key}"));
        let mut report = |family: &str, value: f64| {
            samples.family(family, MetricType::Unknown, "A figure of the network protocols, as the kernel names it.");
            samples.push(&[], value);
        };
        for Table { file, headings } in tables {
            file.parse_if_present(|content| each_of_table(content, headings, family, &mut report))?;
        }
        // The protocol of a figure such as `Udp6InDatagrams` ends with the 6.
        let family =
            |name: &str| name.find('6').and_then(|six| family(&format!("{}_{}", &name[..=six], &name[six + 1..])));
        snmp6.parse_if_present(|content| lines.each(content, family, |family, value| report(family, value as f64)))?;
        Ok(())
    }
}

fn each_of_table(
    content: &[u8],
    headings: &mut Vec<Heading>,
    family: impl Fn(&str) -> Option<String>,
    report: &mut impl FnMut(&str, f64),
) -> Result<(), Malformed> {
    let mut lines = lines(content);
    let mut index = 0;
    while let Some(names) = lines.next() {
        let names = names?;
        let values = lines.next().ok_or_else(|| Malformed::new("a line of values after", names))??;
        if headings.get(index).is_none_or(|heading| heading.names != names) {
            headings.truncate(index);
            headings.push(Heading::new(names, &family)?);
        }
        headings[index].each(values, report)?;
        index += 1;
    }
    Ok(())
}

impl Heading {
    fn new(names: &[u8], family: impl Fn(&str) -> Option<String>) -> Result<Self, Malformed> {
        let protocol = protocol(fields(names).next()).ok_or_else(|| Malformed::new("a protocol and names", names))?;
        let columns = fields(names).enumerate().skip(1);
        let wanted =
            columns.filter_map(|(column, name)| Some((column, family(&format!("{}_{}", text(protocol), text(name)))?)));
        Ok(Self { wanted: wanted.collect(), names: names.to_owned() })
    }

    /// Hands on the values in the columns that are wanted.
    fn each(&self, values: &[u8], report: &mut impl FnMut(&str, f64)) -> Result<(), Malformed> {
        let unlike = || Malformed::new("as many values as names", values);
        let mut values = fields(values).enumerate();
        if protocol(values.next().map(|(_, field)| field)) != protocol(fields(&self.names).next()) {
            return Err(unlike());
        }
        for (wanted, family) in &self.wanted {
            let (_, value) = values.find(|(column, _)| column == wanted).ok_or_else(unlike)?;
            report(family, signed(value)?);
        }
        Ok(())
    }
}

/// What a line begins with, before the colon.
fn protocol(field: Option<&[u8]>) -> Option<&[u8]> {
    field?.strip_suffix(b":")
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

    /// What is found in columns whose name has an `A`.
    fn found(headings: &mut Vec<Heading>, content: &[u8]) -> Result<Vec<(String, f64)>, Malformed> {
        let mut found = Vec::new();
        let family = |key: &str| key.contains('A').then(|| key.to_owned());
        each_of_table(content, headings, family, &mut |name, value| found.push((name.to_owned(), value)))?;
        Ok(found)
    }

    proptest! {
        #[test]
        fn what_was_seen_before_makes_no_difference(
            contents in prop::collection::vec("([AB]{0,2}:?( [A-B0-9-]{0,3}){0,4}\n?){0,6}", 1..9),
        ) {
            let mut headings = Vec::new();
            for content in &contents {
                let content = content.as_bytes();
                prop_assert_eq!(found(&mut headings, content), found(&mut Vec::new(), content));
            }
        }

        #[test]
        fn any_bytes_are_survived(contents in any::<[Vec<u8>; 2]>()) {
            let mut headings = Vec::new();
            for content in contents {
                let _ = found(&mut headings, &content);
            }
        }

        #[test]
        fn names_find_their_values(values in any::<[u64; 2]>()) {
            let content = format!("Tcp: AB MaxConn BA AMax\nTcp: {} -1 {} -7\n", values[0], values[1]);
            let expected = [("Tcp_AB", values[0] as f64), ("Tcp_BA", values[1] as f64), ("Tcp_AMax", -7.0)];
            let mut headings = Vec::new();
            for _ in 0..2 {
                let found = found(&mut headings, content.as_bytes()).unwrap();
                prop_assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value)));
            }
        }
    }
}

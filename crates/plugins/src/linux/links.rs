//! What the kernel tells of all network interfaces at once, over rtnetlink: whether it is the same as the last time.
//! Source: rtnetlink(7), include/uapi/linux/if_link.h, include/uapi/linux/netlink.h.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// A part of an answer is at most so long, unless a single interface has more to tell.
const PART_BYTES: usize = 32 << 10;
/// Beyond so much nothing is compared.
const MAX_BYTES: usize = 16 << 20;

const HEADER_BYTES: usize = 16;
const INTERFACE_BYTES: usize = 16;
const ATTRIBUTE_BYTES: usize = 4;

const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const NLM_F_DUMP_INTR: u16 = 0x10;
/// Counters, and what has timers in it: IFLA_STATS, IFLA_LINKINFO, IFLA_STATS64, IFLA_AF_SPEC.
const RESTLESS: [u16; 4] = [7, 18, 23, 26];

/// `RTM_GETLINK` for all interfaces (`NLM_F_REQUEST | NLM_F_DUMP`), with `IFLA_EXT_MASK` (29) set to
/// `RTEXT_FILTER_SKIP_STATS` (8).
fn request() -> [u8; 40] {
    let mut request = [0; 40];
    request[0..4].copy_from_slice(&40_u32.to_ne_bytes());
    request[4..6].copy_from_slice(&18_u16.to_ne_bytes());
    request[6..8].copy_from_slice(&0x301_u16.to_ne_bytes());
    request[32..34].copy_from_slice(&8_u16.to_ne_bytes());
    request[34..36].copy_from_slice(&29_u16.to_ne_bytes());
    request[36..40].copy_from_slice(&8_u32.to_ne_bytes());
    request
}

/// The interfaces of the network that this process is in.
pub(crate) struct Links {
    socket: Option<OwnedFd>,
    part: Vec<u8>,
    /// What was told the last time, and what is told now, without that which never rests.
    before: Vec<u8>,
    now: Vec<u8>,
}

/// An answer that says nothing about a change, so that anything may have changed.
#[derive(Debug)]
struct Unclear;

impl From<Errno> for Unclear {
    fn from(_: Errno) -> Self {
        Self
    }
}

impl Links {
    /// Asks nothing yet.
    pub(crate) fn new() -> Self {
        Self { socket: None, part: vec![0; PART_BYTES], before: Vec::new(), now: Vec::new() }
    }

    /// Whether an interface came, went or changed since the last call, or may have.
    pub(crate) fn may_have_changed(&mut self) -> bool {
        self.now.clear();
        if self.ask().is_err() {
            // An answer to this question must not be taken for that to the next one.
            self.socket = None;
            self.forget();
            return true;
        }
        std::mem::swap(&mut self.before, &mut self.now);
        self.before != self.now
    }

    /// Has the next call say that something may have changed.
    pub(crate) fn forget(&mut self) {
        self.before.clear();
    }

    fn ask(&mut self) -> Result<(), Unclear> {
        let socket = match &mut self.socket {
            Some(socket) => socket,
            closed => {
                // The protocol is NETLINK_ROUTE, which is 0.
                let flags = SocketFlags::CLOEXEC;
                closed.insert(rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?)
            }
        };
        rustix::net::send(&*socket, &request(), SendFlags::empty())?;
        loop {
            // The kernel has made each part by the time it is asked for.
            let (read, length) = rustix::net::recv(&*socket, &mut *self.part, RecvFlags::DONTWAIT | RecvFlags::TRUNC)?;
            let part = self.part.get(..length).filter(|part| part.len() == read).ok_or(Unclear)?;
            if take(part, &mut self.now)? {
                return Ok(());
            }
            if self.now.len() > MAX_BYTES {
                return Err(Unclear);
            }
        }
    }
}

/// Adds what a part of an answer tells to `told`; says whether it was the last part.
fn take(mut part: &[u8], told: &mut Vec<u8>) -> Result<bool, Unclear> {
    while !part.is_empty() {
        let length = number(part, 0)?;
        let [kind, flags] = [4, 6].map(|at| short(part, at));
        let message = usize::try_from(length).ok().and_then(|length| part.get(HEADER_BYTES..length)).ok_or(Unclear)?;
        match (kind?, flags?) {
            (_, flags) if flags & NLM_F_DUMP_INTR != 0 => return Err(Unclear),
            (NLMSG_DONE, _) => return Ok(true),
            (RTM_NEWLINK, _) => take_interface(message, told)?,
            _ => return Err(Unclear),
        }
        part = part.get(aligned(length as usize)..).unwrap_or_default();
    }
    Ok(false)
}

fn take_interface(message: &[u8], told: &mut Vec<u8>) -> Result<(), Unclear> {
    let (interface, mut attributes) = message.split_at_checked(INTERFACE_BYTES).ok_or(Unclear)?;
    told.extend_from_slice(interface);
    while !attributes.is_empty() {
        let length = usize::from(short(attributes, 0)?);
        let attribute = attributes.get(..length).filter(|bytes| bytes.len() >= ATTRIBUTE_BYTES).ok_or(Unclear)?;
        // The highest two bits tell of its form.
        if !RESTLESS.contains(&(short(attributes, 2)? & 0x3fff)) {
            told.extend_from_slice(attribute);
        }
        attributes = attributes.get(aligned(length)..).unwrap_or_default();
    }
    Ok(())
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn number(bytes: &[u8], at: usize) -> Result<u32, Unclear> {
    bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_ne_bytes).ok_or(Unclear)
}

fn short(bytes: &[u8], at: usize) -> Result<u16, Unclear> {
    bytes.get(at..at + 2).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes).ok_or(Unclear)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attribute(kind: u16, content: &[u8]) -> Vec<u8> {
        let mut bytes = (ATTRIBUTE_BYTES as u16 + content.len() as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(content);
        bytes.resize(aligned(bytes.len()), 0);
        bytes
    }

    fn message(kind: u16, content: &[u8]) -> Vec<u8> {
        let mut bytes = (HEADER_BYTES as u32 + content.len() as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.resize(HEADER_BYTES, 0);
        bytes.extend(content);
        bytes
    }

    fn interface(attributes: &[Vec<u8>]) -> Vec<u8> {
        message(RTM_NEWLINK, &[vec![7; INTERFACE_BYTES], attributes.concat()].concat())
    }

    #[test]
    fn what_never_rests_is_not_compared() {
        let told = |part: &[u8]| {
            let mut told = Vec::new();
            take(part, &mut told).map(|last| (last, told)).ok()
        };
        let (name, counters, mtu) = (attribute(3, b"eth0\0"), attribute(23, &[1; 9]), attribute(4, &[1; 4]));
        let one = told(&interface(&[name.clone(), counters, mtu.clone()])).unwrap();
        assert_eq!(one, told(&interface(&[name.clone(), mtu])).unwrap());
        assert_ne!(one, told(&interface(&[name, attribute(4, &[2; 4])])).unwrap());
        let both = [interface(&[]), message(NLMSG_DONE, &[0; 4])].concat();
        assert_eq!(told(&both), Some((true, vec![7; INTERFACE_BYTES])));
        let [interrupted, failed] =
            [[16, 0, 0x10, 0], [2, 0, 0, 0]].map(|words| [&[20, 0, 0, 0][..], &words, &[0; 12]].concat());
        assert_eq!((told(&interrupted), told(&failed)), (None, None));
    }

    #[test]
    fn interfaces_that_stay_the_same_are_told_once() {
        let mut links = Links::new();
        assert!(links.may_have_changed());
        // Others may change theirs meanwhile, though not every time.
        assert!((0..100).any(|_| !links.may_have_changed()));
    }

    proptest! {
        #[test]
        fn any_answer_is_survived(part in any::<Vec<u8>>()) {
            let _ = take(&part, &mut Vec::new());
        }

        #[test]
        fn any_attributes_are_survived(content in any::<Vec<u8>>()) {
            let _ = take(&message(RTM_NEWLINK, &[vec![0; INTERFACE_BYTES], content].concat()), &mut Vec::new());
        }
    }
}

//! Tells whether a network interface came, went or changed, as the kernel announces it over rtnetlink.
//! Source: rtnetlink(7), netlink(7).

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};

/// RTMGRP_LINK of linux/rtnetlink.h.
const LINK_GROUP: u32 = 1;

/// The interfaces of the network that this process is in.
#[derive(Debug, Default)]
pub(crate) struct Links {
    socket: Option<OwnedFd>,
}

impl Links {
    /// Whether an interface changed since the last call, or may have: for want of a socket, or when there were more
    /// announcements than the kernel keeps.
    pub(crate) fn may_have_changed(&mut self) -> bool {
        match &self.socket {
            Some(socket) => match hear(socket) {
                Ok(heard) => heard,
                Err(_) => {
                    self.socket = None;
                    true
                }
            },
            None => {
                self.socket = listen().ok();
                true
            }
        }
    }
}

/// The protocol is NETLINK_ROUTE, which is 0.
fn listen() -> rustix::io::Result<OwnedFd> {
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, LINK_GROUP))?;
    Ok(socket)
}

/// Takes all announcements that wait, and says whether there were any; what they tell is in the files of sysfs too.
fn hear(socket: &OwnedFd) -> rustix::io::Result<bool> {
    let mut heard = false;
    loop {
        match rustix::net::recv(socket, &mut [0; 1], RecvFlags::DONTWAIT) {
            // Without room for all of them the kernel drops some, and says so once.
            Ok(_) | Err(Errno::NOBUFS) => heard = true,
            Err(Errno::AGAIN) => return Ok(heard),
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_that_stay_the_same_are_told_once() {
        let mut links = Links::default();
        assert!(links.may_have_changed());
        // Others may change theirs meanwhile, though not every time.
        assert!((0..100).any(|_| !links.may_have_changed()));
    }
}

//! Ports of this host, one of each kind for every client.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::RangeInclusive;

/// Where mAI listens unless other ports are named.
pub(super) const MAI_PORTS: &str = "8001-8020";

/// Where the usage listener is published unless other ports are named.
pub(super) const USAGE_PORTS: &str = "9001-9020";

/// Ports to choose from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PortRange(RangeInclusive<u16>);

impl PortRange {
    /// Reads `8001-8020` or one port; the rule where it is neither.
    pub(super) fn read(text: &str) -> Result<Self, &'static str> {
        const RULE: &str = "must be ports such as 8001-8020";
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let port = |text: &str| text.parse().ok().filter(|port| *port > 0).ok_or(RULE);
        let (first, last) = (port(first)?, port(last)?);
        if first > last { Err(RULE) } else { Ok(Self(first..=last)) }
    }

    /// The lowest that is not `taken`.
    pub(super) fn next_free(&self, taken: &BTreeSet<u16>) -> Option<u16> {
        self.0.clone().find(|port| !taken.contains(port))
    }

    /// Those that somebody listens on now, at whatever address.
    pub(super) fn listened_on(&self) -> impl Iterator<Item = u16> {
        self.0.clone().filter(|port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)).is_err())
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0.start(), self.0.end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_port_is_next() {
        let range = PortRange::read("8001-8003").unwrap();
        assert_eq!(range.next_free(&BTreeSet::new()), Some(8001));
        assert_eq!(range.next_free(&BTreeSet::from([8001, 8003, 9])), Some(8002));
        assert_eq!(range.next_free(&BTreeSet::from([8001, 8002, 8003])), None);
        assert_eq!(PortRange::read("7").unwrap().next_free(&BTreeSet::new()), Some(7));
        for wrong in ["", "a", "0-3", "3-1", "1-70000", "1-2-3"] {
            assert!(PortRange::read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_port_of_somebody_else_is_seen_whatever_its_address() {
        let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = other.local_addr().unwrap().port();
        let range = PortRange::read(&port.to_string()).unwrap();
        assert_eq!(range.listened_on().collect::<Vec<_>>(), [port]);
        drop(other);
        assert_eq!(range.listened_on().count(), 0);
    }
}

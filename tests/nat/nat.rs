//! What a router does to the packets that pass it.

use std::fmt;

/// Kinds of network address translation, in the terms of RFC 4787.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Nat {
    /// Endpoint-independent mapping and filtering ("full cone").
    Cone,
    /// Endpoint-independent mapping, address and port dependent filtering.
    PortRestricted,
    /// Address and port dependent mapping and filtering.
    Symmetric,
    /// No UDP passes in either direction; TCP goes out.
    UdpBlocked,
    /// No router at all: a server, which accepts ICE over TCP.
    Public,
}

impl Nat {
    /// Those in between.
    pub(crate) const ALL: [Self; 4] = [
        Self::Cone,
        Self::PortRestricted,
        Self::Symmetric,
        Self::UdpBlocked,
    ];

    /// Whether one of these hosts can open a TCP connection to the other.
    pub(crate) fn accepts(self) -> bool {
        self == Self::Public
    }

    /// Whether hosts behind these two can exchange UDP without a relay, once
    /// each has sent to the address that a STUN server saw of the other.
    pub(crate) fn direct(self, other: Self) -> bool {
        match (self, other) {
            (Self::UdpBlocked, _) | (_, Self::UdpBlocked) => false,
            (Self::Public, _) | (_, Self::Public) => true,
            (Self::Symmetric, other) | (other, Self::Symmetric) => other == Self::Cone,
            (Self::Cone | Self::PortRestricted, Self::Cone | Self::PortRestricted) => true,
        }
    }

    /// The rules of a router with this behaviour for `nft -f`. `host` is the
    /// only host behind it.
    ///
    /// What nobody asked for is dropped in `input`, not refused: a packet that
    /// the router itself took would leave a connection tracking entry, and the
    /// host's next mapping could not keep its port.
    pub(crate) fn rules(self, host: &str) -> String {
        let random = match self {
            Self::Symmetric => "fully-random",
            Self::Cone | Self::PortRestricted | Self::UdpBlocked | Self::Public => "",
        };
        let inward = match self {
            Self::Cone => format!("iifname wan udp dport 1024-65535 dnat to {host}"),
            Self::PortRestricted | Self::Symmetric | Self::UdpBlocked | Self::Public => {
                String::new()
            }
        };
        let welcome = match self {
            Self::Cone => "iifname wan meta l4proto udp accept",
            Self::PortRestricted | Self::Symmetric | Self::UdpBlocked | Self::Public => "",
        };
        let outward = match self {
            Self::UdpBlocked => "iifname lan meta l4proto tcp accept",
            Self::Cone | Self::PortRestricted | Self::Symmetric | Self::Public => {
                "iifname lan accept"
            }
        };
        format!(
            "table ip nat {{
               chain inward {{
                 type nat hook prerouting priority dstnat
                 {inward}
               }}
               chain outward {{
                 type nat hook postrouting priority srcnat
                 oifname wan masquerade {random}
               }}
             }}
             table ip filter {{
               chain input {{
                 type filter hook input priority filter
                 iifname wan drop
               }}
               chain weather {{
                 type filter hook forward priority -10
               }}
               chain forward {{
                 type filter hook forward priority filter
                 policy drop
                 ct state established,related accept
                 {welcome}
                 {outward}
               }}
             }}
             "
        )
    }
}

impl fmt::Display for Nat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cone => "cone",
            Self::PortRestricted => "port-restricted",
            Self::Symmetric => "symmetric",
            Self::UdpBlocked => "udp-blocked",
            Self::Public => "public",
        })
    }
}

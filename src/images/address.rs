//! Which addresses of the network are anybody's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address belongs to the public network, by the registries of special-purpose addresses
/// ([RFC 6890](https://www.rfc-editor.org/rfc/rfc6890) and its successors). An IPv6 address that stands
/// for an IPv4 one is judged by that.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let special = match address.octets() {
        [0, ..] => true,                                  // this network
        [100, second, ..] => second & 0xc0 == 64,         // carrier-grade NAT
        [192, 0, 0, _] => true,                           // protocol assignments
        [192, 88, 99, _] => true,                         // 6to4 relays
        [198, second, ..] if second & 0xfe == 18 => true, // benchmarks
        [first, ..] if first >= 240 => true,              // reserved, broadcast
        _ => false,
    };
    !(special
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || address.is_multicast())
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let parts = address.segments();
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match parts {
        // IPv4-compatible (loopback and the unspecified address are among them), mapped, translated.
        [0, 0, 0, 0, 0, 0, high, low]
        | [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        // 6to4.
        [0x2002, high, low, ..] => embedded(high, low),
        // Teredo, ORCHID and other protocol assignments; documentation.
        [0x2001, second, ..] if second < 0x200 || second == 0xdb8 => false,
        // All else that is global unicast, but for the newer documentation block.
        [first, second, ..] => first & 0xe000 == 0x2000 && !(first == 0x3fff && second < 0x1000),
    }
}

//! No connector is given an address that is not public, however it is spelled (RELIABILITY 4, invariant 34).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

use std::net::Ipv4Addr;
use stentor::connector::{Egress, check_url};

/// The first and last addresses of every special-purpose network (IANA's registries, RFC 6890), and what lives there.
const DENIED: [&str; 36] = [
    "0.0.0.0",
    "0.255.255.255",
    "10.0.0.0",
    "10.255.255.255",
    "100.64.0.0",
    "100.127.255.255",
    "127.0.0.0",
    "127.0.0.1",
    "127.255.255.255",
    "169.254.0.0",
    "169.254.169.254",
    "169.254.170.2",
    "169.254.255.255",
    "172.16.0.0",
    "172.31.255.255",
    "192.0.0.0",
    "192.0.0.192",
    "192.0.0.255",
    "192.0.2.0",
    "192.0.2.255",
    "192.88.99.0",
    "192.88.99.255",
    "192.168.0.0",
    "192.168.255.255",
    "198.18.0.0",
    "198.19.255.255",
    "198.51.100.0",
    "198.51.100.255",
    "203.0.113.0",
    "203.0.113.255",
    "224.0.0.0",
    "239.255.255.255",
    "240.0.0.0",
    "255.255.255.254",
    "255.255.255.255",
    "100.100.100.200",
];
/// The neighbours of those networks: a guard that denied everything would pass the rest.
const PUBLIC: [&str; 12] = [
    "1.0.0.0",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.167.255.255",
    "198.17.255.255",
    "223.255.255.255",
];
const DENIED_V6: [&str; 14] = [
    "::",
    "::1",
    "fc00::",
    "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "fe80::",
    "fe80::1",
    "febf::1",
    "fec0::1",
    "ff00::",
    "ff02::1",
    "2001:db8::1",
    "2001:2::1",
    "3fff::1",
    "100::1",
];

/// Every way to write an IPv4 address as the host of a URL.
fn spellings(address: &str) -> Vec<String> {
    let v4: Ipv4Addr = address.parse().unwrap();
    let [a, b, c, d] = v4.octets();
    let number = u32::from(v4);
    let (high, low) = (number >> 16, number & 0xffff);
    vec![
        address.to_owned(),
        format!("{address}."),
        number.to_string(),
        format!("0x{number:x}"),
        format!("0X{number:X}"),
        format!("0{number:o}"),
        format!("0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}"),
        format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
        format!("{a}.{}", number & 0x00ff_ffff),
        format!("{a}.{b}.{low}"),
        format!("%3{}", &address[..1]) + &address[1..],
        format!("[::ffff:{address}]"),
        format!("[::ffff:{high:x}:{low:x}]"),
        format!("[0:0:0:0:0:FFFF:{high:X}:{low:X}]"),
        format!("[::ffff:0:{high:x}:{low:x}]"),
        format!("[64:ff9b::{high:x}:{low:x}]"),
        format!("[64:ff9b:1::{high:x}:{low:x}]"),
        format!("[2002:{high:x}:{low:x}::1]"),
        format!("[2001:0:4136:e378:8000:63bf:{:x}:{:x}]", !high & 0xffff, !low & 0xffff),
    ]
}

/// As [`spellings`], and the deprecated "compatible" one, which is none for the lowest addresses.
fn all(address: &str) -> Vec<String> {
    let number = u32::from(address.parse::<Ipv4Addr>().unwrap());
    let mut all = spellings(address);
    if number > 1 {
        all.push(format!("[::{:x}:{:x}]", number >> 16, number & 0xffff));
    }
    all
}

#[test]
fn no_spelling_of_an_address_that_is_not_public_gets_through() {
    let guard = Egress::default();
    let mut tried = 0;
    let hosts = DENIED.iter().flat_map(|address| all(address)).chain(DENIED_V6.iter().map(|v6| format!("[{v6}]")));
    for host in hosts {
        for url in [format!("http://{host}/"), format!("https://{host}:8443/x?y")] {
            assert!(check_url(&url, &guard).is_err(), "{url} gets through");
            tried += 1;
        }
    }
    assert!(tried >= 800, "{tried} vectors");
    println!("{tried} vectors, 0 through");
}

#[test]
fn the_same_spellings_of_public_addresses_do() {
    let guard = Egress::default();
    for address in PUBLIC {
        // 6to4 and Teredo reach what they hold; all others are the address itself.
        for host in all(address) {
            let url = format!("http://{host}/");
            assert!(check_url(&url, &guard).is_ok(), "{url}: {:?}", check_url(&url, &guard));
        }
    }
}

#[test]
fn what_is_no_plain_http_url_is_refused() {
    let guard = Egress { loopback: true, ..Egress::default() };
    for url in [
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        "//example.com/",
        "example.com",
        "",
        "http://",
        "http://user@example.com/",
        "http://user:secret@example.com/",
        "http://[::1",
        "javascript:1",
        "unix:/run/x",
        "http://a b/",
        "data:text/plain,x",
    ] {
        assert!(check_url(url, &guard).is_err(), "{url} is taken");
    }
}

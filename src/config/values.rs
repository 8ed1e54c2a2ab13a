//! The small languages inside strings: addresses, CIDR blocks, periods, lists of CPUs, ranges of zones, wide numbers.
//!
//! Pure: text in, value or the reason out. Resolves no names; [`super::table`] does.

use super::Cidr;
use crate::wire::Zone;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::time::Duration;

/// CPUs are kept as a bit set of this size by the kernel's interface.
const CPU_MAX: usize = 1023;
/// Longer periods are typing errors.
const PERIOD_DAYS_MAX: u64 = 36_500;

/// `a.b.c.d[:port]`, `hostname[:port]`, a bare IPv6 address, `[IPv6][:port]` (`protocol-md-ca-el.md` §2.11).
pub(super) fn parse_address(text: &str, default_port: u16) -> Result<(String, u16), String> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or("the bracket is not closed")?;
        host.parse::<Ipv6Addr>().map_err(|_| format!("`{host}` is not an IPv6 address"))?;
        let port = match after.strip_prefix(':') {
            Some(port) => parse_port(port)?,
            None if after.is_empty() => default_port,
            None => return Err(format!("`{after}` after the bracket")),
        };
        return Ok((host.to_owned(), port));
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Ok((text.to_owned(), default_port));
    }
    let (host, port) = match text.split_once(':') {
        Some((_, port)) if port.contains(':') => {
            return Err("an IPv6 address with a port is written `[address]:port`".into());
        }
        Some((host, port)) => (host, parse_port(port)?),
        None => (text, default_port),
    };
    check_host(host)?;
    Ok((host.to_owned(), port))
}

fn parse_port(text: &str) -> Result<u16, String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("the port `{text}` is not a number"));
    }
    text.parse().map_err(|_| format!("the port {text} is above 65535"))
}

fn check_host(host: &str) -> Result<(), String> {
    if host.is_empty() {
        return Err("the host is missing".into());
    }
    for label in host.split('.') {
        if label.is_empty() {
            return Err(format!("`{host}` has an empty label"));
        }
        if let Some(bad) = label.chars().find(|character| !character.is_ascii_alphanumeric() && *character != '-') {
            return Err(format!("`{bad}` cannot stand in a host name"));
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err(format!("`{label}` begins or ends with a hyphen"));
        }
    }
    // A name whose last label is a number can only be a misspelt IPv4 address; no resolver is asked for it.
    let last = host.rsplit('.').next().unwrap_or(host);
    if last.bytes().all(|byte| byte.is_ascii_digit()) && host.parse::<Ipv4Addr>().is_err() {
        return Err(format!("`{host}` is not an IPv4 address"));
    }
    Ok(())
}

/// `address/prefix`, or an address alone for exactly that one.
pub(super) fn parse_cidr(text: &str) -> Result<Cidr, String> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| format!("`{address}` is not an IP address"))?;
    let bits_max = if address.is_ipv4() { 32 } else { 128 };
    let prefix_bits = match prefix {
        None => bits_max,
        Some(prefix) => prefix
            .parse()
            .ok()
            .filter(|&bits| bits <= bits_max)
            .ok_or_else(|| format!("the prefix `{prefix}` is not a number from 0 to {bits_max}"))?,
    };
    Ok(Cidr { address, prefix_bits })
}

/// `N` + `min`, `h`, `hr`, `d` or `mo` (30 days); `"0"` is never.
pub(super) fn parse_period(text: &str) -> Result<Option<Duration>, String> {
    if text == "0" {
        return Ok(None);
    }
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let seconds: u64 = match unit {
        "min" => 60,
        "h" | "hr" => 3600,
        "d" => 86_400,
        "mo" => 30 * 86_400,
        "" => return Err("the unit is missing".into()),
        _ if number.is_empty() => return Err("the number is missing".into()),
        _ => return Err(format!("the unit `{unit}` is unknown")),
    };
    let number: u64 = match number.parse() {
        Ok(0) | Err(_) => return Err(format!("`{number}` is not a positive number")),
        Ok(number) => number,
    };
    match number.checked_mul(seconds) {
        Some(total) if total <= PERIOD_DAYS_MAX * 86_400 => Ok(Some(Duration::from_secs(total))),
        _ => Err(format!("longer than {PERIOD_DAYS_MAX} days")),
    }
}

/// `2-15`, `0,2,4-6`: CPU numbers in the order given.
pub(super) fn parse_cpus(text: &str) -> Result<Vec<usize>, String> {
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let range = parse_range(part.trim(), CPU_MAX as u64)?;
        for cpu in *range.start() as usize..=*range.end() as usize {
            if cpus.contains(&cpu) {
                return Err(format!("CPU {cpu} is named twice"));
            }
            cpus.push(cpu);
        }
    }
    Ok(cpus)
}

/// `lo-hi` or one zone.
pub(super) fn parse_zones(text: &str) -> Result<RangeInclusive<Zone>, String> {
    let range = parse_range(text, Zone::MAX.into())?;
    // Both ends were checked against the largest zone.
    Ok(*range.start() as Zone..=*range.end() as Zone)
}

fn parse_range(text: &str, max: u64) -> Result<RangeInclusive<u64>, String> {
    let number = |text: &str| {
        parse_wide(text.trim())
            .filter(|&number| number <= max)
            .ok_or_else(|| format!("`{}` is not a number from 0 to {max}", text.trim()))
    };
    let (low, high) = match text.split_once('-') {
        Some((low, high)) => (number(low)?, number(high)?),
        None => {
            let only = number(text)?;
            (only, only)
        }
    };
    if low > high {
        return Err(format!("{low} is above {high}"));
    }
    Ok(low..=high)
}

/// A number of up to 64 bits, decimal or `0x`.
pub(super) fn parse_wide(text: &str) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    // `from_str_radix` would take a plus sign.
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u64::from_str_radix(digits, radix).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let accepted = [
            ("127.0.0.1", "127.0.0.1", 7199),
            ("127.0.0.1:80", "127.0.0.1", 80),
            ("example.com", "example.com", 7199),
            ("my-host.example.com:65535", "my-host.example.com", 65535),
            ("::1", "::1", 7199),
            ("2001:db8::7:7199", "2001:db8::7:7199", 7199),
            ("[::1]", "::1", 7199),
            ("[::1]:0", "::1", 0),
        ];
        for (text, host, port) in accepted {
            assert_eq!(parse_address(text, 7199), Ok((host.to_owned(), port)), "{text}");
        }
        let refused = [
            "",
            ":80",
            "host:",
            "host:x",
            "host:+1",
            "host:65536",
            "host:1:2",
            "[::1",
            "::1]",
            "[::1]x",
            "[::1]:",
            "[127.0.0.1]:1",
            "a..b",
            ".a",
            "a.",
            "-a",
            "a-",
            "a.-b",
            "a_b",
            "a b",
            "256.0.0.1",
            "1.2.3",
            "h\u{e9}",
        ];
        for text in refused {
            assert!(parse_address(text, 7199).is_err(), "{text}");
        }
    }

    #[test]
    fn periods() {
        let accepted = [("1min", 60), ("2h", 7200), ("2hr", 7200), ("1d", 86_400), ("1mo", 2_592_000)];
        for (text, seconds) in accepted {
            assert_eq!(parse_period(text), Ok(Some(Duration::from_secs(seconds))), "{text}");
        }
        assert_eq!(parse_period("0"), Ok(None));
        for text in ["", "1", "0d", "d", "1 d", "-1d", "1w", "1D", "1.5h", "99999999999999999999d", "36501d"] {
            assert!(parse_period(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lists_of_cpus_keep_their_order() {
        assert_eq!(parse_cpus("2-4"), Ok(vec![2, 3, 4]));
        assert_eq!(parse_cpus("6, 0-1"), Ok(vec![6, 0, 1]));
        for text in ["", "a", "3-2", "1,1", "0-2,2", "1024", "1-", "-1", "1,,2"] {
            assert!(parse_cpus(text).is_err(), "{text}");
        }
    }

    #[test]
    fn cidr_blocks() {
        assert_eq!(parse_cidr("10.0.0.0/8").map(|cidr| cidr.prefix_bits), Ok(8));
        assert_eq!(parse_cidr("10.0.0.1").map(|cidr| cidr.prefix_bits), Ok(32));
        assert_eq!(parse_cidr("fd00::/7").map(|cidr| cidr.prefix_bits), Ok(7));
        for text in ["", "10.0.0.0/33", "10.0.0/8", "fd00::/129", "10.0.0.0/", "10.0.0.0/-1"] {
            assert!(parse_cidr(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ranges_of_zones() {
        assert_eq!(parse_zones("100-200"), Ok(100..=200));
        assert_eq!(parse_zones("7"), Ok(7..=7));
        assert_eq!(parse_zones("0-4294967295"), Ok(0..=Zone::MAX));
        for text in ["", "2-1", "4294967296", "a-b", "1-2-3"] {
            assert!(parse_zones(text).is_err(), "{text}");
        }
    }

    #[test]
    fn wide_numbers() {
        assert_eq!(parse_wide("18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse_wide("0xFFFFFFFFFFFFFFFF"), Some(u64::MAX));
        for text in ["", "0x", "18446744073709551616", "+1", "-1", "1_000", " 1", "ff"] {
            assert_eq!(parse_wide(text), None, "{text}");
        }
    }
}

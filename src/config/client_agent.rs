//! Reads the table of one Client Agent, its transport and its limits.

use super::references::{CHANNEL_EXPECTED, Claims, Purpose, reserved_channel, reserved_channels};
use super::services::{BUDGET_BYTES_MAX, Context};
use super::table::{Table, Use};
use super::values::parse_zones;
use super::*;
use crate::wire::{Channel, Zone};
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;
use toml::Spanned;

/// The standard port.
const CLIENT_AGENT_PORT: u16 = 7198;
/// What a limit of the kind "so many for each second" or "so many at once" may be at most.
const COUNT_MAX: u64 = u32::MAX as u64;
/// Interest ids have 16 bits.
const INTERESTS_MAX: u64 = 1 << 16;

pub(super) fn client_agent(mut table: Table<'_>, context: &mut Context<'_>) -> Option<ClientAgent> {
    let bind = table.address("bind", CLIENT_AGENT_PORT, Use::Listen);
    let bind = table.required("bind", bind, "\"127.0.0.1:7198\"");
    if let Some(address) = &bind {
        context.claims.listen(*address.get_ref(), address.span(), &table.name);
    }
    let websocket = table.choice("transport", &[("tcp", false), ("websocket", true)], false);
    let version_string = table.text("version_string");
    let version_string = table.required("version_string", version_string, "\"v1.0.0\"");
    let dc_file_hash = table.integer("dc_file_hash", 0..=u32::MAX.into()).map(|hash| hash.into_inner() as u32);
    let channels = client_channels(&mut table, &mut context.claims);
    let haproxy = table.boolean("haproxy", false);
    let relocate = table.boolean("relocate", false);
    let interest_permission = table.choice(
        "interest_permission",
        &[
            ("enabled", InterestPermission::Enabled),
            ("visible", InterestPermission::Visible),
            ("disabled", InterestPermission::Disabled),
        ],
        InterestPermission::Visible,
    );
    let send_hash = table.boolean("send_hash", true);
    let send_version = table.boolean("send_version", true);
    let write_buffer_bytes = table.integer_or("write_buffer_size", 0..=BUDGET_BYTES_MAX, 256 << 10) as usize;
    let write_timeout = table.milliseconds_or_off("write_timeout_ms", 5000);
    let heartbeat_timeout = table.milliseconds_or_off("heartbeat_timeout_ms", 0);
    let interest_timeout = table.milliseconds("interest_timeout_ms", 1, 500);
    let auth_timeout = table.milliseconds_or_off("auth_timeout_ms", 0);
    let proxy_timeout = table.milliseconds("proxy_timeout_ms", 1, 5000);
    let handshake_timeout = table.milliseconds("handshake_timeout_ms", 1, 10_000);
    let historical_ttl = table.milliseconds_or_off("historical_ttl_ms", 0);
    let interest_zones_allow = zones(&mut table, "interest_zones_allow");
    let interest_zones_deny = zones(&mut table, "interest_zones_deny");
    let avatar_class = table.text("avatar_class").map(|class| class.into_inner().to_owned());
    let avatar_class = avatar_class.filter(|class| !class.is_empty());
    let leaving_owner = table.boolean("leaving_owner", true);
    let strict_entrance = table.boolean("strict_entrance", false);
    let eject_linger = table.milliseconds("eject_linger_ms", 0, 1000);
    let channel_quarantine = table.milliseconds("channel_quarantine_ms", 0, 10_000);
    let flush_delay = Duration::from_micros(table.integer_or("flush_delay_us", 0..=1000, 0));
    let tls = table.table("tls").map(|mut table| {
        let tls = tls(&mut table, context.folder);
        table.finish();
        tls
    });
    let limits = limits(table.table("limits"));
    table.finish();
    Some(ClientAgent {
        bind: bind?.into_inner(),
        websocket,
        haproxy,
        proxy_timeout,
        handshake_timeout,
        tls: tls.map_or(Some(None), |tls| tls.map(Some))?,
        limits,
        version_string: version_string?.into_inner().to_owned(),
        dc_file_hash,
        channels: channels?,
        relocate,
        interest_permission,
        send_hash,
        send_version,
        write_buffer_bytes,
        write_timeout,
        heartbeat_timeout,
        interest_timeout,
        auth_timeout,
        historical_ttl,
        interest_zones_allow,
        interest_zones_deny,
        avatar_class,
        leaving_owner,
        strict_entrance,
        eject_linger,
        channel_quarantine,
        flush_delay,
    })
}

fn client_channels(table: &mut Table<'_>, claims: &mut Claims) -> Option<RangeInclusive<Channel>> {
    let min = table.wide("channel_min");
    let min = table.required("channel_min", min, "1000000");
    let max = table.wide("channel_max");
    let max = table.required("channel_max", max, "1999999");
    let (min, max) = (min?, max?);
    let range = *min.get_ref()..=*max.get_ref();
    if let Some(wrong) = reserved_channels(&range) {
        let span = if reserved_channel(*range.end()).is_some() { max.span() } else { min.span() };
        table.faults.push(span, format!("`channel_min`, `channel_max` in {}: {wrong}", table.name), CHANNEL_EXPECTED);
        return None;
    }
    claims.add(Purpose::Clients, range.clone(), min.span(), &table.name);
    Some(range)
}

/// Zones and ranges of zones: whole numbers and strings `"lo-hi"`.
fn zones(table: &mut Table<'_>, key: &'static str) -> Vec<RangeInclusive<Zone>> {
    let mut ranges = Vec::new();
    for value in table.list(key, "a list of zones and ranges such as [5, \"100-200\"]") {
        match value.get_ref().as_str() {
            Some(text) => match parse_zones(text) {
                Ok(range) => ranges.push(range),
                Err(wrong) => table.refuse(key, value, wrong, "expected \"lowest-highest\""),
            },
            None => {
                if let Some(zone) = table.integer_in(key, value, 0..=Zone::MAX.into()) {
                    let zone = zone.into_inner() as Zone;
                    ranges.push(zone..=zone);
                }
            }
        }
    }
    ranges
}

/// Certificates of a listener or of a link: the files are looked at when the daemon starts.
pub(super) fn tls(table: &mut Table<'_>, folder: &Path) -> Option<Tls> {
    let certificate = table.path("certificate", folder);
    let certificate = table.required("certificate", certificate, "\"server.crt\"");
    let key_file = table.path("key_file", folder);
    let key_file = table.required("key_file", key_file, "\"server.key\"");
    let chain_file = table.path("chain_file", folder).map(Spanned::into_inner);
    let cert_authority = table.path("cert_authority", folder).map(Spanned::into_inner);
    Some(Tls { certificate: certificate?.into_inner(), key_file: key_file?.into_inner(), chain_file, cert_authority })
}

/// Defaults that no real game comes near; 0 switches a limit off.
fn limits(table: Option<Table<'_>>) -> Limits {
    let mut limits = Limits::default();
    let Some(mut table) = table else { return limits };
    let mut count = |key, most, place: &mut u32| {
        *place = u32::try_from(table.integer_or(key, 0..=most, u64::from(*place))).unwrap_or(u32::MAX);
    };
    count("bytes_per_second", COUNT_MAX, &mut limits.bytes_per_second);
    count("messages_per_second", COUNT_MAX, &mut limits.messages_per_second);
    count("interests", INTERESTS_MAX, &mut limits.interests);
    count("zones", COUNT_MAX, &mut limits.zones);
    count("visible_objects", COUNT_MAX, &mut limits.visible_objects);
    count("handshakes", COUNT_MAX, &mut limits.handshakes);
    count("connections_per_address", COUNT_MAX, &mut limits.connections_per_address);
    limits.hello_timeout = table.milliseconds_or_off("hello_timeout_ms", Limits::HELLO_TIMEOUT_MS);
    limits.idle_timeout = table.milliseconds_or_off("idle_timeout_ms", 0);
    table.finish();
    limits
}

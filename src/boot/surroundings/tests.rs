use super::*;
use std::path::Path;

fn config(text: &str) -> Config {
    crate::config::parse(Path::new("test.toml"), text).expect("valid")
}

fn clients(min: u64, max: u64) -> String {
    format!(
        "[[services.client_agent]]\nbind = \"127.0.0.1:0\"\nversion_string = \"v\"\nchannel_min = {min}\nchannel_max = {max}\n"
    )
}

/// The machine that runs the tests runs the daemon as well.
#[test]
fn this_machine_is_fit() {
    assert_eq!(check(&config("[services.message_director]")), Ok(Vec::new()));
}

#[test]
fn kernels_before_5_13_are_refused() {
    for release in ["5.13.0", "6.1.0-18-amd64", "10.0-rc1"] {
        assert_eq!(check_kernel(release), Ok(()), "{release}");
    }
    for release in ["5.12.19", "4.19.0-26-amd64", "2.6.32", "garbage", ""] {
        assert!(check_kernel(release).is_err(), "{release}");
    }
}

#[test]
fn too_little_memory_to_lock_is_refused() {
    assert_eq!((check_memlock(Some(512 << 10)), check_memlock(None)), (Ok(()), Ok(())));
    let refusal = check_memlock(Some(64 << 10)).expect_err("too low").0;
    assert!(refusal.contains("may lock 64 KiB") && refusal.contains("ulimit -l 512"), "{refusal}");
}

#[test]
fn every_refusal_of_io_uring_has_its_remedy() {
    let refusal = |errno, facts| io_uring_refusal(&io::Error::from_raw_os_error(errno), facts);
    let facts = |disabled, filtered| IoUringFacts { disabled, filtered };
    let cases = [
        (libc::EPERM, facts(Some(2), true), "sysctl kernel.io_uring_disabled=0"),
        (libc::EPERM, facts(Some(1), false), "kernel.io_uring_group"),
        (libc::EPERM, facts(Some(0), true), "seccomp"),
        (libc::EPERM, facts(None, true), "seccomp"),
        (libc::EPERM, facts(None, false), "security module"),
        (libc::ENOSYS, facts(None, true), "seccomp"),
        (libc::ENOSYS, facts(None, false), "CONFIG_IO_URING"),
        (libc::ENOMEM, facts(None, false), "ulimit -l"),
        (libc::EMFILE, facts(None, false), "ulimit -n"),
        (libc::EINVAL, facts(None, false), "Invalid argument"),
    ];
    for (errno, facts, remedy) in cases {
        let text = refusal(errno, facts);
        assert!(text.contains(remedy), "{errno} {facts:?}: {text}");
    }
}

#[test]
fn a_taken_port_is_refused_even_if_its_owner_shares_it() {
    for share in [false, true] {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_reuse_port(share).expect("set");
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        socket.bind(&any.into()).expect("bound");
        socket.listen(1).expect("listens");
        let address = socket.local_addr().expect("bound").as_socket().expect("IPv4");
        let refusal = listen(address).expect_err("taken").0;
        assert!(refusal.contains("Is another donetd running?"), "{refusal}");
        assert!(refusal.starts_with(&format!("cannot listen on {address}: ")), "{refusal}");
    }
}

#[test]
fn two_daemons_cannot_listen_on_one_address() {
    let first = listen("127.0.0.1:0".parse().expect("an address")).expect("free");
    let address = first.local_addr().expect("bound");
    assert!(listen(address).is_err());
    drop(first);
    assert!(listen(address).is_ok());
}

/// TEST-NET-1 (RFC 5737) is nobody's address.
#[test]
fn an_address_of_another_machine_is_named_as_such() {
    let refusal = listen("192.0.2.1:7198".parse().expect("an address")).expect_err("not ours").0;
    assert!(refusal.contains("ip address"), "{refusal}");
}

#[test]
fn too_few_open_files_are_said_with_the_figures() {
    let config = config(&clients(1_000_000, 1_009_999));
    assert_eq!(open_files_short(&config, None), None);
    assert_eq!(open_files_short(&config, Some(10_000 + OPEN_FILES_OF_ITS_OWN)), None);
    let note = open_files_short(&config, Some(4096)).expect("too few");
    assert!(note.contains("about 2048 connections") && note.contains("allow 10000"), "{note}");
}

#[test]
fn a_shared_pool_of_channels_counts_once() {
    let mut shared = config(&clients(1_000_000, 1_009_999));
    shared.client_agents.push(shared.client_agents[0].clone());
    assert_eq!(clients_max(&shared), 10_000);
    shared.client_agents[1].channels = 2000..=2999;
    assert_eq!(clients_max(&shared), 11_000);
}

//! Daemons whose upstreams form a circle notice it and end, whatever the names by which they reach each other: in a circle
//! every message would be sent on for ever.

#[allow(dead_code, reason = "no daemon here becomes ready and is asked anything")]
#[path = "support/cluster.rs"]
mod cluster;

use cluster::Node;
use donet_perf::daemon::{Daemon, Setup};
use donet_perf::{Failure, wait};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::{io, thread};

/// A port of these addresses that is free for a while is nobody else's.
fn free_address(number: u8) -> Result<SocketAddr, Failure> {
    Ok(TcpListener::bind(SocketAddr::from(([127, 77, 1, number], 0)))?.local_addr()?)
}

fn director(bind: SocketAddr, upstream: SocketAddr) -> String {
    format!("[services.message_director]\nbind = \"{bind}\"\nupstream = \"{upstream}\"\nupstream_reconnect = true\n")
}

#[test]
fn a_circle_of_daemons_is_broken_by_whoever_notices_it() -> Result<(), Failure> {
    for (daemons, shards) in [(2, 1), (2, 4), (3, 2)] {
        let addresses = (0..daemons).map(free_address).collect::<Result<Vec<_>, Failure>>()?;
        let mut circle: Vec<(Setup, Daemon)> = Vec::new();
        for (index, &bind) in addresses.iter().enumerate() {
            let upstream = addresses[(index + 1) % addresses.len()];
            let setup = Setup::new(shards)?;
            let daemon = Node::spawn(&setup, &director(bind, upstream))?;
            circle.push((setup, daemon));
        }
        // Who has noticed ends, and there is no circle any more; the others may have noticed as well.
        let ended = wait::for_some("one of them to end", || {
            for (index, (_, daemon)) in circle.iter_mut().enumerate() {
                if !daemon.is_running()? {
                    return Ok(Some(index));
                }
            }
            Ok(None)
        })?;
        let (setup, mut daemon) = circle.swap_remove(ended);
        assert_eq!(daemon.wait_for_end(wait::PATIENCE)?.code(), Some(1), "{daemons} daemons, {shards} executors");
        let log = std::fs::read_to_string(setup.log_path())?;
        assert!(log.contains("the upstreams form a circle") && log.contains("must have no `upstream`"), "{log}");
        assert!(!log.contains("panicked"), "{log}");
    }
    Ok(())
}

/// Passes connections on to another address, until the test's process ends.
fn passed_on(to: SocketAddr) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for from in listener.incoming() {
            let (Ok(from), Ok(to)) = (from, TcpStream::connect(to)) else { continue };
            for (mut from, mut to) in [(from.try_clone(), to.try_clone()), (Ok(to), Ok(from))]
                .into_iter()
                .filter_map(|(from, to)| from.ok().zip(to.ok()))
            {
                thread::spawn(move || {
                    let _ = io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Both);
                });
            }
        }
    });
    Ok(address)
}

#[test]
fn a_daemon_that_is_its_own_upstream_under_another_name_notices() -> Result<(), Failure> {
    for shards in [1, 4] {
        let own = free_address(10)?;
        let setup = Setup::new(shards)?;
        let mut daemon = Node::spawn(&setup, &director(own, passed_on(own)?))?;
        assert_eq!(daemon.wait_for_end(wait::PATIENCE)?.code(), Some(1));
        let log = std::fs::read_to_string(setup.log_path())?;
        assert!(log.contains("the upstreams form a circle"), "{log}");
    }
    Ok(())
}

#[test]
fn a_daemon_that_names_itself_is_refused_before_it_starts() -> Result<(), Failure> {
    let own = free_address(20)?;
    for (bind, upstream) in [(own, own), (SocketAddr::from(([0, 0, 0, 0], own.port())), own)] {
        let setup = Setup::new(1)?;
        let mut daemon = Node::spawn(&setup, &director(bind, upstream))?;
        assert_eq!(daemon.wait_for_end(wait::PATIENCE)?.code(), Some(1));
        let log = std::fs::read_to_string(setup.log_path())?;
        assert!(log.contains("is this daemon's own `bind`") && log.contains("has no `upstream`"), "{log}");
    }
    Ok(())
}

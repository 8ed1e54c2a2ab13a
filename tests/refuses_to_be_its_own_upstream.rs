//! A daemon whose upstream is itself does not start: in a circle every message would be sent on for ever.

#[allow(dead_code, reason = "no daemon here becomes ready and is asked anything")]
#[path = "support/cluster.rs"]
mod cluster;

use cluster::Node;
use donet_perf::daemon::Setup;
use donet_perf::{Failure, wait};
use std::net::{SocketAddr, TcpListener};

/// A port of these addresses that is free for a while is nobody else's.
fn free_address(number: u8) -> Result<SocketAddr, Failure> {
    Ok(TcpListener::bind(SocketAddr::from(([127, 77, 1, number], 0)))?.local_addr()?)
}

fn director(bind: SocketAddr, upstream: SocketAddr) -> String {
    format!("[services.message_director]\nbind = \"{bind}\"\nupstream = \"{upstream}\"\nupstream_reconnect = true\n")
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

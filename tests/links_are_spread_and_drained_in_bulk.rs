//! Links are few and fat: they are spread over the executors evenly, whatever the kernel's hash says, and many frames cost
//! few system calls. Read from what the executors have counted.

#[path = "support/cluster.rs"]
mod cluster;
#[path = "support/counted.rs"]
mod counted;

use cluster::Node;
use counted::counted;
use donet::wire::MessageType;
use donet_perf::internal::Internal;
use donet_perf::message::Payload;
use donet_perf::peer::Hub;
use donet_perf::{Failure, wait};

const NOTE: MessageType = MessageType(4321);
const DIRECTOR: &str = "[services.message_director]\nbind = \"127.0.0.1:0\"\n";

/// Proves that the daemon serves a link, by what the link says to another one.
fn prove(link: &Internal, listener: &Internal, number: u32) -> Result<(), Failure> {
    link.publish(&[listener.channel()], NOTE, &Payload::new().u32(number));
    listener.expect("the proof", |message| message.payload() == number.to_le_bytes()).map(|_| ())
}

#[test]
fn links_are_spread_over_the_executors_by_how_many_each_has() -> Result<(), Failure> {
    let node = Node::start(4, DIRECTOR)?;
    let hub = Hub::new(wait::PATIENCE)?;
    let listener = Internal::connect(&hub, "the listener", node.director(), 70_000)?;
    let mut links = Vec::new();
    for number in 0..11 {
        let link = Internal::connect(&hub, &format!("link {number}"), node.director(), 71_000 + number)?;
        if number == 0 {
            link.until_heard(&listener, 70_000)?;
        }
        prove(&link, &listener, number as u32 + 1)?;
        links.push(link);
    }
    // The places of those that leave are taken by those that come.
    for link in links.drain(..4) {
        // What it leaves behind says that its end has been handled.
        link.post_remove(1, &[70_000], NOTE, &Payload::new().u32(50));
        link.finish();
        listener.expect("the post-remove", |message| message.payload() == 50_u32.to_le_bytes())?;
    }
    for number in 0..4 {
        let link = Internal::connect(&hub, "a later link", node.director(), 72_000 + number)?;
        prove(&link, &listener, 100 + number as u32)?;
        links.push(link);
    }
    let log = node.setup.log_path();
    node.daemon.stop()?;
    let log = std::fs::read_to_string(log)?;
    let mut open: Vec<u64> =
        log.lines().filter(|line| line.contains("counted: ")).map(|line| counted(line, "links_open")).collect();
    open.sort_unstable();
    assert_eq!(open, [3, 3, 3, 3], "{log}");
    Ok(())
}

/// The executor that serves the link from this address, by the daemon's log.
fn executor_of(node: &Node, link: &Internal) -> Result<u32, Failure> {
    let address = link.local_address().expect("it is open").to_string();
    let log = node.daemon.log();
    let opened = log.lines().filter(|line| line.contains("link opened")).find(|line| line.contains(&address));
    let shard =
        opened.and_then(|line| line.split_whitespace().find_map(|word| word.strip_prefix("shard=")?.parse().ok()));
    shard.ok_or_else(|| Failure::new(format!("no executor of {address} in {log}")))
}

#[test]
fn a_fat_link_keeps_its_executor_for_itself_while_others_idle() -> Result<(), Failure> {
    let node = Node::start(4, DIRECTOR)?;
    let hub = Hub::new(wait::PATIENCE)?;
    let listener = Internal::connect(&hub, "the fat listener", node.director(), 70_000)?;
    let speaker = Internal::connect(&hub, "the fat speaker", node.director(), 70_001)?;
    speaker.until_heard(&listener, 70_000)?;
    let busy = [executor_of(&node, &listener)?, executor_of(&node, &speaker)?];
    assert_ne!(busy[0], busy[1], "they came one after the other");
    // By number alone, no more than four in a row would come to the other two.
    let (mut in_a_row, mut links, mut number) = (0, Vec::new(), 0);
    wait::until("six links in a row to stay away from the busy executors", || {
        // A megabyte from one to the other, between any two that come.
        for _ in 0..256 {
            number += 1;
            speaker.publish(&[70_000], NOTE, &Payload::new().u32(number).bytes(&[7; 4096]));
        }
        listener.until("the last", |message| message.payload()[..4] == number.to_le_bytes())?;
        let link = Internal::connect(&hub, "another", node.director(), 71_000 + links.len() as u64)?;
        link.until_heard(&speaker, 70_001)?;
        in_a_row = if busy.contains(&executor_of(&node, &link)?) { 0 } else { in_a_row + 1 };
        links.push(link);
        Ok(in_a_row == 6)
    })?;
    let served = links.iter().map(|link| executor_of(&node, link)).collect::<Result<Vec<u32>, Failure>>()?;
    let idle: Vec<u32> = (0..4).filter(|shard| !busy.contains(shard)).collect();
    let of = |shard: u32| served.iter().rev().take(6).filter(|&&served| served == shard).count();
    assert_eq!(of(idle[0]), of(idle[1]), "among those it is the number that counts: {served:?}");
    node.daemon.stop()
}

#[test]
fn many_frames_cost_few_reads_and_one_send_a_turn() -> Result<(), Failure> {
    const FRAMES: u32 = 20_000;
    for shards in [1, 2] {
        let node = Node::start(shards, DIRECTOR)?;
        let hub = Hub::new(wait::PATIENCE)?;
        let listener = Internal::connect(&hub, "the listener", node.director(), 70_000)?;
        let speaker = Internal::connect(&hub, "the speaker", node.director(), 70_001)?;
        speaker.until_heard(&listener, 70_000)?;
        for number in 0..FRAMES {
            speaker.publish(&[70_000], NOTE, &Payload::new().u32(number));
        }
        listener.until("the last", |message| message.payload() == (FRAMES - 1).to_le_bytes())?;
        let log = node.setup.log_path();
        node.daemon.stop()?;
        let log = std::fs::read_to_string(log)?;
        let [receives, sends, turns] = ["receives", "sends", "turns"].map(|name| counted(&log, name));
        assert!(receives < u64::from(FRAMES) / 20, "{receives} reads for {FRAMES} frames");
        assert!(sends < u64::from(FRAMES) / 20, "{sends} sends for {FRAMES} frames");
        // One connection is written to: a send for each turn, and for each time that its socket was full, at most.
        assert!(sends <= turns + receives, "{sends} sends in {turns} turns");
    }
    Ok(())
}

#[test]
fn peers_that_are_not_on_the_allow_list_are_turned_away() -> Result<(), Failure> {
    for (allow, is_let_in) in [("10.0.0.0/8", false), ("127.0.0.0/8", true), ("127.0.0.1", true), ("::/0", false)] {
        let node = Node::start(2, &format!("{DIRECTOR}allow = [\"{allow}\"]\n"))?;
        let hub = Hub::new(wait::PATIENCE)?;
        let link = Internal::connect(&hub, "a link", node.director(), 70_000)?;
        if is_let_in {
            let other = Internal::connect(&hub, "another", node.director(), 70_001)?;
            other.until_heard(&link, 70_000)?;
        } else {
            link.until_end("the end of its connection")?;
        }
        let log = node.setup.log_path();
        node.daemon.stop()?;
        assert_eq!(std::fs::read_to_string(log)?.contains("not on the allow-list"), !is_let_in, "{allow}");
    }
    Ok(())
}

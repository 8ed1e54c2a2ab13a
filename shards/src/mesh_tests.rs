//! The mesh by itself.

use crate::mesh::{Port, ports};

fn take_all<M>(port: &mut Port<M>) -> Vec<(u16, M)> {
    let mut taken = Vec::new();
    port.take(|from, message| taken.push((from.0, message)));
    taken
}

/// More executors than any of these tests has.
const MOST: usize = 3;

fn send<M>(port: &mut Port<M>, to: usize, message: M) {
    let mut remote: Vec<Vec<M>> = (0..MOST).map(|_| Vec::new()).collect();
    remote[to].push(message);
    port.emit(&mut remote);
}

/// `first` sends "cause" to `last`, then "go" to 1, which answers with "effect" to `last`. The ring from 1 is looked at with
/// only 1's counter news at hand, yet the cause comes first.
fn cause_comes_before_effect(first: usize, last: usize) {
    let mut ports = ports::<&str>(MOST, 4);
    let mut remote = vec![vec![]; MOST];
    remote[last].push("cause");
    remote[1].push("go");
    ports[first].emit(&mut remote);
    ports[first].commit(|_| ());
    assert_eq!(take_all(&mut ports[1]), [(first as u16, "go")]);
    send(&mut ports[1], last, "effect");
    ports[1].commit(|_| ());
    assert_eq!(take_all(&mut ports[last]), [(first as u16, "cause"), (1, "effect")]);
}

#[test]
fn an_effect_waits_for_its_cause() {
    cause_comes_before_effect(0, 2);
}

#[test]
fn the_rings_are_searched_for_causes_in_either_direction() {
    cause_comes_before_effect(2, 0);
}

#[test]
fn nothing_of_a_turn_is_visible_until_all_of_it_fits() {
    let mut ports = ports::<&str>(3, 1);
    send(&mut ports[0], 1, "fills the ring");
    ports[0].commit(|_| ());
    let mut remote = vec![vec![], vec!["waits"], vec!["fits"]];
    ports[0].emit(&mut remote);
    ports[0].commit(|_| ());
    assert!(ports[0].is_clogged());
    assert_eq!(take_all(&mut ports[2]), [], "the turn is not committed");
    assert_eq!(take_all(&mut ports[1]), [(0, "fills the ring")]);
    let mut woken = Vec::new();
    ports[0].commit(|shard| woken.push(shard.0));
    assert_eq!(woken, [1, 2], "what was pushed before is committed only now");
    assert!(!ports[0].is_clogged());
    assert_eq!(take_all(&mut ports[2]), [(0, "fits")]);
    assert_eq!(take_all(&mut ports[1]), [(0, "waits")]);
}

#[test]
fn batches_of_one_pair_keep_their_order_through_a_full_ring() {
    let mut ports = ports::<u32>(2, 2);
    for number in 0..10 {
        send(&mut ports[0], 1, number);
        ports[0].commit(|_| ());
    }
    let mut taken = Vec::new();
    while taken.len() < 10 {
        taken.extend(take_all(&mut ports[1]).into_iter().map(|(_, number)| number));
        ports[0].commit(|_| ());
    }
    assert_eq!(taken, (0..10).collect::<Vec<_>>());
}

#[test]
fn an_executor_that_has_ended_clogs_nobody() {
    let mut ports = ports::<u32>(2, 1);
    for number in 0..3 {
        send(&mut ports[0], 1, number);
        ports[0].commit(|_| ());
    }
    assert!(ports[0].is_clogged() && !ports[0].can_push());
    ports.pop();
    assert!(ports[0].can_push(), "a turn is due");
    ports[0].commit(|_| ());
    assert!(!ports[0].is_clogged());
}

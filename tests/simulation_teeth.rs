//! The simulator finds every rule that is broken on purpose in whole daemons (design §3), and the same seeds pass when it is
//! not. Of the mesh's rules it finds all but one, that bytes wait for the commit: what a peer does with them comes too late
//! to overtake it. That one, and the others once more, have tests in `shards`, on a small application.
//!
//! Built with the feature `faults` only: `cargo nextest run --features faults --test simulation_teeth`.

#[allow(dead_code, reason = "the seeds are played by other tests")]
mod simulation;

use donet::faults::{Fault, seed as seed_in_daemon};
use donet_shards::faults::{Fault as MeshFault, seed as seed_in_mesh};
use simulation::play::shape_of;
use simulation::runner::outcome;

/// The most seeds that a fault may take to be found; where one executor cannot show it, every fifth does nothing.
const SEEDS_MAX: u64 = 2000;

/// Plays seeds until one finds the fault; that seed, and those before it, must pass without it.
fn is_found(break_it: impl Fn(bool)) {
    // A broken world may panic: what it says is the outcome, not noise of this test.
    std::panic::set_hook(Box::new(|_| ()));
    break_it(true);
    let found = (0..SEEDS_MAX).find_map(|seed| outcome(seed, shape_of(seed)).err().map(|error| (seed, error)));
    break_it(false);
    let _ = std::panic::take_hook();
    let Some((found, error)) = found else { panic!("none of {SEEDS_MAX} seeds noticed") };
    println!("seed {found} finds it: {error}");
    for seed in 0..=found {
        assert_eq!(outcome(seed, shape_of(seed)), Ok(()), "seed {seed}, with every rule kept");
    }
}

fn daemon(fault: Fault) {
    is_found(|broken| seed_in_daemon(broken.then_some(fault)));
}

fn mesh(fault: MeshFault) {
    is_found(|broken| seed_in_mesh(broken.then_some(fault)));
}

#[test]
fn no_acknowledgement_of_subscriptions_is_found() {
    daemon(Fault::NoAcknowledgement);
}

#[test]
fn an_acknowledgement_of_the_parents_executor_alone_is_found() {
    daemon(Fault::AcknowledgementOfParentOnly);
}

#[test]
fn a_query_before_the_acknowledgement_is_found() {
    daemon(Fault::QueryBeforeAcknowledgement);
}

#[test]
fn a_delivery_for_each_recipient_is_found() {
    daemon(Fault::DeliverTwice);
}

#[test]
fn a_lost_post_remove_is_found() {
    daemon(Fault::LosePostRemove);
}

#[test]
fn buffered_updates_that_the_snapshot_does_not_replace_are_found() {
    daemon(Fault::BacklogNotReplaced);
}

#[test]
fn messages_that_overtake_others_of_their_link_are_found() {
    daemon(Fault::AtOnceOvertakes);
}

#[test]
fn late_entries_that_are_believed_are_found() {
    daemon(Fault::LateEntriesBelieved);
}

#[test]
fn a_replay_that_is_forgotten_is_found() {
    daemon(Fault::ReplayForgotten);
}

#[test]
fn views_that_are_not_asked_for_anew_are_found() {
    daemon(Fault::ViewsNotReviewed);
}

#[test]
fn post_removes_that_are_not_passed_upstream_are_found() {
    daemon(Fault::PostRemovesStayHere);
}

#[test]
fn an_intake_before_local_leftovers_is_found() {
    mesh(MeshFault::IntakeBeforeLeftovers);
}

#[test]
fn batches_without_dependency_vectors_are_found() {
    mesh(MeshFault::NoDependencyVectors);
}

#[test]
fn batches_taken_before_their_turn_is_committed_are_found() {
    mesh(MeshFault::NoCommitCounter);
}

#[test]
fn a_vector_from_before_the_counters_is_found() {
    mesh(MeshFault::VectorBeforeCounters);
}

#[test]
fn local_messages_depth_first_are_found() {
    mesh(MeshFault::DepthFirstLocal);
}

#[test]
fn a_commit_in_spite_of_an_overflow_is_found() {
    mesh(MeshFault::CommitDespiteOverflow);
}

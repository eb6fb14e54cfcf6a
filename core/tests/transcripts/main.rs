//! Exact choreographies of the protocol's corner cases, as texts that people read and review: who sends what, which
//! disk operation ends when, and what comes of each step. `DETCD_TRANSCRIPTS=rewrite cargo test -p detcd-core --test
//! transcripts` writes down what happens now; the diff says what changed.

mod agreement;
mod calls;
mod command;
mod describe;
mod disk;
mod file;
mod forge;
mod network;
mod play;
mod runner;
mod world;

/// One test for each file, which a test compares with the folder.
macro_rules! transcripts {
    ($($sentence:ident: $file:literal,)*) => {
        $(
            #[test]
            fn $sentence() {
                runner::check($file);
            }
        )*

        const FILES: &[&str] = &[$($file),*];
    };
}

transcripts! {
    a_put_goes_through_three_members: "put",
    a_leader_sends_before_its_own_disk_and_a_follower_answers_after_its_own: "leader-write-in-flight",
    a_busy_leader_gathers_proposals: "batch",
    a_busy_follower_gathers_proposals: "forward-batch",
    a_vote_does_not_leave_before_it_is_durable: "vote",
    a_member_that_can_win_alone_says_nothing_before_its_term_is_durable: "lone-voter-term",
    a_member_that_can_win_alone_does_not_campaign_over_an_unsynced_tail: "lone-voter-tail",
    an_old_completion_does_not_make_a_rewritten_tail_durable: "stale-completion",
    leadership_is_not_taken_over_while_something_is_unsynced: "timeout-now",
    a_leader_that_removes_itself_stops_leading_at_once: "removed-leader",
    a_leader_that_was_replaced_commits_nothing_and_its_entries_go: "deposed-leader",
    a_member_that_comes_back_disturbs_nobody: "pre-vote",
    a_leader_that_hears_of_no_quorum_steps_down: "check-quorum",
    a_read_joins_only_a_round_that_starts_after_it_arrived: "read-round",
    a_new_leader_answers_no_read_before_it_has_committed_in_its_term: "read-new-leader",
    a_read_of_a_replaced_leader_is_answered_by_the_next_one: "read-across-election",
    a_leader_commits_no_entry_of_an_earlier_term_by_counting: "figure-8",
    a_leader_that_loses_an_unsynced_entry_is_not_elected_without_it: "leader-loses-unsynced",
    candidates_do_not_split_the_votes_for_ever: "split-vote",
    a_late_append_cuts_nothing_off: "late-append",
    a_checkpoint_counts_when_its_name_and_its_mark_are_durable: "checkpoint",
    a_lost_snapshot_is_announced_again: "snapshot-lost",
    a_snapshot_is_installed_over_a_longer_log: "snapshot-longer-log",
    a_follower_whose_next_segment_found_no_room_takes_a_snapshot: "snapshot-cramped",
    nothing_is_heard_while_a_snapshot_is_installed: "snapshot-frozen",
    a_torn_tail_is_cut_at_a_restart: "torn-tail",
    a_rotten_tail_comes_back_from_the_others: "rotten-tail",
    a_leader_without_room_refuses_writes_hands_on_and_recovers: "no-space",
    a_follower_without_room_still_votes: "full-follower",
    a_leader_whose_disk_stalls_hands_on: "stalled-disk",
    a_member_halts_after_a_failed_sync: "failed-sync",
    a_member_that_lost_what_it_acknowledged_halts: "lost-acknowledged",
    messages_that_no_member_sends_are_not_heard: "malformed",
    a_forwarded_proposal_that_arrives_twice_is_appended_once: "forwarded-twice",
    a_proposal_that_a_leader_refuses_is_proposed_by_a_later_one: "forward-refused",
    the_end_of_a_lease_that_a_deposed_leader_proposes_does_not_end_it: "lease-deposed",
    a_new_leader_goes_on_with_what_a_checkpoint_left_of_a_lease: "lease-checkpoint",
    a_new_leader_counts_what_its_log_has_of_a_lease_and_is_not_applied_yet: "lease-unapplied",
    a_watcher_without_credit_is_a_position_and_loses_nothing: "watch-credit",
    a_leader_that_hands_on_gives_away_what_it_has_gathered: "handover-batch",
    what_is_proposed_during_a_handover_waits_for_the_next_leader: "handover-waits",
    what_is_proposed_during_a_handover_that_fails_is_proposed_after_it: "handover-fails",
    a_leader_that_stops_hands_on_and_finishes_its_writes: "stop",
}

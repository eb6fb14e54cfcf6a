//! `member` and `endpoint`.

use super::tool::{wait_until, with_each};

#[test]
fn members_and_their_state_are_shown() {
    with_each(|etcdctl| {
        let mut expected: Vec<String> = Vec::new();
        for member in etcdctl.cluster.members() {
            // The id is a hash of the peer URLs and the token, which differ from run to run.
            expected.push(format!("started, {}, {}, {}, false", member.name(), member.peer_url(), member.client_url()));
        }
        let listed = || {
            let said = etcdctl.says(&["member", "list"]);
            let without_ids = said.lines().filter_map(|line| line.split_once(", ")).map(|(_id, rest)| rest.to_owned());
            let mut lines: Vec<String> = without_ids.collect();
            lines.sort();
            lines
        };
        // A member is told by the log what another publishes of itself, which may take a moment.
        wait_until("the members are listed", || {
            let listed = listed();
            (listed == expected).then_some(()).ok_or_else(|| listed.join("\n"))
        });
        wait_until("all are healthy", || {
            // It tells on stderr, or on stdout, by its version.
            let said = etcdctl.start(&["endpoint", "health"]).all_that_is_said();
            let count = said.matches("is healthy: successfully committed proposal").count();
            (count == 3).then_some(()).ok_or(said)
        });
        // Without `http://`: for this one command etcdctl 3.4 makes a URL the authority of its requests. It asks one
        // after the other, and an election may come in between.
        let bare = format!("--endpoints={}", etcdctl.cluster.endpoints().join(",").replace("http://", ""));
        wait_until("one member leads, in the same term for all", || {
            let said = etcdctl.says(&["endpoint", "status", &bare]);
            let lines: Vec<Vec<&str>> = said.lines().map(|line| line.split(", ").collect()).collect();
            assert_eq!(lines.len(), 3, "{said}");
            assert!(lines.iter().all(|fields| fields[2] == "3.7.1"), "{said}");
            let one_leads = lines.iter().filter(|fields| fields[4] == "true").count() == 1;
            let one_term = lines.iter().all(|fields| fields[6] == lines[0][6]);
            (one_leads && one_term).then_some(()).ok_or(said)
        });
    });
}

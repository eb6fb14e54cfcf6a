//! `put`, `get`, `del` and `compaction`.

use super::tool::with_each;

#[test]
fn keys_are_written_read_and_deleted() {
    with_each(|etcdctl| {
        assert_eq!(etcdctl.says(&["put", "a/1", "one"]), "OK\n");
        assert_eq!(etcdctl.says(&["put", "a/2", "two"]), "OK\n");
        assert_eq!(etcdctl.says(&["put", &etcdctl.at(0), "b", "other"]), "OK\n");
        assert_eq!(etcdctl.says(&["get", "a/1"]), "a/1\none\n");
        assert_eq!(etcdctl.says(&["get", "--prefix", "a/"]), "a/1\none\na/2\ntwo\n");
        assert_eq!(etcdctl.says(&["get", "nothing"]), "");
        assert_eq!(etcdctl.says(&["put", "--prev-kv", "a/1", "uno"]), "OK\na/1\none\n");
        assert_eq!(etcdctl.says(&["get", "--rev=2", "a/1"]), "a/1\none\n");
        assert_eq!(etcdctl.says(&["get", "--consistency=s", &etcdctl.at(0), "b"]), "b\nother\n");
        assert_eq!(etcdctl.says(&["del", "--prefix", "a/"]), "2\n");
        assert_eq!(etcdctl.says(&["del", "a/1"]), "0\n");
        let fields = etcdctl.says(&["get", "--write-out=fields", "b"]);
        assert!(fields.contains("\"Revision\" : 6\n"), "{fields}");
        assert!(fields.contains("\"CreateRevision\" : 4\n"), "{fields}");
        let json = etcdctl.says(&["get", "-w", "json", "b"]);
        assert!(json.contains("\"key\":\"Yg==\",\"create_revision\":4,\"mod_revision\":4,\"version\":1"), "{json}");
    });
}

#[test]
fn what_is_put_may_come_from_standard_input_and_keep_value_or_lease() {
    with_each(|etcdctl| {
        assert_eq!(etcdctl.says_to(&["put", "k"], "two\nlines\n"), "OK\n");
        assert_eq!(etcdctl.says(&["get", "--print-value-only", "k"]), "two\nlines\n\n");
        let said = etcdctl.says(&["lease", "grant", "600"]);
        let lease = said.split_whitespace().nth(1).expect("its id").to_owned();
        let of_lease = format!("--lease={lease}");
        assert_eq!(etcdctl.says(&["put", "--ignore-value", &of_lease, "k"]), "OK\n");
        assert_eq!(etcdctl.says(&["put", "--ignore-lease", "--prev-kv", "k", "new"]), "OK\nk\ntwo\nlines\n\n");
        let attached = etcdctl.says(&["lease", "timetolive", "--keys", &lease]);
        assert!(attached.contains("attached keys([k])"), "{attached}");
        let refusal = etcdctl.refuses(&["put", "--ignore-value", "nothing"]);
        assert!(refusal.contains("etcdserver: key not found"), "{refusal}");
        // What begins with a dash is a value behind `--`.
        assert_eq!(etcdctl.says(&["put", "k", "--", "-value-"]), "OK\n");
        assert_eq!(etcdctl.says(&["get", "k", "--print-value-only"]), "-value-\n");
        assert_eq!(etcdctl.says(&["get", "--hex", "k"]), "\\x6b\n\\x2d\\x76\\x61\\x6c\\x75\\x65\\x2d\n");
    });
}

/// Created in the order c, a, b; changed last in the order c, b, a; a has the most versions.
#[test]
fn ranges_are_limited_and_sorted_by_everything() {
    with_each(|etcdctl| {
        for (key, value) in [("r/c", "1"), ("r/a", "2"), ("r/b", "3"), ("r/a", "4"), ("r/a", "0")] {
            etcdctl.says(&["put", key, value]);
        }
        let keys = |flags: &[&str]| {
            let said = etcdctl.says(&[&["get", "--prefix", "r/", "--keys-only"], flags].concat());
            said.lines().filter(|line| !line.is_empty()).map(|line| line.trim_start_matches("r/")).collect::<String>()
        };
        assert_eq!(keys(&[]), "abc");
        assert_eq!(keys(&["--order=DESCEND"]), "cba");
        assert_eq!(keys(&["--sort-by=KEY"]), "abc");
        assert_eq!(keys(&["--sort-by=CREATE"]), "cab");
        assert_eq!(keys(&["--sort-by=CREATE", "--order=DESCEND"]), "bac");
        assert_eq!(keys(&["--sort-by=MODIFY"]), "cba");
        assert_eq!(keys(&["--sort-by=VALUE"]), "acb");
        assert_eq!(keys(&["--sort-by=VERSION", "--order=DESCEND", "--limit=1"]), "a");
        assert_eq!(keys(&["--limit=2"]), "ab");
        assert_eq!(keys(&["--rev=2"]), "c");
        assert_eq!(etcdctl.says(&["get", "--from-key", "r/b"]), "r/b\n3\nr/c\n1\n");
        assert_eq!(etcdctl.says(&["get", "r/a", "r/c", "--print-value-only"]), "0\n3\n");
        if etcdctl.is_at_least(5) {
            let counted = etcdctl.says(&["get", "--prefix", "r/", "--count-only", "--write-out=fields"]);
            assert!(counted.contains("\"Count\" : 3\n"), "{counted}");
        } else {
            eprintln!("SKIPPED: etcdctl 3.4 has no --count-only");
        }
    });
}

#[test]
fn ranges_of_keys_are_deleted() {
    with_each(|etcdctl| {
        for key in ["d/1", "d/2", "d/3", "d/4", "d/5"] {
            etcdctl.says(&["put", key, "x"]);
        }
        assert_eq!(etcdctl.says(&["del", "d/1", "--prev-kv"]), "1\nd/1\nx\n");
        assert_eq!(etcdctl.says(&["del", "d/2", "d/4"]), "2\n");
        assert_eq!(etcdctl.says(&["del", "d/5", "--from-key"]), "1\n");
        assert_eq!(etcdctl.says(&["get", "--prefix", "", "--keys-only"]), "d/4\n\n");
        assert_eq!(etcdctl.says(&["del", "", "--from-key=true"]), "1\n");
    });
}

#[test]
fn history_is_compacted() {
    with_each(|etcdctl| {
        for value in ["1", "2", "3", "4"] {
            etcdctl.says(&["put", "x", value]);
        }
        assert_eq!(etcdctl.says(&["compact", "3"]), "compacted revision 3\n");
        assert_eq!(etcdctl.says(&["get", "--rev=3", "x"]), "x\n2\n");
        let refusal = etcdctl.refuses(&["get", "--rev=2", "x"]);
        assert!(refusal.contains("etcdserver: mvcc: required revision has been compacted"), "{refusal}");
        assert_eq!(etcdctl.says(&["compaction", "--physical", "4"]), "compacted revision 4\n");
        let refusal = etcdctl.refuses(&["compaction", "4"]);
        assert!(refusal.contains("etcdserver: mvcc: required revision has been compacted"), "{refusal}");
        let refusal = etcdctl.refuses(&["compaction", "99"]);
        assert!(refusal.contains("etcdserver: mvcc: required revision is a future revision"), "{refusal}");
    });
}

#[test]
fn etcds_own_words_come_back_for_what_it_refuses() {
    with_each(|etcdctl| {
        let refusal = etcdctl.refuses(&["put", "", "x"]);
        assert!(refusal.contains("etcdserver: key is not provided"), "{refusal}");
        let refusal = etcdctl.refuses(&["get", "--rev=99", "x"]);
        assert!(refusal.contains("etcdserver: mvcc: required revision is a future revision"), "{refusal}");
        let refusal = etcdctl.refuses(&["put", "--lease=1234", "x", "y"]);
        assert!(refusal.contains("etcdserver: requested lease not found"), "{refusal}");
    });
}

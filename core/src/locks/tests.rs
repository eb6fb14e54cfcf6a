use super::requests::{key_of, prefix_of, watch_prefix};

/// Contract, section 1.7: the lease as etcd prints it, which is Go's `%x` of a signed number.
#[test]
fn keys_end_with_the_lease_in_hexadecimal_digits_and_its_sign() {
    let table = [
        (0x77, "n/77"),
        (0x694d_7cab_c1d2_ef01, "n/694d7cabc1d2ef01"),
        (i64::MAX, "n/7fffffffffffffff"),
        (-1, "n/-1"),
        (-127, "n/-7f"),
        (i64::MIN, "n/-8000000000000000"),
    ];
    for (lease, expected) in table {
        assert_eq!(key_of(&prefix_of(b"n"), lease), expected);
    }
}

#[test]
fn a_prefix_covers_its_own_keys_and_no_others_whatever_bytes_the_name_has() {
    for name in [&b""[..], b"a", b"a/b", b"\xff\xff", b"\0"] {
        let prefix = prefix_of(name);
        let watcher = watch_prefix(&prefix, 1);
        let covers = |key: &[u8]| watcher.key <= key && watcher.range_end > key;
        assert!(covers(&key_of(&prefix, -1)) && covers(&key_of(&prefix, i64::MAX)), "{name:?}");
        assert!(!covers(name) && !covers(&[name, b"0"].concat()) && !covers(&[name, b".1"].concat()), "{name:?}");
    }
}

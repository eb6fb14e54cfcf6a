//! detcd against a real etcd: thousands of random requests over KV, Lease, Watch and Maintenance, and no difference
//! that is not known.
//!
//! Needs an etcd: the one that `DETCD_ETCD_BIN` names, that `.ci/run packages` has installed, or that is in `PATH`.
//! `DETCD_DIFFERENTIAL=100000` sends that many requests instead of a few thousand, `DETCD_DIFFERENTIAL_SEED=N` draws
//! others, and `DETCD_DIFFERENTIAL_MEMBERS=3` asks members of two clusters in turn; a difference is told with its seed
//! and position, and comes again with them.

use detcd_tests::differential::{Etcd, MEMBERS_MAX, Settings, run};
use detcd_tests::launch;

/// How many requests, unless the environment says otherwise.
const REQUESTS: u64 = 3_000;

/// What they are drawn from, unless the environment says otherwise.
const SEED: u64 = 1;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    let number = text.replace('_', "").parse();
    Some(number.unwrap_or_else(|_| panic!("{variable}={text}: a number such as 100000 is wanted")))
}

/// How many members each of the two has.
fn members() -> usize {
    let members = number("DETCD_DIFFERENTIAL_MEMBERS").unwrap_or(1);
    let members = usize::try_from(members).ok().filter(|members| (1..=MEMBERS_MAX).contains(members));
    members.unwrap_or_else(|| panic!("DETCD_DIFFERENTIAL_MEMBERS: from 1 to {MEMBERS_MAX} members are wanted"))
}

#[test]
fn detcd_answers_as_etcd_does() {
    let requests = number("DETCD_DIFFERENTIAL");
    let Some(etcd) = Etcd::find().unwrap_or_else(|line| panic!("{line}")) else {
        assert!(requests.is_none(), "DETCD_DIFFERENTIAL needs an etcd (DETCD_ETCD_BIN, or .ci/run packages)");
        eprintln!("SKIPPED: no etcd to compare with (DETCD_ETCD_BIN names one, .ci/run packages installs one)");
        return;
    };
    let seed = number("DETCD_DIFFERENTIAL_SEED").unwrap_or(SEED);
    let requests = requests.unwrap_or(REQUESTS);
    let members = members();
    let shown = etcd.program.display();
    eprintln!("{requests} requests of seed {seed} to {members} members against etcd {} ({shown})", etcd.version);
    let settings = Settings { requests, seed, members, etcd, detcd: launch::detcd() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let report = runtime.block_on(run(&settings)).unwrap_or_else(|error| panic!("{error}"));
    eprintln!("{report}");
    assert!(report.differences.is_empty(), "{} differences", report.differences.len());
    // A run that was told to be shorter cannot use everything.
    let unused = report.counters.unused();
    assert!(requests < REQUESTS || unused.is_empty(), "never used with success: {unused:?}");
}

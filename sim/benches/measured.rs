//! How benchmarks measure: CPU time of this thread, since the machine may be shared, and the memory of this process.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "figures for people decide nothing")]

use rustix::time::{ClockId, clock_gettime};

/// Seconds that this thread was on a CPU. Time of the clock would count others' work.
fn cpu_s() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// What `work` gives, and the seconds of CPU time that it takes when it is done so many times in a row.
pub fn measured<T>(times: u32, mut work: impl FnMut() -> T) -> (T, f64) {
    let start = cpu_s();
    for _ in 1..times {
        work();
    }
    let result = work();
    (result, (cpu_s() - start) / f64::from(times))
}

/// The most memory that this process has had so far, in MiB, as the kernel counts it; 0 where it does not say.
#[allow(dead_code, reason = "not every benchmark asks")]
pub fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse::<u64>().ok());
    kib.unwrap_or(0) / 1_024
}

//! How benchmarks measure: CPU time of this thread, since the machine may be shared. Time of the clock would count what
//! others do.

#![allow(clippy::disallowed_types, reason = "figures for people decide nothing")]

use criterion::Criterion;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds that this thread was on a CPU.
fn cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let of = |part| u64::try_from(part).expect("a thread's time is not negative");
    of(time.tv_sec) * 1_000_000_000 + of(time.tv_nsec)
}

/// Measures the CPU time of the thread that runs the benchmark, in nanoseconds.
pub struct CpuTime;

impl Measurement for CpuTime {
    type Intermediate = u64;
    type Value = u64;

    fn start(&self) -> u64 {
        cpu_ns()
    }

    fn end(&self, start: u64) -> u64 {
        cpu_ns() - start
    }

    fn add(&self, one: &u64, other: &u64) -> u64 {
        one + other
    }

    fn zero(&self) -> u64 {
        0
    }

    fn to_f64(&self, value: &u64) -> f64 {
        *value as f64
    }

    /// That of time by the clock, which counts nanoseconds, too.
    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

/// What all groups of benchmarks are configured with.
pub fn by_cpu_time() -> Criterion<CpuTime> {
    Criterion::default().with_measurement(CpuTime)
}

//! Processor time of processes, from the operating system.

use std::time::Duration;

/// Adds up the processor time (user and system) of some processes.
#[derive(Clone, Debug)]
pub struct CpuMeter {
    pids: Vec<u32>,
}

impl CpuMeter {
    /// A meter of the processes with these numbers.
    pub fn new(pids: Vec<u32>) -> CpuMeter {
        CpuMeter { pids }
    }

    /// Whether this operating system tells; only Linux does.
    pub const AVAILABLE: bool = cfg!(target_os = "linux");

    /// Processor time used so far; `None` where the system does not tell, or a process is gone.
    ///
    /// Linux counts in ticks of usually 10 ms and includes threads that have ended.
    pub fn read(&self) -> Option<Duration> {
        if !Self::AVAILABLE {
            return None;
        }
        self.pids.iter().map(|pid| ticks(*pid)).sum::<Option<u64>>().map(duration_of_ticks)
    }
}

/// Fields 14 and 15 of `/proc/PID/stat`, by proc(5): user and system time.
fn ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in brackets, and may hold anything, also blanks and brackets.
    let (_, after_name) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
    let user: u64 = fields.get(11)?.parse().ok()?;
    let system: u64 = fields.get(12)?.parse().ok()?;
    Some(user + system)
}

#[cfg(target_os = "linux")]
fn duration_of_ticks(ticks: u64) -> Duration {
    Duration::from_nanos(ticks * (1_000_000_000 / rustix::param::clock_ticks_per_second()))
}

#[cfg(not(target_os = "linux"))]
fn duration_of_ticks(_ticks: u64) -> Duration {
    Duration::ZERO
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_busy_process_is_seen_to_use_its_processor() {
        let meter = CpuMeter::new(vec![std::process::id()]);
        let before = meter.read().expect("Linux tells");
        let used = || meter.read().expect("Linux tells") - before;
        // Other work may take the core away, so it may take a while.
        let begin = std::time::Instant::now();
        let mut sum = 0u64;
        while used() < Duration::from_millis(20) {
            assert!(begin.elapsed() < Duration::from_secs(30), "a loop of 30 s used {:?}", used());
            (0..1_000_000).for_each(|_| sum = std::hint::black_box(sum.wrapping_add(1)));
        }
    }

    #[test]
    fn a_process_that_is_gone_gives_nothing() {
        // Process numbers end at 4,194,304.
        assert_eq!(CpuMeter::new(vec![u32::MAX]).read(), None);
    }
}

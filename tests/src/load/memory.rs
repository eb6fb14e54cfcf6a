//! Memory of processes, from the operating system.

/// What one process has in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Resident now.
    pub resident_bytes: u64,
    /// The most that was ever resident.
    pub peak_bytes: u64,
}

impl Memory {
    /// What the process with this number has; `None` where the system does not tell (only Linux does), or it is gone.
    pub fn of(pid: u32) -> Option<Memory> {
        parse(&std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
    }
}

/// The lines `VmRSS` and `VmHWM` of `/proc/PID/status`, by proc(5).
fn parse(status: &str) -> Option<Memory> {
    let bytes = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kibibytes * 1024)
    };
    Some(Memory { resident_bytes: bytes("VmRSS")?, peak_bytes: bytes("VmHWM")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_lines_are_found_and_counted_in_bytes() {
        let status = "Name:\tx\nVmPeak:\t   90 kB\nVmHWM:\t   20 kB\nVmRSS:\t   12 kB\nThreads:\t3\n";
        assert_eq!(parse(status), Some(Memory { resident_bytes: 12 << 10, peak_bytes: 20 << 10 }));
        assert_eq!(parse("Name:\tkthreadd\n"), None, "a thread of the kernel has none");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_some_and_never_had_less_than_now() {
        let memory = Memory::of(std::process::id()).expect("Linux tells");
        assert!(memory.resident_bytes > 100_000, "{memory:?}");
        assert!(memory.peak_bytes >= memory.resident_bytes, "{memory:?}");
        // Process numbers end at 4,194,304.
        assert_eq!(Memory::of(u32::MAX), None);
    }
}

//! Child processes that never outlive this one, and the binaries that tests start.
//!
//! A member that outlives its test would hold ports and a core for ever. The kernel can prevent that: a process may
//! ask for a signal at the death of its parent. It has to ask itself, and it must be the parent's *thread* that
//! stays, so two detours are taken: every child begins as `detcd-load exec`, which asks and then becomes the program,
//! and all children are started by one thread that lives as long as the process.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock};

/// The sub-command of `detcd-load` that turns itself into another program; what follows is its path and arguments.
pub const EXEC: &str = "exec";

type Job = (Command, Sender<io::Result<Child>>);

/// Starts `command` from the one thread that outlives all tests.
///
/// # Errors
/// What the operating system says.
pub fn spawn(command: Command) -> io::Result<Child> {
    static JOBS: OnceLock<Mutex<Sender<Job>>> = OnceLock::new();
    let jobs = JOBS.get_or_init(|| {
        let (sender, receiver) = channel::<Job>();
        std::thread::spawn(move || {
            for (mut command, answer) in receiver {
                // Whoever asked may have given up; then the child is killed by nobody but its own parent's death.
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(sender)
    });
    let (sender, receiver) = channel();
    jobs.lock().expect("no job panics").send((command, sender)).expect("the launching thread never ends");
    receiver.recv().expect("the launching thread always answers")
}

/// A command that runs `program` and dies with this process.
///
/// # Errors
/// `detcd-load` does not lie beside the running executable.
pub fn dying_with_us(program: &Path) -> io::Result<Command> {
    let mut command = Command::new(beside_us("detcd-load")?);
    command.arg(EXEC).arg(program);
    Ok(command)
}

/// Becomes `program`, after having asked to be killed when the parent dies. Returns only if that fails.
///
/// # Errors
/// What the operating system says.
pub fn exec(program: &OsString, arguments: &[OsString]) -> io::Error {
    use std::os::unix::process::CommandExt as _;

    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Signal, getppid, set_parent_process_death_signal};
        if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
            return error.into();
        }
        // The parent may have died before we asked; then we belong to the init process by now.
        if getppid().is_none_or(rustix::process::Pid::is_init) {
            return io::Error::other("the parent is gone");
        }
    }
    Command::new(program).args(arguments).exec()
}

/// The path of a binary of this package, which lies beside the running executable or, for a test, one folder above.
fn beside_us(name: &str) -> io::Result<PathBuf> {
    let own = std::env::current_exe()?;
    own.ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{name} is not beside {}", own.display())))
}

/// The `detcd` to test: the one that the environment variable `DETCD_BIN` names, else the workspace's own, with the
/// profile of the running test. `cargo test --workspace` has built it already; otherwise it is built now.
///
/// # Panics
/// There is none and it cannot be built: no test that asks for it could go on.
pub fn detcd() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| std::env::var_os("DETCD_BIN").map_or_else(build_detcd, PathBuf::from)).clone()
}

fn build_detcd() -> PathBuf {
    let own = std::env::current_exe().expect("a test knows its own path");
    let profile_folder = own.parent().and_then(Path::parent).expect("a test lies in target/PROFILE/deps");
    let target = profile_folder.parent().expect("a profile's folder lies in the target folder");
    let program = profile_folder.join("detcd");
    if is_newer_than_its_sources(&program).unwrap_or(false) {
        return program;
    }
    let profile = match profile_folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        Some(other) => other,
        None => panic!("cannot tell the profile from {}", own.display()),
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into());
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--package", "detcd", "--bin", "detcd", "--profile", profile, "--target-dir"])
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo can be started");
    assert!(built.status.success(), "detcd does not build:\n{}", String::from_utf8_lossy(&built.stderr));
    program
}

/// Whether nothing that `program` is made of has changed since it was built.
fn is_newer_than_its_sources(program: &Path) -> io::Result<bool> {
    let built = std::fs::metadata(program)?.modified()?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut open = vec![root.join("core"), root.join("shim"), root.join("Cargo.lock"), root.join("Cargo.toml")];
    while let Some(next) = open.pop() {
        let metadata = std::fs::metadata(&next)?;
        if metadata.is_dir() {
            for entry in std::fs::read_dir(&next)? {
                open.push(entry?.path());
            }
        } else if metadata.modified()? > built {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The path of `name` in the folders of `PATH`.
pub fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|candidate| candidate.is_file())
}

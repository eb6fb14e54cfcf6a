use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bytes::Bytes;

use super::*;

struct Bench {
    disk: Disk,
    dir: Arc<DataDir>,
    done: mpsc::Receiver<(DiskOp, Result<DiskReply, DiskError>)>,
    last: u64,
}

impl Bench {
    fn new(path: &Path) -> Bench {
        let dir = Arc::new(DataDir::open(path, false).expect("a data directory"));
        let (sender, done) = mpsc::channel();
        let report: Done = Arc::new(move |op, result| sender.send((op, result)).expect("the test listens"));
        Bench { disk: Disk::new(Host::start(), Arc::clone(&dir), report), dir, done, last: 0 }
    }

    fn perform(&mut self, action: DiskAction) -> Result<DiskReply, DiskError> {
        self.last += 1;
        self.disk.issue(DiskOp(self.last), action);
        let (op, result) = self.done.recv().expect("an answer");
        assert_eq!(op, DiskOp(self.last));
        result
    }

    fn read(&mut self, file: &str, offset: u64, len: u64) -> Bytes {
        match self.perform(DiskAction::Read { file: file.into(), offset, len }) {
            Ok(DiskReply::Data(bytes)) => bytes,
            other => panic!("{other:?}"),
        }
    }
}

const DONE: Result<DiskReply, DiskError> = Ok(DiskReply::Done);

#[test]
fn what_is_written_reads_back_under_the_name_it_got() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut bench = Bench::new(&folder.path().join("data"));
    let (a, b): (Arc<str>, Arc<str>) = ("member/wal/a".into(), "member/wal/b".into());
    assert_eq!(bench.perform(DiskAction::Allocate { file: a.clone(), size_bytes: 10_000 }), DONE);
    let bytes = Bytes::from_static(b"hello");
    assert_eq!(bench.perform(DiskAction::Append { file: a.clone(), offset: 4_096, bytes }), DONE);
    assert_eq!(bench.perform(DiskAction::Sync { file: a.clone() }), DONE);
    assert_eq!(bench.perform(DiskAction::Rename { from: a.clone(), to: b.clone() }), DONE);
    assert_eq!(bench.perform(DiskAction::SyncDir { dir: "member/wal".into() }), DONE);
    assert_eq!(bench.read("member/wal/b", 4_094, 9), Bytes::from_static(b"\0\0hello\0\0"));
    assert_eq!(bench.read("member/wal/b", 9_998, 100), Bytes::from_static(b"\0\0"), "short at the end of the file");
    assert_eq!(bench.read("member/wal/b", 20_000, 100), Bytes::new());
    assert_eq!(bench.dir.listing().expect("a listing").files, [("member/wal/b".to_string(), 10_000)]);
    assert_eq!(bench.perform(DiskAction::Remove { file: b.clone() }), DONE);
    assert_eq!(bench.perform(DiskAction::Remove { file: b.clone() }), DONE, "its absence is no error");
    assert!(matches!(bench.perform(DiskAction::Sync { file: b }), Err(DiskError::Io(_))));
    bench.disk.close();
}

#[test]
fn a_replaced_file_is_not_written_to_any_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut bench = Bench::new(folder.path());
    for (file, byte) in [("member/snap/new", b'n'), ("member/snap/old", b'o')] {
        assert_eq!(bench.perform(DiskAction::Allocate { file: file.into(), size_bytes: 2 }), DONE);
        let bytes = Bytes::from(vec![byte; 2]);
        assert_eq!(bench.perform(DiskAction::Append { file: file.into(), offset: 0, bytes }), DONE);
    }
    let rename = DiskAction::Rename { from: "member/snap/new".into(), to: "member/snap/old".into() };
    assert_eq!(bench.perform(rename), DONE);
    let bytes = Bytes::from_static(b"!");
    assert_eq!(bench.perform(DiskAction::Append { file: "member/snap/old".into(), offset: 0, bytes }), DONE);
    assert_eq!(bench.read("member/snap/old", 0, 2), Bytes::from_static(b"!n"));
}

#[test]
fn allocation_keeps_what_is_there_and_says_no_space_only_when_nothing_happened() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut bench = Bench::new(folder.path());
    let file: Arc<str> = "member/wal/a".into();
    assert_eq!(bench.perform(DiskAction::Allocate { file: file.clone(), size_bytes: 3 }), DONE);
    let bytes = Bytes::from_static(b"abc");
    assert_eq!(bench.perform(DiskAction::Append { file: file.clone(), offset: 0, bytes }), DONE);
    assert_eq!(bench.perform(DiskAction::Allocate { file: file.clone(), size_bytes: 5 }), DONE);
    assert_eq!(bench.read(&file, 0, 9), Bytes::from_static(b"abc\0\0"));
    // More than any disk has, and less than a file may be long.
    let huge = bench.perform(DiskAction::Allocate { file: file.clone(), size_bytes: 15 << 40 });
    assert!(matches!(huge, Err(DiskError::NoSpace | DiskError::Io(_))), "{huge:?}");
    assert_eq!(bench.read(&file, 0, 9), Bytes::from_static(b"abc\0\0"));
    let absent = bench.perform(DiskAction::Allocate { file: "member/wal/b".into(), size_bytes: 15 << 40 });
    assert!(absent.is_err());
    assert_eq!(bench.dir.listing().expect("a listing").files, [(file.to_string(), 5)]);
}

#[test]
fn writes_need_an_allocated_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut bench = Bench::new(folder.path());
    let bytes = Bytes::from_static(b"abc");
    let result = bench.perform(DiskAction::Append { file: "member/wal/none".into(), offset: 0, bytes });
    assert!(matches!(result, Err(DiskError::Io(_))), "{result:?}");
}

#[test]
fn more_files_than_stay_open_all_keep_their_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut bench = Bench::new(folder.path());
    let name = |number: u8| Arc::<str>::from(format!("member/wal/{number}"));
    for number in 0..40 {
        assert_eq!(bench.perform(DiskAction::Allocate { file: name(number), size_bytes: 1 }), DONE);
        let bytes = Bytes::from(vec![number]);
        assert_eq!(bench.perform(DiskAction::Append { file: name(number), offset: 0, bytes }), DONE);
        if number % 2 == 0 {
            assert_eq!(bench.perform(DiskAction::Sync { file: name(number) }), DONE);
        }
    }
    for number in 0..40 {
        assert_eq!(bench.read(&name(number), 0, 1), Bytes::from(vec![number]));
    }
}

#[test]
fn a_data_directory_is_private_and_for_one_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("deep/data");
    let dir = DataDir::open(&path, false).expect("a data directory");
    for name in ["", "member", "member/wal", "member/snap"] {
        let mode = std::fs::metadata(path.join(name)).expect(name).permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{name}");
    }
    let second = DataDir::open(&path, false).expect_err("it is locked");
    assert!(second.to_string().ends_with("is in use by another process"), "{second}");
    drop(dir);
    DataDir::open(&path, false).expect("free again");
}

#[test]
fn an_existing_member_is_not_made_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("data");
    let error = DataDir::open(&path, true).expect_err("there is none");
    assert!(error.to_string().starts_with("--initial-cluster-state: existing is for a data-dir that holds a member"));
    assert!(!path.exists());
}

#[test]
fn files_behind_a_link_are_listed_and_strangers_beside_the_folders_are_not() {
    let temp = tempfile::tempdir().expect("a directory");
    let (data, elsewhere) = (temp.path().join("data"), temp.path().join("fast"));
    drop(DataDir::open(&data, false).expect("a data directory"));
    std::fs::create_dir(&elsewhere).expect("a folder");
    std::fs::remove_dir(data.join("member/wal")).expect("it is empty");
    std::os::unix::fs::symlink(&elsewhere, data.join("member/wal")).expect("a link");
    std::fs::write(elsewhere.join("0.wal"), b"log").expect("a file");
    std::fs::write(data.join("README"), b"not ours").expect("a file");
    let dir = DataDir::open(&data, true).expect("there is a member");
    assert_eq!(dir.listing().expect("a listing").files, [("member/wal/0.wal".to_string(), 3)]);

    std::os::unix::fs::symlink("nowhere", data.join("member/snap/lost")).expect("a link");
    assert!(dir.listing().is_err(), "a link that leads nowhere is no missing file");
}

//! Compares transcripts with what happens, or rewrites them; and sees to it that neither can fall asleep.

use std::path::PathBuf;

use crate::FILES;
use crate::file::{Transcript, guarded};

/// Set to `rewrite`, the files are written anew instead of compared.
const VARIABLE: &str = "DETCD_TRANSCRIPTS";

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts")
}

/// Performs the transcript of this name, and compares it with its file or rewrites that.
#[expect(
    clippy::disallowed_methods,
    reason = "the choreographies are files, and a variable says whether to write them"
)]
pub fn check(name: &str) {
    let path = folder().join(format!("{name}.txt"));
    let shown = format!("core/tests/transcripts/{name}.txt");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{shown}: {error}"));
    let written = Transcript::read(&shown, &text).unwrap_or_else(|why| panic!("{why}"));
    let performed = written.perform().unwrap_or_else(|why| panic!("{why}"));
    match std::env::var(VARIABLE).as_deref() {
        Ok("rewrite") => std::fs::write(&path, performed.text()).expect("the file can be written"),
        Ok(other) => panic!("{VARIABLE}={other}: it is 'rewrite' or not set"),
        Err(_) => {
            let differences = written.differences(&performed);
            assert!(
                differences.is_empty(),
                "\n{differences}\nif this is right: {VARIABLE}=rewrite, and review the diff"
            );
            assert_eq!(text, performed.text(), "{shown}: blanks at the ends of lines, or none at the end");
        }
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the choreographies are files")]
fn every_file_is_performed() {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder()).expect("the folder can be read") {
        let name = entry.expect("the folder can be read").file_name().into_string().expect("plain names");
        files.extend(name.strip_suffix(".txt").map(str::to_owned));
    }
    files.sort_unstable();
    let mut listed = FILES.to_vec();
    listed.sort_unstable();
    assert_eq!(listed, files, "a transcript has a line in main.rs");
}

const HEAD: &str = "# Title\n#\n# Why it is there.\n\n";

fn read(body: &str) -> Result<Transcript, String> {
    Transcript::read("mine.txt", &format!("{HEAD}{body}"))
}

fn error(body: &str) -> String {
    read(body).and_then(|transcript| transcript.perform()).expect_err("it is wrong")
}

#[test]
fn what_differs_is_told_by_file_line_and_command_and_a_rewrite_is_what_happens() {
    let written = read("members 1\n    1 leader\nquiet campaign 1\n").unwrap();
    let performed = written.perform().unwrap();
    let told = written.differences(&performed);
    assert!(told.starts_with("mine.txt:6: 'members 1' does something else\n  - 1 leader\n  + 1 follower"), "{told}");
    assert!(told.contains("mine.txt:8: 'quiet campaign 1' does something else\n  + 1 leader"), "{told}");

    let rewritten = Transcript::read("mine.txt", &performed.text()).unwrap();
    assert!(rewritten.differences(&rewritten.perform().unwrap()).is_empty());
    assert_eq!(rewritten.perform().unwrap().text(), performed.text(), "the same twice");
}

#[test]
fn what_is_wrong_is_told_by_file_and_line_and_what_is_allowed() {
    let unknown = error("members 1\nelect 1\n");
    assert!(unknown.starts_with("mine.txt:6: 'elect 1': no such command; these are the commands:"), "{unknown}");
    assert!(unknown.contains("campaign MEMBER"), "{unknown}");
    for (body, told) in [
        ("put 1 k v\n", "mine.txt:5: the first command is 'members'"),
        ("members 1 knob=1\n", "mine.txt:5: no knob is called 'knob'; there are: segment-bytes"),
        ("members 1\nput 2 k v\n", "mine.txt:6: there is no member 2; there are 1 to 1"),
        ("members 1\ndeliver 1>2#9\n", "mine.txt:6: no such message is on its way; there are: []"),
        ("members 1\ndone 1\n", "mine.txt:6: no such operation is under way; there are: []"),
        ("members 2\nforge 1>2 MsgNew t=1\n", "mine.txt:6: no raft message is a 'MsgNew'; there are: MsgHup"),
        ("members 2\nforge 1>2 MsgAppend x=1\n", "mine.txt:6: 'x=1' is no field; there are: t=TERM"),
        ("members 2\nforge 1>2 MsgAppend t=1 [1/1 take x]\n", "mine.txt:6: '1/1 take x' is no entry; one is [INDEX"),
    ] {
        let why = error(body);
        assert!(why.starts_with(told), "{why}");
    }
    assert_eq!(error("    output\n"), "mine.txt:5: output without a command right above it");
    let untitled = Transcript::read("mine.txt", "members 1\n").expect_err("nobody knows why it is there");
    assert!(untitled.starts_with("mine.txt:1: it begins with '# Title'"), "{untitled}");
}

#[test]
fn a_member_that_panics_fails_its_transcript_and_not_the_runner() {
    assert_eq!(guarded(|| Ok(7)), Ok(7));
    assert_eq!(
        guarded::<u64>(|| panic!("it cannot go on from {}", 7)),
        Err("panic: it cannot go on from 7".to_owned())
    );
    assert_eq!(guarded::<u64>(|| panic!("it cannot")), Err("panic: it cannot".to_owned()));
}

#[test]
fn two_leaders_of_one_term_are_an_error_whatever_is_written_down() {
    // Member 3 is told of votes that nobody gave.
    let body = "members 3\nquiet cut 3\nquiet lead 1\nquiet campaign 3\n\
                forge 2>3 MsgRequestPreVoteResponse t=2\nforge 2>3 MsgRequestVoteResponse t=2\n";
    let told = error(body);
    assert!(told.starts_with("mine.txt:10: 1 and 3 both lead term 2\nbefore that:\n"), "{told}");
}

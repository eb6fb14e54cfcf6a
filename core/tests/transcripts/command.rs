//! The commands of a transcript: one a line. `GRAMMAR` is what an error shows.

use std::time::Duration;

use detcd_core::types::NodeId;

use crate::network::{Link, Selector};

/// All commands; `WHO` is a member, several with commas, or `all`; `MESSAGES` is `*`, `1>2`, `1>*`, `*>2` or `1>2#7`.
pub const GRAMMAR: &str = "
  members COUNT [KNOB=NUMBER...]      a new cluster; the knobs are those of `members`
  lead MEMBER                         it campaigns, and everything is delivered until it leads
  campaign MEMBER                     its clock goes on until it campaigns
  wait WHO MS                         their clocks go on
  run MS                              all clocks go on, and everything is delivered
  settle [WHO]                        everything is delivered (between these), and what is sent upon it
  deliver MESSAGES [KIND]             they arrive, oldest first
  repeat MESSAGES [KIND]              they arrive, and a copy stays on its way
  drop MESSAGES [KIND]                they are lost
  cut MEMBER | cut A-B                all links of a member, or one, are cut; heal makes all whole
  link MEMBER A-B                     MEMBER is told that this link went down
  forge A>B MESSAGE                   a message as it is printed arrives, which A never sent
  hold WHO | release WHO              operations of their disks wait for the script, or do not any more
  done MEMBER [KIND|next|NUMBER]      operations under way end: all, of a kind, the oldest, or one
  fail MEMBER KIND|next|NUMBER TEXT   the oldest that is meant fails with this error
  full WHO | room WHO                 their disks have no room, or have some again
  kill WHO                            their processes are gone
  crash MEMBER [keep|tear KIND]       the power is gone; unsynced writes are kept, or but their last sector
  rot MEMBER                          a bit flips in the last record of its log
  restart WHO                         they are opened on what their disks hold
  put MEMBER KEY VALUE [lease=ID]     VALUE may be x*3000
  puts MEMBER COUNT [VALUE]           so many puts at once, of k1, k2 and so on
  delete MEMBER KEY | get MEMBER KEY | now MEMBER KEY (serializable)
  grant MEMBER ID TTL | revoke MEMBER ID | keepalive MEMBER ID | ttl MEMBER ID | compact MEMBER REVISION
  watch MEMBER STREAM KEY [from=REVISION] | credit MEMBER STREAM BYTES
  stop MEMBER
  show                                how all stand, and what is under way
  quiet COMMAND[; COMMAND...]         the same, but only how all stand afterwards is shown";

/// One command; [`GRAMMAR`] says what each does.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// A new cluster of so many members.
    Members {
        count: usize,
        knobs: Vec<(String, u64)>,
    },
    Lead(NodeId),
    Campaign(NodeId),
    Wait {
        who: Who,
        duration: Duration,
    },
    Run(Duration),
    Settle(Who),
    Deliver(Selector),
    Repeat(Selector),
    Drop(Selector),
    Cut(Cut),
    Heal,
    LinkDown {
        told: NodeId,
        link: Link,
    },
    Forge {
        link: Link,
        message: String,
    },
    Hold(Who),
    Release(Who),
    Done {
        member: NodeId,
        which: Which,
    },
    Fail {
        member: NodeId,
        which: Which,
        error: String,
    },
    Full {
        who: Who,
        full: bool,
    },
    Kill(Who),
    Crash {
        member: NodeId,
        fate: Fate,
    },
    Rot(NodeId),
    Restart(Who),
    Call {
        member: NodeId,
        words: Vec<String>,
    },
    Puts {
        member: NodeId,
        count: u64,
        value: Option<String>,
    },
    Watch {
        member: NodeId,
        stream: u64,
        key: String,
        from: i64,
    },
    Credit {
        member: NodeId,
        stream: u64,
        bytes: u64,
    },
    Stop(NodeId),
    Show,
    Quiet(Vec<Command>),
}

/// Whom a command means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    All,
    These(Vec<NodeId>),
}

/// What is cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cut {
    Member(NodeId),
    Link(Link),
}

/// Which operations under way are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    All,
    Next,
    Number(u64),
    Kind(String),
}

/// What becomes of writes that no sync covered when the power is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    Lost,
    Kept(Which),
    Torn(Which),
}

/// Requests of clients, whose words [`crate::calls`] reads.
const CALLS: [&str; 9] = ["put", "delete", "get", "now", "grant", "revoke", "keepalive", "ttl", "compact"];

/// Reads a command.
///
/// # Errors
/// What is wrong, and what is allowed.
pub fn parse(line: &str) -> Result<Command, String> {
    parse_words(line).map_err(|why| format!("'{line}': {why}; these are the commands:{GRAMMAR}"))
}

fn parse_words(line: &str) -> Result<Command, String> {
    if let Some(rest) = line.strip_prefix("quiet ") {
        return rest.split("; ").map(parse_words).collect::<Result<_, _>>().map(Command::Quiet);
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    let (name, rest) = words.split_first().ok_or("an empty command")?;
    match (*name, rest) {
        ("settle", []) => Ok(Command::Settle(Who::All)),
        ("settle", [members]) => Ok(Command::Settle(who(members)?)),
        ("heal", []) => Ok(Command::Heal),
        ("show", []) => Ok(Command::Show),
        ("lead", [member]) => Ok(Command::Lead(node(member)?)),
        ("campaign", [member]) => Ok(Command::Campaign(node(member)?)),
        ("rot", [member]) => Ok(Command::Rot(node(member)?)),
        ("stop", [member]) => Ok(Command::Stop(node(member)?)),
        ("wait", [members, ms]) => Ok(Command::Wait { who: who(members)?, duration: millis(ms)? }),
        ("run", [ms]) => Ok(Command::Run(millis(ms)?)),
        ("hold", [members]) => Ok(Command::Hold(who(members)?)),
        ("release", [members]) => Ok(Command::Release(who(members)?)),
        ("full", [members]) => Ok(Command::Full { who: who(members)?, full: true }),
        ("room", [members]) => Ok(Command::Full { who: who(members)?, full: false }),
        ("kill", [members]) => Ok(Command::Kill(who(members)?)),
        ("restart", [members]) => Ok(Command::Restart(who(members)?)),
        ("cut", [place]) if place.contains('-') => Ok(Command::Cut(Cut::Link(link(place, '-')?))),
        ("cut", [member]) => Ok(Command::Cut(Cut::Member(node(member)?))),
        ("link", [told, place]) => Ok(Command::LinkDown { told: node(told)?, link: link(place, '-')? }),
        ("deliver", rest) => Ok(Command::Deliver(selector(rest)?)),
        ("repeat", rest) => Ok(Command::Repeat(selector(rest)?)),
        ("drop", rest) => Ok(Command::Drop(selector(rest)?)),
        (name, rest) => parse_longer(name, rest),
    }
}

/// Those that have more to them.
fn parse_longer(name: &str, rest: &[&str]) -> Result<Command, String> {
    match (name, rest) {
        ("members", [count, knobs @ ..]) => Ok(Command::Members { count: number(count)?, knobs: pairs(knobs)? }),
        ("forge", [place, message @ ..]) if !message.is_empty() => {
            Ok(Command::Forge { link: link(place, '>')?, message: message.join(" ") })
        }
        ("done", [member]) => Ok(Command::Done { member: node(member)?, which: Which::All }),
        ("done", [member, which]) => Ok(Command::Done { member: node(member)?, which: parse_which(which) }),
        ("fail", [member, which, error @ ..]) if !error.is_empty() => {
            Ok(Command::Fail { member: node(member)?, which: parse_which(which), error: error.join(" ") })
        }
        ("crash", [member]) => Ok(Command::Crash { member: node(member)?, fate: Fate::Lost }),
        ("crash", [member, "keep", which]) => {
            Ok(Command::Crash { member: node(member)?, fate: Fate::Kept(parse_which(which)) })
        }
        ("crash", [member, "tear", which]) => {
            Ok(Command::Crash { member: node(member)?, fate: Fate::Torn(parse_which(which)) })
        }
        ("puts", [member, count, value @ ..]) if value.len() < 2 => {
            let value = value.first().map(|word| (*word).to_owned());
            Ok(Command::Puts { member: node(member)?, count: number(count)?, value })
        }
        ("watch", [member, stream, key, from @ ..]) => {
            let from = match pairs(from)?.as_slice() {
                [] => 0,
                [(name, from)] if name == "from" => i64::try_from(*from).map_err(|_| "no such revision")?,
                _ => return Err("only from=REVISION may follow".to_owned()),
            };
            Ok(Command::Watch { member: node(member)?, stream: number(stream)?, key: (*key).to_owned(), from })
        }
        ("credit", [member, stream, bytes]) => {
            Ok(Command::Credit { member: node(member)?, stream: number(stream)?, bytes: number(bytes)? })
        }
        (name, [member, rest @ ..]) if CALLS.contains(&name) => {
            let words = std::iter::once(&name).chain(rest).map(|word| (*word).to_owned()).collect();
            Ok(Command::Call { member: node(member)?, words })
        }
        _ => Err("no such command".to_owned()),
    }
}

/// A number in decimal digits.
pub fn number<N: std::str::FromStr>(word: &str) -> Result<N, String> {
    word.parse().map_err(|_| format!("'{word}' is not such a number"))
}

fn node(word: &str) -> Result<NodeId, String> {
    number(word).map(NodeId)
}

fn millis(word: &str) -> Result<Duration, String> {
    number(word).map(Duration::from_millis)
}

fn who(word: &str) -> Result<Who, String> {
    if word == "all" {
        return Ok(Who::All);
    }
    word.split(',').map(node).collect::<Result<_, _>>().map(Who::These)
}

fn link(word: &str, between: char) -> Result<Link, String> {
    let (one, other) = word.split_once(between).ok_or_else(|| format!("'{word}' is no A{between}B"))?;
    Ok((node(one)?, node(other)?))
}

fn pairs(words: &[&str]) -> Result<Vec<(String, u64)>, String> {
    let pair = |word: &&str| {
        let (name, value) = word.split_once('=').ok_or_else(|| format!("'{word}' is no NAME=NUMBER"))?;
        Ok((name.to_owned(), number(value)?))
    };
    words.iter().map(pair).collect()
}

fn parse_which(word: &str) -> Which {
    match (word, word.parse()) {
        ("next", _) => Which::Next,
        (_, Ok(number)) => Which::Number(number),
        (kind, Err(_)) => Which::Kind(kind.to_owned()),
    }
}

fn selector(words: &[&str]) -> Result<Selector, String> {
    let (place, kind) = match words {
        [place] => (*place, None),
        [place, kind] => (*place, Some((*kind).to_owned())),
        _ => return Err("name the messages".to_owned()),
    };
    if place == "*" {
        return Ok(Selector { kind, ..Selector::default() });
    }
    let (link, name) = place.split_once('#').map_or((place, None), |(link, name)| (link, Some(name)));
    let (from, to) = link.split_once('>').ok_or_else(|| format!("'{place}' names no messages"))?;
    let end = |word: &str| if word == "*" { Ok(None) } else { node(word).map(Some) };
    Ok(Selector { from: end(from)?, to: end(to)?, number: name.map(number).transpose()?, kind })
}

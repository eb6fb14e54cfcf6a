//! A recorded run as the file that `detcd-sim check` reads.

use std::io::{self, Write};

use detcd_scenarios::history_file::{Header, Line, What, Writer};

use super::{RealRun, TimedHistory};

impl RealRun {
    /// The first line of its file.
    pub fn header(&self) -> Header {
        Header::of_real_cluster(self.member_ids.clone())
    }

    /// The other lines for `history`, which is that of this run or a spoilt copy, with the deaths of the run.
    pub fn lines(&self, history: &TimedHistory) -> Vec<Line> {
        let died = |place: usize| What::Died(self.member_ids[place]);
        let mut lines: Vec<Line> =
            self.deaths.iter().map(|death| Line { at: death.at, what: died(death.place) }).collect();
        lines.extend(history.iter().map(|(at, event)| Line { at: *at, what: What::History(event.clone()) }));
        // Deaths stay before what happened at the same time: restarted members may be behind what they told before.
        lines.sort_by_key(|line| line.at);
        lines
    }

    /// Writes its file.
    ///
    /// # Errors
    /// Whatever `to` says.
    pub fn write(&self, to: impl Write) -> io::Result<()> {
        let mut writer = Writer::begin(to, &self.header())?;
        self.lines(&self.history).iter().try_for_each(|line| writer.line(line))?;
        writer.end().map(drop)
    }
}

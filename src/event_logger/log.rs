//! When a log file is due, what it is called, and what stands in it (`protocol-md-ca-el.md` §4.4).
//!
//! Pure: the time is an argument, files are opened and written by [`super::server`].

use super::json::{self, Refusal};
use super::{Event, EventType};
use crate::config;
use jiff::{Timestamp, Zoned};
use std::path::PathBuf;
use std::time::Duration;

/// Local time of a line.
const TIME_FORMAT: &str = "%Y-%m-%d %H:%M:%S%z";

/// A file that has to be opened before the next line is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// To be opened for appending, its folder created if missing.
    pub path: PathBuf,
    /// The log-opened event, to be written first.
    pub line: String,
}

/// Where the files are, what they are called, and how long each is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    pub folder: PathBuf,
    /// Has passed [`check_name_template`].
    pub name_template: String,
    pub rotate_interval: Option<Duration>,
    /// A new file begins before one grows beyond it.
    pub bytes_max: Option<u64>,
}

impl From<&config::EventLogger> for Files {
    fn from(settings: &config::EventLogger) -> Self {
        Self {
            folder: settings.output.clone(),
            name_template: settings.log_format.clone(),
            rotate_interval: settings.rotate_interval,
            bytes_max: settings.file_bytes_max,
        }
    }
}

/// The state of one log: which file is open since when.
#[derive(Clone, Debug)]
pub struct Log {
    files: Files,
    opened_at: Option<Timestamp>,
    /// Bytes of the file that is open.
    bytes: u64,
    files_opened: u64,
}

impl Log {
    pub fn new(files: Files) -> Self {
        Self { files, opened_at: None, bytes: 0, files_opened: 0 }
    }

    /// Other settings: where they name another file, it is due.
    pub fn reload(&mut self, files: Files) {
        if (&files.folder, &files.name_template) != (&self.files.folder, &self.files.name_template) {
            self.opened_at = None;
        }
        self.files = files;
    }

    /// Bytes that the file that is open may still get.
    pub fn room_bytes(&self) -> u64 {
        self.files.bytes_max.map_or(u64::MAX, |max| max.saturating_sub(self.bytes))
    }

    /// Whether a file of so many bytes takes so many more; an empty one takes anything.
    pub fn has_room(&self, bytes: u64, more_bytes: usize) -> bool {
        bytes == 0 || self.files.bytes_max.is_none_or(|max| bytes + more_bytes as u64 <= max)
    }

    /// The file that a line of now, of so many bytes, needs opened first, if the one that is open does not do.
    pub fn due(&self, now: &Zoned, line_bytes: usize) -> Option<Opening> {
        if let Some(opened_at) = self.opened_at {
            // A clock that was set back does not rotate: the age is negative, and the conversion fails.
            let age = Duration::try_from(now.timestamp().duration_since(opened_at)).unwrap_or_default();
            if self.files.rotate_interval.is_none_or(|interval| age < interval) && !self.is_full(line_bytes) {
                return None;
            }
        }
        let note = if self.files_opened == 0 { "Log opened upon Event Logger startup." } else { "Log cycled." };
        let event = Event::new(EventType::LogOpened, "EventLogger".into()).with("msg", note);
        // A template that expands at load and not now does not exist; were there one, its text is a name as well.
        let name = now_as(&self.files.name_template, now).unwrap_or_else(|_| self.files.name_template.clone());
        let line = line(&event.encode(), now).expect("an event of strings is a valid packet");
        Some(Opening { path: self.files.folder.join(name), line })
    }

    /// The file of [`Log::due`] was opened, and has so many bytes with its first line.
    pub fn opened(&mut self, now: &Zoned, bytes: u64) {
        self.opened_at = Some(now.timestamp());
        self.bytes = bytes;
        self.files_opened += 1;
    }

    /// So many bytes were appended to it.
    pub fn wrote(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// Whether another line would make the file larger than it may be.
    fn is_full(&self, line_bytes: usize) -> bool {
        self.room_bytes() < line_bytes as u64
    }
}

/// The line of a packet that arrived now, with its newline.
///
/// # Errors
/// [`Refusal`], if the packet adds no line (§4.3).
pub fn line(packet: &[u8], now: &Zoned) -> Result<String, Refusal> {
    line_at(packet, &time_text(now))
}

/// The time of lines, as they have it.
pub(super) fn time_text(now: &Zoned) -> String {
    now_as(TIME_FORMAT, now).unwrap_or_else(|_| now.to_string())
}

/// As [`line`], for packets that arrived together: writing the time costs more than the rest of a line.
pub(super) fn line_at(packet: &[u8], time: &str) -> Result<String, Refusal> {
    let mut line = json::line(packet, time)?;
    line.push('\n');
    Ok(line)
}

fn now_as(template: &str, now: &Zoned) -> Result<String, jiff::Error> {
    jiff::fmt::strtime::format(template, now)
}

/// Accepts a template of file names in strftime's language.
///
/// # Errors
/// Why it cannot name a file.
pub fn check_name_template(template: &str) -> Result<String, String> {
    let name = now_as(template, &Zoned::now()).map_err(|error| error.to_string())?;
    if name.is_empty() || name.ends_with('/') || name.starts_with('/') || name.split('/').any(|part| part == "..") {
        return Err(format!("\"{name}\" is no name of a file inside `output`"));
    }
    Ok(template.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Zoned {
        // 2026-11-22 08:33:34 UTC and so many seconds.
        let timestamp = Timestamp::from_second(1_795_336_414 + seconds).expect("in range");
        timestamp.to_zoned(jiff::tz::TimeZone::fixed(jiff::tz::offset(0)))
    }

    fn log(rotate_interval: Option<Duration>) -> Log {
        Log::new(Files {
            folder: "/logs".into(),
            name_template: "el-%Y-%m-%d-%H-%M-%S.log".into(),
            rotate_interval,
            bytes_max: None,
        })
    }

    #[test]
    fn el_7_the_first_line_of_a_file_is_the_log_opened_event() {
        let opening = log(None).due(&at(0), 10).expect("no file is open");
        assert_eq!(opening.path, PathBuf::from("/logs/el-2026-11-22-08-33-34.log"));
        assert_eq!(
            opening.line,
            "{\"_time\": \"2026-11-22 08:33:34+0000\", \"type\": \"log-opened\", \"sender\": \"EventLogger\", \
             \"msg\": \"Log opened upon Event Logger startup.\"}\n"
        );
    }

    #[test]
    fn a_file_that_could_not_be_opened_stays_due() {
        let log = log(None);
        assert!(log.due(&at(0), 10).is_some());
        assert!(log.due(&at(1), 10).is_some());
    }

    #[test]
    fn without_an_interval_a_file_lasts_for_ever() {
        let mut log = log(None);
        log.opened(&at(0), 0);
        assert_eq!(log.due(&at(1_000_000_000), 10), None);
    }

    #[test]
    fn rotation_comes_with_the_interval_and_names_the_new_file_by_its_own_time() {
        let mut log = log(Some(Duration::from_secs(60)));
        log.opened(&at(0), 0);
        assert_eq!(log.due(&at(59), 10), None);
        let opening = log.due(&at(60), 10).expect("the interval is over");
        assert_eq!(opening.path, PathBuf::from("/logs/el-2026-11-22-08-34-34.log"));
        assert!(opening.line.contains("Log cycled."), "{}", opening.line);
        log.opened(&at(60), 0);
        assert_eq!(log.due(&at(119), 10), None);
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_rotate() {
        let mut log = log(Some(Duration::from_secs(60)));
        log.opened(&at(0), 0);
        assert_eq!(log.due(&at(-3600), 10), None);
    }

    #[test]
    fn templates_that_name_no_file_are_refused() {
        assert!(check_name_template("el-%Y-%m-%d-%H-%M-%S.log").is_ok());
        assert!(check_name_template("events-%Y%m%d-%H%M%S.log").is_ok());
        assert!(check_name_template("%Y/%m.log").is_ok());
        for template in ["", "%", "el-%!", "/x", "../x", "x/"] {
            assert!(check_name_template(template).is_err(), "{template}");
        }
    }
}

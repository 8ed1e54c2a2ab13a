//! How far the database was on disk: a short note beside RocksDB's files, compared when the folder is opened.
//!
//! RocksDB cannot tell a log or a manifest that lost its end from one that was never written further, and starts with
//! what is left. (Logs that are closed, and tables, it does check.) The number of the last change that was synced and
//! the synced length of the manifest, noted after each sync, make the difference visible. The note is written without a
//! sync of its own, which would double the cost of every write: after a power cut it may be older than the files, and
//! then shows less, but it is never newer. So it raises no false alarm.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The name of the file in the folder.
pub(super) const SYNCED_FILE: &str = "donet.synced";
const MAGIC: &[u8; 8] = b"donetsyn";
const RECORD_BYTES: usize = 40;

/// What is known to be on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Synced {
    /// The last change.
    pub sequence: u64,
    /// The number of the manifest in use, and how many bytes of it.
    pub manifest: u64,
    pub manifest_bytes: u64,
}

/// The open file.
pub(super) struct SyncedMark(File);

impl SyncedMark {
    /// # Errors
    /// When the file can be neither opened nor created.
    pub fn open(directory: &Path) -> io::Result<Self> {
        let path = directory.join(SYNCED_FILE);
        OpenOptions::new().write(true).create(true).truncate(false).open(path).map(Self)
    }

    /// Notes that this much is on disk.
    pub fn note(&self, synced: Synced) -> io::Result<()> {
        self.0.write_all_at(&record(synced), 0)
    }

    /// Brings the note itself to disk.
    pub fn sync(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    /// What was noted last in this folder. `None` where nothing was, or where the note itself was cut or torn.
    pub fn read(directory: &Path) -> Option<Synced> {
        let bytes = fs::read(directory.join(SYNCED_FILE)).ok()?;
        let number = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let synced = Synced { sequence: number(8)?, manifest: number(16)?, manifest_bytes: number(24)? };
        (bytes == record(synced)).then_some(synced)
    }
}

/// Magic, the numbers, and a check over them: FNV-1a.
fn record(synced: Synced) -> [u8; RECORD_BYTES] {
    let mut record = [0; RECORD_BYTES];
    record[..8].copy_from_slice(MAGIC);
    record[8..16].copy_from_slice(&synced.sequence.to_le_bytes());
    record[16..24].copy_from_slice(&synced.manifest.to_le_bytes());
    record[24..32].copy_from_slice(&synced.manifest_bytes.to_le_bytes());
    let check = record[..32]
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    record[32..].copy_from_slice(&check.to_le_bytes());
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_pinned_and_a_torn_one_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(SyncedMark::read(folder.path()), None);
        let synced = Synced { sequence: 0x0102, manifest: 5, manifest_bytes: 0x0304 };
        SyncedMark::open(folder.path()).unwrap().note(synced).unwrap();
        assert_eq!(SyncedMark::read(folder.path()), Some(synced));
        let path = folder.path().join(SYNCED_FILE);
        let bytes = fs::read(&path).unwrap();
        assert_eq!(bytes[..32], *b"donetsyn\x02\x01\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\x04\x03\0\0\0\0\0\0");
        assert_eq!(bytes.len(), RECORD_BYTES);
        for cut in 0..bytes.len() {
            fs::write(&path, &bytes[..cut]).unwrap();
            assert_eq!(SyncedMark::read(folder.path()), None);
        }
        let mut torn = bytes;
        torn[9] ^= 1;
        fs::write(&path, torn).unwrap();
        assert_eq!(SyncedMark::read(folder.path()), None);
    }
}

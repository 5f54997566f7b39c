//! The bytes of a recording, in order. A reader in, slices out; knows where it is.
//!
//! Streams: keeps one buffer that grows to the longest piece asked for and no further, and never
//! seeks, so a pipe is as good as a file. What has been taken is cleared before more is read.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::ReplayError;

/// How much is read at once.
const CHUNK: usize = 64 * 1024;

/// A handle that tells how far a recording has been read, also from another thread.
#[derive(Clone, Debug)]
pub struct Progress {
    read: Arc<AtomicU64>,
    total: Option<u64>,
}

/// The bytes of one recording.
pub(super) struct Source {
    name: Arc<str>,
    reader: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    /// The part of the buffer that was read and not yet taken.
    start: usize,
    end: usize,
    /// Where in the recording `start` is.
    offset: u64,
    at_end: bool,
    /// Whether the last line taken had its end.
    line_is_whole: bool,
    progress: Progress,
}

// === impl Progress ===

impl Progress {
    /// How many bytes have been replayed.
    pub fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// How many bytes there are; `None` when the recording comes through a pipe.
    pub fn total(&self) -> Option<u64> {
        self.total
    }
}

// === impl Source ===

impl Source {
    /// Opens a file, or standard input for `-`.
    pub(super) fn open(path: &Path) -> Result<Self, ReplayError> {
        if path == Path::new("-") {
            return Ok(Self::new("standard input", Box::new(io::stdin()), None));
        }
        let name = path.display().to_string();
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
        match opened {
            Ok((metadata, file)) => {
                let total = metadata.is_file().then_some(metadata.len());
                Ok(Self::new(&name, Box::new(file), total))
            }
            Err(source) => Err(ReplayError::Open { name: name.into(), source }),
        }
    }

    pub(super) fn new(name: &str, reader: Box<dyn Read + Send>, total: Option<u64>) -> Self {
        Self {
            name: name.into(),
            reader,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            offset: 0,
            at_end: false,
            line_is_whole: true,
            progress: Progress { read: Arc::default(), total },
        }
    }

    pub(super) fn name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Where the next byte to be taken stands.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// What has been read ahead.
    pub(super) fn ahead(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Reads ahead until `want` bytes are there or the recording ends. Says whether they are there.
    pub(super) fn fill(&mut self, want: usize) -> Result<bool, ReplayError> {
        while self.end - self.start < want && !self.at_end {
            self.read_more(want)?;
        }
        Ok(self.end - self.start >= want)
    }

    /// Reads ahead by whatever comes next. Says whether the recording goes on.
    pub(super) fn fill_some(&mut self) -> Result<bool, ReplayError> {
        let before = self.end - self.start;
        self.fill(before + 1)
    }

    /// Takes `count` bytes of a `what` that began at `begin`.
    pub(super) fn take(
        &mut self,
        count: usize,
        what: &'static str,
        begin: u64,
    ) -> Result<&[u8], ReplayError> {
        if !self.fill(count)? {
            return Err(self.truncated(what, begin));
        }
        let taken = self.start..self.start + count;
        self.advance(count);
        Ok(self.buffer.get(taken).unwrap_or_default())
    }

    /// Takes exactly as many bytes as fit the array.
    pub(super) fn array<const N: usize>(
        &mut self,
        what: &'static str,
        begin: u64,
    ) -> Result<[u8; N], ReplayError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, what, begin)?);
        Ok(array)
    }

    /// Passes over `count` bytes, however many, of a `what` that began at `begin`.
    pub(super) fn skip(
        &mut self,
        mut count: u64,
        what: &'static str,
        begin: u64,
    ) -> Result<(), ReplayError> {
        while count > 0 {
            if !self.fill(1)? {
                return Err(self.truncated(what, begin));
            }
            let step = usize::try_from(count).unwrap_or(usize::MAX).min(self.end - self.start);
            self.advance(step);
            count = count.saturating_sub(step as u64);
        }
        Ok(())
    }

    /// Takes the next line, without its end; `None` at the end of the recording. A last line that
    /// has no end is a line as well.
    pub(super) fn line(&mut self, longest: usize) -> Result<Option<&[u8]>, ReplayError> {
        let mut searched = 0;
        let (length, taken) = loop {
            let ahead = self.ahead();
            let fresh = ahead.get(searched..).unwrap_or_default();
            if let Some(place) = fresh.iter().position(|byte| *byte == b'\n') {
                break (searched + place, searched + place + 1);
            }
            searched = ahead.len();
            if searched > longest {
                return Err(self.damaged(self.offset, "text in lines of ordinary length"));
            }
            if !self.fill_some()? {
                if searched == 0 {
                    return Ok(None);
                }
                break (searched, searched);
            }
        };
        let start = self.start;
        self.line_is_whole = taken > length;
        self.advance(taken);
        let line = self.buffer.get(start..start + length).unwrap_or_default();
        Ok(Some(line.strip_suffix(b"\r").unwrap_or(line)))
    }

    /// Whether the last line taken had its end, so that nothing of it is missing.
    pub(super) fn line_is_whole(&self) -> bool {
        self.line_is_whole
    }

    pub(super) fn truncated(&self, what: &'static str, begin: u64) -> ReplayError {
        let end = self.offset + (self.end - self.start) as u64;
        ReplayError::Truncated { name: self.name(), what, begin, end }
    }

    pub(super) fn damaged(&self, offset: u64, expected: &'static str) -> ReplayError {
        ReplayError::Damaged { name: self.name(), offset, expected }
    }

    fn advance(&mut self, count: usize) {
        self.start += count;
        self.offset += count as u64;
        self.progress.read.store(self.offset, Ordering::Relaxed);
    }

    /// Makes room for `want` bytes ahead and reads once.
    fn read_more(&mut self, want: usize) -> Result<(), ReplayError> {
        let length = want.max(CHUNK);
        if self.buffer.len() < length {
            let mut longer = vec![0; length];
            longer.iter_mut().zip(self.ahead()).for_each(|(new, old)| *new = *old);
            self.buffer = longer;
        } else {
            self.buffer.copy_within(self.start..self.end, 0);
            let taken = self.end - self.start..self.end;
            self.buffer.get_mut(taken).unwrap_or_default().fill(0);
        }
        self.end -= self.start;
        self.start = 0;
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        match self.reader.read(room) {
            Ok(count) => {
                self.at_end = count == 0;
                self.end += count;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(source) => {
                Err(ReplayError::Read { name: self.name(), offset: self.offset, source })
            }
        }
    }
}

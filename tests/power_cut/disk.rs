//! A disk that forgets: file contents and names as programs see them, and as they would be after
//! a power cut.
//!
//! What survives for certain is what was synced: contents with `fsync` of the file, names with
//! `fsync` of the directory they are in. Real file systems keep more than that, so whatever is
//! safe here is safe there.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
};

/// Disks write sectors, kernels pages; a page that was not synced is there or is not.
const PAGE: usize = 4096;

/// The number of the root directory.
pub(crate) const ROOT: u64 = 1;

/// What a power cut leaves of all that was not synced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Cut {
    /// Nothing.
    KeepsNothing,
    /// Of each file a random part of the pages, of each directory the changes up to some moment.
    KeepsSome,
}

/// The contents of a file system.
#[derive(Debug)]
pub(crate) struct Disk {
    nodes: BTreeMap<u64, Node>,
    next: u64,
    syncs: u64,
    room: usize,
    /// Changes and syncs so far, and how many of them the disk is alive for. What comes later is
    /// seen by programs and will not have happened.
    steps: u64,
    lives_for: u64,
}

/// What a number stands for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    File { length: usize },
    Directory,
}

#[derive(Debug)]
enum Node {
    File(File),
    Directory(Directory),
}

#[derive(Debug, Default)]
struct File {
    now: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Resize(usize),
}

#[derive(Clone, Debug, Default)]
struct Directory {
    now: Names,
    durable: Names,
    unsynced: Vec<NameChange>,
}

type Names = BTreeMap<OsString, u64>;

#[derive(Clone, Debug)]
enum NameChange {
    Add(OsString, u64),
    Remove(OsString),
    /// One step: there is no moment at which both or neither of the names exist.
    Rename(OsString, OsString),
}

// === impl Disk ===

impl Disk {
    pub(crate) fn empty() -> Self {
        let root = Node::Directory(Directory::default());
        Self {
            nodes: BTreeMap::from([(ROOT, root)]),
            next: ROOT + 1,
            syncs: 0,
            room: usize::MAX,
            steps: 0,
            lives_for: u64::MAX,
        }
    }

    /// Limits how many bytes all files together may have.
    pub(crate) fn limit(&mut self, room: usize) {
        self.room = room;
    }

    /// How many changes and syncs there were.
    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    /// Cuts the power after so many more steps. Nobody notices before [`Self::cut_power`].
    pub(crate) fn die_after(&mut self, steps: u64) {
        self.lives_for = self.steps + steps;
    }

    fn lives(&mut self) -> bool {
        self.steps += 1;
        self.steps <= self.lives_for
    }

    /// How often anything was synced.
    pub(crate) fn syncs(&self) -> u64 {
        self.syncs
    }

    pub(crate) fn kind(&self, node: u64) -> Option<Kind> {
        Some(match self.nodes.get(&node)? {
            Node::File(file) => Kind::File { length: file.now.len() },
            Node::Directory(_) => Kind::Directory,
        })
    }

    pub(crate) fn look_up(&self, parent: u64, name: &OsStr) -> Option<u64> {
        self.names(parent)?.get(name).copied()
    }

    /// The names in a directory and the nodes they stand for.
    pub(crate) fn names(&self, directory: u64) -> Option<&Names> {
        match self.nodes.get(&directory)? {
            Node::Directory(directory) => Some(&directory.now),
            Node::File(_) => None,
        }
    }

    pub(crate) fn make_file(&mut self, parent: u64, name: &OsStr) -> Option<u64> {
        self.make(parent, name, Node::File(File::default()))
    }

    pub(crate) fn make_directory(&mut self, parent: u64, name: &OsStr) -> Option<u64> {
        self.make(parent, name, Node::Directory(Directory::default()))
    }

    fn make(&mut self, parent: u64, name: &OsStr, node: Node) -> Option<u64> {
        let (number, lives) = (self.next, self.lives());
        self.directory(parent)?.change(NameChange::Add(name.to_owned(), number), lives);
        self.nodes.insert(number, node);
        self.next += 1;
        Some(number)
    }

    /// Takes a name away. What it stood for stays, for those who have it open.
    pub(crate) fn remove(&mut self, parent: u64, name: &OsStr) -> Option<()> {
        self.look_up(parent, name)?;
        let lives = self.lives();
        self.directory(parent)?.change(NameChange::Remove(name.to_owned()), lives);
        Some(())
    }

    pub(crate) fn rename(&mut self, parent: u64, from: &OsStr, to: &OsStr) -> Option<()> {
        self.look_up(parent, from)?;
        let lives = self.lives();
        self.directory(parent)?.change(NameChange::Rename(from.to_owned(), to.to_owned()), lives);
        Some(())
    }

    pub(crate) fn read(&self, file: u64, offset: usize, length: usize) -> Option<&[u8]> {
        let Node::File(file) = self.nodes.get(&file)? else { return None };
        let start = offset.min(file.now.len());
        let end = start.saturating_add(length).min(file.now.len());
        Some(&file.now[start..end])
    }

    /// Whether a file may become so long.
    pub(crate) fn has_room(&self, file: u64, length: usize) -> bool {
        let others = self.nodes.iter().filter(|(number, _)| **number != file);
        let used: usize = others
            .map(|(_, node)| match node {
                Node::File(file) => file.now.len(),
                Node::Directory(_) => 0,
            })
            .sum();
        used.saturating_add(length) <= self.room
    }

    pub(crate) fn write(&mut self, file: u64, offset: usize, bytes: &[u8]) -> Option<()> {
        let lives = self.lives();
        self.file(file)?.change(Change::Write(offset, bytes.to_vec()), lives);
        Some(())
    }

    pub(crate) fn resize(&mut self, file: u64, length: usize) -> Option<()> {
        let lives = self.lives();
        self.file(file)?.change(Change::Resize(length), lives);
        Some(())
    }

    pub(crate) fn sync(&mut self, node: u64) -> Option<()> {
        self.syncs += 1;
        if !self.lives() {
            return Some(());
        }
        match self.nodes.get_mut(&node)? {
            Node::File(file) => {
                for change in file.unsynced.drain(..) {
                    change.apply(&mut file.durable);
                }
            }
            Node::Directory(directory) => {
                for change in directory.unsynced.drain(..) {
                    change.apply(&mut directory.durable);
                }
            }
        }
        Some(())
    }

    /// Forgets what a power cut would. Every node gets a new number, so that nothing the kernel
    /// remembers of the old ones is taken for the new.
    pub(crate) fn cut_power(&mut self, cut: Cut, random: &mut fastrand::Rng) {
        self.lives_for = u64::MAX;
        let mut old = std::mem::take(&mut self.nodes);
        self.restore(&mut old, ROOT, ROOT, cut, random);
    }

    fn restore(
        &mut self,
        old: &mut BTreeMap<u64, Node>,
        from: u64,
        to: u64,
        cut: Cut,
        random: &mut fastrand::Rng,
    ) {
        let Some(node) = old.remove(&from) else { return };
        let node = match node {
            Node::File(file) => Node::File(file.after(cut, random)),
            Node::Directory(directory) => {
                let mut names = directory.after(cut, random);
                for node in names.values_mut() {
                    let number = self.next;
                    self.next += 1;
                    self.restore(old, *node, number, cut, random);
                    *node = number;
                }
                // A name whose node is gone would be a hard link; nobody here makes any.
                names.retain(|_, node| self.nodes.contains_key(node));
                let durable = names.clone();
                Node::Directory(Directory { now: names, durable, unsynced: Vec::new() })
            }
        };
        self.nodes.insert(to, node);
    }

    fn directory(&mut self, number: u64) -> Option<&mut Directory> {
        match self.nodes.get_mut(&number)? {
            Node::Directory(directory) => Some(directory),
            Node::File(_) => None,
        }
    }

    fn file(&mut self, number: u64) -> Option<&mut File> {
        match self.nodes.get_mut(&number)? {
            Node::File(file) => Some(file),
            Node::Directory(_) => None,
        }
    }
}

// === impl File ===

impl File {
    fn change(&mut self, change: Change, lives: bool) {
        change.apply(&mut self.now);
        if lives {
            self.unsynced.push(change);
        }
    }

    fn after(mut self, cut: Cut, random: &mut fastrand::Rng) -> Self {
        if cut == Cut::KeepsSome {
            let share = *random.choice(&[0.0, 0.3, 0.7, 0.95]).unwrap_or(&0.5);
            for change in self.unsynced.iter().flat_map(Change::pages) {
                if random.f64() < share {
                    change.apply(&mut self.durable);
                }
            }
        }
        Self { now: self.durable.clone(), durable: self.durable, unsynced: Vec::new() }
    }
}

// === impl Change ===

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Resize(length) => bytes.resize(*length, 0),
            Self::Write(offset, written) => {
                let end = offset + written.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*offset..end].copy_from_slice(written);
            }
        }
    }

    /// The parts that reach the disk together.
    fn pages(&self) -> Vec<Self> {
        let Self::Write(offset, written) = self else {
            let Self::Resize(length) = self else { return Vec::new() };
            return vec![Self::Resize(*length)];
        };
        let mut pages = Vec::new();
        let (mut offset, mut rest) = (*offset, written.as_slice());
        while !rest.is_empty() {
            let (page, behind) = rest.split_at(rest.len().min(PAGE - offset % PAGE));
            pages.push(Self::Write(offset, page.to_vec()));
            offset += page.len();
            rest = behind;
        }
        pages
    }
}

// === impl Directory ===

impl Directory {
    fn change(&mut self, change: NameChange, lives: bool) {
        change.apply(&mut self.now);
        if lives {
            self.unsynced.push(change);
        }
    }

    fn after(&self, cut: Cut, random: &mut fastrand::Rng) -> Names {
        let mut names = self.durable.clone();
        if cut == Cut::KeepsSome {
            let kept = random.usize(0..=self.unsynced.len());
            self.unsynced.iter().take(kept).for_each(|change| change.apply(&mut names));
        }
        names
    }
}

impl NameChange {
    fn apply(&self, names: &mut Names) {
        match self {
            Self::Add(name, node) => {
                names.insert(name.clone(), *node);
            }
            Self::Remove(name) => {
                names.remove(name);
            }
            Self::Rename(from, to) => {
                if let Some(node) = names.remove(from) {
                    names.insert(to.clone(), node);
                }
            }
        }
    }
}

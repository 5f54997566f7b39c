//! Lets the kernel mount a [`Disk`].

use std::{
    ffi::OsStr,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request,
    TimeOrNow, WriteFlags,
};

use crate::{
    disk::{Cut, Disk, Kind},
    harness::say,
};

/// How often, and how far apart, to look whether everything was closed before unmounting.
const UNMOUNT_TRIES: u32 = 5000;
const UNMOUNT_STEP: Duration = Duration::from_millis(1);

/// The kernel is to remember nothing: after a power cut it would be wrong.
const FORGET_AT_ONCE: Duration = Duration::ZERO;

/// What is wrong with a disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Trouble {
    /// Nothing; it may be full, which is the disk's own affair.
    None,
    /// It was mounted anew to be read only, as the kernel does when it has found an error.
    ReadOnly,
    /// Whatever is read or written ends in an error.
    Failing,
}

/// A mounted [`Disk`]. Unmounted when dropped.
pub(crate) struct Mounted {
    disk: Arc<Mutex<Disk>>,
    trouble: Arc<Mutex<Trouble>>,
    open: Arc<AtomicU64>,
    session: Option<BackgroundSession>,
}

impl Mounted {
    /// Mounts an empty disk.
    pub(crate) fn at(path: &Path) -> Result<Self, String> {
        if !Path::new("/dev/fuse").exists() {
            return Err("the power-cut test needs /dev/fuse, which is not here: load the kernel \
                        module `fuse`, or give the container the device"
                .to_owned());
        }
        let disk = Arc::new(Mutex::new(Disk::empty()));
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("power-cut".to_owned())];
        let open = Arc::new(AtomicU64::new(0));
        let trouble = Arc::new(Mutex::new(Trouble::None));
        let forgetful = Forgetful {
            disk: Arc::clone(&disk),
            trouble: Arc::clone(&trouble),
            open: Arc::clone(&open),
        };
        let session = fuser::spawn_mount(forgetful, path, &config);
        let session = session.map_err(|error| {
            format!(
                "the power-cut test cannot mount a file system ({error}): run it as root, or \
                 install the package `fuse3` for `fusermount3` and allow this user /dev/fuse"
            )
        })?;
        Ok(Self { disk, trouble, open, session: Some(session) })
    }

    pub(crate) fn cut_power(&self, cut: Cut, random: &mut fastrand::Rng) {
        lock(&self.disk).cut_power(cut, random);
    }

    /// Breaks the disk, or repairs it.
    pub(crate) fn trouble(&self, trouble: Trouble) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// Limits how many bytes all files together may have.
    pub(crate) fn limit(&self, room: usize) {
        lock(&self.disk).limit(room);
    }

    /// Cuts the power after so many more changes and syncs, without anybody noticing yet.
    pub(crate) fn die_after(&self, steps: u64) {
        lock(&self.disk).die_after(steps);
    }

    pub(crate) fn steps(&self) -> u64 {
        lock(&self.disk).steps()
    }

    pub(crate) fn syncs(&self) -> u64 {
        lock(&self.disk).syncs()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // sled's threads may close a file a little later than its owner; a busy file system cannot
        // be unmounted.
        for _ in 0..UNMOUNT_TRIES {
            if self.open.load(Ordering::SeqCst) == 0 {
                break;
            }
            std::thread::sleep(UNMOUNT_STEP);
        }
        if let Some(Err(error)) = self.session.take().map(BackgroundSession::umount_and_join) {
            say(&format!("the file system could not be unmounted: {error}"));
        }
    }
}

struct Forgetful {
    disk: Arc<Mutex<Disk>>,
    trouble: Arc<Mutex<Trouble>>,
    /// Files and directories that are open.
    open: Arc<AtomicU64>,
}

fn lock(disk: &Mutex<Disk>) -> MutexGuard<'_, Disk> {
    disk.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Forgetful {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        lock(&self.disk)
    }

    /// Why nothing can be changed now, if nothing can.
    fn refusal(&self) -> Option<Errno> {
        match *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) {
            Trouble::None => None,
            Trouble::ReadOnly => Some(Errno::EROFS),
            Trouble::Failing => Some(Errno::EIO),
        }
    }

    /// Why nothing can be read now, if nothing can.
    fn blindness(&self) -> Option<Errno> {
        self.refusal().filter(|errno| *errno == Errno::EIO)
    }

    fn opened(&self) {
        self.open.fetch_add(1, Ordering::SeqCst);
    }

    fn closed(&self, reply: ReplyEmpty) {
        self.open.fetch_sub(1, Ordering::SeqCst);
        reply.ok();
    }
}

fn attributes(disk: &Disk, node: u64) -> Option<FileAttr> {
    let (kind, length) = match disk.kind(node)? {
        Kind::File { length } => (FileType::RegularFile, length),
        Kind::Directory => (FileType::Directory, 0),
    };
    let size = u64::try_from(length).ok()?;
    Some(FileAttr {
        ino: INodeNo(node),
        size,
        blocks: size.div_ceil(512),
        atime: SystemTime::UNIX_EPOCH,
        mtime: SystemTime::UNIX_EPOCH,
        ctime: SystemTime::UNIX_EPOCH,
        crtime: SystemTime::UNIX_EPOCH,
        kind,
        perm: 0o700,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    })
}

fn answer(reply: ReplyEmpty, done: Option<()>) {
    match done {
        Some(()) => reply.ok(),
        None => reply.error(Errno::ENOENT),
    }
}

fn introduce(reply: ReplyEntry, disk: &Disk, node: Option<u64>) {
    match node.and_then(|node| attributes(disk, node)) {
        Some(attributes) => reply.entry(&FORGET_AT_ONCE, &attributes, Generation(0)),
        None => reply.error(Errno::ENOENT),
    }
}

/// File handles carry nothing.
const NO_HANDLE: FileHandle = FileHandle(0);

impl Filesystem for Forgetful {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let disk = self.disk();
        introduce(reply, &disk, disk.look_up(parent.0, name));
    }

    fn getattr(&self, _: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match attributes(&self.disk(), node.0) {
            Some(attributes) => reply.attr(&FORGET_AT_ONCE, &attributes),
            None => reply.error(Errno::ESTALE),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        node: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        if let Some(errno) = self.refusal() {
            return reply.error(errno);
        }
        let mut disk = self.disk();
        if let Some(size) = size.and_then(|size| usize::try_from(size).ok())
            && disk.resize(node.0, size).is_none()
        {
            return reply.error(Errno::ESTALE);
        }
        match attributes(&disk, node.0) {
            Some(attributes) => reply.attr(&FORGET_AT_ONCE, &attributes),
            None => reply.error(Errno::ESTALE),
        }
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        if let Some(errno) = self.refusal() {
            return reply.error(errno);
        }
        let mut disk = self.disk();
        let made = disk.make_directory(parent.0, name);
        introduce(reply, &disk, made);
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        if let Some(errno) = self.refusal() {
            return reply.error(errno);
        }
        let mut disk = self.disk();
        let made = disk.make_file(parent.0, name).and_then(|node| attributes(&disk, node));
        match made {
            Some(attributes) => {
                self.opened();
                let (ttl, generation) = (&FORGET_AT_ONCE, Generation(0));
                reply.created(ttl, &attributes, generation, NO_HANDLE, FopenFlags::empty());
            }
            None => reply.error(Errno::ENOENT),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        if let Some(errno) = self.refusal() {
            return reply.error(errno);
        }
        let done = self.disk().remove(parent.0, name);
        answer(reply, done);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        if let Some(errno) = self.refusal() {
            return reply.error(errno);
        }
        let mut disk = self.disk();
        let node = disk.look_up(parent.0, name);
        let names = node.and_then(|node| disk.names(node));
        if names.is_some_and(|names| !names.is_empty()) {
            return reply.error(Errno::ENOTEMPTY);
        }
        let done = disk.remove(parent.0, name);
        answer(reply, done);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if let Some(errno) = self.refusal() {
            return reply.error(errno);
        }
        if parent != new_parent || !flags.is_empty() {
            return reply.error(Errno::EINVAL);
        }
        let done = self.disk().rename(parent.0, name, new_name);
        answer(reply, done);
    }

    fn open(&self, _: &Request, _: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let writes = flags.0 & (libc::O_WRONLY | libc::O_RDWR) != 0;
        if let Some(errno) = if writes { self.refusal() } else { self.blindness() } {
            return reply.error(errno);
        }
        self.opened();
        reply.opened(NO_HANDLE, FopenFlags::empty());
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.closed(reply);
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.opened();
        reply.opened(NO_HANDLE, FopenFlags::empty());
    }

    fn releasedir(&self, _: &Request, _: INodeNo, _: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.closed(reply);
    }

    fn read(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        if let Some(errno) = self.blindness() {
            return reply.error(errno);
        }
        let disk = self.disk();
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        match disk.read(node.0, offset, size) {
            Some(bytes) => reply.data(bytes),
            None => reply.error(Errno::ESTALE),
        }
    }

    fn write(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        bytes: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        if let Some(errno) = self.refusal() {
            return reply.error(errno);
        }
        let mut disk = self.disk();
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        if !disk.has_room(node.0, offset.saturating_add(bytes.len())) {
            return reply.error(Errno::ENOSPC);
        }
        match (disk.write(node.0, offset, bytes), u32::try_from(bytes.len())) {
            (Some(()), Ok(length)) => reply.written(length),
            _ => reply.error(Errno::ESTALE),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, node: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        if let Some(errno) = self.refusal() {
            return reply.error(errno);
        }
        let done = self.disk().sync(node.0);
        answer(reply, done);
    }

    fn fsyncdir(&self, _: &Request, node: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        if let Some(errno) = self.refusal() {
            return reply.error(errno);
        }
        let done = self.disk().sync(node.0);
        answer(reply, done);
    }

    fn readdir(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let disk = self.disk();
        let Some(names) = disk.names(node.0) else { return reply.error(Errno::ESTALE) };
        let skip = usize::try_from(offset).unwrap_or(usize::MAX);
        for ((name, &child), next) in names.iter().zip(1..).skip(skip) {
            let Some(attributes) = attributes(&disk, child) else { continue };
            if reply.add(attributes.ino, next, attributes.kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let (blocks, files) = (1 << 20, 1 << 16);
        reply.statfs(blocks, blocks, blocks, files, files, 4096, 255, 4096);
    }
}

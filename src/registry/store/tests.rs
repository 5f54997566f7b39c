use std::{
    fs,
    os::unix::fs::{FileExt, PermissionsExt},
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::{layout::HEAD, *};
use crate::{
    engine::{ClockQuality, Pseudonym},
    registry::form,
    seal::{CREDENTIAL, KeyOrigin, KeySource},
};

/// A state directory with a registry in it.
struct Shop {
    dir: TempDir,
    keys: KeySource,
}

impl Shop {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let keys = KeySource::new(dir.path(), None);
        Self { dir, keys }
    }

    /// With these subjects, enrolled from a file.
    fn with(subjects: &[Subject]) -> Self {
        let shop = Self::new();
        shop.open().replace(subjects, &[], &Order::local(), &mut |_| ()).unwrap();
        shop
    }

    fn try_open(&self) -> Result<RegistryStore, RegistryStoreError> {
        RegistryStore::open(self.dir.path(), &self.keys, Clock::start())
    }

    fn open(&self) -> RegistryStore {
        self.try_open().unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("registry").join(name)
    }

    fn names(&self) -> Vec<String> {
        enrolled(&self.open())
    }

    fn entries(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("")).unwrap();
        let mut entries: Vec<String> =
            entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        entries.sort();
        entries
    }
}

fn subject(name: &str, from: &str) -> Subject {
    let digest = ring::digest::digest(&ring::digest::SHA256, name.as_bytes());
    let irk = hex::encode(&digest.as_ref()[..16]);
    let line = format!(
        r#"{{"subject":"{name}","kind":"customer","identifiers":[{{"irk":"{irk}"}}],"consent":{{"purposes":["presence"],"from":"{from}","proof":"form-{name}"}}}}"#
    );
    crate::registry::parse(&line).unwrap().remove(0)
}

fn subjects(names: impl IntoIterator<Item = impl ToString>) -> Vec<Subject> {
    let subject = |name: String| subject(&name, "2026-01-01T00:00:00Z");
    names.into_iter().map(|name| subject(name.to_string())).collect()
}

fn withdraw(name: &str) -> Change {
    Change::Withdraw(Pseudonym::new(name))
}

fn enrolled(store: &RegistryStore) -> Vec<String> {
    let loaded = store.load(&mut |_| ()).unwrap();
    assert_eq!(loaded.unreadable, 0);
    let mut names: Vec<String> =
        loaded.subjects.iter().map(|it| it.pseudonym.to_string()).collect();
    names.sort();
    names
}

/// Every byte of every file below a directory.
fn everything_in(dir: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        bytes.extend(if path.is_dir() { everything_in(&path) } else { fs::read(&path).unwrap() });
    }
    bytes
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

#[test]
fn what_is_enrolled_comes_back_and_nothing_of_it_can_be_read_on_the_disk() {
    let given = subjects(["ann_of_the_shop", "bob_of_the_shop"]);
    let shop = Shop::with(&given);
    let store = shop.open();
    let (ann, source) = store.get("ann_of_the_shop").unwrap().unwrap();
    let (mut written, mut expected) = (Vec::new(), Vec::new());
    form::write(&ann, &mut written);
    form::write(&given[0], &mut expected);
    assert_eq!((written, source), (expected, Source::File));
    assert!(store.get("cyd").unwrap().is_none());
    drop(store);
    let bytes = everything_in(&shop.path(""));
    let irk = ring::digest::digest(&ring::digest::SHA256, b"ann_of_the_shop");
    let irk = &irk.as_ref()[..16];
    for secret in [b"_of_the_shop".as_slice(), b"form-", irk, hex::encode(irk).as_bytes()] {
        assert!(!contains(&bytes, secret));
    }
    for name in shop.entries() {
        let mode = fs::metadata(shop.path(&name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name}");
    }
}

#[test]
fn single_changes_count_and_are_announced() {
    let shop = Shop::with(&subjects(["a", "b"]));
    let before = stamp(shop.dir.path()).unwrap();
    let mut store = shop.open();
    let order = Order { platform: Some(b"state".to_vec()), ..Order::platform(7) };
    let changes = [
        Change::Upsert(subject("c", "2026-01-01T00:00:00Z")),
        Change::Upsert(subject("b", "2026-02-01T00:00:00Z")),
        withdraw("a"),
        withdraw("nobody"),
        // The last word counts.
        Change::Upsert(subject("d", "2026-01-01T00:00:00Z")),
        withdraw("d"),
    ];
    let applied = store.apply(&changes, &order).unwrap();
    assert_eq!(applied, Applied { added: 1, updated: 1, withdrawn: 1, unknown: 2 });
    drop(store);
    let store = shop.open();
    assert_eq!(enrolled(&store), ["b", "c"]);
    assert_eq!(store.get("b").unwrap().unwrap().1, Source::Platform);
    assert_eq!((store.platform(), store.version().command), (&b"state"[..], Some(7)));
    assert_eq!((store.version().subjects, store.version().withdrawn), (2, 3));
    assert_eq!(store.withdrawn().unwrap().len(), 3);
    assert_eq!(store.withdrawal("a").unwrap().unwrap().command, Some(7));
    assert_eq!(store.withdrawal("b").unwrap(), None);
    assert_eq!(stamp(shop.dir.path()), Some(before + 1));
    let whole = Verified { subjects: 2, withdrawn: 3, ..Verified::default() };
    assert_eq!(store.verify(&mut |_| ()).unwrap(), whole);
}

#[test]
fn many_changes_at_once_are_as_good_as_few() {
    let shop = Shop::with(&subjects(0..10));
    let mut store = shop.open();
    let mut changes: Vec<Change> = subjects(5..600).into_iter().map(Change::Upsert).collect();
    changes.push(withdraw("3"));
    let applied = store.apply(&changes, &Order::platform(1)).unwrap();
    assert_eq!(applied, Applied { added: 590, updated: 5, withdrawn: 1, unknown: 0 });
    assert_eq!(store.version().subjects, 599);
    assert_eq!(store.version().generation, 3, "too many for one batch");
    assert!(store.withdrawal("3").unwrap().is_some());
    assert_eq!(store.get("4").unwrap().unwrap().1, Source::File);
    assert_eq!(store.get("5").unwrap().unwrap().1, Source::Platform);
}

#[test]
fn who_withdrew_is_not_enrolled_by_a_file_or_an_older_snapshot_but_expressly() {
    let shop = Shop::with(&subjects(["a", "b", "c"]));
    let mut store = shop.open();
    store.apply(&[withdraw("a")], &Order::local()).unwrap();
    store.apply(&[withdraw("b")], &Order::platform(5)).unwrap();
    let none = &mut |_| ();
    let all = subjects(["a", "b", "c"]);
    let replaced = store.replace(&all, &[], &Order::local(), none).unwrap();
    let passed_over: Vec<&str> = replaced.passed_over.iter().map(Pseudonym::as_str).collect();
    assert_eq!((passed_over, replaced.enrolled), (vec!["a", "b"], 1));
    // The platform knew of b's withdrawal when it made this snapshot, but not of a's.
    let replaced = store.replace(&all, &[], &Order::platform(6), none).unwrap();
    assert_eq!(replaced.passed_over, [Pseudonym::new("a")]);
    assert_eq!(enrolled(&store), ["b", "c"]);
    // A consent that was given after the withdrawal is a new one. (Where the clock of this machine
    // is not set, no such time can be told, and the person stays out.)
    let synced = Clock::start().wall().quality == ClockQuality::Synced;
    let anew = [subject("a", "2999-01-01T00:00:00Z")];
    let replaced = store.replace(&anew, &[], &Order::platform(7), none).unwrap();
    assert_eq!((replaced.enrolled, replaced.removed), (u64::from(synced), 2));
    store.apply(&[withdraw("a")], &Order::local()).unwrap();
    let express = [Change::Upsert(subject("a", "2026-01-01T00:00:00Z"))];
    store.apply(&express, &Order::platform(8)).unwrap();
    assert_eq!(enrolled(&store), ["a"]);
    assert_eq!(store.withdrawal("a").unwrap(), None);
}

#[test]
fn a_snapshot_replaces_what_the_platform_enrolled_and_leaves_what_files_did() {
    let shop = Shop::with(&subjects(["badge", "trolley"]));
    let mut store = shop.open();
    let none = &mut |_| ();
    store.replace(&subjects(["a", "b"]), &[], &Order::platform(1), none).unwrap();
    assert_eq!(enrolled(&store), ["a", "b", "badge", "trolley"]);
    let withdrawn = [Pseudonym::new("badge"), Pseudonym::new("x"), Pseudonym::new("c")];
    let snapshot = subjects(["b", "c", "d"]);
    let replaced = store.replace(&snapshot, &withdrawn, &Order::platform(2), none).unwrap();
    assert_eq!(
        replaced,
        Replaced { enrolled: 2, removed: 1, kept: 1, passed_over: vec![Pseudonym::new("c")] }
    );
    assert_eq!(enrolled(&store), ["b", "d", "trolley"]);
    assert_eq!(store.version().withdrawn, 3);
}

/// After a withdrawal the sealed bytes may still be in sled's log. Nothing opens them: not even with
/// all keys, because the salt is gone from the disk.
#[test]
fn what_a_withdrawn_subject_was_sealed_with_leaves_the_disk() {
    let shop = Shop::with(&subjects(["a", "b"]));
    let salts = fs::read(shop.path("store-2/salts")).unwrap();
    let mut store = shop.open();
    store.apply(&[withdraw("a")], &Order::local()).unwrap();
    store.apply(&[Change::Upsert(subject("b", "2026-03-01T00:00:00Z"))], &Order::local()).unwrap();
    drop(store);
    let bytes = everything_in(&shop.path(""));
    for salt in salts.chunks(32) {
        assert!(salt.iter().any(|&byte| byte != 0) && !contains(&bytes, salt));
    }
    assert_eq!(shop.names(), ["b"]);
}

#[test]
fn a_whole_generation_leaves_the_disk_with_its_salts() {
    let shop = Shop::with(&subjects(["a"]));
    // A second name for the file shows what becomes of its blocks.
    fs::hard_link(shop.path("store-2/salts"), shop.dir.path().join("blocks")).unwrap();
    shop.open().replace(&subjects(["b"]), &[], &Order::local(), &mut |_| ()).unwrap();
    assert_eq!(shop.entries(), ["changed", "lock", "store-3"]);
    let blocks = fs::read(shop.dir.path().join("blocks")).unwrap();
    assert_eq!(blocks, [0; 32]);
}

#[test]
fn a_replacement_that_was_cut_short_leaves_one_registry_or_the_other() {
    let shop = Shop::with(&subjects(["old"]));
    let other = Shop::with(&subjects(["old"]));
    copy(shop.dir.path(), other.dir.path());
    other.open().replace(&subjects(["new"]), &[], &Order::local(), &mut |_| ()).unwrap();

    // Before it got its number: half made, or complete.
    fs::create_dir_all(shop.path("new/sled")).unwrap();
    fs::write(shop.path("new/salts"), [7; 32]).unwrap();
    assert_eq!(shop.names(), ["old"]);
    copy(&other.path("store-3"), &shop.path("new"));
    assert_eq!(shop.names(), ["old"]);
    assert_eq!(shop.entries(), ["changed", "lock", "store-2"], "nothing is left lying about");

    // After: the old one is still there, and is cleared away.
    copy(&other.path("store-3"), &shop.path("store-3"));
    assert_eq!(shop.names(), ["new"]);
    assert_eq!(shop.entries(), ["changed", "lock", "store-3"]);
}

fn copy(from: &Path, to: &Path) {
    if to.is_dir() {
        fs::remove_dir_all(to).unwrap();
    }
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, &to).unwrap();
        }
    }
}

#[test]
fn a_change_that_was_cut_short_is_there_or_not_and_its_salts_are_cleared() {
    let shop = Shop::with(&subjects(["a", "b"]));
    // The salts of a change come first, and are all that is left when it stops there.
    let salts = fs::OpenOptions::new().append(true).open(shop.path("store-2/salts")).unwrap();
    salts.write_all_at(&[9; 70], 64).unwrap();
    // And the batch comes before the old salts are overwritten.
    let before = fs::read(shop.path("store-2/salts")).unwrap();
    shop.open().apply(&[withdraw("a")], &Order::local()).unwrap();
    fs::write(shop.path("store-2/salts"), &before).unwrap();
    assert_eq!(shop.names(), ["b"]);
    let after = fs::read(shop.path("store-2/salts")).unwrap();
    let live = after.chunks(32).filter(|salt| salt.iter().any(|&byte| byte != 0)).count();
    assert_eq!(live, 2, "that of b, and the six bytes that are no salt");
    assert!(!contains(&after, &[9; 32]));
}

#[test]
fn with_another_key_the_registry_stays_closed_and_untouched() {
    let shop = Shop::with(&subjects(["a"]));
    let key_file = shop.keys.key_file();
    let right = fs::read(&key_file).unwrap();
    fs::write(&key_file, format!("1:{}\n", "ab".repeat(32))).unwrap();
    let error = shop.try_open().unwrap_err();
    assert!(matches!(error, RegistryStoreError::WrongKey { number: 1, other: true, .. }));
    fs::write(&key_file, format!("2:{}\n", "ab".repeat(32))).unwrap();
    let error = shop.try_open().unwrap_err();
    assert!(matches!(error, RegistryStoreError::WrongKey { number: 1, other: false, .. }));
    fs::remove_file(&key_file).unwrap();
    let error = shop.try_open().unwrap_err();
    assert!(matches!(error, RegistryStoreError::WrongKey { number: 1, other: false, .. }));
    assert!(error.to_string().contains("CREDENTIALS_DIRECTORY"), "{error}");
    assert!(!key_file.exists(), "no new key is made for what is sealed with an old one");
    fs::write(&key_file, &right).unwrap();
    fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(shop.names(), ["a"]);
}

/// Changes values behind the store's back.
fn tamper(shop: &Shop, change: impl FnOnce(&sled::Db)) {
    let store = fs::read_dir(shop.path("")).unwrap().map(|it| it.unwrap().path());
    let store = store.into_iter().find(|it| it.to_string_lossy().contains("store-")).unwrap();
    let db = sled::Config::new().path(store.join("sled")).segment_size(512 << 10);
    let db = db.flush_every_ms(None).open().unwrap();
    change(&db);
    db.flush().unwrap();
}

fn keys_of(db: &sled::Db, prefix: &[u8]) -> Vec<sled::IVec> {
    db.scan_prefix(prefix).keys().map(Result::unwrap).collect()
}

#[test]
fn an_altered_value_is_noticed_and_its_subject_alone_is_not_recognised() {
    let shop = Shop::with(&subjects(["a", "b", "c"]));
    tamper(&shop, |db| {
        let key = &keys_of(db, b"s")[0];
        let mut value = db.get(key).unwrap().unwrap().to_vec();
        *value.last_mut().unwrap() ^= 1;
        db.insert(key, value).unwrap();
    });
    let mut store = shop.open();
    let loaded = store.load(&mut |_| ()).unwrap();
    assert_eq!((loaded.subjects.len(), loaded.unreadable), (2, 1));
    let found = store.verify(&mut |_| ()).unwrap();
    assert_eq!(found, Verified { subjects: 2, unreadable: 1, ..Verified::default() });
    // Enrolling everybody again repairs it.
    store.replace(&subjects(["a", "b", "c"]), &[], &Order::local(), &mut |_| ()).unwrap();
    assert_eq!(enrolled(&store), ["a", "b", "c"]);
}

#[test]
fn values_that_were_swapped_do_not_open() {
    let shop = Shop::with(&subjects(["a", "b"]));
    tamper(&shop, |db| {
        let keys = keys_of(db, b"s");
        let values: Vec<_> = keys.iter().map(|key| db.get(key).unwrap().unwrap()).collect();
        db.insert(&keys[0], &values[1]).unwrap();
        db.insert(&keys[1], &values[0]).unwrap();
    });
    let loaded = shop.open().load(&mut |_| ()).unwrap();
    assert_eq!((loaded.subjects.len(), loaded.unreadable), (0, 2));
}

#[test]
fn a_withdrawal_that_was_removed_or_altered_does_not_enrol_anybody() {
    let shop = Shop::with(&subjects(["a", "b"]));
    shop.open().apply(&[withdraw("a")], &Order::local()).unwrap();
    tamper(&shop, |db| {
        let key = &keys_of(db, b"t")[0];
        db.insert(key, b"nonsense").unwrap();
    });
    let store = shop.open();
    assert_eq!(store.withdrawal("a").unwrap().unwrap().when, None);
    assert_eq!(store.verify(&mut |_| ()).unwrap().unreadable, 1);
    drop(store);
    tamper(&shop, |db| {
        let key = &keys_of(db, b"t")[0];
        db.remove(key).unwrap();
    });
    let error = shop.try_open().unwrap_err();
    assert!(matches!(error, RegistryStoreError::Damaged { .. }), "{error}");
}

#[test]
fn a_damaged_registry_is_set_aside_and_nobody_is_recognised_until_there_is_another() {
    let shop = Shop::with(&subjects(["a"]));
    fs::write(shop.path("store-2/sled/db"), vec![0x5a; 600_000]).unwrap();
    let looked = RegistryStore::open_existing(shop.dir.path(), &shop.keys, Clock::start());
    assert!(matches!(looked, Err(RegistryStoreError::Unreadable { .. })));
    assert!(shop.path("store-2").exists(), "looking sets nothing aside");
    let error = shop.try_open().unwrap_err();
    assert!(matches!(error, RegistryStoreError::Damaged { .. }), "{error}");
    for _ in 0..2 {
        let error = shop.try_open().unwrap_err();
        assert!(matches!(error, RegistryStoreError::Lost { .. }), "{error}");
        let message = error.to_string();
        assert!(message.contains("registry import --replace --after-loss"), "{message}");
        let looked = RegistryStore::open_existing(shop.dir.path(), &shop.keys, Clock::start());
        assert!(matches!(looked, Err(RegistryStoreError::Lost { .. })));
    }
    // Whoever begins anew and gets no further leaves no empty registry behind.
    let anew =
        || RegistryStore::open_after_loss(shop.dir.path(), &shop.keys, Clock::start()).unwrap();
    drop(anew());
    assert!(matches!(shop.try_open(), Err(RegistryStoreError::Lost { .. })));
    assert!(shop.entries().iter().any(|name| name.starts_with("corrupt-")));
    let before = stamp(shop.dir.path()).unwrap();
    anew().replace(&subjects(["b"]), &[], &Order::local(), &mut |_| ()).unwrap();
    assert_eq!(shop.names(), ["b"]);
    assert!(stamp(shop.dir.path()).unwrap() > before);
    assert_eq!(shop.entries(), ["changed", "lock", "store-4"]);
}

#[test]
fn a_registry_of_a_later_version_is_left_alone() {
    let shop = Shop::with(&subjects(["a"]));
    tamper(&shop, |db| drop(db.insert(HEAD, &[0, 9, 1, 2, 3]).unwrap()));
    let error = shop.try_open().unwrap_err();
    assert!(matches!(error, RegistryStoreError::NewerLayout { found: 9, .. }), "{error}");
    assert_eq!(shop.entries(), ["changed", "lock", "store-2"]);
}

#[test]
fn looking_makes_nothing_and_a_key_is_made_with_the_first_registry() {
    let shop = Shop::new();
    let looked = RegistryStore::open_existing(shop.dir.path(), &shop.keys, Clock::start());
    assert!(looked.unwrap().is_none());
    assert_eq!(fs::read_dir(shop.dir.path()).unwrap().count(), 0);
    assert_eq!(stamp(shop.dir.path()), None);
    assert_eq!(shop.names(), Vec::<String>::new());
    assert!(shop.keys.key_file().exists());
}

#[test]
fn who_comes_while_another_has_it_open_waits() {
    let shop = Shop::with(&subjects(["a"]));
    let store = shop.open();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| shop.names());
        assert_eq!(enrolled(&store), ["a"]);
        drop(store);
        assert_eq!(other.join().unwrap(), ["a"]);
    });
}

#[test]
fn keys_are_rotated_and_the_old_one_opens_nothing_any_more() {
    let shop = Shop::with(&subjects(["a", "b"]));
    let old_key = fs::read(shop.keys.key_file()).unwrap();
    let mut store = shop.open();
    store.apply(&[withdraw("b")], &Order::local()).unwrap();
    let rotation = store.rotate(&shop.keys, &mut |_| ()).unwrap();
    let Rotation::Done { key: 2, resealed: 1, completed: false, .. } = rotation else {
        panic!("{rotation:?}");
    };
    drop(store);
    assert!(!contains(&fs::read(shop.keys.key_file()).unwrap(), &old_key[2..66]));
    assert_eq!(shop.names(), ["a"]);
    assert!(shop.open().withdrawal("b").unwrap().is_some());
    fs::write(shop.keys.key_file(), &old_key).unwrap();
    assert!(matches!(shop.try_open(), Err(RegistryStoreError::WrongKey { number: 2, .. })));
}

#[test]
fn a_rotation_that_was_interrupted_is_completed_by_the_next() {
    // Interrupted after the key was made, and after everything was sealed with it.
    for sealed_anew in [false, true] {
        let shop = Shop::with(&subjects(["a", "b"]));
        shop.keys.add_key().unwrap();
        let mut store = shop.open();
        // In between the registry can be used as ever.
        store.apply(&[withdraw("b")], &Order::local()).unwrap();
        assert_eq!(enrolled(&store), ["a"]);
        if sealed_anew {
            store.reseal(&mut |_| ()).unwrap();
        }
        drop(store);
        let rotation = shop.open().rotate(&shop.keys, &mut |_| ()).unwrap();
        assert!(matches!(rotation, Rotation::Done { key: 2, completed: true, .. }));
        let keys = shop.keys.load().unwrap().unwrap();
        assert_eq!(keys.sealer.numbers().collect::<Vec<_>>(), [2]);
        assert_eq!(shop.names(), ["a"]);
    }
}

#[test]
fn keys_move_from_the_file_to_a_credential() {
    let shop = Shop::with(&subjects(["a"]));
    let credentials = TempDir::new().unwrap();
    let keys = KeySource::new(shop.dir.path(), Some(credentials.path()));
    let credential = credentials.path().join(CREDENTIAL);
    let put = |text: &str| {
        fs::write(&credential, text).unwrap();
        fs::set_permissions(&credential, fs::Permissions::from_mode(0o600)).unwrap();
    };
    put(&format!("2:{}\n", "cd".repeat(32)));
    let open = || RegistryStore::open(shop.dir.path(), &keys, Clock::start()).unwrap();
    let rotation = open().rotate(&keys, &mut |_| ()).unwrap();
    assert!(matches!(rotation, Rotation::Done { key: 2, now: KeyOrigin::Credential, .. }));
    assert!(!shop.keys.key_file().exists());
    assert_eq!(enrolled(&open()), ["a"]);
    // From here on only who makes the credential can change it.
    let rotation = open().rotate(&keys, &mut |_| ()).unwrap();
    assert_eq!(rotation, Rotation::NewKeyNeeded { number: 3 });
    put(&format!("2:{}\n3:{}\n", "cd".repeat(32), "ef".repeat(32)));
    let rotation = open().rotate(&keys, &mut |_| ()).unwrap();
    assert!(matches!(rotation, Rotation::Done { key: 3, resealed: 1, .. }));
    put(&format!("3:{}\n", "ef".repeat(32)));
    assert_eq!(enrolled(&open()), ["a"]);
    // A key file that says nothing new is a copy that should not lie about.
    fs::copy(&credential, keys.key_file()).unwrap();
    let rotation = open().rotate(&keys, &mut |_| ()).unwrap();
    assert!(matches!(rotation, Rotation::Done { key: 3, now: KeyOrigin::Credential, .. }));
    assert!(!keys.key_file().exists());
}

#[test]
fn what_is_too_large_is_refused_and_changes_nothing() {
    let shop = Shop::with(&subjects(["a"]));
    let mut store = shop.open();
    let mut large = subject("large", "2026-01-01T00:00:00Z");
    let identifiers = (0..300_u16).map(|n| {
        let [high, low] = n.to_be_bytes();
        crate::engine::Identifier::Address([0xC0, 0, 0, 0, high, low])
    });
    large.identifiers = identifiers.collect();
    let error = store.apply(&[Change::Upsert(large)], &Order::local()).unwrap_err();
    assert!(matches!(error, RegistryStoreError::TooBig { .. }), "{error}");
    let order = Order { platform: Some(vec![0; MAX_PLATFORM_STATE + 1]), ..Order::platform(1) };
    assert!(matches!(store.apply(&[], &order), Err(RegistryStoreError::TooBig { .. })));
    let order = Order { platform: Some(vec![0; MAX_PLATFORM_STATE]), ..Order::platform(1) };
    store.apply(&[], &order).unwrap();
    drop(store);
    let store = shop.open();
    assert_eq!((enrolled(&store), store.platform().len()), (vec!["a".to_owned()], 4096));
}

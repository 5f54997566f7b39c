use std::{fs, path::PathBuf};

use tempfile::TempDir;

use super::{
    pipe::{self, Done, Failure, FromSteward, Task, ToSteward, Work},
    serve, *,
};
use crate::{
    clock::Clock,
    engine::Pseudonym,
    gateway::{GatewayError, chain},
    outbox::DiskState,
    registry::{
        self,
        store::{RegistryStoreError, Source},
    },
};

const STEWARDS: Stewards = Stewards { log: LogLevel::Info };

fn line(name: &str, address: u8) -> String {
    format!(
        r#"{{"subject":"{name}","kind":"customer","identifiers":[{{"address":"C0:00:00:00:00:{address:02X}"}}],"consent":{{"purposes":["presence"],"from":"2026-01-01T00:00:00Z","proof":"form-1"}}}}"#
    )
}

fn vault(dir: &TempDir) -> Vault {
    Vault {
        state_dir: dir.path().join("state"),
        credentials: None,
        file: dir.path().join("registry.jsonl"),
        clock: Clock::start(),
    }
}

fn order(command: u64) -> Order {
    let platform = Some(vec![7, 8]);
    Order { source: Source::Platform, command: Some(command), platform, again: false }
}

/// A task as it goes over the pipe.
fn told(words: &[ToSteward<'_>]) -> Vec<u8> {
    let (mut bytes, mut buffer) = (Vec::new(), Vec::new());
    for word in words {
        pipe::write(&mut bytes, word, &mut buffer).unwrap();
    }
    bytes
}

/// Runs a task with pipes of memory; lines and what was done, or why not.
fn run(words: &[ToSteward<'_>]) -> (Vec<String>, Result<Done, String>) {
    let (task, changes) = serve::listen(&mut told(words).as_slice()).unwrap();
    let (mut said, mut buffer, mut lines) = (Vec::new(), Vec::new(), Vec::new());
    serve::answer(&task, changes, &mut said).unwrap();
    let mut said = said.as_slice();
    while pipe::read(&mut said, &mut buffer).unwrap() {
        match postcard::from_bytes(&buffer).unwrap() {
            FromSteward::Line(line) => lines.push(String::from_utf8(line.to_vec()).unwrap()),
            FromSteward::Done(done) => return (lines, Ok(done)),
            FromSteward::Failed(failure) => {
                let error = GatewayError::from(StewardError::from(failure));
                return (lines, Err(format!("{:?}: {}", error.fate(), chain(&error))));
            }
        }
    }
    panic!("the steward did not say that it was done");
}

fn names(lines: &[String]) -> Vec<String> {
    let subjects = lines.iter().map(|line| registry::subject_from_line(line.as_bytes()).unwrap());
    let mut names: Vec<_> = subjects.map(|subject| subject.pseudonym.to_string()).collect();
    names.sort();
    names
}

#[test]
fn a_steward_does_over_the_pipe_what_the_vault_does() {
    let dir = TempDir::new().unwrap();
    let vault = vault(&dir);
    fs::write(&vault.file, line("of_the_file", 9)).unwrap();
    let task = |work| ToSteward::Task(Task::new(&vault, STEWARDS, work));
    let (a, b, c) = (line("a", 1), line("b", 2), line("c", 3));

    let (lines, done) = run(&[task(Work::Lines), ToSteward::End]);
    assert_eq!(names(&lines), ["of_the_file"], "there is no store yet");
    assert_eq!(done.unwrap().found(), Found { platform: Some(vec![]), unreadable: 0 });

    let enrol = [
        task(Work::apply(&order(1))),
        ToSteward::Enrol(a.as_bytes()),
        ToSteward::Enrol(b.as_bytes()),
        ToSteward::End,
    ];
    let kept = run(&enrol).1.unwrap().kept();
    assert_eq!(kept.stamp, registry::store::stamp(&vault.state_dir));
    run(&[task(Work::apply(&order(2))), ToSteward::Withdraw("a"), ToSteward::End]).1.unwrap();
    let (lines, done) = run(&[task(Work::Lines), ToSteward::End]);
    assert_eq!(names(&lines), ["b", "of_the_file"]);
    assert_eq!(done.unwrap().found().platform, Some(vec![7, 8]));
    let mut here = Vec::new();
    vault.lines(&mut |line| here.push(String::from_utf8(line.to_vec()).unwrap())).unwrap();
    assert_eq!(here, lines);

    let all = [
        task(Work::replace(&order(1))),
        ToSteward::Enrol(a.as_bytes()),
        ToSteward::Enrol(c.as_bytes()),
        ToSteward::End,
    ];
    assert_eq!(
        run(&all).1.unwrap().kept().passed_over,
        1,
        "it is older than the withdrawal of one"
    );
    assert_eq!(names(&run(&[task(Work::Lines), ToSteward::End]).0), ["c", "of_the_file"]);
}

#[test]
fn what_fails_there_is_told_here_with_what_to_do_about_it() {
    let dir = TempDir::new().unwrap();
    let vault = vault(&dir);
    let lines = || [ToSteward::Task(Task::new(&vault, STEWARDS, Work::Lines)), ToSteward::End];
    let why = run(&lines()).1.unwrap_err();
    assert!(why.starts_with("Reconfigure: ") && why.contains("registry.jsonl"), "{why}");
    // A registry that is lost is no failure: nobody is recognised until it is there again.
    fs::write(&vault.file, line("a", 1)).unwrap();
    fs::create_dir_all(vault.state_dir.join("registry")).unwrap();
    fs::write(vault.state_dir.join("registry/lock"), "").unwrap();
    fs::write(vault.state_dir.join("registry/lost"), "generation 3 was damaged (test)\n").unwrap();
    let (lines, done) = run(&lines());
    assert_eq!((lines, done.unwrap().found()), (vec![], Found::default()));
}

#[test]
fn what_the_disk_answers_is_still_what_the_disk_answered() {
    let full = || io::Error::from_raw_os_error(libc::ENOSPC);
    let dir = PathBuf::from("/state/registry");
    let error = RegistryStoreError::DiskFull { dir, source: full().into() };
    let error = GatewayError::from(error);
    let there = GatewayError::from(StewardError::from(Failure::of(&error)));
    assert_eq!(DiskState::of(&there), Some(DiskState::Full));
    assert_eq!((there.fate(), chain(&there)), (error.fate(), chain(&error)));
    let error = GatewayError::from(RegistryStoreError::Unusable);
    let there = GatewayError::from(StewardError::from(Failure::of(&error)));
    assert_eq!((DiskState::of(&there), chain(&there)), (None, chain(&error)));
}

#[test]
fn a_task_that_breaks_off_is_none_and_nothing_is_done() {
    let dir = TempDir::new().unwrap();
    let vault = vault(&dir);
    let a = line("a", 1);
    let whole = told(&[
        ToSteward::Task(Task::new(&vault, STEWARDS, Work::apply(&order(1)))),
        ToSteward::Enrol(a.as_bytes()),
        ToSteward::End,
    ]);
    for cut in 0..whole.len() {
        assert!(serve::listen(&mut &whole[..cut]).is_err(), "{cut}");
    }
    assert!(serve::listen(&mut whole.as_slice()).is_ok());
    assert!(serve::listen(&mut [0xff; 64].as_slice()).is_err(), "a frame without an end");
    assert!(!vault.state_dir.exists());
}

#[test]
fn a_task_repeats_no_name_where_it_is_shown() {
    let name = Pseudonym::new("cust_1");
    let error = StewardError::Ended { how: "signal 9".to_owned() };
    assert!(!error.to_string().contains(name.as_str()));
    assert_eq!(error.fate(), Fate::Retry);
    assert_eq!(StewardError::Form.fate(), Fate::Bug);
}

use std::fs;

use tempfile::TempDir;

use super::{
    pipe::{self, Done, Errand, FromClerk, ToClerk, Work},
    serve, *,
};
use crate::{
    clock::Clock,
    engine::Pseudonym,
    registry::{self, store::Source},
};

const CLERKS: Clerks = Clerks { log: LogLevel::Info, trust: ClockTrust::Always };

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

/// An errand as it goes over the pipe.
fn told(words: &[ToClerk<'_>]) -> Vec<u8> {
    let (mut bytes, mut buffer) = (Vec::new(), Vec::new());
    for word in words {
        pipe::write(&mut bytes, word, &mut buffer).unwrap();
    }
    bytes
}

/// Runs an errand with pipes of memory; lines and what was done, or why not.
fn run(words: &[ToClerk<'_>]) -> (Vec<String>, Result<Done, String>) {
    let (errand, changes) = serve::listen(&mut told(words).as_slice()).unwrap();
    let (mut said, mut buffer, mut lines) = (Vec::new(), Vec::new(), Vec::new());
    serve::answer(&errand, changes, &mut said).unwrap();
    let mut said = said.as_slice();
    while pipe::read(&mut said, &mut buffer).unwrap() {
        match postcard::from_bytes(&buffer).unwrap() {
            FromClerk::Line(line) => lines.push(String::from_utf8(line.to_vec()).unwrap()),
            FromClerk::Done(done) => return (lines, Ok(done)),
            FromClerk::Failed { why, fate } => {
                return (lines, Err(format!("{fate:?}: {why}")));
            }
        }
    }
    panic!("the clerk did not say that it was done");
}

fn names(lines: &[String]) -> Vec<String> {
    let subjects = lines.iter().map(|line| registry::subject_from_line(line.as_bytes()).unwrap());
    let mut names: Vec<_> = subjects.map(|subject| subject.pseudonym.to_string()).collect();
    names.sort();
    names
}

#[test]
fn a_clerk_does_over_the_pipe_what_the_vault_does() {
    let dir = TempDir::new().unwrap();
    let vault = vault(&dir);
    fs::write(&vault.file, line("of_the_file", 9)).unwrap();
    let errand = |work| ToClerk::Errand(Errand::new(&vault, CLERKS, work));
    let (a, b, c) = (line("a", 1), line("b", 2), line("c", 3));

    let (lines, done) = run(&[errand(Work::Lines), ToClerk::End]);
    assert_eq!(names(&lines), ["of_the_file"], "there is no store yet");
    assert_eq!(done.unwrap().found(), Found { platform: Some(vec![]), unreadable: 0 });

    let enrol = [
        errand(Work::apply(&order(1))),
        ToClerk::Enrol(a.as_bytes()),
        ToClerk::Enrol(b.as_bytes()),
        ToClerk::End,
    ];
    let kept = run(&enrol).1.unwrap().kept();
    assert_eq!(kept.stamp, registry::store::stamp(&vault.state_dir));
    run(&[errand(Work::apply(&order(2))), ToClerk::Withdraw("a"), ToClerk::End]).1.unwrap();
    let (lines, done) = run(&[errand(Work::Lines), ToClerk::End]);
    assert_eq!(names(&lines), ["b", "of_the_file"]);
    assert_eq!(done.unwrap().found().platform, Some(vec![7, 8]));
    let mut here = Vec::new();
    vault.lines(&mut |line| here.push(String::from_utf8(line.to_vec()).unwrap())).unwrap();
    assert_eq!(here, lines);

    let all = [
        errand(Work::replace(&order(3))),
        ToClerk::Enrol(a.as_bytes()),
        ToClerk::Enrol(c.as_bytes()),
        ToClerk::End,
    ];
    assert_eq!(run(&all).1.unwrap().kept().passed_over, 1, "one had withdrawn");
    assert_eq!(names(&run(&[errand(Work::Lines), ToClerk::End]).0), ["c", "of_the_file"]);
}

#[test]
fn what_fails_there_is_told_here_with_what_to_do_about_it() {
    let dir = TempDir::new().unwrap();
    let vault = vault(&dir);
    let lines = || [ToClerk::Errand(Errand::new(&vault, CLERKS, Work::Lines)), ToClerk::End];
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
fn an_errand_that_breaks_off_is_none_and_nothing_is_done() {
    let dir = TempDir::new().unwrap();
    let vault = vault(&dir);
    let a = line("a", 1);
    let whole = told(&[
        ToClerk::Errand(Errand::new(&vault, CLERKS, Work::apply(&order(1)))),
        ToClerk::Enrol(a.as_bytes()),
        ToClerk::End,
    ]);
    for cut in 0..whole.len() {
        assert!(serve::listen(&mut &whole[..cut]).is_err(), "{cut}");
    }
    assert!(serve::listen(&mut whole.as_slice()).is_ok());
    assert!(serve::listen(&mut [0xff; 64].as_slice()).is_err(), "a frame without an end");
    assert!(!vault.state_dir.exists());
}

#[test]
fn an_errand_repeats_no_name_where_it_is_shown() {
    let name = Pseudonym::new("cust_1");
    let error = ClerkError::Ended { how: "signal 9".to_owned() };
    assert!(!error.to_string().contains(name.as_str()));
    assert_eq!(error.fate(), Fate::Retry);
    assert_eq!(ClerkError::Form.fate(), Fate::Bug);
}

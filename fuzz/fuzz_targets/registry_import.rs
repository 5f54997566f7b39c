//! Any bytes are a file to import, or are told what is wrong with them: every line is a subject, a
//! problem, or nothing, no problem repeats what could be a key, and what is accepted is written and
//! read again as the same.
//!
//! The first byte says which form the rest has.
#![no_main]

use beacon_gateway::registry::{
    form,
    import::{self, Format, MOST_PROBLEMS},
    parse,
};
use libfuzzer_sys::fuzz_target;

/// What the messages themselves show of how something is written.
const OUR_EXAMPLES: [&str; 3] =
    ["e2c56db5-dffb-48d2-b060-d0f5a71096e0", "C0:11:22:33:44:55", "2026-01-31T00:00:00Z"];

/// The longest run of hexadecimal digits, with what people put between them.
fn longest_run(text: &str) -> usize {
    let (mut longest, mut run) = (0, 0);
    for letter in text.chars() {
        match letter {
            letter if letter.is_ascii_hexdigit() => run += 1,
            ':' | '-' | ' ' => (),
            _ => run = 0,
        }
        longest = longest.max(run);
    }
    longest
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&first, text)) = bytes.split_first() else { return };
    let format = if first % 2 == 0 { Format::JsonLines } else { Format::Csv };
    let mut read = 0;
    let parsed = import::parse(format, text, &mut |so_far| {
        assert!(so_far >= read);
        read = so_far;
    });
    let lines = text.iter().filter(|&&byte| byte == b'\n').count() + 1;
    let problems = &parsed.problems;
    assert!(parsed.entries.len() <= lines && problems.told().len() <= MOST_PROBLEMS);
    assert_eq!(problems.count().min(MOST_PROBLEMS), problems.told().len());
    for (line, problem) in problems.told() {
        assert!((1..=lines + 1).contains(line), "line {line} of {lines}");
        let told = OUR_EXAMPLES.iter().fold(problem.to_string(), |told, own| told.replace(own, ""));
        assert!(longest_run(&told) < 8, "{problem}");
    }
    for (line, subject) in &parsed.entries {
        assert!((1..=lines).contains(line));
        let mut written = Vec::new();
        form::write(subject, &mut written);
        let written = String::from_utf8(written).expect("JSON is UTF-8");
        let again = parse(&written).expect("what was accepted is accepted again");
        let [again] = again.as_slice() else { panic!("one line is one subject") };
        assert_eq!(again.pseudonym, subject.pseudonym);
        assert!(again.identifiers == subject.identifiers);
        assert_eq!(again.consent, subject.consent);
    }
});

//! Integration tests, in one binary so that the heavy dependencies link once.

mod replay;

//! Room 1. Radios and recordings in, [`Advertisement`](crate::engine::Advertisement)s out.

//! Room 6. Situations in, durable records out; deleted only once acknowledged.

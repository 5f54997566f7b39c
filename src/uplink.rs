//! Room 7. Durable records in, MQTT publishes out; acknowledgements back to the outbox.

pub mod payload;

//! The platform: it enrols and withdraws members by signed commands, and knows from their results
//! what has taken effect.

use std::collections::BTreeMap;

use beacon_gateway::{command::TrustedKey, engine::UnixTime, uplink::payload::utc};
use serde_json::{Value, json};

use crate::{
    listener::Listener,
    members::TENANT,
    support::{Outcome, signer::Signer},
};

/// The platform.
pub(crate) struct Platform {
    signer: Signer,
    /// The number of the last change.
    number: u64,
    /// Who has withdrawn, and when; all of them, whatever they did later.
    withdrawn: BTreeMap<String, i64>,
    /// Changes whose results are not known.
    open: Vec<(&'static str, u64)>,
}

/// Commands are dated back by an hour: a gateway whose clock is behind the test's by a moment, which
/// is minutes here, does not take them for ones from the future.
const BACK: i64 = 3600;

/// A gateway that was off for a month catches up.
const GOOD_FOR: i64 = 30 * 86_400;

impl Platform {
    pub(crate) fn new() -> Self {
        let signer = Signer::new("platform", 11);
        Self { signer, number: 0, withdrawn: BTreeMap::new(), open: Vec::new() }
    }

    pub(crate) fn trusted(&self) -> TrustedKey {
        self.signer.trusted()
    }

    /// Enrols members, or enrols them differently; each is a line of a registry file.
    pub(crate) async fn enrol(
        &mut self,
        line: &Listener,
        now: i64,
        members: &[String],
    ) -> Outcome<()> {
        let subjects: Result<Vec<Value>, _> =
            members.iter().map(|member| serde_json::from_str(member)).collect();
        let subjects = subjects.map_err(crate::support::text)?;
        self.change(line, now, "upsert", &json!({ "subjects": subjects })).await
    }

    /// Withdraws members; the list of all who did follows.
    pub(crate) async fn withdraw(
        &mut self,
        line: &Listener,
        now: i64,
        names: &[String],
    ) -> Outcome<()> {
        self.change(line, now, "withdraw", &json!({ "subjects": names })).await?;
        self.withdrawn.extend(names.iter().map(|name| (name.clone(), now)));
        self.tell(line, now).await
    }

    /// Publishes who has withdrawn, and the number of the last change, for all who come later.
    pub(crate) async fn tell(&self, line: &Listener, now: i64) -> Outcome<()> {
        let entry = |(name, since): (&String, &i64)| json!({"subject": name, "since": utc(UnixTime::from_millis(*since))});
        let list: Vec<Value> = self.withdrawn.iter().map(entry).collect();
        let list = json!({"withdrawn": list, "number": self.number});
        self.publish(line, now, "withdrawn", &list).await?;
        self.publish(line, now, "version", &json!({ "number": self.number })).await
    }

    /// Waits until all that was ordered is done, entirely. Returns when that was heard of last, if
    /// there was anything.
    pub(crate) async fn done(&mut self, line: &Listener) -> Outcome<Option<i64>> {
        let mut done = None;
        for (command, number) in std::mem::take(&mut self.open) {
            let result = line.result(command, number).await?;
            if result.said["refused_count"].as_u64().unwrap_or(0) > 0 {
                return Err(format!("{command} {number} was refused in part: {}", result.said));
            }
            done = done.max(Some(result.at.as_millis()));
        }
        Ok(done)
    }

    async fn change(
        &mut self,
        line: &Listener,
        now: i64,
        command: &'static str,
        body: &Value,
    ) -> Outcome<()> {
        self.number += 1;
        self.open.push((command, self.number));
        self.publish(line, now, command, body).await
    }

    async fn publish(&self, line: &Listener, now: i64, command: &str, body: &Value) -> Outcome<()> {
        let now = now / 1000;
        let claims = json!({
            "aud": format!("{TENANT}/store"), "iat": now - BACK, "exp": now + GOOD_FOR,
            "num": self.number, "cmd": command, "body": body,
        });
        let topic = format!("beacon/v1/{TENANT}/store/registry/{command}");
        let retain = matches!(command, "withdrawn" | "version");
        line.order(&topic, retain, self.signer.sign(&claims)).await
    }
}

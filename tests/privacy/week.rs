//! The simulated week: what happens in the shop, and when.

use std::{collections::BTreeMap, time::Duration};

use aes::Aes128;
use beacon_gateway::engine::UnixTime;

use crate::{
    air::{Data, Sent},
    gate::Gate,
    harness::say,
    judge::{Judge, Slack},
    members::{Grant, KINDS, Member, PURPOSES, Version, resolves},
    needles::Needles,
    platform::Platform,
    stage::Stage,
    strangers::Stranger,
    support::Outcome,
};

/// How a run is to be.
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// How many times faster than in the world time passes.
    pub(crate) rate: u32,
    pub(crate) days: u64,
    pub(crate) members: usize,
    pub(crate) strangers_a_day: usize,
    /// How all members are recognised, if it is not each in another way.
    pub(crate) way: Option<usize>,
    /// How many withdraw, narrow what they agreed to, and agree again, each time that some do.
    pub(crate) minds: [u32; 3],
    pub(crate) gate: Gate,
    /// The gateway is given a registry that permits everything to everybody for ever.
    pub(crate) says_yes: bool,
    /// Looks into the gateway's memory at night.
    pub(crate) cores: bool,
}

/// A run.
pub(crate) struct Week {
    plan: Plan,
    random: fastrand::Rng,
    stage: Stage,
    platform: Platform,
    members: BTreeMap<String, Member>,
    /// The members' identity resolving keys.
    resolvers: Vec<Aes128>,
    /// Everything that must not be found anywhere.
    strangers: Needles,
    /// Everything that must not be found outside memory.
    secrets: Needles,
    /// Those whose address is still in use: when it is heard next, and how many times more.
    around: Vec<(i64, u32, Stranger)>,
    /// When the line to the broker was last mended.
    mended: i64,
    /// It is broken.
    broken: bool,
    pub(crate) judge: Judge,
    pub(crate) tally: Tally,
}

/// What has happened.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) strangers: usize,
    pub(crate) advertisements: u64,
    pub(crate) received: u64,
    pub(crate) of_subjects: u64,
    pub(crate) situations: u64,
    pub(crate) erased: u64,
    pub(crate) withdrawals: u64,
    /// Of the withdrawals, those that the platform ordered; and of these, while the line was broken.
    pub(crate) commanded: u64,
    pub(crate) while_offline: u64,
    pub(crate) narrowed: u64,
    pub(crate) renewed: u64,
    pub(crate) expired: usize,
    pub(crate) stops: u64,
    pub(crate) kills: u64,
    pub(crate) outages: u64,
}

/// Something that happens at a time of the day.
#[derive(Clone, Copy, Debug)]
enum Happening {
    /// Some members change their minds, and the registry is read again.
    Minds,
    Outage,
    Mended,
    Kill,
    Stop,
}

/// A day in 20 seconds.
pub(crate) const A_DAY_IN_20_S: u32 = 4320;

/// A day in five.
pub(crate) const A_DAY_IN_5_S: u32 = 17_280;

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

/// A Monday.
const BEGIN: i64 = 1_792_972_800_000;

const OPENS: i64 = 8 * HOUR;
const CLOSES: i64 = 20 * HOUR;

/// By how much the looking of the night may last into the day.
const LATE: i64 = 2 * HOUR;

/// How often something is sent, in real time.
const TICK: Duration = Duration::from_millis(5);

/// How often a device in the shop is heard, in milliseconds of the simulation.
const EVERY: i64 = 20_000;

/// How long it must have been quiet before memory is looked into: 60 s of the simulation, and some
/// seconds of the world, because the gateway clears its stack once a second.
const QUIET: i64 = 60_000;
const QUIET_REAL: i64 = 3200;

/// How long what the gateway decided to send may take to arrive, in milliseconds of the world; and
/// how many times as long as any delay that was measured, in addition.
const WAY: i64 = 800;
const WAY_LATE: i64 = 4;

impl Week {
    pub(crate) async fn run(plan: Plan) -> Outcome<Self> {
        let mut week = Self::set(plan).await?;
        let mut midnight = BEGIN;
        for day in 0..week.plan.days {
            // A machine that cannot keep up has days in between on which the shop is closed.
            while midnight + OPENS + LATE < week.stage.now() {
                midnight += DAY;
            }
            week.day(day, midnight).await?;
            midnight += DAY;
            let Tally { strangers, advertisements, withdrawals, .. } = week.tally;
            say(&format!(
                "  day {}: {strangers} strangers, {advertisements} advertisements, {withdrawals} \
                 withdrawals, {} findings, {} events that should not be",
                day + 1,
                week.stage.record.findings.len(),
                week.judge.violations.len()
            ));
        }
        week.stop(true)?;
        week.listen();
        week.check_receipts()?;
        let end = week.stage.now();
        let expired = |member: &&Member| {
            member.grant().is_some_and(|grant| grant.until.is_some_and(|until| until <= end))
        };
        week.tally.expired = week.members.values().filter(expired).count();
        Ok(week)
    }

    pub(crate) fn record(&self) -> &crate::stage::Record {
        &self.stage.record
    }

    async fn set(plan: Plan) -> Outcome<Self> {
        let mut random = fastrand::Rng::with_seed(plan.seed);
        let begin = BEGIN + OPENS - HOUR;
        let platform = Platform::new();
        let begin_unix = UnixTime::from_millis(begin);
        let stage = Stage::set(plan.rate, begin_unix, plan.gate, &platform.trusted()).await?;
        let mut members = BTreeMap::new();
        let mut secrets = Needles::new();
        let end = BEGIN + i64::try_from(plan.days).unwrap_or(i64::MAX) * DAY;
        for number in 0..plan.members {
            let grant = grant(&mut random, (begin, end));
            let way = plan.way.unwrap_or(number % KINDS);
            let member = Member::new(number, way, grant, &mut random);
            member.hide_in(&mut secrets);
            members.insert(member.name.clone(), member);
        }
        let resolvers = members.values().filter_map(Member::resolver).collect();
        let mut week = Self {
            plan,
            random,
            stage,
            platform,
            members,
            resolvers,
            strangers: Needles::new(),
            secrets,
            around: Vec::new(),
            mended: i64::MIN,
            broken: false,
            judge: Judge::default(),
            tally: Tally::default(),
        };
        week.enrol()?;
        week.stage.name(&week.members.keys().cloned().collect::<Vec<_>>().join("\n"))?;
        week.stage.start()?;
        week.stage.listener.followed().await?;
        let members = week.members.values().filter(|member| member.by_command);
        let lines: Vec<String> = members.filter_map(|member| week.line(member)).collect();
        let now = week.stage.now();
        let (platform, listener) = (&mut week.platform, &week.stage.listener);
        platform.enrol(listener, now, &lines).await?;
        platform.tell(listener, now).await?;
        platform.done(listener).await?;
        Ok(week)
    }

    /// One day, from before the shop opens until everything was looked at in the night.
    async fn day(&mut self, day: u64, midnight: i64) -> Outcome<()> {
        let (opens, closes) = (midnight + OPENS, midnight + CLOSES);
        for member in self.members.values_mut() {
            member.visits.clear();
            if self.random.u8(..10) < 8 {
                let came = self.random.i64(opens..closes - HOUR);
                member.visits.push((came, came + self.random.i64(HOUR / 3..HOUR)));
            }
        }
        let mut happenings = self.happenings(day, midnight);
        let mut come = 0;
        let mut next_tick = tokio::time::interval(TICK);
        let mut door = midnight;
        loop {
            next_tick.tick().await;
            let now = self.stage.now();
            while happenings.first().is_some_and(|(at, _)| *at <= now) {
                let (_, happening) = happenings.remove(0);
                self.happen(happening).await?;
            }
            if now >= closes && happenings.is_empty() && come >= self.plan.strangers_a_day {
                break;
            }
            let open = now.clamp(opens, closes) - opens;
            let due = usize::try_from(open).unwrap_or(0) * self.plan.strangers_a_day
                / usize::try_from(CLOSES - OPENS).unwrap_or(usize::MAX);
            self.strangers_come(due - come, now);
            come = due;
            self.send(now, &mut door)?;
            self.listen();
        }
        // The last ones go.
        while !self.around.is_empty() {
            next_tick.tick().await;
            self.send(i64::MAX, &mut door)?;
        }
        self.night().await
    }

    /// What will happen today, in order.
    fn happenings(&mut self, day: u64, midnight: i64) -> Vec<(i64, Happening)> {
        let at = |hours: i64| midnight + hours * HOUR;
        let mut all = vec![(at(19), Happening::Minds)];
        for _ in 0..3 {
            all.push((self.random.i64(at(9)..at(19)), Happening::Minds));
        }
        if day % 2 == 1 {
            // Half of what is said in the middle of the day waits; some of it must never be sent.
            all.extend([(at(11), Happening::Outage), (at(16), Happening::Mended)]);
            all.push((at(14), Happening::Minds));
            all.push((at(13), if day % 4 == 1 { Happening::Stop } else { Happening::Kill }));
        } else {
            all.push((self.random.i64(at(10)..at(18)), Happening::Kill));
        }
        all.sort_by_key(|(at, _)| *at);
        all
    }

    async fn happen(&mut self, happening: Happening) -> Outcome<()> {
        match happening {
            Happening::Minds => self.change_minds().await?,
            Happening::Outage => {
                self.tally.outages += 1;
                self.broken = true;
                self.stage.break_line();
            }
            Happening::Mended => {
                self.listen();
                self.mended = self.stage.now();
                self.broken = false;
                self.stage.mend_line();
                self.platform.done(&self.stage.listener).await?;
            }
            Happening::Kill => {
                self.tally.kills += 1;
                self.stage.kill()?;
                self.look_outside();
                self.stage.start()?;
            }
            Happening::Stop => {
                self.stop(false)?;
                self.stage.start()?;
            }
        }
        self.look_outside();
        Ok(())
    }

    fn stop(&mut self, in_silence: bool) -> Outcome<()> {
        let stopped = self.stage.stop(in_silence)?;
        self.tally.stops += 1;
        self.tally.received += stopped.received;
        self.tally.of_subjects += stopped.of_subjects;
        self.tally.situations += stopped.situations;
        self.tally.erased += stopped.erased;
        self.look_outside();
        Ok(())
    }

    /// Some withdraw, some narrow what they agreed to, some agree again.
    async fn change_minds(&mut self) -> Outcome<()> {
        let now = self.stage.now();
        let mut changed = Vec::new();
        let mut names: Vec<String> = self.members.keys().cloned().collect();
        self.random.shuffle(&mut names);
        // First those who are in the shop: there is something to stop.
        names.sort_by_key(|name| !self.members.get(name).is_some_and(|one| one.is_here(now)));
        let [mut withdraw, mut narrow, mut renew] = self.plan.minds;
        for name in names {
            let Some(member) = self.members.get(&name) else { continue };
            let grant = match member.grant() {
                Some(_) if withdraw > 0 => {
                    withdraw -= 1;
                    self.tally.withdrawals += 1;
                    None
                }
                Some(grant) if narrow > 0 && grant.purposes.len() > 1 => {
                    narrow -= 1;
                    self.tally.narrowed += 1;
                    let left = self.random.usize(..grant.purposes.len());
                    let purposes = vec![grant.purposes[left]];
                    Some(Grant { purposes, ..grant.clone() })
                }
                None if renew > 0 => {
                    renew -= 1;
                    self.tally.renewed += 1;
                    Some(Grant { purposes: PURPOSES.to_vec(), from: now, until: None })
                }
                _ => continue,
            };
            changed.push((name, grant));
        }
        let (mut names, mut lines, mut leavers) = (Vec::new(), Vec::new(), Vec::new());
        for (name, grant) in changed {
            let Some(member) = self.members.get_mut(&name) else { continue };
            member.versions.push(Version { told: now, in_force: i64::MAX, grant });
            let Some(member) = self.members.get(&name) else { continue };
            let by_command = member.by_command;
            match member.line() {
                // To a gateway that believes that everybody agreed to everything nothing changes.
                _ if self.plan.says_yes => {}
                Some(line) if by_command => lines.push(line),
                None if by_command => leavers.push(name.clone()),
                _ => {}
            }
            names.push((name, by_command));
        }
        self.tally.commanded += leavers.len() as u64;
        let (platform, listener) = (&mut self.platform, &self.stage.listener);
        if !leavers.is_empty() {
            platform.withdraw(listener, now, &leavers).await?;
        }
        if !lines.is_empty() {
            platform.enrol(listener, now, &lines).await?;
        }
        let commanded = if self.broken {
            // Nothing more is sent until the line is mended, and then only what is covered: the
            // gateway has to ask what came meanwhile before it sends anything.
            self.tally.while_offline += leavers.len() as u64;
            now
        } else {
            self.platform.done(&self.stage.listener).await?.unwrap_or(now)
        };
        self.enrol()?;
        self.stage.reload().await?;
        let filed = self.stage.now();
        for (name, by_command) in names {
            let member = self.members.get_mut(&name);
            if let Some(version) = member.and_then(|member| member.versions.last_mut()) {
                version.in_force = if by_command { commanded } else { filed };
            }
        }
        Ok(())
    }

    /// What the gateway is told of a member.
    fn line(&self, member: &Member) -> Option<String> {
        let yes = Grant { purposes: PURPOSES.to_vec(), from: BEGIN - DAY, until: None };
        if self.plan.says_yes { Some(member.line_with(&yes)) } else { member.line() }
    }

    /// Writes the registry file, with those whom no command enrols.
    fn enrol(&mut self) -> Outcome<()> {
        let members = self.members.values().filter(|member| !member.by_command);
        let lines: String = members.filter_map(|member| self.line(member)).collect();
        self.stage.enrol(&lines)
    }

    /// Of each withdrawal there must have been a receipt.
    fn check_receipts(&self) -> Outcome<()> {
        let withdrew = |member: &&Member| {
            !self.plan.says_yes && member.versions.iter().any(|version| version.grant.is_none())
        };
        let mut members = self.members.values().filter(withdrew);
        match members.find(|member| !self.judge.receipts.contains(&member.name)) {
            None => Ok(()),
            Some(member) => Err(format!("there is no receipt for `{}`", member.name)),
        }
    }

    fn strangers_come(&mut self, many: usize, now: i64) {
        for _ in 0..many {
            let number = self.tally.strangers;
            self.tally.strangers += 1;
            let mut stranger = Stranger::new(number, &mut self.random);
            // One in 2^24 would be taken for a given member, as `PRIVACY.md` says, and be known
            // rather than forgotten. That is bounded elsewhere; here it must not happen.
            while self.resolvers.iter().any(|key| resolves(key, stranger.address())) {
                stranger = Stranger::new(number, &mut self.random);
            }
            stranger.hide_in(number, &mut self.strangers);
            self.around.push((now, self.random.u32(1..=4), stranger));
        }
    }

    /// Sends what is due, all of what strangers still have to send at the end of time.
    fn send(&mut self, now: i64, door: &mut i64) -> Outcome<()> {
        let (mut stream, mut count) = (Vec::new(), 0);
        let mut send = |sent: &Sent| {
            sent.write(&mut stream);
            count += 1;
        };
        for (due, left, stranger) in &mut self.around {
            if *due <= now {
                send(stranger.sent());
                *left -= 1;
                *due = due.saturating_add(self.random.i64(60_000..600_000));
            }
        }
        self.around.retain(|(_, left, _)| *left > 0);
        if now < i64::MAX {
            for member in self.members.values_mut() {
                if member.next <= now && member.is_here(now) {
                    member.next = now + EVERY;
                    send(&member.sent(now, &mut self.random));
                }
            }
            if now >= *door {
                *door = now + HOUR / 4;
                send(&door_sensor(&mut self.random));
            }
        }
        self.tally.advertisements += count;
        self.stage.send(&stream, count)
    }

    /// The shop is closed: it gets quiet, and everything is looked at.
    async fn night(&mut self) -> Outcome<()> {
        self.stage.settle(self.stage.now()).await?;
        let quiet = self.stage.now() + QUIET.max(self.stage.real(QUIET_REAL));
        let mut tick = tokio::time::interval(TICK);
        while self.stage.now() < quiet {
            tick.tick().await;
            self.listen();
        }
        if self.plan.cores {
            // Those who have withdrawn are strangers again.
            let mut gone = Needles::new();
            for member in self.members.values().filter(|member| member.grant().is_none()) {
                member.hide_in(&mut gone);
            }
            self.stage.look_into_memory(&[&self.strangers, &gone])?;
        }
        let mut names = Needles::new();
        for member in self.members.values().filter(|member| member.grant().is_none()) {
            member.hide_name_in(&mut names);
        }
        self.stage.look_into_files(&names);
        self.look_outside();
        self.listen();
        // Half of the nights the gateway is restarted; the others it goes on.
        if self.random.bool() {
            self.stop(true)?;
            self.stage.start()?;
        }
        Ok(())
    }

    fn look_outside(&mut self) {
        self.listen();
        self.stage.look_outside(&[&self.strangers, &self.secrets]);
    }

    /// Holds what has arrived against what was agreed to.
    fn listen(&mut self) {
        let late = self.stage.listener.late().saturating_mul(WAY_LATE);
        let (way, behind) = (self.stage.real(WAY.saturating_add(late)), self.stage.behind);
        let slack = Slack { way, since: self.mended, behind };
        for message in self.stage.listener.take() {
            self.judge.hear(&message, &self.members, slack);
        }
    }
}

/// A consent as people give it: some of the purposes, some of them for a part of the week only.
fn grant(random: &mut fastrand::Rng, (begin, end): (i64, i64)) -> Grant {
    let mut purposes = PURPOSES.to_vec();
    if random.u8(..10) < 4 {
        purposes.truncate(random.usize(1..=2));
    }
    if random.u8(..10) == 0 {
        purposes = vec!["engagement"];
    }
    let from = if random.u8(..10) == 0 { random.i64(begin..end) } else { begin - DAY };
    let until = (random.u8(..10) < 4).then(|| random.i64(from.max(begin) + HOUR..end + DAY));
    Grant { purposes, from, until }
}

/// The shop's own thermometer: `BTHome` 2, a temperature in hundredths of a degree.
fn door_sensor(random: &mut fastrand::Rng) -> Sent {
    let [low, high] = random.u16(1800..2600).to_le_bytes();
    let data = Data::default().flags().service_data(0xfcd2, &[0x40, 0x02, low, high]).finish();
    Sent { address: [0xc1, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e], random: true, rssi: -50, data }
}

//! What the checks of this round have in common.

use std::time::Duration;

use beacon_gateway::{
    clock::Clock,
    engine::{AddressKind, Advertisement, ReceiverId, Rssi, Uptime},
    scan::hci::{
        Adapter, HciError, Item, News, Phy, Settings, Wanted, mgmt::Management, monitor::Monitor,
        user::UserSession,
    },
};
use tokio::time::timeout;

use super::extended::Extended;
use crate::{
    antenna::Antenna,
    controller::{self, Kind, Report},
    process::{Outcome, until},
    world::World,
};

/// How long anything here may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// The address of the controllers made of software.
const ADDRESS: &str = "00:AA:01:00:00:42";

/// A machine with a controller and nothing else, and a session that scans with it.
pub(super) async fn listening() -> Outcome<(World, Clock, UserSession)> {
    let (world, _) = plugged().await?;
    let clock = Clock::start();
    let session = open_session(clock).await?;
    expect(world.antenna.is_scanning(), || "an open session does not scan".to_owned())?;
    Ok((world, clock, session))
}

/// A machine with a controller and nothing else.
pub(super) async fn plugged() -> Outcome<(World, Adapter)> {
    let mut management = open_management()?;
    empty(&mut management).await?;
    let mut world = World::new();
    world.plug()?;
    Ok((world, adapter(&mut management).await?))
}

/// What an earlier check left behind goes away by itself.
pub(super) async fn empty(management: &mut Management) -> Outcome<()> {
    until("no adapter is left", PATIENCE, async || {
        management.adapters().await.is_ok_and(|adapters| adapters.is_empty()).then_some(())
    })
    .await
}

/// A session with a controller that has extended advertising.
pub(super) async fn listening_extended() -> Outcome<(Extended, UserSession)> {
    let mut management = open_management()?;
    empty(&mut management).await?;
    let controller = Extended::plug().map_err(text)?;
    adapter(&mut management).await?;
    let settings = Settings { phys: vec![Phy::OneM, Phy::Coded], ..Settings::default() };
    let name = ReceiverId::default();
    let session = UserSession::open(&wanted()?, &settings, name, Clock::start(), PATIENCE).await;
    Ok((controller, session.map_err(text)?))
}

pub(super) async fn open_session(clock: Clock) -> Outcome<UserSession> {
    let settings = Settings { active: true, ..Settings::default() };
    UserSession::open(&wanted()?, &settings, ReceiverId::default(), clock, PATIENCE)
        .await
        .map_err(text)
}

pub(super) fn open_management() -> Outcome<Management> {
    Management::open(Clock::start(), PATIENCE).map_err(text)
}

/// Waits until the kernel has set the controller up.
pub(super) async fn adapter(management: &mut Management) -> Outcome<Adapter> {
    let wanted = wanted()?;
    until("the adapter is listed", PATIENCE, async || management.adapter(&wanted).await.ok()).await
}

pub(super) fn wanted() -> Outcome<Wanted> {
    ADDRESS.parse().map_err(text)
}

pub(super) async fn within<T>(
    what: &str,
    wait: impl Future<Output = Result<T, HciError>>,
) -> Outcome<T> {
    match timeout(PATIENCE, wait).await {
        Ok(result) => result.map_err(|error| format!("{what}: {error}")),
        Err(_) => Err(format!("{what} did not come")),
    }
}

pub(super) async fn advertisement(session: &mut UserSession) -> Outcome<Advertisement> {
    loop {
        match within("an advertisement", session.next()).await? {
            Item::Advertisement(advertisement) => return Ok(advertisement),
            Item::News(_) => {}
            Item::Unusable(why) => return Err(why.to_string()),
        }
    }
}

pub(super) async fn monitored(monitor: &mut Monitor) -> Outcome<Advertisement> {
    loop {
        match within("an advertisement on the monitor", monitor.next()).await? {
            Item::Advertisement(advertisement) => return Ok(advertisement),
            Item::News(_) => {}
            Item::Unusable(why) => return Err(why.to_string()),
        }
    }
}

/// Waits for news, past others.
pub(super) async fn expect_news(monitor: &mut Monitor, expected: News) -> Outcome<()> {
    within(&format!("{expected:?}"), async {
        loop {
            if monitor.next().await? == Item::News(expected) {
                return Ok(());
            }
        }
    })
    .await
}

pub(super) fn report(address: [u8; 6], rssi: i8, data: &[u8]) -> Report {
    Report {
        address,
        random: true,
        rssi,
        phy: controller::Phy::OneMegabit,
        kind: Kind::NonConnectable,
        data: data.to_vec(),
    }
}

pub(super) fn send(radio: &Antenna, report: &Report) -> Outcome<()> {
    if radio.hear(report)? { Ok(()) } else { Err("the controller does not scan".to_owned()) }
}

pub(super) fn same(sent: &Report, heard: &Advertisement) -> Outcome<()> {
    let kind = if sent.random { AddressKind::Random } else { AddressKind::Public };
    let equal = heard.address().octets() == sent.address
        && heard.address().kind() == kind
        && heard.rssi == Rssi::from_report(sent.rssi)
        && heard.data() == sent.data
        && heard.heard >= Uptime::ZERO - Duration::from_secs(10);
    expect(equal, || format!("sent {sent:?}, heard {heard:?} with {:?}", heard.rssi))
}

pub(super) fn expect(holds: bool, otherwise: impl FnOnce() -> String) -> Outcome<()> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

pub(super) fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

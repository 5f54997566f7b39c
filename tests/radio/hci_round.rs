//! Round `hci`: the kernel's Bluetooth without a bus, by management, monitor and user channel. What
//! was sent is compared octet by octet with what came out, and the controller is pulled out.

mod extended;
mod tools;

use std::{process::ExitCode, time::Duration};

use beacon_gateway::{
    clock::Clock,
    engine::ReceiverId,
    scan::{
        self, CanarySightings, DataPlane, ScanCounters, SourceEnds,
        hci::{
            Bus, Classic, HciError, Item, News, Settings, hardware, mgmt::Change, monitor::Monitor,
            user::UserSession,
        },
        live,
    },
    settings::Span,
};
use tokio::{
    process::Command,
    sync::{mpsc, watch},
};

use self::tools::{
    PATIENCE, adapter, advertisement, expect, expect_news, listening, listening_extended,
    monitored, open_management, open_session, plugged, report, same, send, text, wanted, within,
};
use crate::{
    controller::{Kind, Report},
    process::{Outcome, until},
    score::Score,
    world::World,
};

/// A user that owns nothing.
const NOBODY: u32 = 65_534;

const TAG: [u8; 6] = [0xc0, 0x11, 0x22, 0x33, 0x44, 0x55];

pub(crate) async fn run(score: &mut Score) {
    score.round("hci: the kernel's Bluetooth, spoken to directly");
    score.check("adapters are listed, switched, and seen to come and go", management().await);
    score.check("the user channel hears what was sent, dB by dB", ramp().await);
    score.check("what waits in the kernel is counted, and nothing of it is lost", waiting().await);
    score.check("2,000 advertisements a second from 1,000 addresses all arrive", flood().await);
    score.check("a scan is started anew and a controller reset on request", steps().await);
    score.check("extended advertisements on the Coded PHY, whole and in parts", extended().await);
    score.check("a controller that breaks or falls silent is brought back", broken().await);
    score.check("the monitor hears the same, and sees the scan go on and off", monitor().await);
    score.check("the monitor hears beside bluetoothd what btleplug scans for", beside().await);
    score.check("an adapter pulled out is lost, and comes back by its address", replug().await);
    score.check("an adapter in use, or not there, is told apart", refused().await);
    score.check("a process without privileges is told which one it lacks", lacking().await);
}

async fn management() -> Outcome<()> {
    let mut world = World::new();
    let mut management = open_management()?;
    let listed = management.adapters().await.map_err(text)?;
    expect(listed.is_empty(), || format!("an adapter without a controller: {listed:?}"))?;
    world.plug()?;
    let adapter = adapter(&mut management).await?;
    let told = (adapter.powered, adapter.le, adapter.classic, adapter.bus);
    let expected = (false, true, Classic::Absent, Some(Bus::Virtual));
    expect(told == expected, || format!("the adapter is {told:?}"))?;
    // Whoever asks for a change is answered; the others are told.
    let mut other = open_management()?;
    for on in [true, true, false] {
        other.power(adapter.index, on).await.map_err(text)?;
        let now = management.adapter(&wanted()?).await.map_err(text)?;
        expect(now.powered == on, || format!("told to be {on}, the adapter is not"))?;
    }
    other.power_cycle(adapter.index).await.map_err(text)?;
    world.unplug().await?;
    // The end of an earlier adapter may still be told after it has left the list.
    let mut changes = Vec::new();
    while changes.first() != Some(&Change::Added(adapter.index)) {
        changes = vec![within("the adapter to be added", management.changed()).await?];
    }
    while changes.last() != Some(&Change::Removed(adapter.index)) {
        changes.push(within("a change", management.changed()).await?);
    }
    let on = Change::Settings { index: adapter.index, powered: true };
    let off = Change::Settings { index: adapter.index, powered: false };
    let complete = changes.contains(&on) && changes.contains(&off);
    expect(complete, || format!("the changes were {changes:?}"))
}

async fn ramp() -> Outcome<()> {
    let (world, clock, mut session) = listening().await?;
    let before = clock.now();
    let mut last = before;
    for rssi in (-100..=-20).chain((-100..=-20).rev()) {
        let sent = report(TAG, rssi, &[2, 1, 6, 3, 0xff, 0xff, rssi.cast_unsigned()]);
        send(&world.antenna, &sent)?;
        let heard = advertisement(&mut session).await?;
        same(&sent, &heard)?;
        expect(heard.heard >= last && heard.heard <= clock.now(), || {
            format!("heard at {:?}, after {last:?}", heard.heard)
        })?;
        last = heard.heard;
    }
    // The controller could not tell, a public address, no data at all.
    let quiet = Report { random: false, ..report(TAG, 127, &[]) };
    send(&world.antenna, &quiet)?;
    same(&quiet, &advertisement(&mut session).await?)?;
    session.close().await;
    expect(!world.antenna.is_scanning(), || "it scans after it was closed".to_owned())
}

async fn waiting() -> Outcome<()> {
    let (world, _clock, mut session) = listening().await?;
    let empty = session.queue().map_err(text)?;
    for count in 0..500_u16 {
        send(&world.antenna, &report(TAG, -60, &count.to_le_bytes()))?;
    }
    let full = until("the packets wait in the kernel", PATIENCE, async || {
        let queue = session.queue().ok()?;
        (queue.bytes >= 500 * 50).then_some(queue)
    })
    .await?;
    expect(empty.bytes == 0 && full.bytes_allowed >= 1 << 20 && full.dropped == 0, || {
        format!("empty {empty:?}, full {full:?}")
    })?;
    for count in 0..500_u16 {
        let heard = advertisement(&mut session).await?;
        expect(heard.data() == count.to_le_bytes(), || format!("{count} is missing"))?;
    }
    session.close().await;
    Ok(())
}

async fn flood() -> Outcome<()> {
    let (world, clock, mut session) = listening().await?;
    let mut monitor =
        Monitor::open(&session.adapter(), ReceiverId::default(), clock).await.map_err(text)?;
    let antenna = world.antenna.clone();
    let sending = tokio::spawn(async move {
        for batch in 0..500_u16 {
            for one in 0..20 {
                let count = batch * 20 + one;
                let [high, low] = (count % 1000).to_be_bytes();
                let sent = report([0xc0, 0, 0, 0, high, low], -60, &count.to_le_bytes());
                send(&antenna, &sent)?;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok::<_, String>(())
    });
    let beside = tokio::spawn(async move {
        for count in 0..10_000_u16 {
            let heard = monitored(&mut monitor).await?;
            expect(heard.data() == count.to_le_bytes(), || format!("the monitor lacks {count}"))?;
        }
        monitor.queue().map_err(text)
    });
    let mut oldest = Duration::ZERO;
    for count in 0..10_000_u16 {
        let heard = advertisement(&mut session).await?;
        expect(heard.data() == count.to_le_bytes(), || format!("{count} is missing"))?;
        oldest = oldest.max(clock.now().since(heard.heard));
    }
    sending.await.map_err(text)??;
    let monitors = beside.await.map_err(text)??;
    let queue = session.queue().map_err(text)?;
    let whole = queue.dropped == 0 && monitors.dropped == 0 && oldest < Duration::from_secs(1);
    expect(whole, || format!("the oldest waited {oldest:?}; {queue:?}, {monitors:?}"))?;
    session.close().await;
    Ok(())
}

async fn steps() -> Outcome<()> {
    let (world, _clock, mut session) = listening().await?;
    for reset in [false, true, true, false] {
        let done = if reset { session.reset().await } else { session.restart_scan().await };
        done.map_err(text)?;
        expect(world.antenna.is_scanning(), || format!("after a step ({reset}) it does not scan"))?;
        let sent = report(TAG, -60, &[2, 1, 6]);
        send(&world.antenna, &sent)?;
        same(&sent, &advertisement(&mut session).await?)?;
    }
    let told = session.adapter().address.octets();
    expect(told == [0, 0xaa, 1, 0, 0, 0x42], || "the controller told another address".to_owned())?;
    session.close().await;
    Ok(())
}

async fn extended() -> Outcome<()> {
    let (controller, mut session) = listening_extended().await?;
    let ability = (session.ability().extended(), session.ability().coded());
    expect(ability == (true, true), || format!("extended, coded: {ability:?}"))?;
    // Public address, no filter, 1M and Coded; passive, 60 ms; passive, 180 ms.
    let parameters = [0, 0, 5, 0, 0x60, 0, 0x60, 0, 0, 0x20, 1, 0x20, 1];
    let told = controller.told(0x2041);
    expect(told.last().is_some_and(|last| last == &parameters), || format!("told {told:x?}"))?;
    let old = controller.told(0x200c).len() + controller.told(0x200b).len();
    expect(old == 0, || "it was spoken to with old and new commands".to_owned())?;
    let data: Vec<u8> = (0..=219).collect();
    for parts in [vec![data.as_slice()], data.chunks(100).collect()] {
        for (place, part) in parts.iter().enumerate() {
            controller.hear(TAG, -77, part, place + 1 < parts.len()).map_err(text)?;
        }
        let heard = advertisement(&mut session).await?;
        let sent = report(TAG, -77, &data);
        same(&sent, &heard)?;
    }
    session.close().await;
    let ended = controller.told(0x2042).last().map(|last| last.first() == Some(&0));
    expect(ended == Some(true), || "the scan was not ended".to_owned())
}

async fn broken() -> Outcome<()> {
    let (controller, mut session) = listening_extended().await?;
    let mut news = Vec::new();
    controller.break_down().map_err(text)?;
    while news.last() != Some(&Item::News(News::Scan { on: true })) || news.len() < 2 {
        news.push(within("news", session.next()).await?);
    }
    let expected = [
        News::Scan { on: true }, // as it was opened
        News::Scan { on: false },
        News::HardwareError { code: 0x42 },
        News::Scan { on: true },
    ];
    expect(news == expected.map(Item::News), || format!("news: {news:?}"))?;
    controller.mute(true);
    let silent = session.restart_scan().await;
    let told = matches!(silent, Err(HciError::Silent { .. }));
    expect(told, || format!("of a silent controller: {silent:?}"))?;
    expect(session.next().await.is_err(), || "nothing should come".to_owned())?;
    controller.mute(false);
    session.reset().await.map_err(text)?;
    controller.hear(TAG, -40, &[2, 1, 6], false).map_err(text)?;
    same(&report(TAG, -40, &[2, 1, 6]), &advertisement(&mut session).await?)?;
    session.close().await;
    Ok(())
}

async fn monitor() -> Outcome<()> {
    let (world, adapter) = plugged().await?;
    let clock = Clock::start();
    let mut monitor = Monitor::open(&adapter, ReceiverId::default(), clock).await.map_err(text)?;
    let mut session = open_session(clock).await?;
    expect_news(&mut monitor, News::Opened).await?;
    expect_news(&mut monitor, News::ScanAsked { on: true }).await?;
    expect_news(&mut monitor, News::Scan { on: true }).await?;
    for rssi in -90..-30 {
        let sent = report(TAG, rssi, &[3, 0xff, 0xff, 0xff]);
        send(&world.antenna, &sent)?;
        same(&sent, &advertisement(&mut session).await?)?;
        match within("the monitor", monitor.next()).await? {
            Item::Advertisement(heard) => same(&sent, &heard)?,
            other => return Err(format!("the monitor said {other:?}")),
        }
    }
    session.restart_scan().await.map_err(text)?;
    for on in [false, true] {
        expect_news(&mut monitor, News::ScanAsked { on }).await?;
        expect_news(&mut monitor, News::Scan { on }).await?;
    }
    session.reset().await.map_err(text)?;
    expect_news(&mut monitor, News::Scan { on: false }).await?;
    expect_news(&mut monitor, News::Scan { on: true }).await?;
    expect(monitor.is_scanning() == Some(true), || "the scan went unnoticed".to_owned())?;
    session.close().await;
    expect_news(&mut monitor, News::Scan { on: false }).await?;
    expect_news(&mut monitor, News::Closed).await?;
    let queue = monitor.queue().map_err(text)?;
    expect(queue.dropped == 0, || format!("{queue:?}"))
}

async fn beside() -> Outcome<()> {
    let world = World::working().await?;
    let clock = Clock::start();
    let mut management = open_management()?;
    let adapter = adapter(&mut management).await?;
    let mut monitor = Monitor::open(&adapter, ReceiverId::default(), clock).await.map_err(text)?;
    let (stop, stopped) = watch::channel(false);
    let (sender, mut heard) = mpsc::channel(64);
    let scanning = tokio::spawn(async move {
        let settings = scan::Settings { data: DataPlane::Dbus, ..scan::Settings::default() };
        let counters = ScanCounters::for_receivers(settings.receiver_ids()).into();
        let (_, canaries) = watch::channel(CanarySightings::new());
        let ends = SourceEnds { clock, heard: sender, counters, canaries, stop: stopped };
        live::run(&settings.live(Span::secs(20)), ends).await;
    });
    let listening = tokio::spawn(async move { while heard.recv().await.is_some() {} });
    expect_news(&mut monitor, News::Scan { on: true }).await?;
    world.scanning().await?;
    for rssi in -90..-30 {
        let sent = report(TAG, rssi, &[3, 0xff, 0xff, 0xff]);
        send(&world.antenna, &sent)?;
        same(&sent, &monitored(&mut monitor).await?)?;
    }
    // What the kernel holds back for a scan response, the monitor has at once.
    let held = Report { kind: Kind::Connectable, ..report(TAG, -50, &[2, 1, 6]) };
    send(&world.antenna, &held)?;
    same(&held, &monitored(&mut monitor).await?)?;
    let _ended = stop.send(true);
    expect_news(&mut monitor, News::Scan { on: false }).await?;
    scanning.await.map_err(text)?;
    listening.await.map_err(text)
}

async fn replug() -> Outcome<()> {
    let (mut world, clock, mut session) = listening().await?;
    let mut monitor = {
        let adapter = session.adapter();
        Monitor::open(&adapter, ReceiverId::default(), clock).await.map_err(text)?
    };
    world.unplug().await?;
    let lost = within("the end", async {
        loop {
            if let Err(error) = session.next().await {
                return Ok::<_, HciError>(error);
            }
        }
    })
    .await?;
    expect(lost == HciError::Lost, || format!("it ended with: {lost}"))?;
    expect(session.reset().await == Err(HciError::Lost), || "a reset without adapter".to_owned())?;
    drop(session);
    expect_news(&mut monitor, News::Removed).await?;
    world.plug()?;
    let back = within("its return", async {
        loop {
            if let Item::News(News::Added { index }) = monitor.next().await? {
                return Ok::<_, HciError>(index);
            }
        }
    })
    .await?;
    let mut management = open_management()?;
    let adapter = adapter(&mut management).await?;
    expect(adapter.index == back, || format!("hci{back} is {}", adapter.name()))?;
    let mut session = open_session(clock).await?;
    let sent = report(TAG, -60, &[2, 1, 6]);
    send(&world.antenna, &sent)?;
    same(&sent, &advertisement(&mut session).await?)?;
    same(&sent, &monitored(&mut monitor).await?)?;
    session.close().await;
    Ok(())
}

async fn refused() -> Outcome<()> {
    let (mut world, clock, session) = listening().await?;
    // Taken by a session, it is hidden from all others.
    let hidden = open_session(clock).await.err().unwrap_or_default();
    expect(hidden.contains("failed to find"), || format!("a second session: {hidden}"))?;
    let reset = hardware::reset(session.adapter().index, PATIENCE).await;
    expect(matches!(reset, Err(HciError::Reset { .. })), || {
        format!("software has no hardware to be reset: {reset:?}")
    })?;
    session.close().await;
    world.unplug().await?;
    let absent = open_session(clock).await.err().unwrap_or_default();
    expect(absent.contains("failed to find"), || format!("without a controller: {absent}"))
}

async fn lacking() -> Outcome<()> {
    let (_world, _) = plugged().await?;
    let itself = std::env::current_exe().map_err(text)?;
    let child = Command::new(itself).arg("unprivileged").uid(NOBODY).gid(NOBODY).output();
    let output = child.await.map_err(text)?;
    let told = String::from_utf8_lossy(&output.stderr);
    expect(output.status.success(), || format!("{}: {}", output.status, told.trim()))
}

/// What [`lacking`] starts, as a user without any privileges.
pub(crate) fn unprivileged() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime.map_err(text).and_then(|runtime| runtime.block_on(try_everything()));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

async fn try_everything() -> Outcome<()> {
    let clock = Clock::start();
    let mut management = open_management()?;
    // Looking is allowed.
    let adapter = management.adapter(&wanted()?).await.map_err(text)?;
    let lacks = |error: Result<(), HciError>, expected| match error {
        Err(HciError::Forbidden { capability, .. }) if capability == expected => Ok(()),
        other => Err(format!("instead of a lack of {expected}: {other:?}")),
    };
    lacks(management.power(adapter.index, true).await, "CAP_NET_ADMIN")?;
    lacks(Monitor::permitted(clock), "CAP_NET_RAW")?;
    let name = ReceiverId::default();
    let opened = UserSession::open(&wanted()?, &Settings::default(), name, clock, PATIENCE).await;
    lacks(opened.map(drop), "CAP_NET_ADMIN")
}

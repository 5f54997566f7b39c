//! `run`: the daemon.

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use super::{Common, Failure, runtime};
use crate::{
    clock::Clock,
    gateway::{self, Request, Source, StoreWork},
    health,
    scan::live,
    settings::Settings,
    telemetry,
};

/// How many requests may wait: a signal that repeats another one says nothing new.
const REQUESTS_BOUND: usize = 4;

pub(super) fn run(common: &Common) -> Result<(), Failure> {
    let loader = common.loader();
    let settings = loader.load()?;
    settings.check_gateway().map_err(|invalid| loader.invalid(invalid))?;
    telemetry::start(settings.log.level);
    if let Some(advice) = settings.calibration_advice() {
        tracing::warn!("{advice}.");
    }
    let source = source(&settings);
    runtime()?.block_on(async {
        let requests = signals()?;
        let (clock, apart) = (Clock::start(), StoreWork::Apart);
        Box::pin(gateway::run_with(apart, settings, clock, source, requests, health::ready))
            .await?;
        Ok(())
    })
}

/// SIGTERM and SIGINT stop, SIGHUP reads the registry again.
pub(super) fn signals() -> Result<mpsc::Receiver<Request>, Failure> {
    let failed = |error| Failure::Failed(format!("cannot listen for signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
    let (requests, receiver) = mpsc::channel(REQUESTS_BOUND);
    tokio::spawn(async move {
        loop {
            let request = tokio::select! {
                _ = terminate.recv() => Request::Stop,
                _ = interrupt.recv() => Request::Stop,
                _ = hangup.recv() => Request::Reload,
            };
            if requests.send(request).await.is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}

/// The live radio.
fn source(settings: &Settings) -> Source {
    let live = settings.live();
    Box::new(move |ends| Box::pin(async move { live::run(&live, ends).await }))
}

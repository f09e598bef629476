//! The process among others: signals, what the service manager is told (sd_notify(3)), and reloading.

use crate::broker::Broker;
use crate::config::{Layers, Setting};
use crate::telemetry::Diagnostics;
use sd_notify::NotifyState;
use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that the broker obeys.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// From now on they no longer end the process by themselves.
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits until somebody wants the process to end.
    pub(super) async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Waits for the one or the other; whether it is the end.
    pub(super) async fn end_or_reload(&mut self) -> bool {
        tokio::select! {
            _ = self.terminate.recv() => true,
            _ = self.interrupt.recv() => true,
            _ = self.hangup.recv() => false,
        }
    }
}

/// Connections are taken from now on.
pub(super) fn tell_ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The end has begun.
pub(super) fn tell_stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("draining")]);
}

/// What `systemctl status` shows.
pub(super) fn tell_status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// Nobody may be listening; whoever is and cannot be told finds out in his own time.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager was not told");
    }
}

/// What a SIGHUP reads again.
pub(super) struct Reload {
    pub(super) layers: Layers,
    /// What is in force.
    pub(super) settings: Vec<Setting>,
    pub(super) diagnostics: Diagnostics,
    pub(super) broker: Broker,
}

impl Reload {
    /// Reads the configuration again and puts in force what can be changed while the broker runs; the rest is named.
    /// With any fault everything stays as it is.
    pub(super) fn run(&mut self) {
        let began = NotifyState::monotonic_usec_now();
        tell(&began.map_or_else(|_| vec![NotifyState::Reloading], |now| vec![NotifyState::Reloading, now]));
        self.apply();
        tell(&[NotifyState::Ready]);
    }

    fn apply(&mut self) {
        let effective = match self.layers.effective() {
            Ok(effective) => effective,
            Err(faults) => {
                tracing::error!(%faults, "the configuration stays as it was");
                return;
            }
        };
        if let Err(fault) = self.diagnostics.set(&effective.config.log) {
            tracing::error!(fault, "log: the configuration stays as it was");
            return;
        }
        self.broker.set_retention(effective.config.retention);
        for (old, new) in self.settings.iter_mut().zip(effective.settings) {
            if old.value == new.value {
                continue;
            }
            if new.key == "log" || new.key.starts_with("retention.") {
                tracing::info!(key = new.key, value = new.value, "in force");
                *old = new;
            } else {
                tracing::warn!(key = new.key, value = new.value, "takes a restart");
            }
        }
        tracing::info!("the configuration was read again");
    }
}

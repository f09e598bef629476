//! Delivery when the ledger fails, when a caller goes away, and when an endpoint stays down.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use stentor::broker::{Broker, Options};
use stentor::clock::{Clock, Random};
use stentor::connector::{Egress, Sender};
use stentor::deliver::{ConnectorInput, Delivery, Ending, Registry, RegistryParts, Session};
use stentor::engine::{Engine, Local, LocalOptions};
use stentor::fs::{Fault, MemoryFs};
use stentor::ledger::{Entry, FailedAttempt, Via};
use stentor::log::Fill;
use stentor::model::{ConnectorSettings, Filter, GiveUp, Kind, Name, Offset, Place, SubscriberSettings};
use stentor::notify::Hub;
use support::{options, publish};

fn registry(engine: &Arc<Local>) -> Arc<Registry> {
    registry_at(engine, Clock::Machine)
}

fn registry_at(engine: &Arc<Local>, clock: Clock) -> Arc<Registry> {
    let _already = rustls::crypto::ring::default_provider().install_default().is_err();
    let engine: Arc<dyn Engine> = Arc::<Local>::clone(engine);
    Registry::start(RegistryParts {
        hub: Hub::new(engine.end()),
        engine,
        sender: Arc::new(Sender::new(Egress { loopback: true, ..Egress::default() }, clock.clone()).unwrap()),
        clock,
        random: Arc::new(Random::from_machine()),
        metrics: Arc::default(),
    })
}

async fn next_event(session: &mut Session) -> Offset {
    loop {
        if let Delivery::Event { event, .. } = session.next().await.unwrap() {
            return event.offset;
        }
    }
}

async fn ending(session: &mut Session) -> Ending {
    loop {
        match session.next().await.unwrap() {
            Delivery::Ended(ending) => return ending,
            Delivery::Event { .. } | Delivery::CaughtUp(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

fn name() -> Name {
    Name::parse("name", "ui").unwrap()
}

fn settings() -> SubscriberSettings {
    SubscriberSettings::new(Filter::parse(&["key.*"]).unwrap())
}

/// A subscriber that was sent five events and has acknowledged none.
async fn five_delivered() -> (MemoryFs, Arc<Local>, Arc<Registry>, Session) {
    let fs = MemoryFs::new();
    let engine = Arc::new(Local::open(Arc::new(fs.clone()), &options()).unwrap().engine);
    publish(&engine, 0..5).await.unwrap();
    let registry = registry(&engine);
    registry.put_subscriber(&name(), settings(), Some(Place::Earliest)).await.unwrap();
    let mut session = registry.attach("ui", Via::InProcess).unwrap();
    for n in 0..5 {
        assert_eq!(next_event(&mut session).await, Offset(n));
    }
    (fs, engine, registry, session)
}

#[tokio::test]
async fn acks_that_the_ledger_did_not_keep_end_the_session_and_lead_to_redelivery() {
    // The story: the window had them as settled, the fold had not; the next session began behind what nobody
    // remembers, and a restart began before it.
    let (fs, engine, registry, mut session) = five_delivered().await;
    let subscription = Arc::clone(session.subscription());
    subscription.ack_through(session.generation(), Offset(1)).unwrap();
    registry.settle_all().await;
    fs.set_fault(Fault { fail_call: Some(fs.calls()), keep_failing: true, ..Fault::default() });
    subscription.ack_through(session.generation(), Offset(4)).unwrap();
    registry.settle_all().await;
    assert!(matches!(ending(&mut session).await, Ending::Failed));
    fs.set_fault(Fault::default());
    assert_eq!(engine.state().named("ui").unwrap().floor, Offset(2), "what is durable");
    let again = registry.attach("ui", Via::InProcess).map(|_| ());
    assert!(again.is_err(), "with the ledger poisoned nobody gets a session whose acks cannot be kept");
    assert_eq!(registry.view(Kind::Subscriber, "ui").await.unwrap().cursor, Offset(2), "shown as it is");
}

#[tokio::test]
async fn what_the_ledger_refuses_changes_nobody_and_deletes_nobody() {
    // The story: the window had given up what the new patterns did not ask for, the ledger then refused the change,
    // and the session went on behind what was still due.
    let (fs, engine, registry, mut session) = five_delivered().await;
    fs.set_fault(Fault { fail_call: Some(fs.calls()), keep_failing: true, ..Fault::default() });
    let lost = Entry::Cut { log: String::new(), quarantined: String::new(), bytes: 0 };
    engine.record(vec![lost]).unwrap().durable().await.unwrap_err();
    assert!(engine.record(Vec::new()).is_err(), "the ledger is poisoned: from now on it refuses at once");

    let other = SubscriberSettings::new(Filter::parse(&["policy.*"]).unwrap());
    registry.put_subscriber(&name(), other, None).await.unwrap_err();
    let ended = tokio::time::timeout(Duration::from_secs(10), ending(&mut session)).await.unwrap();
    assert!(matches!(ended, Ending::Failed), "nobody goes on in a window that is ahead of what is written down");
    assert_eq!(registry.settings("ui").unwrap(), settings());
    registry.delete(Kind::Subscriber, "ui").await.unwrap_err();
    assert_eq!(registry.view(Kind::Subscriber, "ui").await.unwrap().lag, Some(5), "shown as it is");
}

#[tokio::test]
async fn whoever_comes_back_waits_for_nobody_elses_acks() {
    // The story: of ten thousand listeners that returned at once each one wrote down the acks of all the others, and
    // waited for the ledger, before it got its first event.
    let engine = Arc::new(Local::open(Arc::new(MemoryFs::new()), &options()).unwrap().engine);
    publish(&engine, 0..1).await.unwrap();
    let registry = registry(&engine);
    let other = Name::parse("name", "other").unwrap();
    for name in [&name(), &other] {
        registry.put_subscriber(name, settings(), Some(Place::Earliest)).await.unwrap();
    }
    let mut session = registry.attach("ui", Via::InProcess).unwrap();
    assert_eq!(next_event(&mut session).await, Offset(0));
    session.subscription().ack_through(session.generation(), Offset(0)).unwrap();

    let of_other = registry.view(Kind::Subscriber, "other");
    tokio::pin!(of_other);
    assert!(futures_util::poll!(of_other.as_mut()).is_ready(), "it has nothing of its own to wait for");
    assert_eq!(registry.settings("other").unwrap(), settings());
    assert_eq!(engine.state().named("ui").unwrap().floor, Offset(0), "and writes nothing of the other's down");
    let view = registry.view(Kind::Subscriber, "ui").await.unwrap();
    assert_eq!(view.cursor, Offset(1), "who is looked at is shown with what it acknowledged so far");
}

#[tokio::test]
async fn a_caller_who_goes_away_leaves_nothing_half_done() {
    // The story: a client was cut off while its PUT waited for the ledger; the subscriber was in the ledger,
    // and nowhere else until the next start.
    let fs = MemoryFs::new();
    let options = LocalOptions { fill: Fill::Ahead, ..options() };
    let engine = Arc::new(Local::open(Arc::new(fs), &options).unwrap().engine);
    let registry = registry(&engine);
    let mut told = engine.follow_ledger();
    let before = *told.borrow();
    {
        let name = name();
        let put = registry.put_subscriber(&name, settings(), Some(Place::Earliest));
        // Polled once, and dropped with its caller.
        tokio::pin!(put);
        let first = futures_util::poll!(put.as_mut());
        assert!(first.is_pending(), "it waits for the ledger");
    }
    told.wait_for(|end| *end > before).await.unwrap();
    // Whoever comes next waits his turn behind it, and finds it done.
    registry.put_subscriber(&name(), settings(), None).await.unwrap();
    assert!(registry.attach("ui", Via::InProcess).is_ok());
    assert_eq!(engine.state().subscribers().count(), 1, "one subscriber, not two");
}

#[tokio::test]
async fn an_open_circuit_lets_one_probe_through_at_a_time() {
    // The story: with in_flight above 1 every slot probed an endpoint that was known to be down.
    let (seen, at_once, most) =
        (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let counts = (Arc::clone(&seen), Arc::clone(&at_once), Arc::clone(&most));
    let opened = stentor::model::limits::FAILING_AFTER as usize + 8;
    let down = axum::Router::new().fallback(move || {
        let (seen, at_once, most) = (Arc::clone(&counts.0), Arc::clone(&counts.1), Arc::clone(&counts.2));
        async move {
            let now = at_once.fetch_add(1, Ordering::SeqCst) + 1;
            // Attempts that were under way when the circuit opened may still be among the first ones.
            if seen.fetch_add(1, Ordering::SeqCst) >= opened {
                most.fetch_max(now, Ordering::SeqCst);
            }
            tokio::task::yield_now().await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            at_once.fetch_sub(1, Ordering::SeqCst);
            axum::http::StatusCode::INTERNAL_SERVER_ERROR
        }
    });
    tokio::spawn(async move { axum::serve(listener, down).await });
    let broker = Broker::open(Options::memory()).await.unwrap();
    let mut settings = ConnectorSettings::new(&url, Filter::parse(&["key.*"]).unwrap());
    settings.in_flight = 8;
    settings.retry.initial = Duration::from_millis(100);
    settings.retry.max = Duration::from_millis(100);
    let input = ConnectorInput { settings, headers: None, secret: None, from: None };
    broker.registry().put_connector(&Name::parse("name", "ems").unwrap(), input).await.unwrap();
    for n in 0..16 {
        broker.emit("key.a", &n).await.unwrap();
    }
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while seen.load(Ordering::SeqCst) < opened + 30 {
        assert!(tokio::time::Instant::now() < deadline, "attempts go on: {}", seen.load(Ordering::SeqCst));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(most.load(Ordering::SeqCst), 1, "one at a time once the circuit is open");
    broker.shutdown().await;
}

/// A broker on a disk in memory, which can be ended and begun again on it with another clock.
struct Life {
    engine: Arc<Local>,
    registry: Arc<Registry>,
}

impl Life {
    fn begin(fs: &MemoryFs, wall: u64) -> Self {
        let clock = Clock::Manual(Arc::new(AtomicU64::new(wall)));
        let options = LocalOptions { clock: clock.clone(), ..options() };
        let engine = Arc::new(Local::open(Arc::new(fs.clone()), &options).unwrap().engine);
        let registry = registry_at(&engine, clock);
        Self { engine, registry }
    }

    fn failed_attempt(&self) -> Option<FailedAttempt> {
        self.engine.state().named("ems").unwrap().failed.values().next().cloned()
    }

    /// Waits for so many more attempts; none where the event was given up before.
    async fn tries(&self, more: u32) -> Option<FailedAttempt> {
        let attempts = |failed: &FailedAttempt| failed.attempts;
        let until = self.failed_attempt().as_ref().map_or(0, attempts) + more;
        let mut told = self.engine.follow_ledger();
        loop {
            told.borrow_and_update();
            let failed = self.failed_attempt();
            let given_up = self.engine.state().named("ems").unwrap().floor > Offset(0);
            if given_up || failed.as_ref().map_or(0, attempts) >= until {
                return failed;
            }
            told.changed().await.unwrap();
        }
    }

    async fn end(self) {
        self.registry.stop(Duration::MAX).await;
        self.engine.close();
    }
}

/// A first life with one event and a connector whose endpoint always refuses.
async fn refused(fs: &MemoryFs, wall: u64, give_up_after: Duration) -> Life {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let refuses = axum::Router::new().fallback(|| async { axum::http::StatusCode::INTERNAL_SERVER_ERROR });
    tokio::spawn(async move { axum::serve(listener, refuses).await });
    let life = Life::begin(fs, wall);
    publish(&life.engine, 0..1).await.unwrap();
    let mut settings = ConnectorSettings::new(&url, Filter::parse(&["key.*"]).unwrap());
    settings.retry.initial = Duration::from_millis(20);
    settings.retry.max = Duration::from_millis(40);
    settings.retry.give_up_after = Some(GiveUp::After(give_up_after));
    let input = ConnectorInput { settings, headers: None, secret: None, from: Some(Place::Earliest) };
    life.registry.put_connector(&Name::parse("name", "ems").unwrap(), input).await.unwrap();
    life
}

const DAY: u64 = 24 * 3600 * 1_000_000;

#[tokio::test]
async fn an_event_is_not_given_up_for_the_time_in_which_nobody_tried() {
    // The story: a broker that was down over a weekend gave up, at the first attempt after it, what had failed once
    // before; so did one whose clock jumped.
    let fs = MemoryFs::new();
    let life = refused(&fs, 100 * DAY, Duration::from_secs(3600)).await;
    assert!(life.tries(2).await.is_some());
    life.end().await;
    for wall in [103 * DAY, 4_000 * DAY, DAY] {
        let life = Life::begin(&fs, wall);
        let failed = life.tries(3).await.expect("it is tried on");
        assert!(failed.failing_for < Duration::from_secs(600), "{:?}", failed.failing_for);
        life.end().await;
    }
}

#[tokio::test]
async fn an_event_is_given_up_in_the_end_though_no_life_lasts_so_long() {
    let fs = MemoryFs::new();
    let began = tokio::time::Instant::now();
    let give_up_after = Duration::from_millis(400);
    let mut life = refused(&fs, 100 * DAY, give_up_after).await;
    // A clock that stands still: what counts is what passes.
    while life.tries(2).await.is_some() {
        assert!(began.elapsed() < Duration::from_secs(60), "it is given up at last");
        life.end().await;
        life = Life::begin(&fs, 100 * DAY);
    }
    assert!(began.elapsed() >= give_up_after);
    life.end().await;
}

#[tokio::test]
async fn an_open_circuit_does_not_fail_a_backlog_event_by_event() {
    // An endpoint that is down is probed with new events too, but no faster than with the same one again.
    let seen = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&seen);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let down = axum::Router::new().fallback(move || {
        counts.fetch_add(1, Ordering::SeqCst);
        async { axum::http::StatusCode::INTERNAL_SERVER_ERROR }
    });
    tokio::spawn(async move { axum::serve(listener, down).await });
    let broker = Broker::open(Options::memory()).await.unwrap();
    let mut settings = ConnectorSettings::new(&url, Filter::parse(&["key.*"]).unwrap());
    settings.in_flight = 8;
    settings.retry.initial = Duration::from_secs(60);
    settings.retry.max = Duration::from_secs(60);
    let input = ConnectorInput { settings, headers: None, secret: None, from: None };
    broker.registry().put_connector(&Name::parse("name", "ems").unwrap(), input).await.unwrap();
    for n in 0..64 {
        broker.emit("key.a", &n).await.unwrap();
    }
    let most = stentor::model::limits::FAILING_AFTER as usize + 8;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(2);
    while tokio::time::Instant::now() < deadline {
        // Waits fill a minute evenly, so that a few may be as good as nothing.
        assert!(seen.load(Ordering::SeqCst) < most + 16, "{} attempts", seen.load(Ordering::SeqCst));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(seen.load(Ordering::SeqCst) >= 8, "it was tried");
    broker.shutdown().await;
}

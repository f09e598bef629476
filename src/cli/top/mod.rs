//! `stentor top`: the page of `status`, live. On a terminal it is drawn anew with every look; in a pipe each look is
//! one line.

mod draw;
mod page;

use super::args::{OutputKind, Top};
use super::exit::{Exit, Fault, Outcome};
use super::{output, status};
use crate::clock;
use crate::model::parse_duration;
use page::Page;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use std::io::IsTerminal;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// How long a key may wait until it is seen when the page is to end.
const KEY_POLL: Duration = Duration::from_millis(100);
/// The shortest time between two looks: each costs the broker some work.
const LEAST: Duration = Duration::from_millis(100);

pub(super) async fn run(top: &Top) -> Outcome {
    let every = parse_duration("every", &top.every)?.max(LEAST);
    let terminal = std::io::stdout().is_terminal();
    match top.connection.output() {
        Some(OutputKind::Table) if !terminal => {
            Err(Exit::Usage.because("--output table: top draws on a terminal only"))
        }
        None | Some(OutputKind::Table) if terminal => {
            let mut screen = ratatui::try_init()?;
            let ended = live(top, every, &mut screen).await;
            // Whatever came of it, the terminal is the user's again.
            ratatui::try_restore()?;
            ended
        }
        _ => lines(top, every).await,
    }
}

/// One line a look. A broker that cannot be reached is said in its line, and may come back.
async fn lines(top: &Top, every: Duration) -> Outcome {
    let client = top.connection.client()?;
    let mut page = Page::new(client.url());
    let mut looks = 0;
    loop {
        page.looked(status::look(&client).await, clock::Instant::now());
        output::line(&page.line().to_string())?;
        looks += 1;
        if top.count == Some(looks) {
            return page.reached().map_err(|why| Exit::Failed.because(why));
        }
        clock::sleep(every).await;
    }
}

/// What a key asks for.
enum Asked {
    Quit,
    Scroll(i32),
    Redraw,
}

async fn live(top: &Top, every: Duration, screen: &mut DefaultTerminal) -> Outcome {
    let client = top.connection.client()?;
    let mut page = Page::new(client.url());
    let mut terminate = signal(SignalKind::terminate())?;
    let (asks, mut asked) = mpsc::channel(16);
    tokio::task::spawn_blocking(move || keys(&asks));
    let mut looks = 0;
    loop {
        page.looked(status::look(&client).await, clock::Instant::now());
        looks += 1;
        let next = clock::Instant::now() + every;
        loop {
            screen.draw(|frame| draw::draw(frame, &page)).map_err(Fault::from)?;
            if top.count == Some(looks) {
                return page.reached().map_err(|why| Exit::Failed.because(why));
            }
            tokio::select! {
                () = clock::sleep_until(next) => break,
                _ = terminate.recv() => return Ok(()),
                ask = asked.recv() => match ask {
                    None | Some(Asked::Quit) => return Ok(()),
                    Some(Asked::Scroll(rows)) => page.scroll(rows),
                    Some(Asked::Redraw) => {}
                },
            }
        }
    }
}

/// Reads keys until nobody wants them any more.
fn keys(asks: &mpsc::Sender<Asked>) {
    while !asks.is_closed() {
        let ask = match event::poll(KEY_POLL) {
            Ok(false) => continue,
            Ok(true) => event::read().ok().and_then(|event| meaning(&event)),
            Err(_) => return,
        };
        if let Some(ask) = ask
            && asks.blocking_send(ask).is_err()
        {
            return;
        }
    }
}

fn meaning(event: &Event) -> Option<Asked> {
    let key = match event {
        Event::Resize(..) => return Some(Asked::Redraw),
        Event::Key(key) if key.kind != KeyEventKind::Release => key,
        _ => return None,
    };
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => Some(Asked::Quit),
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Asked::Quit),
        KeyCode::Down | KeyCode::Char('j') => Some(Asked::Scroll(1)),
        KeyCode::Up | KeyCode::Char('k') => Some(Asked::Scroll(-1)),
        KeyCode::PageDown => Some(Asked::Scroll(10)),
        KeyCode::PageUp => Some(Asked::Scroll(-10)),
        _ => None,
    }
}

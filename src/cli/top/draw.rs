//! Drawing the page.

use super::page::{Page, behind, number};
use crate::cli::status::text;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Sparkline, Table};
use serde_json::Value;

/// Rows that the channels get at most; the subscribers get the rest.
const CHANNEL_ROWS: u16 = 8;

pub(super) fn draw(frame: &mut Frame<'_>, page: &Page) {
    let channels = u16::try_from(page.channels.len()).unwrap_or(CHANNEL_ROWS).clamp(1, CHANNEL_ROWS) + 2;
    let parts = [Constraint::Length(4), Constraint::Length(5), Constraint::Min(4), Constraint::Length(channels)];
    let [head, curve, subscribers, bottom] = Layout::vertical(parts).areas(frame.area());
    frame.render_widget(heading(page), head);
    draw_curve(frame, page, curve);
    frame.render_widget(subscriber_table(page), subscribers);
    frame.render_widget(channel_table(page), bottom);
}

fn heading(page: &Page) -> Paragraph<'_> {
    let (word, colour) = match (&page.trouble, page.status.get("ready")) {
        (Some(_), _) => ("cannot be reached", Color::Red),
        (None, Some(Value::Bool(true))) => ("ready", Color::Green),
        _ => ("not ready", Color::Red),
    };
    let state = Span::styled(word, Style::new().fg(colour).add_modifier(Modifier::BOLD));
    let status = &page.status;
    // Before the broker was first reached there is nothing to say but that.
    let seen = |text: String| if status.is_null() { String::new() } else { text };
    let first = Line::from(vec![
        Span::styled("stentor ", Style::new().add_modifier(Modifier::BOLD)),
        Span::raw(format!("{} at {}  ", text(status, "version"), page.url)),
        state,
    ]);
    let second = seen(format!(
        "offsets {} to {}   up {}   {}",
        number(status, "start"),
        number(status, "end"),
        uptime(number(status, "uptime_seconds")),
        page.rate().map_or(String::new(), |rate| format!("{rate} events/s")),
    ));
    let third = seen(format!(
        "{} channels   {} subscribers   {} connectors, {} failing",
        number(status, "channels"),
        number(status, "subscribers"),
        number(status, "connectors"),
        number(status, "connectors_failing"),
    ));
    let trouble = page.trouble.as_deref().unwrap_or_else(|| text(status, "trouble")).to_owned();
    let fourth = Line::styled(trouble, Style::new().fg(Color::Red));
    Paragraph::new(vec![first, Line::raw(second), Line::raw(third), fourth])
}

fn draw_curve(frame: &mut Frame<'_>, page: &Page, area: Rect) {
    let block = Block::new().borders(Borders::TOP).title(" events a second ");
    let width = usize::from(area.width);
    let shown = page.rates.iter().skip(page.rates.len().saturating_sub(width)).copied();
    let shown: Vec<u64> = shown.collect();
    frame.render_widget(Sparkline::default().block(block).data(&shown), area);
}

fn subscriber_table(page: &Page) -> Table<'_> {
    let row = |row: &Value| {
        let connector = text(row, "kind") == "connector";
        let state = match (connector, row.get("connected")) {
            (true, _) => text(row, "state"),
            (false, Some(Value::Bool(true))) => "connected",
            (false, _) => "away",
        };
        let colour = match state {
            "failing" => Color::Red,
            "retrying" | "paused" => Color::Yellow,
            _ => Color::Reset,
        };
        let [cursor, open] = ["cursor", "open"].map(|name| number(row, name).to_string());
        Row::new([
            Cell::from(text(row, "name").to_owned()),
            Cell::from(if connector { "connector" } else { "subscriber" }),
            Cell::from(behind(row).to_string()),
            Cell::from(open),
            Cell::from(cursor),
            Cell::from(state.to_owned()).style(Style::new().fg(colour)),
            Cell::from(text(row, "last_error").to_owned()),
        ])
    };
    let widths = [
        Constraint::Min(16),
        Constraint::Length(10),
        Constraint::Length(10),
        Constraint::Length(8),
        Constraint::Length(12),
        Constraint::Length(10),
        Constraint::Fill(1),
    ];
    let title = format!(" subscribers, furthest behind first ({} above)  q quits, arrows scroll ", page.scrolled);
    Table::new(page.subscribers.iter().skip(page.scrolled).map(row), widths)
        .header(header(["name", "kind", "behind", "open", "cursor", "state", "last error"]))
        .block(Block::new().borders(Borders::TOP).title(title))
}

fn channel_table(page: &Page) -> Table<'_> {
    let row = |row: &Value| {
        let [events, last] = ["events", "last_offset"].map(|name| number(row, name).to_string());
        Row::new([text(row, "channel").to_owned(), events, last, text(row, "last_time").to_owned()])
    };
    let widths = [Constraint::Min(16), Constraint::Length(12), Constraint::Length(12), Constraint::Length(28)];
    Table::new(page.channels.iter().take(usize::from(CHANNEL_ROWS)).map(row), widths)
        .header(header(["channel", "events", "last offset", "last time"]))
        .block(Block::new().borders(Borders::TOP).title(" channels, most events first "))
}

fn header<const N: usize>(names: [&'static str; N]) -> Row<'static> {
    Row::new(names).style(Style::new().add_modifier(Modifier::BOLD))
}

fn uptime(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes} min {} s", seconds % 60),
        (0, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

//! Patterns, channels, names and the other small words, any text: lines, the first half patterns, then channels.
//!
//! Holds: the trie hands an event to exactly those whose patterns match, and both agree with a third matcher written
//! after PROTOCOL.md section 1; what parses stays within its limits and its text parses again to the same; durations
//! and times come back from how they are written.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use std::sync::Arc;
use stentor::ledger::SigningSecret;
use stentor::model::{
    Channel, Event, EventId, Filter, Head, Headers, Key, Name, Offset, Pattern, Place, Timestamp, format_duration,
    limits, parse_duration,
};
use stentor::notify::{Handed, Hub};
use tokio::sync::Notify;

/// PROTOCOL.md section 1, once more: `*` is one token, a last `**` one or more, neither takes a leading `$`.
fn asks(pattern: &[&str], channel: &[&str]) -> bool {
    match (pattern, channel) {
        ([], []) => true,
        (["**"], [_, ..]) => true,
        (["*", rest @ ..], [_, behind @ ..]) => asks(rest, behind),
        ([token, rest @ ..], [other, behind @ ..]) => token == other && asks(rest, behind),
        _ => false,
    }
}

fn matches(pattern: &str, channel: &str) -> bool {
    let (asked, tokens): (Vec<&str>, Vec<&str>) = (pattern.split('.').collect(), channel.split('.').collect());
    !(channel.starts_with('$') && pattern.starts_with('*')) && asks(&asked, &tokens)
}

fn event(channel: &Channel) -> Arc<Event> {
    let (id, headers) = (EventId::Made([1; 16]), Headers::default());
    let head = Head { id, channel: channel.clone(), key: None, headers, content_type: None, signature: None };
    Arc::new(Event::new(Offset(0), Timestamp(0), head, Bytes::from_static(b"1")))
}

/// The smaller words.
fn words(text: &str) {
    if let Ok(duration) = parse_duration("wait", text) {
        assert_eq!(parse_duration("wait", &format_duration(duration)), Ok(duration));
    }
    match Place::parse("from", text) {
        Ok(Place::At(offset)) => assert_eq!(Place::parse("from", &offset.to_string()), Ok(Place::At(offset))),
        Ok(Place::Since(time)) => assert_eq!(Timestamp::parse("from", &time.to_string()), Ok(time)),
        Ok(Place::Earliest | Place::Latest) | Err(_) => {}
    }
    if let Ok(name) = Name::parse("name", text) {
        assert!(name.as_str() == text && text.len() <= limits::MAX_NAME_BYTES && !text.contains('/'));
    }
    if let Ok(key) = Key::parse(text) {
        assert!(key.as_str() == text && text.len() <= limits::MAX_KEY_BYTES);
    }
    if let Ok(id) = EventId::parse(text) {
        assert!(id.to_string() == text && text.len() <= limits::MAX_ID_BYTES);
    }
    if let Ok(secret) = SigningSecret::parse(text) {
        assert_eq!(SigningSecret::parse(&secret.reveal()), Ok(secret));
    }
    if let Some((name, value)) = text.split_once('=')
        && let Ok(headers) = Headers::parse([(name, value)])
    {
        assert_eq!(headers.get(name), Some(value));
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let lines: Vec<&str> = text.lines().take(16).collect();
    lines.iter().for_each(|line| words(line));
    let patterns: Vec<Pattern> = lines.iter().filter_map(|line| Pattern::parse(line).ok()).collect();
    let channels: Vec<Channel> = lines.iter().filter_map(|line| Channel::parse(line).ok()).collect();
    for pattern in &patterns {
        assert!(pattern.as_str().len() <= limits::MAX_CHANNEL_BYTES);
        assert!(pattern.as_str().split('.').count() <= limits::MAX_CHANNEL_TOKENS);
        assert!(pattern.literal().is_none_or(|literal| Channel::parse(literal).is_ok()));
    }
    if patterns.is_empty() || channels.is_empty() {
        return;
    }
    let hub = Hub::new(Offset(0));
    let register = |pattern: &Pattern| {
        let filter = Arc::new(Filter::parse(&[pattern.as_str()]).expect("a pattern is a filter"));
        hub.register(filter, Arc::new(Notify::new()))
    };
    let mut sessions: Vec<_> = patterns.iter().map(register).collect();
    for round in 0..2 {
        for channel in &channels {
            assert!(channel.as_str().len() <= limits::MAX_CHANNEL_BYTES);
            hub.hand_over(&[event(channel)], Offset(1));
            for (pattern, session) in patterns.iter().skip(round).zip(&sessions) {
                let handed = match session.take() {
                    Handed::Event(_) => true,
                    Handed::Nothing(_) => false,
                    Handed::FellBehind(_) => panic!("one event always fits"),
                };
                assert_eq!(handed, pattern.matches(channel.as_str()), "trie: {pattern} on {channel}");
                assert_eq!(handed, matches(pattern.as_str(), channel.as_str()), "contract: {pattern} on {channel}");
                assert!(matches!(session.take(), Handed::Nothing(_)), "once, however often it matches");
            }
        }
        // Who leaves takes nothing of the others along.
        drop(sessions.drain(..1.min(sessions.len())));
    }
    drop(sessions);
    assert_eq!(hub.near(), 0);
});

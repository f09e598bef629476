//! Ledger entries and snapshots, any bytes: a snapshot, then entries, each behind its length.
//!
//! Holds: what decodes, encoded and decoded again, is the same and from then on the same bytes; the fold takes any
//! entries in any order without a panic, its cursors never fall but by a seek (invariant 16), and its snapshot gives
//! the same fold; questions to the fold end; nothing is allocated beyond what
//! serde sets aside for a list before it is read (1 MiB) and the bytes that are there (14).
#![no_main]

use libfuzzer_sys::fuzz_target;
use stentor::ledger::{Entry, State};
use stentor::model::{Offset, Span, Timestamp};
use stentor_fuzz::memory;

/// The next part, behind two bytes of length.
fn part<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, behind) = rest.split_first_chunk::<2>()?;
    let length = usize::from(u16::from_le_bytes(*length)).min(behind.len());
    let (part, behind) = behind.split_at(length);
    *rest = behind;
    Some(part)
}

fuzz_target!(|data: &[u8]| {
    let mut rest = data;
    memory::within((1 << 20) + data.len() * 64 + (16 << 10), || {
        let snapshot = part(&mut rest).unwrap_or_default();
        let mut state = match State::decode(snapshot) {
            Ok(state) => {
                let again = state.encode();
                let back = State::decode(&again).expect("what was encoded decodes");
                assert!(back == state && back.encode() == again);
                state
            }
            Err(_) => State::default(),
        };
        let mut time = 1_000_000;
        while let Some(bytes) = part(&mut rest) {
            let Ok(entry) = Entry::decode(bytes) else { continue };
            let again = entry.encode();
            assert_eq!(Entry::decode(&again).as_ref(), Ok(&entry));
            assert_eq!(Entry::decode(&again).map(|entry| entry.encode()), Ok(again));
            let before: Vec<_> = state.subscribers().map(|s| (s.id, s.floor, s.seeks)).collect();
            // Numbers are never given again, and names only once they are free: the ledger's writer sees to that.
            if let Entry::Made { id, name, .. } = &entry
                && (id.0 < state.next_id || state.named(name.as_str()).is_some())
            {
                continue;
            }
            time += 1;
            state.apply(&entry, Timestamp(time));
            if !matches!(entry, Entry::Made { .. }) {
                for (id, floor, seeks) in before {
                    let Some(now) = state.get(id) else { continue };
                    assert!(now.floor >= floor || now.seeks != seeks, "a cursor fell without a seek (16)");
                }
            }
            assert!(entry.proves().is_none_or(|proven| state.proven >= proven), "evidence is kept (R6)");
        }
        for subscriber in state.subscribers() {
            let span = Span::new(subscriber.floor, Offset(subscriber.floor.0.saturating_add(64)));
            let missing = subscriber.done.missing(span);
            assert!(missing.iter().all(|gap| !gap.is_empty() && gap.from >= span.from && gap.to <= span.to));
            assert!(!subscriber.channels_at(subscriber.floor).matches(""));
            assert!(subscriber.is_done(Offset::ZERO) || subscriber.floor == Offset::ZERO);
        }
        assert!(State::decode(&state.encode()).expect("a snapshot decodes") == state, "a snapshot is the fold");
    });
});

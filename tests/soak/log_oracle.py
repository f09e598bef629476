"""What the log must hold: everything that was answered or shown, where it was said to be, as it was published, once.

Knows nothing of HTTP. Whoever publishes, hears or reads tells it; what two of them say must agree (RELIABILITY.md,
invariants 1 to 3, 12, 13 and 26). Events are known by the tag in their payload, so that ids need not be trusted.
"""

import dataclasses
import json


@dataclasses.dataclass(frozen=True)
class Planned:
    """An event as it is published."""

    tag: str
    channel: str
    key: str | None
    # None where the broker shall make one.
    id: str | None
    data: bytes


class LogOracle:
    def __init__(self, faults):
        self.faults = faults
        self.planned = {}
        # offset -> (tag, id, channel, key, time), as it was first shown.
        self.shown = {}
        # tag -> offset, by an answer or by what was shown.
        self.place = {}
        # offset -> tag, by an answer.
        self.answered = {}
        self.start = 0
        # The highest offset that was answered or shown.
        self.highest = -1
        # Everything below was read, or is gone.
        self.read_to = 0
        # Events read back, older stretches included.
        self.read_back = 0

    def plan(self, event):
        self.planned[event.tag] = event

    def channel(self, offset):
        """The channel of an event that was shown."""
        return self.shown[offset][2] if offset in self.shown else None

    def _placed(self, tag, offset, who):
        known = self.place.setdefault(tag, offset)
        if known != offset:
            self.faults.add("twice", f"{who} has event {tag} at {offset}, and it was at {known}")
        other = self.answered.get(offset, tag)
        if other != tag:
            self.faults.add("reused", f"{who} has event {tag} at {offset}, which was answered for {other}")

    def acknowledged(self, tag, offset):
        """A publisher was answered."""
        self._placed(tag, offset, "an answer")
        shown = self.shown.get(offset)
        if shown and shown[0] != tag:
            self.faults.add("reused", f"an answer has event {tag} at {offset}, where {shown[0]} was shown")
        if offset < self.read_to and offset >= self.start and not shown:
            self.faults.add("lost", f"event {tag} was answered at {offset}, where a reading found nothing")
        self.answered[offset] = tag
        self.highest = max(self.highest, offset)

    def saw(self, event, raw, who):
        """Somebody was shown an event; `raw` is the text that held it."""
        offset = event["offset"]
        tag = event["data"].get("tag") if isinstance(event.get("data"), dict) else None
        # What the broker says of its connectors is planned by nobody, and may change as little as the rest.
        its_own = event["channel"].startswith("$stentor.connector.")
        if its_own:
            tag = f"{event['channel']} at {offset}"
        planned = self.planned.get(tag)
        if planned is None and not its_own:
            self.faults.add("changed", f"{who} has at {offset} what nobody published: {event}")
            return
        seen = (tag, event["id"], event["channel"], event.get("key"), event["time"])
        self.highest = max(self.highest, offset)
        known = self.shown.setdefault(offset, seen)
        if known != seen:
            kind = "changed" if known[0] == tag else "reused"
            self.faults.add(kind, f"{who} has at {offset} {seen}, and it was {known}")
        if its_own:
            self._placed(tag, offset, who)
            return
        wanted = (planned.channel, planned.key, planned.id or event["id"])
        if (event["channel"], event.get("key"), event["id"]) != wanted:
            self.faults.add("changed", f"{who} has at {offset} {event}, and {planned} was published")
        if b'"data":' + planned.data + b"}" not in raw:
            self.faults.add("changed", f"{who} has other bytes at {offset} than {planned}: {raw!r}")
        self._placed(tag, offset, who)

    def begins(self, start):
        """The log begins here now."""
        if start < self.start:
            self.faults.add("came back", f"the log begins at {start}, and had begun at {self.start}")
        self.start = max(self.start, start)
        self.read_to = max(self.read_to, self.start)

    def ends(self, end, highest):
        """The log ends here, said by a broker that was asked when `highest` was the highest offset known."""
        if end <= highest:
            what = self.answered.get(highest) or self.shown.get(highest)
            self.faults.add("lost", f"the log ends at {end}, and {highest} was answered or shown: {what}")

    def read(self, from_, to, events):
        """A reading of a stretch: (event, raw) by offset. What is below the start may be missing."""
        offsets = [event["offset"] for event, _ in events]
        first = max(from_, self.start)
        due = [offset for offset in offsets if offset >= first]
        if due != list(range(first, to)):
            missing = sorted(set(range(first, to)) - set(due))
            for offset in missing:
                self.faults.add("lost", f"{offset} is not in the log ({self.answered.get(offset, 'not answered')})")
            if not missing:
                self.faults.add("order", f"the log from {first} to {to} is read as {offsets}")
        for event, raw in events:
            self.saw(event, raw, "a reading")
        self.read_back += len(events)
        if from_ <= self.read_to:
            self.read_to = max(self.read_to, to)

    def whole(self, tags, end):
        """Everything below `end` was read: of a batch all is there, in one piece, or nothing."""
        places = [self.place[tag] for tag in tags if self.place.get(tag, end) < end]
        if places and places != list(range(places[0], places[0] + len(tags))):
            self.faults.add("torn", f"of the batch {tags} these are there: {places}")


def parsed(raw):
    """A line of an export, with its text."""
    return json.loads(raw), raw

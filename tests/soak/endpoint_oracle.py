"""What a connector's endpoint must be told: everything that matches, in order within a lane, again only what was in
flight when the broker was killed, with attempts that never fall (RELIABILITY.md, invariants 18, 21, 22 and 27)."""

import collections

from patterns import matches


class EndpointOracle:
    def __init__(self, faults, name, patterns, in_flight):
        self.faults, self.name, self.patterns, self.in_flight = faults, name, patterns, in_flight
        self.life = 0
        # Nobody seeks here.
        self.era = 0
        # offset -> the life of the broker in which it was last accepted.
        self.accepted = {}
        # life -> offsets accepted last in it that came again.
        self.again = collections.defaultdict(set)
        self.most_again = 0
        # offset -> requests, and the highest attempt and its life.
        self.requests = collections.Counter()
        self.attempts = {}
        self.in_hand = set()
        self.lanes = {}
        self.cursor_shown = self.checked = 0

    def _add(self, kind, story):
        self.faults.add(kind, f"{self.name}: {story}")

    def killed(self):
        """The broker is dead, and everything that it had sent was looked at."""
        self.life += 1
        self.in_hand.clear()

    def requested(self, offset, attempt):
        if offset in self.in_hand:
            self._add("concurrent", f"{offset} came while it was in hand")
        self.in_hand.add(offset)
        if len(self.in_hand) > self.in_flight:
            self._add("window", f"{sorted(self.in_hand)} are in flight; in_flight {self.in_flight}")
        accepted_in = self.accepted.get(offset)
        if accepted_in is not None:
            # Counted for the kill that may excuse it: of one life, in_flight events at most can have been unsettled.
            again = self.again[accepted_in]
            again.add(offset)
            self.most_again = max(self.most_again, len(again))
            if accepted_in == self.life:
                self._add("endpoint repeats", f"{offset} came again, and the broker was not killed")
            elif len(again) > self.in_flight:
                self._add("endpoint repeats", f"{sorted(again)} came again after one kill; in_flight {self.in_flight}")
        highest, life = self.attempts.get(offset, (0, -1))
        # Written down before its retry; of the last one before a kill nobody may have been told.
        least = highest + 1 if life == self.life else max(highest, 1)
        if not least <= attempt <= self.requests[offset] + 1:
            story = f"attempt {attempt}, {highest} was seen, in {self.requests[offset]} requests"
            self._add("attempts", f"{offset} came as {story}")
        self.requests[offset] += 1
        self.attempts[offset] = (max(highest, attempt), self.life)

    def answered(self, offset, key, accepted):
        """The endpoint has answered, or broke the connection off."""
        self.in_hand.discard(offset)
        if not accepted:
            return
        if offset not in self.accepted:
            lane = None if self.in_flight == 1 else key if key is not None else f"alone {offset}"
            before = self.lanes.setdefault(lane, offset)
            if before > offset:
                self._add("order", f"{offset} was accepted for the first time behind {before}, lane {lane}")
            self.lanes[lane] = max(before, offset)
        self.accepted[offset] = self.life

    def cursor(self, cursor):
        """The broker shows the cursor."""
        if cursor < self.cursor_shown:
            self._add("cursor", f"it fell to {cursor} from {self.cursor_shown}")
        self.cursor_shown = max(self.cursor_shown, cursor)

    def wants(self, offset):
        """Whether it should have a receipt for what lies below its cursor."""
        return offset in self.accepted

    def settle(self, log):
        """Compares with a log that was read, and began where it says after the cursor was shown."""
        to = min(self.cursor_shown, log.read_to)
        for offset in range(max(self.checked, log.start), to):
            if matches(self.patterns, log.channel(offset)) and offset not in self.accepted:
                self._add("missed", f"{offset} was never accepted, and the cursor is {self.cursor_shown}")
        for offset in self.accepted:
            if self.checked <= offset < to and not matches(self.patterns, log.channel(offset)):
                self._add("order", f"{offset} does not match and was sent")
        self.checked = max(self.checked, to)

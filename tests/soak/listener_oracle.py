"""What a durable listener must hear: everything that matches, in order, again only what was not durably acknowledged.

An era lasts from one seek of the harness to the next (RELIABILITY.md, invariants 16 to 21).
"""

from patterns import matches


class ListenerOracle:
    def __init__(self, faults, name, patterns, window):
        self.faults, self.name, self.patterns, self.window = faults, name, patterns, window
        # Counts seeks.
        self.era = 0
        self.deliveries = 0
        self.most_again = 0
        self.sought(0)

    def _add(self, kind, story):
        self.faults.add(kind, f"{self.name}: {story}")

    def sought(self, cursor):
        """A seek was answered: a new era."""
        self.era += 1
        self.heard = set()
        self.gaps = []
        self.from_ = self.checked = self.durable = cursor
        # The highest offset that was delivered, and that was acknowledged by the listener.
        self.high = self.said = -1
        # Cursors that were shown, each with what had been acknowledged by then.
        self.cursors = []
        self.mark()
        self.began()

    def began(self):
        """A session begins."""
        self.last = -1
        self.again = 0
        self.open = []

    def cursor(self, cursor):
        """The broker shows the durable cursor."""
        if cursor < self.durable:
            self._add("cursor", f"it fell to {cursor} from {self.durable}")
        self.durable = max(self.durable, cursor)
        self.cursors.append((cursor, self.said))

    def event(self, offset):
        self.deliveries += 1
        if offset <= self.last:
            self._add("order", f"{offset} came behind {self.last}")
        if offset < self.durable:
            self._add("repeats", f"{offset} came again, and the durable cursor is {self.durable}")
        self.last = max(self.last, offset)
        if offset in self.heard:
            self.again += 1
            self.most_again = max(self.most_again, self.again)
            if self.again > self.window:
                self._add("repeats", f"{self.again} came again in a session, up to {offset}; window {self.window}")
        elif offset < self.high:
            self._add("order", f"{offset} came for the first time behind {self.high}")
        self.heard.add(offset)
        self.high = max(self.high, offset)
        self.open.append(offset)
        if len(self.open) > self.window:
            self._add("window", f"{len(self.open)} are open, up to {offset}; window {self.window}")

    def gap(self, from_, to):
        self.gaps.append((from_, to))

    def says(self, offset):
        """The listener acknowledges everything up to `offset`."""
        self.said = max(self.said, offset)
        self.open = [open_ for open_ in self.open if open_ > offset]

    def wants(self, offset):
        """Whether it should have a receipt for what lies below its cursor."""
        return offset in self.heard

    def mark(self):
        """What is known now is compared at the next `settle`: the log's start must be asked for later than this,
        because what retention took meanwhile is not demanded."""
        self.marked = (self.high + 1, len(self.gaps), len(self.cursors))

    def settle(self, log):
        """Compares what was known at the mark with a log that was read."""
        high, gaps, cursors = self.marked
        for from_, to in self.gaps[:gaps]:
            if to > log.start:
                self._add("gap", f"it was told that {from_} to {to} are gone, and the log begins at {log.start}")
        del self.gaps[:gaps]
        to = min(high, log.read_to)
        for offset in range(max(self.checked, log.start), to):
            wanted = matches(self.patterns, log.channel(offset))
            if wanted and offset not in self.heard:
                self._add("missed", f"{offset} was never delivered, and {high - 1} was")
        for offset in self.heard:
            if self.checked <= offset < to and not matches(self.patterns, log.channel(offset)):
                self._add("order", f"{offset} does not match and was delivered")
        self.checked = max(self.checked, to)
        for cursor, said in self.cursors[:cursors]:
            for offset in range(max(said + 1, self.from_, log.start), min(cursor, log.read_to)):
                if matches(self.patterns, log.channel(offset)):
                    self._add("cursor", f"it passed {offset} and was {cursor}, acknowledged was {said}")
        del self.cursors[:cursors]
        self.mark()

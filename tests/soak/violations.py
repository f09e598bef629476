"""What was found to be wrong: kinds that are counted, stories that are told."""

import collections


class Faults:
    """Collects violations; the oracles write, the programme reads."""

    def __init__(self):
        self.stories = []
        self.counted = collections.Counter()

    def add(self, kind, story):
        self.counted[kind] += 1
        self.stories.append(f"{kind}: {story}")

    def __bool__(self):
        return bool(self.stories)

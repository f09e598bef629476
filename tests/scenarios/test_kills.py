"""A hundred kills under load, at random times and at chosen system calls: `tests/soak/kills.py` runs 10,000 of them.
And what they are held against does find a disk that forgets."""

import os
import random
import shutil

import kills
from harness import report
from lane import Generation, no_figures
from violations import Faults

SEED = int(os.environ.get("STENTOR_SEED", random.SystemRandom().randrange(2**32)))
CYCLES = int(os.environ.get("STENTOR_KILL_CYCLES", 100))


def test_no_kill_takes_what_was_said(tmp_path):
    figures, stories = kills.run(CYCLES, SEED, brokers=2, data=tmp_path, generation=50, say=report)
    report(figures)
    assert not stories, "\n".join(stories)
    assert figures["cycles"] == CYCLES and figures["acknowledged"] and figures["called"] and figures["heard"]


class Forgetful(Generation):
    """The disk is once as it was some lives before: the broker itself cannot know.

    Only what the log's oracle says counts: an endpoint may see a repeat first, and a life with a fault is the last.
    """

    def __init__(self, *arguments):
        super().__init__(*arguments)
        for one in (*self.listeners, *self.endpoints):
            one.oracle.faults = Faults()
        # The highest offset that was answered when the disk was copied, until it is given back.
        self.copied = None
        self.forgot = False

    async def _life(self, death, work):
        await super()._life(death, work)
        copy = self.directory / "copy"
        if self.copied is None and self.log.answered:
            shutil.copytree(self.data, copy)
            self.copied = max(self.log.answered)
        # Lives that were killed at their start have nothing to forget: seed 838817628 had nine of them in a row.
        elif not self.forgot and self.copied is not None and max(self.log.answered) > self.copied:
            shutil.rmtree(self.data)
            shutil.copytree(copy, self.data)
            self.forgot = True


async def test_a_disk_that_forgets_is_found(tmp_path):
    report(f"seed {SEED}")
    generation = Forgetful(tmp_path / "forgetful", SEED, no_figures())
    await generation.run(40, lambda: None)
    assert generation.forgot
    assert {"lost", "reused"} & set(generation.faults.counted), generation.faults.stories

"""A hundred kills under load, at random times and at chosen system calls: `tests/soak/kills.py` runs 10,000 of them.
And what they are held against does find a disk that forgets."""

import os
import random
import shutil

import kills
from harness import report
from lane import Generation, no_figures

SEED = int(os.environ.get("STENTOR_SEED", random.SystemRandom().randrange(2**32)))
CYCLES = int(os.environ.get("STENTOR_KILL_CYCLES", 100))


def test_no_kill_takes_what_was_said(tmp_path):
    figures, stories = kills.run(CYCLES, SEED, brokers=2, data=tmp_path, generation=50, say=report)
    report(figures)
    assert not stories, "\n".join(stories)
    assert figures["cycles"] == CYCLES and figures["acknowledged"] and figures["called"] and figures["heard"]


class Forgetful(Generation):
    """After ten lives the disk is as it was after five: the broker itself cannot know."""

    async def _life(self, death, work):
        await super()._life(death, work)
        copy = self.directory / "copy"
        if self.figures["cycles"] == 5:
            shutil.copytree(self.data, copy, dirs_exist_ok=True)
        if self.figures["cycles"] == 10:
            shutil.rmtree(self.data)
            shutil.copytree(copy, self.data)


async def test_a_disk_that_forgets_is_found(tmp_path):
    report(f"seed {SEED}")
    generation = Forgetful(tmp_path / "forgetful", SEED, no_figures())
    await generation.run(40, lambda: None)
    # Which oracle speaks first, that of the log or that of an endpoint, depends on what was under way; a generation
    # ends with ten stories. Of a disk that forgets nothing there are none: that is the test above.
    assert generation.faults.counted, "no oracle saw that the disk forgot"

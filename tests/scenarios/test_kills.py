"""A hundred kills under load, at random times and at chosen system calls: `tests/soak/kills.py` runs 10,000 of them."""

import os
import random

import kills
from harness import report

SEED = int(os.environ.get("STENTOR_SEED", random.SystemRandom().randrange(2**32)))
CYCLES = int(os.environ.get("STENTOR_KILL_CYCLES", 100))


def test_no_kill_takes_what_was_said(tmp_path):
    figures, stories = kills.run(CYCLES, SEED, brokers=2, data=tmp_path, generation=50, say=report)
    report(figures)
    assert not stories, "\n".join(stories)
    assert figures["cycles"] == CYCLES and figures["acknowledged"] and figures["called"] and figures["heard"]

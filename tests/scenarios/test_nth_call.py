"""A slice of tests/soak/nth_call.py: the n-th system call on a data file fails, and all that was said is true."""

import os
import random

import nth_call

from harness import report

SEED = int(os.environ.get("STENTOR_SEED", random.SystemRandom().randrange(2**32)))


async def test_whichever_call_on_a_data_file_fails_what_was_acknowledged_is_there_and_reads_are_answered(tmp_path):
    summary = await nth_call.campaign(tmp_path, calls=4, seed=SEED, step=3)
    report(f"seed {SEED}: {summary['runs']} runs, {summary['kinds']}")
    assert summary["runs"] >= 20, "hardly a call was hit"
    assert not summary["violations"], "\n".join(summary["violations"])

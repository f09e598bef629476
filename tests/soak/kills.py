"""The kill programme: the release binary under load, killed by SIGKILL at random times and at chosen system calls,
started again, and held against what it had said.

    python tests/soak/kills.py --cycles 10000 [--seed S] [--brokers K] [--data DIR] [--generation N]

A cycle is a start and a kill. Several brokers run side by side, each in a process of its own with a seed of its own;
every `--generation` cycles all faults stop, everything drains, the whole log is read and verified, and a new data
directory begins. Exit status 0 only where nothing was wrong; what was wrong is told with its seed and its data.
STENTOR names the binary.
"""

import argparse
import asyncio
import json
import multiprocessing
import pathlib
import queue
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "scenarios"))

from lane import no_figures, run_lane  # noqa: E402

# A line of progress for so many cycles of a lane.
EVERY = 50


def _lane(number, directory, seed, cycles, generation, told):
    """The main of one lane's process."""
    # Its broker ends with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    def progress(figures):
        if figures["cycles"] % EVERY == 0:
            told.put((number, figures["cycles"], None))

    figures, story = asyncio.run(run_lane(directory, f"{seed} lane {number}", cycles, generation, progress))
    told.put((number, figures["cycles"], (figures, story)))


def run(cycles, seed, *, brokers=2, data=None, generation=200, say=print):
    """Runs it all; gives the summary and the stories of what was wrong."""
    say(f"seed {seed}, {cycles} cycles, {brokers} brokers")
    place = pathlib.Path(data or tempfile.mkdtemp(prefix="stentor-kills-"))
    began = time.monotonic()
    context = multiprocessing.get_context("spawn")
    told = context.Queue()
    shares = [cycles // brokers + (number < cycles % brokers) for number in range(brokers)]
    lanes = [context.Process(target=_lane, args=(number, place / f"lane-{number}", seed, share, generation, told))
             for number, share in enumerate(shares) if share]
    for lane in lanes:
        lane.start()
    done, ended, stories = {}, {}, []
    try:
        while len(ended) < len(lanes):
            try:
                number, reached, result = told.get(timeout=5)
            except queue.Empty:
                for number, lane in enumerate(lanes):
                    if number not in ended and lane.exitcode is not None:
                        ended[number] = no_figures()
                        stories.append(f"lane {number} of the programme itself broke")
                continue
            done[number] = reached
            if result:
                ended[number] = result[0]
                if result[1]:
                    stories.append(result[1])
                    say(result[1])
            say(f"{sum(done.values())} cycles after {time.monotonic() - began:.0f} s")
    except BaseException:
        for lane in lanes:
            lane.terminate()
        raise
    finally:
        for lane in lanes:
            lane.join()
    if not stories and not data:
        shutil.rmtree(place)
    return summary(ended.values(), seed, time.monotonic() - began), stories


def summary(lanes, seed, seconds):
    """One object of figures over all lanes."""
    total = no_figures()
    for figures in lanes:
        for name, value in figures.items():
            if name == "repeats":
                for who, worst in value.items():
                    total[name][who] = max(total[name].get(who, (0, "")), worst)
            else:
                total[name] += value
    starts, repeats = sorted(total.pop("starts")), total.pop("repeats")
    percentiles = statistics.quantiles(starts, n=100) if len(starts) > 1 else [0] * 99
    faults = total["faults"]
    named = {"lost": "lost", "repeats": "repeats beyond the window", "endpoint repeats": "repeats beyond in_flight",
             "order": "order violations", "cursor": "cursor falls", "receipts": "receipts missing"}
    return {"seed": seed, **total, **{title: faults[kind] for kind, title in named.items()},
            "repeats at most": [share for _, share in repeats.values()],
            "start p50": round(percentiles[49], 4), "start p99": round(percentiles[98], 4),
            "start max": round(max(starts, default=0), 4), "seconds": round(seconds, 1)}


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--cycles", type=int, default=100)
    arguments.add_argument("--seed", default=random.SystemRandom().randrange(2**32))
    arguments.add_argument("--brokers", type=int, default=2)
    arguments.add_argument("--data", help="where the data directories are made; a temporary place if not said")
    arguments.add_argument("--generation", type=int, default=200, help="cycles of one data directory")
    asked = arguments.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    figures, stories = run(asked.cycles, asked.seed, brokers=asked.brokers, data=asked.data,
                           generation=asked.generation, say=lambda line: print(line, flush=True))
    print(json.dumps(figures))
    sys.exit(1 if stories else 0)


if __name__ == "__main__":
    main()

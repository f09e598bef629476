"""System calls of the real binary that fail or take long, by strace."""

import pathlib


class Fault:
    """Does `what` to `call`s on these paths, as in `error=EIO:when=3`, for a broker that starts behind `prefix`.

    strace counts for each thread by itself, and only calls on the paths. The broker stays the process that was
    started: strace is its grandchild, and ends with it.
    """

    def __init__(self, trace, call, what, paths):
        self.trace = pathlib.Path(trace)
        only = [word for path in paths for word in ("-P", str(path))]
        self.prefix = ["strace", "-D", "-f", "--seccomp-bpf", "-o", str(trace), *only,
                       "-e", f"trace={call}", "-e", f"inject={call}:{what}"]

    def hits(self):
        """How often it struck."""
        return self.trace.read_text().count("INJECTED") if self.trace.exists() else 0

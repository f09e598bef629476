"""System calls of the real binary that fail or take long, by strace.

strace counts for each thread by itself, and only calls on the paths that are given.
"""

import os
import pathlib
import signal
import subprocess


class Fault:
    """Does `what` to `call`s on these paths, as in `error=EIO:when=3`."""

    def __init__(self, trace, call, what, paths):
        self.trace, self.call = pathlib.Path(trace), call
        only = [word for path in paths for word in ("-P", str(path))]
        self._words = ["-f", "-o", str(trace), *only, "-e", f"trace={call}", "-e", f"inject={call}:{what}"]
        self._tracer = None

    @property
    def prefix(self):
        """For a broker that has it from its start. It stays the process that was started: strace is its grandchild."""
        return ["strace", "-D", "--seccomp-bpf", *self._words]

    def attach(self, pid):
        """For one that runs: from now on, until it ends. Needs the right to trace it."""
        sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
        self._tracer = subprocess.Popen([*sudo, "strace", "-p", str(pid), *self._words], stderr=subprocess.PIPE)
        line = self._tracer.stderr.readline().decode()
        assert "attached" in line, f"strace: {line}"

    def detach(self):
        self._tracer.send_signal(signal.SIGTERM)
        self._tracer.wait(10)
        self._tracer.stderr.close()

    def hits(self):
        """How often it struck."""
        return self._count("INJECTED")

    def calls(self):
        """How many there were in all."""
        return self._count(f" {self.call}(")

    def _count(self, word):
        return self.trace.read_text().count(word) if self.trace.exists() else 0

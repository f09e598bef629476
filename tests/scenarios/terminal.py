"""A terminal as a person has it: a pty, and an emulator that keeps the screen."""

import codecs
import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time

import pyte

from harness import BINARY


class Terminal:
    """A command of the CLI on a terminal of its own."""

    def __init__(self, *arguments, url, columns=110, lines=32):
        self.screen = pyte.Screen(columns, lines)
        self.stream = pyte.Stream(self.screen)
        self.decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self.ours, theirs = pty.openpty()
        self.resize(columns, lines)
        self.before = termios.tcgetattr(theirs)
        self.theirs = theirs
        self.process = subprocess.Popen([BINARY, *map(str, arguments)], stdin=theirs, stdout=theirs, stderr=theirs,
                                        env={**os.environ, "STENTOR_URL": url, "TERM": "xterm-256color"},
                                        start_new_session=True)
        self.seen = ""

    def resize(self, columns, lines):
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.screen.resize(lines, columns)

    def take(self, within=0.1):
        """Takes in what was written."""
        ready, _, _ = select.select([self.ours], [], [], within)
        if not ready:
            return False
        try:
            text = self.decoder.decode(os.read(self.ours, 65536))
        except OSError:
            return False
        self.seen += text
        self.stream.feed(text)
        return True

    @property
    def text(self):
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip()

    def until(self, true, within=30, what=""):
        """Takes in until the screen is as it should be; gives it."""
        deadline = time.monotonic() + within
        while not true(self.text):
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {within} s: {what}\n{self.text}")
            self.take()
        return self.text

    def press(self, keys):
        os.write(self.ours, keys.encode())

    def ends(self, within=15):
        """Waits for the command's end; gives its status."""
        deadline = time.monotonic() + within
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"it does not end:\n{self.text}"
            self.take()
        while self.take(0):
            pass
        return self.process.returncode

    def is_as_before(self):
        """Whether echo and line mode are the user's again."""
        return termios.tcgetattr(self.theirs) == self.before

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.ours)
        os.close(self.theirs)

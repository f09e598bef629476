"""A disk of a few MiB that can be filled: a tmpfs in a mount namespace of its own, so that no root is needed."""

import contextlib
import errno
import pathlib
import subprocess

CHUNK = bytes(4096)


class SmallDisk:
    """Mounted at `at`, for the processes that `prefix` starts; others see it under `inside`."""

    def __init__(self, at, size):
        self.at = pathlib.Path(at)
        self.at.mkdir()
        mount = f'mount -t tmpfs -o size={size},mode=700 none "{self.at}" && echo mounted && exec cat'
        # It lasts as long as somebody lives in it: until its input ends, the holder does.
        self.holder = subprocess.Popen(["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.holder.stdout.readline() == b"mounted\n", "no disk could be mounted"
        self.prefix = ["nsenter", f"--target={self.holder.pid}", "--user", "--mount", "--preserve-credentials"]
        self.inside = pathlib.Path(f"/proc/{self.holder.pid}/root{self.at}")
        self.ballast = self.inside / "ballast"

    def fill(self):
        """Takes all the space that is left."""
        with open(self.ballast, "ab", buffering=0) as file:
            try:
                while True:
                    file.write(CHUNK)
            except OSError as error:
                assert error.errno == errno.ENOSPC, error

    def free(self):
        self.ballast.unlink()

    def close(self):
        self.holder.stdin.close()
        self.holder.wait(10)
        self.holder.stdout.close()


@contextlib.contextmanager
def small_disk(at, size):
    disk = SmallDisk(at, size)
    try:
        yield disk
    finally:
        disk.close()

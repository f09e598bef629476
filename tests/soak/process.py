"""One broker process after another on one data directory, each with the death that was planned for it."""

import asyncio
import contextlib
import dataclasses
import os
import signal
import time

from harness import BINARY

# System calls that change what is on disk, with the highest count that a short life reaches in one thread
# (strace counts for each thread).
SYSCALLS = {"fdatasync": 24, "pwrite64": 30, "fsync": 12, "rename": 8, "ftruncate": 4, "openat": 40, "mkdir": 6,
            "sync_file_range": 3, "unlink": 2}
# A start takes some hundredths of a second; a refused one says so by its exit status, a hung one by this.
START_WITHIN = 60


@dataclasses.dataclass(frozen=True)
class Death:
    """When a life ends. `after` seconds from its ready line, or from its start where it shall not get so far."""

    kind: str
    after: float
    syscall: str | None = None
    count: int = 0

    def brought(self, status):
        """Whether a process that ended with this status ended by the chosen system call."""
        return self.syscall is not None and status == -signal.SIGKILL

    def wrapper(self):
        if self.syscall is None:
            return []
        # -D: the broker stays our child. No --seccomp-bpf: strace 6.1 injects no signal with it.
        return ["strace", "-D", "-f", "-o", "/dev/null", "-e", f"trace={self.syscall}",
                "-e", f"inject={self.syscall}:signal=KILL:when={self.count}"]


def planned(dice, before, startup):
    """A death by chance, behind the one before; starts take `startup` seconds."""
    throw = dice.random()
    if before.kind == "startup" and throw < 0.5:
        # Recovery from a recovery that was killed.
        return Death("startup", dice.uniform(0, startup))
    if throw < 0.14:
        syscall = dice.choice(list(SYSCALLS))
        # Retention goes a second after the start.
        after = 1.3 if syscall == "unlink" else dice.uniform(0.2, 0.5)
        return Death("syscall", after, syscall, dice.randint(1, SYSCALLS[syscall]))
    if throw < 0.28:
        return Death("startup", dice.uniform(0, startup))
    if throw < 0.36:
        return Death("random", dice.uniform(1.0, 1.25))
    return Death("random", dice.uniform(0, 0.3))


class Refused(Exception):
    """The broker did not start, and nobody had killed it."""


class Process:
    """A running broker."""

    def __init__(self, process, death, url, took):
        self.process, self.death, self.url, self.took = process, death, url, took

    @classmethod
    async def start(cls, data, death, settings, log):
        """Starts one; `url` is None where it died before it was ready."""
        began = time.monotonic()
        command = [*death.wrapper(), BINARY, "serve", "--data", str(data), "--listen", "127.0.0.1:0"]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=log, env={**os.environ, "STENTOR_LOG": "warn", **settings})
        running = cls(process, death, None, 0)
        try:
            async with asyncio.timeout(death.after if death.kind == "startup" else START_WITHIN):
                line = (await process.stdout.readline()).decode().strip()
        except TimeoutError:
            running.kill()
            await process.wait()
            if death.kind != "startup":
                raise Refused(f"not ready within {START_WITHIN} s") from None
            return running
        running.took = time.monotonic() - began
        if line.startswith("http://"):
            running.url = line
            return running
        if not death.brought(await process.wait()):
            raise Refused(f"exit status {process.returncode}, {line!r}")
        return running

    def kill(self):
        """SIGKILL, if it is not dead yet."""
        # Not by `Process.kill`: that looks whether it has ended, and then asyncio's own wait loses the exit status.
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGKILL)

    async def dies(self):
        """Waits for the death that was planned; gives the exit status where nobody here brought it."""
        try:
            async with asyncio.timeout(self.death.after if self.death.kind != "startup" else 0):
                return await self.process.wait()
        except TimeoutError:
            self.kill()
            await self.process.wait()
            return None

    async def stop(self):
        """SIGTERM: must end by itself with status 0."""
        self.process.terminate()
        async with asyncio.timeout(START_WITHIN):
            code = await self.process.wait()
        if code != 0:
            raise Refused(f"a stop ended with status {code}")

"""The wall clock of a broker, which a test makes jump; time that only goes on is left as it is.

libfaketime stands between the process and its clock, and reads what to add from a file each time.
"""

import os
import pathlib


class MachineClock:
    """Begins as the machine's; `jump` sets how far it is off."""

    def __init__(self, folder):
        self.file = pathlib.Path(folder) / "clock"
        library = sorted(pathlib.Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        assert library, "libfaketime is not installed"
        self.environment = {"LD_PRELOAD": str(library[0]), "FAKETIME_TIMESTAMP_FILE": str(self.file),
                            "FAKETIME_NO_CACHE": "1", "DONT_FAKE_MONOTONIC": "1"}
        self.jump(0)

    def jump(self, seconds):
        """Off by so many seconds from now on. Whoever reads sees the old or the new, nothing between."""
        written = self.file.with_suffix(".new")
        written.write_text(f"{seconds:+d}\n")
        os.replace(written, self.file)

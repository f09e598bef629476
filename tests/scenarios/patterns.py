"""Which channels a list of patterns asks for, told apart from the broker's own code."""


def matches(patterns, channel):
    tokens = channel.split(".")

    def fits(pattern):
        wanted = pattern.split(".")
        # What is the broker's own is asked for by name.
        if tokens[0].startswith("$") and wanted[0] != tokens[0]:
            return False
        if wanted[-1] == "**":
            return len(tokens) >= len(wanted) and all(w in ("*", t) for w, t in zip(wanted[:-1], tokens))
        return len(wanted) == len(tokens) and all(w in ("*", t) for w, t in zip(wanted, tokens))
    return any(fits(pattern) for pattern in patterns)

"""What schemathesis is told about the broker that a document cannot say: loaded by `test_openapi.py`.

Each hook only changes a request that keeps to the document into another one that does.
"""

import json
import re
import zlib

import schemathesis

NAME = re.compile(r"[A-Za-z0-9_.:@-]{1,128}")
DURATION = re.compile(r"[0-9]+(ms|s|m|h|d)")
NOWHERE = "http://127.0.0.1:9/hook"
KNOWN = {"subscribers": "ui", "connectors": "ems"}


@schemathesis.serializer("application/x-ndjson")
def ndjson(ctx, value):
    """One JSON value a line."""
    if isinstance(value, bytes):
        return value
    if not isinstance(value, list):
        value = [value]
    return b"".join(json.dumps(each).encode() + b"\n" for each in value)


@schemathesis.hook
def before_call(ctx, case, kwargs):
    """Names that exist in every second call, no long waits, places that exist, and no request that leaves the machine."""
    for names in (case.path_parameters, case.query):
        for field in ("name", "subscriber"):
            name = (names or {}).get(field)
            if isinstance(name, str) and NAME.fullmatch(name) and zlib.crc32(name.encode()) % 2:
                names[field] = KNOWN["connectors" if "connectors" in case.operation.path else "subscribers"]
    if case.operation.path.endswith("/wait") and isinstance(case.query, dict):
        case.query.setdefault("timeout", "20ms")
    for fields in (case.query, case.body):
        if not isinstance(fields, dict):
            continue
        for field, within in (("wait", "20ms"), ("timeout", "20ms"), ("ack_timeout", "30s")):
            if isinstance(fields.get(field), str) and DURATION.fullmatch(fields[field]):
                fields[field] = within
        for field in ("from", "to"):
            if is_offset(fields.get(field)):
                fields[field] = type(fields[field])("0")
        for settings in (fields, fields.get("connector")):
            if isinstance(settings, dict) and re.match("https?://", str(settings.get("url"))):
                settings["url"] = NOWHERE


def is_offset(value):
    """Whether it is one that the document allows, and that may lie beyond the end of this log."""
    number = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return number or (isinstance(value, str) and re.fullmatch("[0-9]{1,20}", value) is not None)

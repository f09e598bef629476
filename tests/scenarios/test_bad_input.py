"""PROTOCOL.md section 9: every request that is refused, as a problem that helps to mend it, and without effect."""

import asyncio
import json
import re
import urllib.parse

import pytest
import pytest_asyncio
import yarl

from harness import Broker, call, eventually, http

MIB = 1 << 20
JSON = {"content-type": "application/json"}
NDJSON = {"content-type": "application/x-ndjson"}
SOCKET = {"connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13",
          "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ=="}
FIRST = b'{"n":1}'
HOOK = "http://127.0.0.1:9/hook"
TOO_FAR = 1_000_000
TWO_64 = 1 << 64


class Row:
    """A request, the status it gets, and the field that its problem names."""

    def __init__(self, method, path, status, field=None, *, body=None, headers=None, says=(), allow=(), stream=False):
        self.method, self.path, self.status, self.field = method, path, status, field
        self.headers = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            self.headers.setdefault("content-type", "application/json")
        self.body, self.says, self.allow, self.stream = body, says, allow, stream

    def __str__(self):
        body = "" if self.body is None else f" {self.body[:140].decode(errors='replace')} {len(self.body)}B"
        headers = {name: value[:40] for name, value in self.headers.items() if self.headers not in (JSON, NDJSON)}
        headers.pop("content-type", None) if self.body and headers.get("content-type") == "application/json" else None
        told = " ".join(f"{name}:{value}" for name, value in headers.items())
        text = f"{self.method} {self.path[:60]}{body} {told} -> {self.status} {self.field or ''}".strip()
        return re.sub(r"[^ -~]", "?", text).replace("[", "(").replace("]", ")").replace("::", ":")


def lines(*entries):
    return b"\n".join(entry if isinstance(entry, bytes) else json.dumps(entry).encode() for entry in entries) + b"\n"


def event(**members):
    return {"channel": "key.refused", "data": 1, **members}


BAD_CHANNELS = ["a b", "a..b", ".a", "a.", "é", "a*", "*", "a.**", "a/b", "$", "a.$b", "a" * 256, ".".join("a" * 17), "a\n", "a,b"]
BAD_PATTERNS = ["a b", "a..b", ".a", "a.", "a*", "**.a", "a.**.b", "***", "", "a" * 256, ".".join("a" * 17)]
BAD_NAMES = ["a b", "a/b", "é", "a" * 129, "a,b", "$a", "a*", "a%b"]
BAD_IDS = ["", "a b", "é", "x" * 129, "a\u0007"]
BAD_KEYS = ["", "x" * 256, "é" * 128, "a\u0001b", "a\u0085b"]
BAD_PLACES = ["nowhere", "", "-1", "1.5", "2026-13-01T00:00:00Z", "2026-11-21", "Earliest", str(TWO_64), TOO_FAR]
BAD_DURATIONS = ["", "5", "s", "-5s", "1.5s", "5 s", "5S", "5w", "99999999999999999999s"]


def segment(text):
    """A text as one segment of a path, or one value of a query."""
    return urllib.parse.quote(text, safe="")


def publish_rows():
    path = "/v1/events/key.refused"
    for channel in BAD_CHANNELS:
        yield Row("POST", f"/v1/events/{segment(channel)}", 400, "channel", body=b"1", headers=JSON)
        yield Row("POST", "/v1/events", 400, "channel", body=[event(channel=channel)])
    yield Row("POST", "/v1/events", 400, "channel", body=[event(channel="")])
    for system in ("$stentor.connector.failing", "$mine"):
        yield Row("POST", f"/v1/events/{segment(system)}", 403, "channel", body=b"1", headers=JSON)
        yield Row("POST", "/v1/events", 403, "channel", body=[event(channel=system)])
        yield Row("POST", "/v1/events", 403, "channel", body=lines(event(), event(channel=system)), headers=NDJSON, says=("2",))
    for payload in (b"", b"{", b"nul", b"{} {}", b"\xff\xfe", b"\"\n\"", b"'a'", b"NaN", b"[1,]", b"[" * 200 + b"]" * 200):
        yield Row("POST", path, 400, "data", body=payload, headers=JSON)
        yield Row("POST", path, 400, "data", body=payload)
        yield Row("POST", path, 400, "data", body=payload, headers={"content-type": "application/json; charset=utf-8"})
    for kind in ("nonsense", "a/", "/b", "text/plain, a b/c", "a b/c"):
        yield Row("POST", path, 400, "content_type", body=b"1", headers={"content-type": kind})
    for id in BAD_IDS:
        if "\u0007" not in id:
            yield Row("POST", path, 400, "id", body=b"1", headers={**JSON, "idempotency-key": id})
        yield Row("POST", "/v1/events", 400, "id", body=[event(id=id)])
    yield Row("POST", path, 400, "id", body=b"1", headers={**JSON, "idempotency-key": '""'})
    for key in BAD_KEYS:
        if "\u0001" not in key:
            yield Row("POST", path, 400, "key", body=b"1", headers={**JSON, "stentor-key": key})
        yield Row("POST", "/v1/events", 400, "key", body=[event(key=key)])
    many = {f"stentor-header-h{n}": "v" for n in range(33)}
    yield Row("POST", path, 400, "headers", body=b"1", headers={**JSON, **many})
    yield Row("POST", path, 400, "headers", body=b"1", headers={**JSON, "stentor-header-a": "v" * 4096, "stentor-header-b": "v" * 4096})
    yield Row("POST", path, 400, "headers", body=b"1", headers={**JSON, "stentor-header-": "v"})
    for headers in ({f"h{n}": "v" for n in range(33)}, {"a": "v" * 8192}, {"Upper": "v"}, {"": "v"}, {"a b": "v"}, {"a": "b\r\nc"},
                    {"a": 5}, {"a": None}, [], "a", 5):
        yield Row("POST", "/v1/events", 400, "headers", body=[event(headers=headers)])
    yield Row("POST", path + "?nonsense=1", 400, "nonsense", body=b"1", headers=JSON)
    yield Row("POST", "/v1/events?nonsense=1", 400, "nonsense", body=[event()])
    yield Row("POST", "/v1/events/key%2Erefused%2F", 400, "channel", body=b"1", headers=JSON)
    yield Row("POST", "/v1/events/key%252Erefused", 400, "channel", body=b"1", headers=JSON)
    yield Row("POST", "/v1/events/%FF", 400, "channel", body=b"1", headers=JSON)
    yield Row("POST", "/v1/events/%2524x", 400, "channel", body=b"1", headers=JSON)
    yield Row("POST", "/v1/events/%24x", 403, "channel", body=b"1", headers=JSON)
    # Many
    for body in (b"", b"{", b"null", b"5", b'"a"', b"{}", b"[", b"[1]", b"[null]", b'["a"]', b"[[]]", b"\xff"):
        yield Row("POST", "/v1/events", 400, body=body, headers=JSON)
    positional = ["key.refused", 1, None, None, {}, None, None]
    yield Row("POST", "/v1/events", 400, body=[positional])
    yield Row("POST", "/v1/events", 400, body=lines(positional), headers=NDJSON)
    yield Row("POST", "/v1/events", 400, body=event())
    yield Row("POST", "/v1/events", 400, body=[])
    yield Row("POST", "/v1/events", 400, body=b"\n\n", headers=NDJSON)
    yield Row("POST", "/v1/events", 400, body=lines(event(), b"{"), headers=NDJSON, says=("2",))
    yield Row("POST", "/v1/events", 400, "nonsense", body=[event(nonsense=1)])
    yield Row("POST", "/v1/events", 400, "nonsense", body=lines(event(), event(nonsense=1)), headers=NDJSON, says=("2",))
    for field in ("offset", "time", "signature_"):
        yield Row("POST", "/v1/events", 400, field, body=[event(**{field: 1})])
    yield Row("POST", "/v1/events", 400, "data", body=[{"channel": "key.refused"}])
    yield Row("POST", "/v1/events", 400, "channel", body=[{"data": 1}])
    for field in ("channel", "id", "key", "content_type", "data_base64"):
        for value in (5, True, {}, []):
            yield Row("POST", "/v1/events", 400, field, body=[{k: v for k, v in event(**{field: value}).items()
                                                                 if not (field == "data_base64" and k == "data")}])
    yield Row("POST", "/v1/events", 400, "data", body=[event(data_base64="AA==", content_type="text/plain")])
    yield Row("POST", "/v1/events", 400, "content_type", body=[event(content_type="text/plain")])
    yield Row("POST", "/v1/events", 400, "content_type", body=[{"channel": "key.refused", "data_base64": "AA=="}])
    yield Row("POST", "/v1/events", 400, "content_type", body=[{"channel": "key.refused", "data_base64": "AA==", "content_type": "x"}])
    yield Row("POST", "/v1/events", 400, "data_base64", body=[{"channel": "key.refused", "data_base64": "A", "content_type": "a/b"}])
    twice = [event(id="x", data=1), event(), event(id="x", data=1)]
    yield Row("POST", "/v1/events", 400, "id", body=twice, says=("3",))
    yield Row("POST", "/v1/events", 400, "id", body=lines(*twice), headers=NDJSON, says=("3",))
    yield Row("POST", "/v1/events", 400, "id", body=lines(twice[0], b"", b"", twice[2]), headers=NDJSON, says=("4",))
    conflict = {"channel": "key.activated", "id": "first", "data": {"n": 2}}
    yield Row("POST", "/v1/events", 409, "id", body=[event(), conflict], says=("2",))
    yield Row("POST", "/v1/events", 409, "id", body=lines(event(), conflict), headers=NDJSON, says=("2",))
    yield Row("POST", "/v1/events", 409, "id", body=lines(event(), b"", conflict), headers=NDJSON, says=("3",))
    first = "/v1/events/key.activated"
    given = {**JSON, "idempotency-key": "first"}
    yield Row("POST", first, 409, "id", body=b'{"n":2}', headers=given)
    yield Row("POST", first, 409, "id", body=b'{"n": 1}', headers=given)
    yield Row("POST", first, 409, "id", body=FIRST, headers={**given, "stentor-key": "other"})
    yield Row("POST", first, 409, "id", body=FIRST, headers={**given, "stentor-header-a": "other"})
    yield Row("POST", first, 409, "id", body=FIRST, headers={**given, "content-type": "text/plain"})
    # Too large
    large = b'"' + b"x" * (MIB - 1) + b'"'
    yield Row("POST", path, 413, body=large, headers=JSON)
    yield Row("POST", path, 413, body=b"x" * (MIB + 1), headers={"content-type": "text/plain"})
    yield Row("POST", path, 413, body=b"x" * (MIB + 1), headers={"content-type": "text/plain"}, stream=True)
    yield Row("POST", path, 413, body=b"x" * (32 * MIB), headers={"content-type": "text/plain"})
    yield Row("POST", "/v1/events", 413, body=[event(), event(data="x" * (MIB - 1))], says=("2",))
    yield Row("POST", "/v1/events", 413, body=lines(event(), event(data="x" * (MIB - 1))), headers=NDJSON, says=("2",))
    eight = [event(data="x" * 1_000_000) for _ in range(9)]
    yield Row("POST", "/v1/events", 413, body=eight)
    yield Row("POST", "/v1/events", 413, body=lines(*eight), headers=NDJSON)
    yield Row("POST", "/v1/events", 413, body=lines(*eight), headers=NDJSON, stream=True)
    yield Row("POST", "/v1/events", 413, body=[event() for _ in range(10_001)])
    yield Row("POST", "/v1/events", 413, body=lines(*[event() for _ in range(10_001)]), headers=NDJSON)
    # Another content type
    for kind in ("text/plain", "application/octet-stream", "application/xml", "nonsense"):
        yield Row("POST", "/v1/events", 415, body=b"[]", headers={"content-type": kind})
    for target, body in ((path, b"1"), ("/v1/events", b"[]")):
        yield Row("POST", target, 415, body=body, headers={**JSON, "content-encoding": "gzip"})


def read_rows():
    for target in ("/v1/events", "/v1/export"):
        for pattern in BAD_PATTERNS:
            yield Row("GET", f"{target}?channels={segment(pattern)}", 400, "channels")
        yield Row("GET", f"{target}?channels=key.*,a..b", 400, "channels")
        yield Row("GET", f"{target}?channels=key.*&channels=a..b", 400, "channels")
        for field in ("from", "to"):
            for place in BAD_PLACES:
                yield Row("GET", f"{target}?{field}={segment(str(place))}", 400, field)
            yield Row("GET", f"{target}?{field}=0&{field}=0", 400, field)
        yield Row("GET", f"{target}?nonsense=1", 400, "nonsense")
        yield Row("GET", f"{target}?From=1", 400, "From")
    for limit in ("0", "-1", "x", "", "10001", "1.5", str(TWO_64)):
        yield Row("GET", f"/v1/events?limit={limit}", 400, "limit")
        for listing in ("channels", "subscribers", "connectors", "receipts"):
            if limit != "10001":
                yield Row("GET", f"/v1/{listing}?limit={limit}", 400, "limit")
    yield Row("GET", "/v1/events?limit=1&limit=1", 400, "limit")
    for wait in [*BAD_DURATIONS, "61s", "2m"]:
        yield Row("GET", f"/v1/events?wait={segment(wait)}", 400, "wait")
    for listing in ("channels", "subscribers", "connectors", "receipts"):
        yield Row("GET", f"/v1/{listing}?nonsense=1", 400, "nonsense")
    for offset in (str(TOO_FAR), str(TWO_64 - 1)):
        yield Row("GET", f"/v1/events/{offset}", 404)
        yield Row("GET", f"/v1/events/{offset}/receipts", 404)
    for offset in ("x", "-1", "1.5", "0x1", "key.activated", "%20", "+1", "1%2F2", "%2531", "%FF"):
        yield Row("GET", f"/v1/events/{offset}", 400, "offset")
        yield Row("GET", f"/v1/events/{offset}/receipts", 400, "offset")
    yield Row("GET", "/v1/events/0?nonsense=1", 400, "nonsense")
    yield Row("GET", "/v1/events/0/receipts?nonsense=1", 400, "nonsense")
    # Receipts
    for name in BAD_NAMES:
        yield Row("GET", f"/v1/receipts?subscriber={segment(name)}", 400, "subscriber")
    for offset in ("x", "-1", "", "1.5", str(TWO_64)):
        yield Row("GET", f"/v1/receipts?offset={offset}", 400, "offset")
    for pattern in ("a..b", "", "**.a"):
        yield Row("GET", f"/v1/receipts?channel={pattern}", 400, "channel")
    for field in ("from", "to"):
        for place in BAD_PLACES:
            yield Row("GET", f"/v1/receipts?{field}={segment(str(place))}", 400, field)
    for after in ("x", "1", "1.x", "1.2.3", ""):
        yield Row("GET", f"/v1/receipts?after={after}", 400, "after")
    # Preview
    yield from settings_rows("POST", "/v1/preview", {"channels": ["key.*"]}, numbers=(), durations=())
    for field in ("from", "to"):
        for place in [*BAD_PLACES, -1, 1.5, True, [], {}]:
            yield Row("POST", "/v1/preview", 400, field, body={"channels": ["key.*"], field: place})


def settings_rows(method, path, good, numbers, durations):
    """What every body of settings has in common."""
    for body in (b"", b"{", b"null", b"5", b"[]", b'"a"', b"{} {}", b"\xff"):
        yield Row(method, path, 400, body=body, headers=JSON)
    yield Row(method, path, 400, body=[good["channels"], None, None, None, None])
    yield Row(method, path, 400, "nonsense", body={**good, "nonsense": 1})
    yield Row(method, path + "?nonsense=1", 400, "nonsense", body=good)
    for kind in ("text/plain", "application/x-ndjson", "application/x-www-form-urlencoded"):
        yield Row(method, path, 415, body=json.dumps(good).encode(), headers={"content-type": kind})
    yield Row(method, path, 400, "channels", body={k: v for k, v in good.items() if k != "channels"})
    for channels in ("key.*", 5, {}, [5], [[]], [], None, [f"a{n}" for n in range(257)], *([pattern] for pattern in BAD_PATTERNS)):
        yield Row(method, path, 400, "channels", body={**good, "channels": channels})
    for field in numbers:
        for value in (0, -1, 1.5, "9", True, [], 1 << 40, TWO_64):
            yield Row(method, path, 400, field, body={**good, field: value})
    for field in durations:
        for value in (*BAD_DURATIONS, 5, True, [], {}):
            yield Row(method, path, 400, field, body={**good, field: value})


def name_rows(kind, other):
    """What names have in common, whoever has them."""
    base = f"/v1/{kind}s"
    good = {"channels": ["never.*"]} if kind == "subscriber" else {"url": HOOK, "channels": ["never.*"]}
    ways = [("PUT", "", good), ("GET", "", None), ("DELETE", "", None), ("POST", "/seek", {"to": 0})]
    ways += [("GET", "/wait?offset=0&timeout=0s", None)] if kind == "subscriber" else [("POST", "/pause", None), ("POST", "/resume", None)]
    for method, rest, body in ways:
        for name in BAD_NAMES:
            yield Row(method, f"{base}/{segment(name)}{rest}", 400, "name", body=body)
        yield Row(method, f"{base}/a%2540b{rest}", 400, "name", body=body)
        yield Row(method, f"{base}/%FF{rest}", 400, "name", body=body)
        yield Row(method, f"{base}/{other}{rest}", 409, body=body, says=(other,))
        unknown = rest.replace("?", "?nonsense=1&") if "?" in rest else rest + "?nonsense=1"
        yield Row(method, f"{base}/nobody{unknown}", 400, "nonsense", body=body)
        if method != "PUT":
            yield Row(method, f"{base}/nobody{rest}", 404, body=body, says=("nobody",))
    mine = {"subscriber": "plain", "connector": "ems"}[kind]
    for place in [*BAD_PLACES, -1, 1.5, True, None, [], {}]:
        yield Row("POST", f"{base}/{mine}/seek", 400, "to", body={"to": place})
    yield Row("POST", f"{base}/{mine}/seek", 400, "to", body={})
    yield Row("POST", f"{base}/{mine}/seek", 400, "nonsense", body={"to": 0, "nonsense": 1})
    yield Row("POST", f"{base}/{mine}/seek", 400, body=b"{", headers=JSON)
    yield Row("POST", f"{base}/{mine}/seek", 400, body=[0])
    yield Row("POST", f"{base}/{mine}/seek", 415, body=b'{"to":0}', headers={"content-type": "text/plain"})
    for place in [*BAD_PLACES, -1, 1.5, True, [], {}]:
        yield Row("PUT", f"{base}/new", 400, "from", body={**good, "from": place})


def subscriber_rows():
    good = {"channels": ["never.*"]}
    yield from name_rows("subscriber", "ems")
    yield from settings_rows("PUT", "/v1/subscribers/new", good, ("window",), ("ack_timeout", "expires"))
    yield Row("PUT", "/v1/subscribers/new", 400, "window", body={**good, "window": 10_001})
    yield Row("PUT", "/v1/subscribers/new", 400, "ack_timeout", body={**good, "ack_timeout": "0s"})
    wait = "/v1/subscribers/plain/wait"
    yield Row("GET", wait, 400, "offset")
    for offset in ("x", "-1", "", "1.5", str(TWO_64), "0&offset=0"):
        yield Row("GET", f"{wait}?offset={offset}", 400, "offset")
    for timeout in [*BAD_DURATIONS, "61s", "0s&timeout=0s"]:
        yield Row("GET", f"{wait}?offset=0&timeout={segment(timeout).replace('%26', '&').replace('%3D', '=')}", 400, "timeout")


def connector_rows():
    good = {"url": HOOK, "channels": ["never.*"]}
    path = "/v1/connectors/new"
    yield from name_rows("connector", "plain")
    yield from settings_rows("PUT", path, good, ("in_flight",), ("timeout",))
    for url in ("", "nonsense", "ftp://127.0.0.1/", "http://", "127.0.0.1:9", "http://10.0.0.1/", "http://169.254.169.254/",
                "http://[fe80::1]/", "http://0.0.0.0/", "file:///etc/passwd", 5, None, []):
        yield Row("PUT", path, 400, "url", body={**good, "url": url})
    yield Row("PUT", path, 400, "url", body={"channels": ["never.*"]})
    for headers in ({"a b": "x"}, {"a": "b\r\nc: d"}, {"": "x"}, {"a": 5}, [], "x", {"webhook-id": "x"}, {"stentor-offset": "1"},
                    {"Host": "x"}, {"Content-Length": "0"}, {f"h{n}": "x" for n in range(33)}):
        yield Row("PUT", path, 400, "headers", body={**good, "headers": headers})
    for format in ("nonsense", "", 5, [], {"nonsense": "x"}):
        yield Row("PUT", path, 400, "format", body={**good, "format": format})
    for kind in ("nonsense", "a/b\r\nc: d", 5):
        yield Row("PUT", path, 400, "content_type", body={**good, "content_type": kind})
    for timeout in ("0s", "1h"):
        yield Row("PUT", path, 400, "timeout", body={**good, "timeout": timeout})
    for retry in ("1s", 5, [], {"initial": "5"}, {"initial": 5}, {"max": "x"}, {"max": 5}, {"initial": "10s", "max": "5s"}, {"initial": "0s"},
                  {"give_up_after": 0}, {"give_up_after": -1}, {"give_up_after": 1.5}, {"give_up_after": "5"}, {"give_up_after": []}):
        yield Row("PUT", path, 400, "retry", body={**good, "retry": retry})
    yield Row("PUT", path, 400, "nonsense", body={**good, "retry": {"nonsense": 1}})
    for rate in ("x", "100", "100/x", "0/s", 5, {}):
        yield Row("PUT", path, 400, "rate_limit", body={**good, "rate_limit": rate})
    for secret in ("x", "whsec_", "whsec_AAAA", "whsec_!", 5, []):
        yield Row("PUT", path, 400, "secret", body={**good, "secret": secret})


def operating_rows():
    base = "/v1/connectors/ems"
    for what in ("test", "attempts", "rotate-secret", "replay"):
        method, body = "GET" if what == "attempts" else "POST", {"from": 0} if what == "replay" else None
        yield Row(method, f"/v1/connectors/nobody/{what}", 404, body=body)
        yield Row(method, f"/v1/connectors/plain/{what}", 409, body=body)
        yield Row(method, f"{base}/{what}?nonsense=1", 400, "nonsense", body=body)
        if method == "POST":
            yield Row(method, f"{base}/{what}", 400, "nonsense", body={**(body or {}), "nonsense": 1})
            yield Row(method, f"{base}/{what}", 400, body=b"{", headers=JSON)
            yield Row(method, f"{base}/{what}", 400, body=[0])
            yield Row(method, f"{base}/{what}", 415, body=b"{}", headers={"content-type": "text/plain"})
    for secret in ("x", "whsec_", "whsec_AAAA", "whsec_!", 5, []):
        yield Row("POST", f"{base}/rotate-secret", 400, "secret", body={"secret": secret})
    yield Row("POST", f"{base}/replay", 400, "from", body={})
    for field in ("from", "to"):
        for place in [*BAD_PLACES, -1, 1.5, True, [], {}]:
            yield Row("POST", f"{base}/replay", 400, field, body={"from": 0, field: place})
    for rate in ("x", "100", "100/x", "0/s", 5, {}):
        yield Row("POST", f"{base}/replay", 400, "rate", body={"from": 0, "rate": rate})
    for url in ("", "nonsense", "ftp://127.0.0.1/", "http://10.0.0.1/", 5, []):
        yield Row("POST", f"{base}/replay", 400, "url", body={"from": 0, "url": url})
    path = "/v1/dead-letters"
    for query, field in (("limit=0", "limit"), ("limit=x", "limit"), ("after=x", "after"), ("after=1", "after"), ("after=1.x", "after"),
                         ("subscriber=a%20b", "subscriber"), ("nonsense=1", "nonsense")):
        yield Row("GET", f"{path}?{query}", 400, field)
    good = {"subscriber": "ems", "offsets": [0]}
    yield Row("POST", f"{path}/retry", 404, body={**good, "subscriber": "nobody"})
    yield Row("POST", f"{path}/retry", 409, body={**good, "subscriber": "plain"})
    yield Row("POST", f"{path}/retry", 404, body=good)
    yield Row("POST", f"{path}/retry", 400, "subscriber", body={**good, "subscriber": "a b"})
    yield Row("POST", f"{path}/retry", 400, "nonsense", body={**good, "nonsense": 1})
    for offsets in ([], "0", 0, ["0"], [-1], [1.5], [TWO_64], list(range(10_001)), None):
        yield Row("POST", f"{path}/retry", 400, "offsets", body={**good, "offsets": offsets})


def method_rows():
    table = {
        "/v1/events": "GET POST", "/v1/events/0": "GET POST", "/v1/events/0/receipts": "GET", "/v1/channels": "GET", "/v1/export": "GET",
        "/v1/preview": "POST", "/v1/receipts": "GET", "/v1/subscribers": "GET", "/v1/subscribers/plain": "GET PUT DELETE",
        "/v1/subscribers/plain/seek": "POST", "/v1/subscribers/plain/wait": "GET", "/v1/connectors": "GET",
        "/v1/connectors/ems": "GET PUT DELETE", "/v1/connectors/ems/seek": "POST", "/v1/connectors/ems/pause": "POST",
        "/v1/connectors/ems/resume": "POST", "/v1/connectors/ems/test": "POST", "/v1/connectors/ems/attempts": "GET",
        "/v1/connectors/ems/rotate-secret": "POST", "/v1/connectors/ems/replay": "POST", "/v1/dead-letters": "GET",
        "/v1/dead-letters/retry": "POST", "/v1/ws": "GET", "/health/live": "GET", "/health/ready": "GET", "/metrics": "GET",
    }
    for path, takes in table.items():
        takes = takes.split()
        for method in sorted({"GET", "POST", "PUT", "DELETE", "PATCH"} - set(takes)):
            yield Row(method, path, 405, allow=takes, says=(method,))
    for path in ("/v1", "/v1/", "/v2/events", "/v1/nonsense", "/v1/events/", "/v1/events/0/nonsense", "/v1/subscribers/", "/health",
                 "/v1/subscribers/plain/nonsense", "/v1/connectors/ems/nonsense", "//v1/events", "/v1/events/../events/0", "/V1/events"):
        yield Row("GET", path, 404)
    yield Row("GET", "/v1/ws", 426)
    yield Row("GET", "/v1/ws", 426, headers={**SOCKET, "sec-websocket-version": "8"})
    yield Row("GET", "/v1/ws", 426, headers={"connection": "Upgrade", "upgrade": "h2c"})
    yield Row("GET", "/v1/ws?channels=**", 426)
    for path, headers in (("/v1/ws", SOCKET), ("/v1/events", {}), ("/v1/subscribers", {})):
        yield Row("GET", path, 403, "Origin", headers={**headers, "origin": "https://evil.example"})
    yield Row("POST", "/v1/events/key.refused", 403, "Origin", body=b"1", headers={**JSON, "origin": "null"})


def table():
    for group in (publish_rows, read_rows, subscriber_rows, connector_rows, operating_rows, method_rows):
        for row in group():
            yield pytest.param(row, id=f"{group.__name__.removesuffix('_rows')}: {row}")


@pytest.fixture(scope="module")
def seeded(tmp_path_factory):
    """One broker for the whole table: three events, a subscriber, a connector to a place where nobody listens."""
    running = Broker(tmp_path_factory.mktemp("bad") / "data").start()

    async def seed():
        async with http() as session:
            await call(session, "POST", running.url + "/v1/events/key.activated", data=FIRST, expect=201,
                       headers={**JSON, "idempotency-key": "first"})
            for n in (1, 2):
                await call(session, "POST", running.url + "/v1/events/key.activated", data=b"1", headers=JSON, expect=201)
            await call(session, "PUT", running.url + "/v1/subscribers/plain", json={"channels": ["key.*"], "from": 1}, expect=201)
            await call(session, "PUT", running.url + "/v1/connectors/ems", json={"url": HOOK, "channels": ["never.*"], "from": 2}, expect=201)
    asyncio.run(seed())
    yield running
    running.close()


@pytest_asyncio.fixture
async def session():
    async with http() as session:
        yield session


async def send(session, broker, row):
    """The answer to a row: status, headers, text."""
    data = row.body
    if row.stream:
        async def pieces():
            for at in range(0, len(row.body), 64 << 10):
                yield row.body[at:at + (64 << 10)]
        data = pieces()
    url = yarl.URL(broker.url + row.path, encoded=True)
    async with session.request(row.method, url, data=data, headers=row.headers, skip_auto_headers=("Content-Type",)) as answer:
        return answer.status, answer.headers, await answer.text()


def stands_in(word, text):
    """Whether a word stands in a text as a word."""
    return re.search(rf"(?<![0-9A-Za-z_]){re.escape(word)}(?![0-9A-Za-z_])", text)


async def standing(session, broker):
    """Everything that a refused request might have changed."""
    _, ready = await call(session, "GET", broker.url + "/health/ready", expect=200)
    _, subscribers = await call(session, "GET", broker.url + "/v1/subscribers", expect=200)
    shown = [{name: each.get(name) for name in ("name", "kind", "channels", "cursor", "window", "ack_timeout", "expires", "url", "state")}
             for each in subscribers["subscribers"]]
    return ready["status"], ready["end"], shown


BEFORE = ("ready", 3, [
    {"name": "ems", "kind": "connector", "channels": ["never.*"], "cursor": 3, "window": 1, "ack_timeout": "15s", "expires": None,
     "url": HOOK, "state": "active"},
    {"name": "plain", "kind": "subscriber", "channels": ["key.*"], "cursor": 1, "window": 256, "ack_timeout": "30s", "expires": None,
     "url": None, "state": None},
])


@pytest_asyncio.fixture
async def unchanged(seeded, session):
    """After a row everything is as it was; what a row did change is undone, so that the next one can be judged."""
    yield
    after = await standing(session, seeded)
    if after[2] != BEFORE[2]:
        for each in after[2]:
            if each["name"] not in ("ems", "plain"):
                await session.delete(yarl.URL(f"{seeded.url}/v1/{each['kind']}s/{each['name']}"))
        await session.delete(f"{seeded.url}/v1/subscribers/plain")
        await session.delete(f"{seeded.url}/v1/connectors/ems")
        await session.put(seeded.url + "/v1/subscribers/plain", json={"channels": ["key.*"], "from": 1})
        await session.put(seeded.url + "/v1/connectors/ems", json={"url": HOOK, "channels": ["never.*"], "from": 2})


@pytest.mark.parametrize("row", list(table()))
async def test_a_bad_request_is_refused_with_a_problem_that_names_the_fault(seeded, session, unchanged, row):
    before = await standing(session, seeded)
    status, headers, text = await send(session, seeded, row)
    assert status == row.status, f"{row}: {status} {text[:300]}"
    assert headers.get("content-type") == "application/problem+json", f"{row}: {headers.get('content-type')} {text[:300]}"
    problem = json.loads(text)
    assert re.fullmatch(r"/problems/[a-z0-9]+(-[a-z0-9]+)*", problem["type"]), problem
    assert problem["status"] == row.status, problem
    assert isinstance(problem["title"], str) and problem["title"], problem
    assert isinstance(problem["detail"], str) and problem["detail"], problem
    if row.field:
        named = problem["field"] == row.field if "field" in problem else stands_in(row.field, problem["detail"])
        assert named, f"{row.field} is at fault: {problem}"
    for word in row.says:
        if word.isdigit():
            assert problem.get("line") == int(word) or "line" not in problem and stands_in(word, problem["detail"]), problem
        else:
            assert stands_in(word, problem["detail"]), problem
    if row.status == 405:
        allowed = {method.strip() for method in headers.get("allow", "").split(",")}
        assert allowed - {"HEAD", "OPTIONS"} == set(row.allow), headers
    assert await standing(session, seeded) == before, "a refused request changed something"


async def test_after_the_whole_table_nothing_was_published_and_the_broker_is_ready(seeded, session):
    assert await standing(session, seeded) == BEFORE
    _, found = await call(session, "GET", seeded.url + "/v1/channels", expect=200)
    assert [(each["channel"], each["events"]) for each in found["channels"]] == [("key.activated", 3)]
    await call(session, "GET", seeded.url + "/v1/events/3", expect=404)
    await call(session, "POST", seeded.url + "/v1/events/key.activated", data=b"1", headers=JSON, expect=201)
    await call(session, "GET", seeded.url + "/v1/events/3", expect=200)
    seeded.stop()


# The other side of the limits: what is just within them is taken.


async def test_what_is_just_within_the_limits_is_taken(broker, session):
    largest = b'"' + b"x" * (MIB - 2) + b'"'
    await call(session, "POST", broker.url + "/v1/events/a", data=largest, headers=JSON, expect=201)
    body = lines(*[event() for _ in range(10_000)])
    _, answer = await call(session, "POST", broker.url + "/v1/events", data=body, headers=NDJSON, expect=201)
    assert answer == {"first_offset": 1, "last_offset": 10_000, "count": 10_000, "duplicates": 0}
    exact = [event(data="x" * 1_000_000) for _ in range(8)]
    room = 8 * MIB - len(lines(*exact)) - len(lines(event(data="")))
    body = lines(*exact, event(data="x" * room))
    assert len(body) == 8 * MIB
    await call(session, "POST", broker.url + "/v1/events", data=body, headers=NDJSON, expect=201)
    deep = "[" * 127 + "]" * 127
    for good in (deep, "null", " 1 "):
        await call(session, "POST", broker.url + "/v1/events/a", data=good.encode(), headers=JSON, expect=201)
    for channel in ("a" * 255, ".".join("a" * 16), "A-Z:0@_.x"):
        await call(session, "POST", f"{broker.url}/v1/events/{channel}", data=b"1", headers=JSON, expect=201)
    for id in ("x" * 128, "!", "~"):
        await call(session, "POST", f"{broker.url}/v1/events/a", data=b"1", headers={**JSON, "idempotency-key": id}, expect=201)
    headers = {f"stentor-header-h{n}": "v" for n in range(32)}
    await call(session, "POST", f"{broker.url}/v1/events/a", data=b"1", headers={**JSON, **headers, "stentor-key": "k" * 255}, expect=201)
    await call(session, "PUT", f"{broker.url}/v1/subscribers/{'n' * 128}", json={"channels": ["a"], "window": 10_000}, expect=201)


async def test_a_receipts_place_is_an_end_as_everywhere(broker, session):
    """`from=latest` is the end, behind which there is nothing; `to=earliest` is the start, before which there is nothing."""
    await call(session, "POST", broker.url + "/v1/events/a", data=b"1", headers=JSON, expect=201)
    async with session.ws_connect(broker.ws + "?channels=a&subscriber=ui&from=earliest") as socket:
        for _ in range(3):
            await asyncio.wait_for(socket.receive_json(), 10)
        await socket.send_json({"op": "ack", "offset": 0, "confirm": True})
        assert (await asyncio.wait_for(socket.receive_json(), 10)) == {"op": "acked", "cursor": 1}

    async def count(query):
        _, found = await call(session, "GET", f"{broker.url}/v1/receipts?{query}", expect=200)
        return len(found["receipts"])
    await eventually(lambda: count("subscriber=ui"), what="a receipt")
    assert await count("from=earliest&to=latest") == 1
    assert await count("from=latest") == 0
    assert await count("to=earliest") == 0


async def test_a_next_that_was_made_up_does_not_break_the_broker(broker, session):
    most = TWO_64 - 1
    for after in (f"{most}.{most}", f"0.{most}", f"{most}.0"):
        status, body = await call(session, "GET", f"{broker.url}/v1/receipts?after={after}")
        assert status in (200, 400), (after, status, body)

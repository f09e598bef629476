"""PROTOCOL.md section 9: what is refused, with which status, and as which problem."""

import json
import re

import pytest
import pytest_asyncio
import yarl

from harness import ROOT, call, refused

MIB = 1 << 20
JSON = {"content-type": "application/json"}
NDJSON = {"content-type": "application/x-ndjson"}
LISTED = set(re.findall(r"`([a-z0-9-]+)`", (ROOT / "docs" / "ERRORS.md").read_text()))
CONNECTOR = {"url": "http://127.0.0.1:9/", "channels": ["never"]}


async def problem_of(session, broker, status, method, path, **arguments):
    """A request that is refused with this status; gives the problem and the headers."""
    async with session.request(method, yarl.URL(broker.url + path, encoded=True), **arguments) as answer:
        text = await answer.text()
        assert answer.status == status, f"{method} {path}: {answer.status} {text}"
        assert answer.headers["content-type"] == "application/problem+json", text
        return json.loads(text), answer.headers


@pytest_asyncio.fixture
async def seeded(shared, session, own):
    """An event, a subscriber and a connector of the test's own names."""
    await call(session, "PUT", f"{shared.url}/v1/subscribers/{own}-sub", json={"channels": [f"{own}.*"]}, expect=201)
    await call(session, "PUT", f"{shared.url}/v1/connectors/{own}", json=CONNECTOR, expect=201)
    _, event = await call(session, "POST", f"{shared.url}/v1/events/{own}.e", json=1, headers={"idempotency-key": "x"}, expect=201)
    return event["offset"]


# The problem

REFUSALS = [(400, "channel-invalid", "POST", "/v1/events/a..b"), (403, "channel-reserved", "POST", "/v1/events/$a"),
            (404, "path-not-found", "GET", "/v2"), (404, "event-not-found", "GET", "/v1/events/999999"),
            (404, "subscriber-not-found", "GET", "/v1/subscribers/nobody"), (405, "method-not-allowed", "PUT", "/v1/events"),
            (400, "parameter-unknown", "GET", "/v1/events?colour=red"), (404, "connector-not-found", "GET", "/v1/connectors/nobody")]
refusals = pytest.mark.parametrize("status, code, method, path", REFUSALS, ids=[code for _, code, _, _ in REFUSALS])


@refusals
async def test_an_error_is_a_problem_with_type_title_status_and_detail(shared, session, status, code, method, path):
    problem, _ = await problem_of(session, shared, status, method, path, **({"json": 1} if method == "POST" else {}))
    assert (problem["type"], problem["status"]) == (f"/problems/{code}", status)
    assert problem["title"] and isinstance(problem["title"], str)
    assert problem["detail"] and isinstance(problem["detail"], str)


@refusals
async def test_errors_md_lists_its_type(shared, session, status, code, method, path):
    problem, _ = await problem_of(session, shared, status, method, path, **({"json": 1} if method == "POST" else {}))
    assert problem["type"].removeprefix("/problems/") in LISTED


async def test_a_problem_helps_to_mend_a_batch_by_its_line(shared, session):
    body = b'{"channel":"a","data":1}\n{"channel":"a..b","data":1}\n'
    problem, _ = await problem_of(session, shared, 400, "POST", "/v1/events", data=body, headers=NDJSON)
    assert problem["line"] == 2


# 400

BAD = {
    "malformed JSON": ("data", "POST", "/v1/events/a", {"data": b"{", "headers": JSON}),
    "malformed JSON in a batch": (None, "POST", "/v1/events", {"data": b"[{", "headers": JSON}),
    "malformed settings": (None, "PUT", "/v1/subscribers/a", {"data": b"{", "headers": JSON}),
    "channel": ("channel", "POST", "/v1/events/a..b", {"json": 1}),
    "channel in a batch": ("channel", "POST", "/v1/events", {"json": [{"channel": "a b", "data": 1}]}),
    "pattern": ("channels", "GET", "/v1/events?channels=**.a", {}),
    "pattern of a subscriber": ("channels", "PUT", "/v1/subscribers/a", {"json": {"channels": ["a.**.b"]}}),
    "pattern of a connector": ("channels", "PUT", "/v1/connectors/a", {"json": {**CONNECTOR, "channels": ["a b"]}}),
    "pattern of receipts": ("channel", "GET", "/v1/receipts?channel=a..b", {}),
    "name": ("name", "GET", "/v1/subscribers/a%20b", {}),
    "name of a connector": ("name", "PUT", "/v1/connectors/a%20b", {"json": CONNECTOR}),
    "offset": ("offset", "GET", "/v1/events/x", {}),
    "offset of receipts": ("offset", "GET", "/v1/receipts?offset=-1", {}),
    "from": ("from", "GET", "/v1/events?from=nowhere", {}),
    "from beyond the end": ("from", "GET", "/v1/events?from=999999", {}),
    "to": ("to", "GET", "/v1/events?to=1.5", {}),
    "limit": ("limit", "GET", "/v1/events?limit=0", {}),
    "limit of a list": ("limit", "GET", "/v1/subscribers?limit=x", {}),
    "after": ("after", "GET", "/v1/receipts?after=x", {}),
    "wait": ("wait", "GET", "/v1/events?wait=61s", {}),
    "unknown parameter": ("colour", "GET", "/v1/events?colour=red", {}),
    "unknown field": ("colour", "PUT", "/v1/subscribers/a", {"json": {"channels": ["a"], "colour": 1}}),
    "missing field": ("channels", "PUT", "/v1/subscribers/a", {"json": {}}),
    "window": ("window", "PUT", "/v1/subscribers/a", {"json": {"channels": ["a"], "window": 0}}),
    "ack_timeout": ("ack_timeout", "PUT", "/v1/subscribers/a", {"json": {"channels": ["a"], "ack_timeout": "5"}}),
    "expires": ("expires", "PUT", "/v1/subscribers/a", {"json": {"channels": ["a"], "expires": "soon"}}),
    "id": ("id", "POST", "/v1/events/a", {"json": 1, "headers": {"idempotency-key": "a b"}}),
    "key": ("key", "POST", "/v1/events/a", {"json": 1, "headers": {"stentor-key": "x" * 256}}),
    "headers": ("headers", "POST", "/v1/events", {"json": [{"channel": "a", "data": 1, "headers": {"Upper": "x"}}]}),
    "url": ("url", "PUT", "/v1/connectors/a", {"json": {**CONNECTOR, "url": "ftp://a/"}}),
    "timeout": ("timeout", "PUT", "/v1/connectors/a", {"json": {**CONNECTOR, "timeout": "0s"}}),
    "retry": ("retry", "PUT", "/v1/connectors/a", {"json": {**CONNECTOR, "retry": {"initial": "x"}}}),
    "in_flight": ("in_flight", "PUT", "/v1/connectors/a", {"json": {**CONNECTOR, "in_flight": 0}}),
    "rate_limit": ("rate_limit", "PUT", "/v1/connectors/a", {"json": {**CONNECTOR, "rate_limit": "fast"}}),
    "format": ("format", "PUT", "/v1/connectors/a", {"json": {**CONNECTOR, "format": "xml"}}),
    "secret": ("secret", "PUT", "/v1/connectors/a", {"json": {**CONNECTOR, "secret": "x"}}),
}


@pytest.mark.parametrize("what", BAD)
async def test_400_and_the_detail_names_the_field(shared, session, what):
    field, method, path, arguments = BAD[what]
    problem, _ = await problem_of(session, shared, 400, method, path, **arguments)
    if field:
        assert re.search(rf"(?<![0-9A-Za-z_]){field}(?![0-9A-Za-z_])", problem["detail"]), problem
    assert problem["type"].removeprefix("/problems/") in LISTED


# 403, 404, 410


@pytest.mark.parametrize("channel", ["$stentor.connector.failing", "$mine"])
async def test_403_publishing_to_what_is_the_brokers_own(shared, session, channel):
    problem, _ = await problem_of(session, shared, 403, "POST", f"/v1/events/{channel}", json=1)
    assert channel in problem["detail"]


@pytest.mark.parametrize("method, path, code", [
    ("GET", "/v1/nothing", "path-not-found"), ("GET", "/v1/events/999999", "event-not-found"),
    ("GET", "/v1/subscribers/nobody", "subscriber-not-found"), ("DELETE", "/v1/subscribers/nobody", "subscriber-not-found"),
    ("GET", "/v1/connectors/nobody", "connector-not-found"), ("GET", "/v1/events/999999/receipts", "event-not-found")])
async def test_404_no_such_thing(shared, session, method, path, code):
    problem, _ = await problem_of(session, shared, 404, method, path)
    assert problem["type"] == f"/problems/{code}"


# 405 and 415

METHODS = {"/v1/events": "GET POST", "/v1/events/a": "GET POST", "/v1/events/0/receipts": "GET", "/v1/export": "GET", "/v1/channels": "GET",
           "/v1/subscribers": "GET", "/v1/subscribers/a": "GET PUT DELETE", "/v1/subscribers/a/seek": "POST", "/v1/subscribers/a/wait": "GET",
           "/v1/subscribers/a/pull": "POST", "/v1/subscribers/a/ack": "POST", "/v1/preview": "POST", "/v1/ws": "GET", "/v1/sse": "GET",
           "/v1/connectors": "GET", "/v1/connectors/a": "GET PUT DELETE", "/v1/connectors/a/pause": "POST", "/v1/connectors/a/resume": "POST",
           "/v1/connectors/a/seek": "POST", "/v1/connectors/a/test": "POST", "/v1/connectors/a/rotate-secret": "POST",
           "/v1/connectors/a/attempts": "GET", "/v1/connectors/a/replay": "POST", "/v1/dead-letters": "GET", "/v1/dead-letters/retry": "POST",
           "/v1/receipts": "GET", "/health/live": "GET", "/health/ready": "GET", "/metrics": "GET", "/openapi.json": "GET"}


@pytest.mark.parametrize("path", METHODS)
async def test_405_another_method_and_allow_has_those_that_are_taken(shared, session, path):
    taken = set(METHODS[path].split())
    for method in {"GET", "POST", "PUT", "DELETE", "PATCH"} - taken:
        _, headers = await problem_of(session, shared, 405, method, path)
        assert {word.strip() for word in headers["allow"].split(",")} - {"HEAD", "OPTIONS"} == taken


@pytest.mark.parametrize("method, path, kind", [
    ("POST", "/v1/events", "text/plain"), ("POST", "/v1/events", "application/xml"), ("PUT", "/v1/subscribers/a", "text/plain"),
    ("PUT", "/v1/connectors/a", "application/x-ndjson"), ("POST", "/v1/preview", "text/plain"),
    ("POST", "/v1/dead-letters/retry", "application/x-www-form-urlencoded")])
async def test_415_a_content_type_that_this_path_does_not_take(shared, session, method, path, kind):
    problem, _ = await problem_of(session, shared, 415, method, path, data=b"{}", headers={"content-type": kind})
    assert problem["type"] == "/problems/media-type-unsupported"


# 409


async def test_409_an_ack_beyond_what_was_delivered(shared, session, own, seeded):
    await call(session, "POST", f"{shared.url}/v1/subscribers/{own}-sub/pull", json={}, expect=200)
    await refused(session, "POST", f"{shared.url}/v1/subscribers/{own}-sub/ack", 409, "ack-beyond-delivered", json={"offset": seeded + 1})


async def test_409_an_ack_from_a_session_that_was_taken_over(shared, session, own, seeded):
    path = f"{shared.url}/v1/subscribers/{own}-sub"
    _, first = await call(session, "POST", f"{path}/pull", json={}, expect=200)
    _, second = await call(session, "POST", f"{path}/pull", json={"takeover": True}, expect=200)
    assert first["session"] != second["session"]
    await refused(session, "POST", f"{path}/ack", 409, "session-over", json={"offset": seeded, "session": first["session"]})


async def test_409_a_pull_while_a_stream_is_live(shared, session, own, seeded):
    async with session.ws_connect(f"{shared.ws}?subscriber={own}-sub") as socket:
        await socket.receive(timeout=10)
        await refused(session, "POST", f"{shared.url}/v1/subscribers/{own}-sub/pull", 409, "stream-live", json={})


async def test_409_the_id_exists_with_another_payload(shared, session, own, seeded):
    problem = await refused(session, "POST", f"{shared.url}/v1/events/{own}.e", 409, "id-conflict", json=2, headers={"idempotency-key": "x"})
    assert f"offset {seeded} " in problem["detail"]


@pytest.mark.parametrize("method, rest, body", [("PUT", "", True), ("GET", "", False), ("DELETE", "", False), ("POST", "/seek", True)])
async def test_409_the_name_is_of_the_other_kind(shared, session, own, seeded, method, rest, body):
    seek = {"to": 0}
    for path, settings in ((f"subscribers/{own}", {"channels": ["a"]}), (f"connectors/{own}-sub", CONNECTOR)):
        arguments = {"json": seek if rest else settings} if body else {}
        await refused(session, method, f"{shared.url}/v1/{path}{rest}", 409, "name-of-other-kind", **arguments)


# 413


async def test_413_an_event_over_1_mib(shared, session):
    text = {"content-type": "text/plain"}
    await call(session, "POST", f"{shared.url}/v1/events/large", data=b"x" * MIB, headers=text, expect=201)
    await refused(session, "POST", f"{shared.url}/v1/events/large", 413, "too-large", data=b"x" * (MIB + 1), headers=text)


async def test_413_an_event_over_1_mib_in_a_batch(shared, session):
    batch = [{"channel": "large", "data": "x" * (MIB - 2)}]
    await call(session, "POST", f"{shared.url}/v1/events", json=batch, expect=201)
    batch[0]["data"] += "x"
    await refused(session, "POST", f"{shared.url}/v1/events", 413, "too-large", json=batch)


async def test_413_a_batch_over_8_mib(shared, session):
    # Ten events, none of which is over its own limit, and spaces up to the size.
    ten = b"".join(b'{"channel":"large","data":"%s"}\n' % (b"x" * 838_000) for _ in range(10))
    _, made = await call(session, "POST", f"{shared.url}/v1/events", data=ten.ljust(8 * MIB), headers=NDJSON, expect=201)
    assert made["count"] == 10
    await refused(session, "POST", f"{shared.url}/v1/events", 413, "too-large", data=ten.ljust(8 * MIB + 1), headers=NDJSON)


async def test_413_a_batch_over_10_000_events(shared, session):
    entry = b'{"channel":"many","data":1}\n'
    _, made = await call(session, "POST", f"{shared.url}/v1/events", data=entry * 10_000, headers=NDJSON, expect=201)
    assert made["count"] == 10_000
    await refused(session, "POST", f"{shared.url}/v1/events", 413, "too-large", data=entry * 10_001, headers=NDJSON)


@pytest.mark.parametrize("how", ["file", "environment"])
async def test_413_max_event_size_and_max_batch_size_are_the_brokers_settings(brokers, session, tmp_path, how):
    file = tmp_path / "stentor.toml"
    file.write_text('[limits]\nmax_event_size = "1KiB"\nmax_batch_size = "2KiB"\n')
    named = {"STENTOR_LIMITS_MAX_EVENT_SIZE": "1KiB", "STENTOR_LIMITS_MAX_BATCH_SIZE": "2KiB"}
    broker = brokers("data", "--config", str(file)) if how == "file" else brokers(environment=named)
    broker.start()
    for size, status in ((1_024, 201), (1_025, 413)):
        await call(session, "POST", f"{broker.url}/v1/events/a", data=b"x" * size, headers={"content-type": "text/plain"}, expect=status)
    for size, status in ((2_048, 201), (2_049, 413)):
        three = b'{"channel":"a","data":"%s"}\n' % (b"x" * 600) * 3
        await call(session, "POST", f"{broker.url}/v1/events", data=three.ljust(size), headers=NDJSON, expect=status)

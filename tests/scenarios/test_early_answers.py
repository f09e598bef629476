"""A request may be answered before its body has come; whoever is still writing then gets the answer, not a reset.

A batch over its limit was refused and the connection closed with the rest unread: the kernel reset it, and clients that
do not read while they write (most) saw "broken pipe" where 413 stood.
"""
import json
import socket

import pytest

MIB = 1 << 20


def exchange(broker, head, pieces):
    """Writes everything first and reads only then, as a plain client does; the whole answer."""
    with socket.create_connection(("127.0.0.1", broker.port), timeout=30) as wire:
        wire.sendall(head.encode())
        for piece in pieces:
            wire.sendall(piece)
        answer = b""
        while more := wire.recv(1 << 16):
            answer += more
    return answer


def parts(answer):
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), head.decode().lower(), body


def announced(path, size, *headers):
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: broker", f"Content-Length: {size}", "Connection: close", *headers, "", ""])


CASES = [
    ("a batch over its limit", "/v1/events", ["Content-Type: application/json"], 413),
    ("an event over its limit", "/v1/events/key.large", [], 413),
    ("a path that does not exist", "/v1/nothing", [], 404),
    ("a method that is not taken", "/v1/channels", [], 405),
    ("an encoding that is not taken", "/v1/events/key.zipped", ["Content-Encoding: gzip"], 415),
    ("a page of another origin", "/v1/events/key.elsewhere", ["Origin: http://elsewhere.example"], 403),
]


@pytest.mark.parametrize("path,headers,status", [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_refusal_reaches_a_client_that_reads_only_when_it_has_written_everything(broker, path, headers, status):
    size = 20 * MIB
    answer = exchange(broker, announced(path, size, *headers), [b"x" * MIB] * (size // MIB))
    seen, _, body = parts(answer)
    assert seen == status, body[:300]
    assert json.loads(body)["status"] == status


def test_a_refusal_reaches_a_client_that_sends_chunks(broker):
    head = "POST /v1/events HTTP/1.1\r\nHost: broker\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n"
    chunk = b"100000\r\n" + b"x" * MIB + b"\r\n"
    seen, head, body = parts(exchange(broker, head, [chunk] * 20 + [b"0\r\n\r\n"]))
    assert seen == 413, body[:300]
    assert "connection: close" in head


def test_whoever_asks_before_sending_is_refused_without_sending(broker):
    """Expect: 100-continue: the refusal is the answer, no leave is given, and the connection ends."""
    answer = exchange(broker, announced("/v1/events", 20 * MIB, "Expect: 100-continue"), [])
    seen, _, body = parts(answer)
    assert seen == 413, body[:300]
    assert b"100 Continue" not in answer

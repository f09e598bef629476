"""Clients that take their time, on purpose: how long the broker lets each kind hold a connection."""

import asyncio
import statistics
import time

EACH, WATCHED = 50, 50
HEAD = b"POST /v1/events/slow.body HTTP/1.1\r\nhost: stentor\r\ncontent-type: application/json\r\n"
H2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
H2_SETTINGS = bytes(3) + b"\x04" + bytes(5)

# What is sent at once, and what then comes byte by byte, one each half second.
KINDS = {
    "silent": (b"", b""),
    "slow headers": (b"GET /health/live HTTP/1.1\r\n", b"x-slow: " + b"a" * 1_000),
    "headers that stop": (b"GET /health/live HTTP/1.1\r\nhost:", b""),
    "slow body": (HEAD + b"content-length: 1000\r\n\r\n", b'"' + b"a" * 998),
    "body that stops": (HEAD + b'content-length: 1000\r\n\r\n"aa', b""),
    "slow chunks": (HEAD + b"transfer-encoding: chunked\r\n\r\n", b"1\r\n \r\n" * 200),
    "idle after a request": (b"GET /health/live HTTP/1.1\r\nhost: stentor\r\n\r\n", b""),
    "half an HTTP/2 preface": (H2_PREFACE[:10], b""),
    "HTTP/2 without a request": (H2_PREFACE + H2_SETTINGS, b""),
    "a WebSocket that answers no ping": (
        b"GET /v1/ws HTTP/1.1\r\nhost: stentor\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
        b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", b""),
}


async def hold(port, at_once, slowly, watched=WATCHED):
    """Seconds until the broker cuts it off; nothing where it does not within the time watched."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began = time.monotonic()
    writer.write(at_once)

    async def drip():
        for byte in slowly:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.5)

    dripping = asyncio.create_task(drip())
    try:
        async with asyncio.timeout(watched):
            while await reader.read(65_536):
                pass
        return time.monotonic() - began
    except ConnectionError:
        return time.monotonic() - began
    except TimeoutError:
        return None
    finally:
        dripping.cancel()
        writer.close()


async def slow(_session, broker, _count):
    figures = {}

    async def kind(name, at_once, slowly):
        held = await asyncio.gather(*(hold(broker.port, at_once, slowly) for _ in range(EACH)))
        cut = [seconds for seconds in held if seconds is not None]
        figures[name] = {"cut": len(cut), "of": EACH}
        if cut:
            figures[name] |= {"median_s": round(statistics.median(cut), 1), "longest_s": round(max(cut), 1)}

    await asyncio.gather(*(kind(name, *bytes_of) for name, bytes_of in KINDS.items()))
    return {"watched_s": WATCHED, **figures}

"""Reads a data directory's events after docs/FORMAT.md alone, and prints each one's leaf; holds kept ids against them."""

import hashlib, pathlib, struct, sys, uuid, zlib


def varint(b, at):
    first = b[at]
    if first < 251: return first, at + 1
    size = {251: 2, 252: 4, 253: 8}[first]
    return int.from_bytes(b[at + 1:at + 1 + size], "little"), at + 1 + size


def text(b, at):
    size, at = varint(b, at)
    return b[at:at + size], at + size


def head(b):
    assert b[0] == 1, "version"
    kind, at = varint(b, 1)
    if kind == 0: name, at = str(uuid.UUID(bytes=b[at:at + 16])).encode(), at + 16
    else: name, at = text(b, at)
    channel, at = text(b, at)
    key = b""
    if b[at]: key, at = text(b, at + 1)
    else: at += 1
    count, at = varint(b, at)
    headers = []
    for _ in range(count):
        n, at = text(b, at); v, at = text(b, at); headers.append((n, v))
    kind, at = varint(b, at)
    content = [b"application/json", b"application/octet-stream", b"text/plain"][kind] if kind < 3 else None
    if content is None: content, at = text(b, at)
    assert b[at] == 0 and at + 1 == len(b), "no signature, nothing behind it"
    return name, channel, key, headers, content


def half(*parts):
    return hashlib.sha256(b"\0" + b"".join(struct.pack("<Q", len(p)) + p for p in parts)).digest()[:16]


def likeness(h, payload):
    name, channel, key, headers, content = h
    trace = [prefix + trace for prefix in (b"", b"ce-") for trace in (b"traceparent", b"tracestate")]
    rest = [part for pair in headers if pair[0] not in trace for part in pair]
    given = bytes([content != b"application/json", key != b""])
    content = content if given[0] else b""
    return half(channel, dict(headers).get(b"ce-source", b""), name), half(given, payload, content, key, *rest)


def leaf(offset, time, h, payload):
    name, channel, key, headers, content = h
    parts = [struct.pack(">Q", offset), struct.pack(">Q", time), name, channel, key, struct.pack(">I", len(headers))]
    parts += [p for pair in headers for p in pair] + [content, b""]
    canonical = b"".join(struct.pack(">I", len(p)) + p for p in parts)
    return hashlib.sha256(b"\0" + canonical + hashlib.sha256(payload).digest()).hexdigest()


places = {}
for path in sorted(pathlib.Path(sys.argv[1], "events").glob("*.seg")):
    b = path.read_bytes()
    magic, version, kind, log, first, nonce, floor, snapshot, crc = struct.unpack("<8sII16sQQQII", b[:64])
    assert (magic, version, kind) == (b"STENTSEG", 1, 1) and crc == zlib.crc32(b[:60]) and b[512:576] == b[:64]
    at, expected, salt = 1024 + snapshot, first, struct.pack("<Q", nonce)
    digest = hashlib.sha256()
    while b[at:at + 4] == b"SREC":
        h = b[at:at + 48]
        _, crc, size, body_crc, offset, durable, time, left, kind = struct.unpack("<4sIIIQQQII", h)
        assert crc == zlib.crc32(salt + h[:4] + h[8:]) and offset == expected >= durable and kind == 1
        body = b[at + 48:at + 48 + size]
        assert body_crc == zlib.crc32(body)
        digest.update(h[4:8] + h[12:16])
        size = int.from_bytes(body[:2], "little")
        print(leaf(offset, time, head(body[2:2 + size]), body[2 + size:]))
        places[offset] = time, likeness(head(body[2:2 + size]), body[2 + size:])
        at, expected = at + 48 + len(body), expected + 1
    if b[at:at + 4] == b"SEAL":
        crc, count, low, next_, position, last, sum_ = struct.unpack("<IQQQQQ32s", b[at + 4:at + 80])
        assert crc == zlib.crc32(salt + b[at + 8:at + 96]) and (low, next_, position) == (first, expected, at)
        assert count == expected - first and sum_ == digest.digest() and len(b) == at + 96

for path in pathlib.Path(sys.argv[1], "ids").glob("*.ids"):
    b = path.read_bytes()
    assert b[0] == 1 and int.from_bytes(b[-4:], "little") == zlib.crc32(b[:-4])
    first, at = varint(b, 1)
    next_, at = varint(b, at)
    count, at = varint(b, at)
    assert path.name == f"{first:020}.ids" and count > 0
    for _ in range(count):
        offset, at = varint(b, at)
        time, at = varint(b, at)
        assert first <= offset < next_ and places[offset] == (time, (b[at:at + 16], b[at + 16:at + 32]))
        at += 32
    assert at + 4 == len(b)

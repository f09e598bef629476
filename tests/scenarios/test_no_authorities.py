"""A machine without certificate authorities, as small containers are: everything works but https.

It did not: neither the broker nor its commands started, and said `builder error`.
"""

import pathlib
import ssl

import trustme

from connecting import connect, in_state, publish
from endpoint import endpoint
from harness import eventually, http, stentor

NONE = {"SSL_CERT_FILE": "/nonexistent", "SSL_CERT_DIR": "/nonexistent"}


async def test_without_authorities_the_broker_starts_delivers_and_says_what_it_cannot(brokers):
    broker = brokers(environment=NONE).start()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(tls)
    async with http() as session, endpoint() as receiver, endpoint(tls=tls) as other:
        await connect(session, broker, receiver)
        await connect(session, broker, other, name="tls")
        await publish(session, broker, "a")
        await eventually(lambda: receiver.accepted, what="it is delivered")
        assert "certificate" in (await in_state(session, broker, "failing", name="tls"))["last_error"]
        assert not other.requests
    assert "ca-certificates" in pathlib.Path(broker.log.name).read_text()


def test_without_authorities_commands_reach_a_broker_over_http_and_say_why_not_over_https(brokers, monkeypatch):
    broker = brokers().start()
    for name, value in NONE.items():
        monkeypatch.setenv(name, value)
    assert stentor("status", "--output", "json", url=broker.url).stdout
    refused = stentor("status", url=broker.url.replace("http:", "https:"), check=False)
    assert refused.returncode == 1 and "ca-certificates" in refused.stderr and len(refused.stderr.splitlines()) == 1

"""Endpoints over TLS: whom a connector believes is what the machine says, and a certificate holds for its name."""

import ssl

import pytest
import trustme

from connecting import connect, in_state, publish, shown
from endpoint import endpoint
from harness import eventually, http


@pytest.fixture
def authority(tmp_path):
    """An authority, and the file that makes a broker believe it."""
    made = trustme.CA()
    file = tmp_path / "authority.pem"
    made.cert_pem.write_to_path(file)
    return made, {"SSL_CERT_FILE": str(file), "SSL_CERT_DIR": "/nonexistent"}


def serving(authority, *names):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


async def test_an_endpoint_whose_authority_is_known_is_called_over_tls(brokers, authority):
    believed, environment = authority
    broker = brokers(environment=environment).start()
    async with http() as session, endpoint(tls=serving(believed, "127.0.0.1")) as receiver:
        await connect(session, broker, receiver)
        offset, = await publish(session, broker, "a")
        await eventually(lambda: receiver.accepted == [offset], what="it is delivered")
        assert (await shown(session, broker))["url"].startswith("https://")


async def test_an_endpoint_whose_authority_is_unknown_is_not_sent_a_byte(brokers, authority):
    _, environment = authority
    broker = brokers(environment=environment).start()
    async with http() as session, endpoint(tls=serving(trustme.CA(), "127.0.0.1")) as receiver:
        await connect(session, broker, receiver)
        await publish(session, broker, "a")
        assert "certificate" in (await in_state(session, broker, "failing"))["last_error"]
        assert not receiver.requests


async def test_a_certificate_for_another_name_is_refused(brokers, authority):
    believed, environment = authority
    broker = brokers(environment=environment).start()
    async with http() as session, endpoint(tls=serving(believed, "elsewhere.example")) as receiver:
        await connect(session, broker, receiver)
        await publish(session, broker, "a")
        assert "certificate" in (await in_state(session, broker, "failing"))["last_error"]
        assert not receiver.requests

"""PROTOCOL.md section 7, `rotate-secret`: receivers may learn of a new secret before or after it is used."""

from standardwebhooks import Webhook, WebhookVerificationError
import pytest

from connecting import act, connect, publish, shown
from endpoint import endpoint
from harness import call, eventually, http, refused


async def next_request(session, broker, receiver):
    before = len(receiver.requests)
    await publish(session, broker, {"n": before})
    await eventually(lambda: len(receiver.requests) > before, what="the request came")
    return receiver.requests[-1]


def verifies(secret, got):
    try:
        Webhook(secret).verify(got.body, got.headers)
        return True
    except WebhookVerificationError:
        return False


async def test_after_two_rotations_in_a_row_all_three_secrets_verify_also_after_a_restart(broker):
    async with endpoint() as receiver:
        async with http() as session:
            secrets = [(await connect(session, broker, receiver))["secret"]]
            for _ in range(2):
                secrets.append((await act(session, broker, "rotate-secret"))["secret"])
            assert len(set(secrets)) == 3
            got = await next_request(session, broker, receiver)
            assert all(verifies(secret, got) for secret in secrets)
        broker.kill()
        broker.start()
        # A kept connection would be dead.
        async with http() as session:
            got = await next_request(session, broker, receiver)
            assert all(verifies(secret, got) for secret in secrets)
            assert not verifies("whsec_" + "A" * 44, got)


async def test_a_secret_of_ones_own_may_be_rotated_in_and_no_other_answer_shows_any(broker):
    async with http() as session, endpoint() as receiver:
        old = (await connect(session, broker, receiver))["secret"]
        own = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
        assert await act(session, broker, "rotate-secret", secret=own) == {"secret": own}
        assert await act(session, broker, "rotate-secret", secret=own) == {"secret": own}, "again changes nothing"
        got = await next_request(session, broker, receiver)
        assert verifies(own, got) and verifies(old, got) and len(got.headers["webhook-signature"].split()) == 2
        assert "secret" not in await shown(session, broker)
        # The settings are as they were, and replacing them keeps the secrets.
        assert "secret" not in await connect(session, broker, receiver, expect=200)
        got = await next_request(session, broker, receiver)
        assert verifies(own, got) and verifies(old, got)


@pytest.mark.parametrize("secret", ["x", "whsec_", "whsec_AAAA", 5])
async def test_what_is_no_secret_is_refused(broker, secret):
    async with http() as session, endpoint() as receiver:
        await connect(session, broker, receiver)
        code = "json-invalid" if secret == 5 else "secret-invalid"
        await refused(session, "POST", f"{broker.url}/v1/connectors/ems/rotate-secret", 400, code, json={"secret": secret})
        await refused(session, "POST", f"{broker.url}/v1/connectors/nobody/rotate-secret", 404, "connector-not-found")


async def test_more_rotations_in_a_day_than_a_request_can_carry_are_refused(broker):
    async with http() as session, endpoint() as receiver:
        await connect(session, broker, receiver)
        for _ in range(16):
            await act(session, broker, "rotate-secret")
        await refused(session, "POST", f"{broker.url}/v1/connectors/ems/rotate-secret", 409, "too-many-secrets")
        got = await next_request(session, broker, receiver)
        assert len(got.headers["webhook-signature"].split()) == 17
        await call(session, "DELETE", f"{broker.url}/v1/connectors/ems", expect=204)

"""PROTOCOL.md section 11: what the command line does with connectors and dead letters."""

import asyncio
import json

from standardwebhooks import Webhook

from connecting import dead_letters, publish
from endpoint import endpoint
from harness import eventually, http, stentor


async def run(broker, *arguments, check=True):
    """Runs a command beside the endpoint that it talks to; gives the process and the objects it printed."""
    done = await asyncio.to_thread(stentor, *arguments, url=broker.url, check=check)
    return done, [json.loads(line) for line in done.stdout.splitlines()]


async def test_a_connector_with_a_template_is_added_tried_and_looked_at(broker, tmp_path):
    template = tmp_path / "body.j2"
    template.write_text('{"n": {{ data.n }}}')
    async with http() as session, endpoint() as receiver:
        _, (made,) = await run(broker, "connector", "add", "ems", "policy.*", "--url", receiver.url, "--broker", broker.url,
                               "--template", f"@{template}", "--rate-limit", "50/s", "--retry-initial", "10ms",
                               "--retry-max", "20ms", "--give-up-after", "2", "--header", "Authorization: Bearer x")
        assert made["format"] == {"template": template.read_text()} and made["rate_limit"] == "50/s"
        assert made["retry"] == {"initial": "10ms", "max": "20ms", "give_up_after": 2}
        done, (answer,) = await run(broker, "connector", "test", "ems", "--data", '{"n": 5}')
        assert answer["status"] == 200 and receiver.requests[0].body == b'{"n": 5}'
        receiver.answer = lambda event: (500, "no")
        done, (answer,) = await run(broker, "connector", "test", "ems", "--data", '{"n": 5}', check=False)
        assert (done.returncode, answer["status"], answer["response"]) == (1, 500, "no")
        assert (await run(broker, "connector", "test", "nobody", check=False))[0].returncode == 3
        await publish(session, broker, {"n": 1})

        async def tried():
            return len((await run(broker, "connector", "attempts", "ems"))[1]) == 2
        await eventually(tried, what="both attempts are printed")
        await run(broker, "connector", "add", "ce", "a.*", "--url", receiver.url, "--broker", broker.url, "--format", "cloudevents")
        _, (shown,) = await run(broker, "connector", "show", "ce")
        assert shown["format"] == "cloudevents"
        bad = await run(broker, "connector", "add", "bad", "a", "--url", receiver.url, "--broker", broker.url, "--template", "{{", check=False)
        assert bad[0].returncode == 2 and "line 1" in bad[0].stderr


async def test_dead_letters_are_listed_and_retried_a_range_is_replayed_and_a_secret_rotated(broker):
    async with http() as session, endpoint(lambda event: 500) as receiver:
        _, (made,) = await run(broker, "connector", "add", "ems", "policy.*", "--url", receiver.url, "--broker", broker.url,
                               "--give-up-after", "1")
        await publish(session, broker, "a", "b")

        async def both():
            found = (await run(broker, "dead-letter", "ls", "--subscriber", "ems"))[1]
            return len(found) == 2 and found
        letters = await eventually(both, what="two dead letters")
        assert [(letter["offset"], letter["reason"]) for letter in letters] == [(0, "answered 500"), (1, "answered 500")]
        receiver.answer = lambda event: 200
        _, (answer,) = await run(broker, "dead-letter", "retry", "ems", 0, 1)
        assert answer == {"queued": 2}

        async def none_left():
            return (await dead_letters(session, broker))["dead_letters"] == []
        await eventually(none_left, what="both were taken")
        assert (await run(broker, "dead-letter", "retry", "ems", 0, check=False))[0].returncode == 3
        _, (rotated,) = await run(broker, "connector", "rotate-secret", "ems")
        before = len(receiver.requests)
        _, (replay,) = await run(broker, "connector", "replay", "ems", "--from", 0, "--to", 1, "--broker", broker.url)
        assert replay["events"] == 1
        await eventually(lambda: len(receiver.requests) == before + 1, what="the replay")
        for secret in (made["secret"], rotated["secret"]):
            Webhook(secret).verify(receiver.requests[-1].body, receiver.requests[-1].headers)

"""PROTOCOL.md section 5: pings and close codes."""

import asyncio
import contextlib
import signal

from bare_socket import bare
from talking import listen, start


async def test_binary_frames_close_with_1003(broker):
    async with listen(broker, channels="**") as client:
        await start(client, 0)
        await client.socket.send(b'{"op":"ping"}')
        assert await client.closed() == 1003


async def test_a_frame_that_is_too_large_closes_with_1009(broker):
    """Who is cut off without a code comes back and sends it again, for ever."""
    async with bare(broker) as client:
        with contextlib.suppress(ConnectionError):
            await client.send(1, b"x" * (9 << 20))
        assert await client.close_code() == 1009


async def test_text_that_is_not_utf_8_closes_with_1007(broker):
    async with bare(broker) as client:
        await client.send(1, b'{"op":"ping","x":"\xff"}')
        assert await client.close_code() == 1007


async def test_a_frame_of_no_known_kind_closes_with_1002(broker):
    async with bare(broker) as client:
        await client.send(3, b"?")
        assert await client.close_code() == 1002


async def test_a_shutdown_closes_with_1012(broker):
    async with listen(broker, channels="**") as one, listen(broker, channels="**", subscriber="ui") as two, \
            listen(broker) as three:
        await start(one, 0)
        await start(two, 0)
        await three.alive()
        broker.process.send_signal(signal.SIGTERM)
        codes = await asyncio.gather(*(client.closed(30) for client in (one, two, three)))
        assert codes == [1012, 1012, 1012]
    assert await asyncio.to_thread(broker.process.wait, 30) == 0


async def test_on_shutdown_the_closes_are_spread_over_the_drain_time(brokers):
    drain, listeners = 4, 60
    broker = brokers(environment={"STENTOR_DRAIN": f"{drain}s"}).start()
    clock = asyncio.get_running_loop().time
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(listen(broker, channels="**")) for _ in range(listeners)]
        for client in clients:
            await start(client, 0)
        began = clock()
        broker.process.send_signal(signal.SIGTERM)

        async def closed(client):
            assert await client.closed() == 1012
            return clock() - began

        times = sorted(await asyncio.gather(*(closed(client) for client in clients)))
    assert times[-1] < drain + 0.5, "none outlasts it"
    assert times[-1] - times[0] > drain / 4, f"they are not spread: {times}"
    most = max(sum(start <= time < start + 0.2 for time in times) for start in times)
    assert most < listeners / 2, f"{most} at once: {times}"
    assert await asyncio.to_thread(broker.process.wait, 30) == 0


async def test_a_broker_that_is_killed_gives_no_code_and_is_there_again_for_who_comes_back(broker):
    async with bare(broker, channels="key.*", subscriber="ui") as client:
        await client.until(1)
        broker.kill()
        assert await client.close_code() is None
    broker.start()
    async with listen(broker, subscriber="ui") as client:
        await start(client, 0)


async def test_the_server_pings_every_25_s_and_closes_with_4408_who_does_not_answer_within_10_s(broker):
    """35 s: the one slow scenario. Who answers stays, who talks is pinged all the same."""
    clock = asyncio.get_running_loop().time

    async def mute():
        async with bare(broker, channels="**") as client:
            began = clock()
            opcode, _ = await client.until(9, 30)
            assert opcode == 9 and 24 <= clock() - began <= 27
            assert await client.close_code(15) == 4408
            assert 34 <= clock() - began <= 38

    async def answering():
        async with bare(broker, channels="**") as client:
            opcode, payload = await client.until(9, 30)
            assert opcode == 9
            await client.send(10, payload)
            opcode, _ = await client.until(9, 30)
            assert opcode == 9, "it is open and pinged once more"

    async def talking():
        async with bare(broker) as client:
            began = clock()
            for at in (8, 16, 24):
                with contextlib.suppress(asyncio.TimeoutError):
                    opcode, _ = await client.until(9, began + at - clock())
                    assert opcode != 9, "too early"
                await client.say("ping")
                assert (await client.until(1))[1] == b'{"op":"pong"}'
            opcode, _ = await client.until(9, began + 28 - clock())
            assert opcode == 9

    outcomes = await asyncio.gather(mute(), answering(), talking(), return_exceptions=True)
    failed = {name: repr(outcome) for name, outcome in zip(("mute", "answering", "talking"), outcomes)
              if isinstance(outcome, BaseException)}
    assert not failed, failed

"""The kill programme's oracles find what they are there for: each fabricated violation is reported, and what is
allowed is not."""

import json

import pytest

from endpoint_oracle import EndpointOracle
from patterns import matches
from violations import Faults
from listener_oracle import ListenerOracle
from log_oracle import LogOracle, Planned, parsed


@pytest.fixture
def faults():
    return Faults()


@pytest.fixture
def log(faults):
    """Ten events t0 to t9 on key.a were published; nobody was told anything yet."""
    log = LogOracle(faults)
    for n in range(10):
        log.plan(Planned(f"t{n}", "key.a", None, f"t{n}", data(n)))
    return log


def data(n, pad="x"):
    return f'{{"tag": "t{n}" ,"pad":"{pad}"}}'.encode()


def line(offset, n=None, payload=None, time="2026-01-01T00:00:00Z"):
    """An event as an export has it: t0 at 0 and so on, unless said otherwise."""
    n = offset if n is None else n
    head = json.dumps({"offset": offset, "id": f"t{n}", "channel": "key.a", "time": time}).encode()
    return parsed(head[:-1] + b',"data":' + (payload or data(n)) + b"}")


def reading(log, from_, to):
    log.read(from_, to, [line(offset) for offset in range(from_, to)])


# The log

def test_what_was_answered_and_is_read_is_in_order(log, faults):
    for n in range(10):
        log.acknowledged(f"t{n}", n)
    reading(log, 0, 10)
    log.ends(10, log.highest)
    log.whole(["t3", "t4", "t5"], 10)
    assert not faults and log.read_to == 10


def test_an_event_that_is_missing_in_the_middle_is_lost(log, faults):
    log.acknowledged("t1", 1)
    log.read(0, 3, [line(0), line(2)])
    assert faults.counted == {"lost": 1}


def test_an_event_that_is_missing_at_the_end_is_lost(log, faults):
    log.acknowledged("t4", 4)
    log.ends(4, log.highest)
    assert faults.counted == {"lost": 1}


def test_an_event_that_a_listener_saw_must_not_go_with_the_crash(log, faults):
    log.saw(*line(4), "a listener")
    log.ends(4, log.highest)
    assert faults.counted == {"lost": 1}


def test_what_retention_took_is_not_lost_and_does_not_come_back(log, faults):
    log.acknowledged("t0", 0)
    log.begins(2)
    reading(log, 2, 4)
    assert not faults
    log.begins(1)
    assert faults.counted == {"came back": 1}


def test_reading_goes_on_behind_what_retention_took_unread(log, faults):
    log.begins(2)
    reading(log, 2, 4)
    log.acknowledged("t3", 3)
    log.read(4, 6, [line(5)])
    assert log.read_to == 6 and faults.counted == {"lost": 1}


def test_an_offset_that_holds_another_event_is_reused(log, faults):
    log.acknowledged("t1", 1)
    log.read(0, 2, [line(0), line(1, n=5)])
    assert faults.counted["reused"]


def test_an_offset_that_is_answered_twice_is_reused(log, faults):
    log.saw(*line(1), "a listener")
    log.acknowledged("t5", 1)
    assert faults.counted["reused"]


def test_an_event_at_two_offsets_is_there_twice(log, faults):
    log.acknowledged("t1", 1)
    log.saw(*line(7, n=1), "a reading")
    assert faults.counted["twice"]


def test_a_repeat_that_gets_another_offset_is_there_twice(log, faults):
    log.saw(*line(1), "a listener")
    log.acknowledged("t1", 4)
    assert faults.counted["twice"]


@pytest.mark.parametrize("other", [
    line(1, payload=data(1, "y")),
    line(1, payload=data(1).replace(b" ", b"")),
], ids=["another payload", "other spaces"])
def test_other_bytes_are_found(log, faults, other):
    log.saw(*other, "a reading")
    assert faults.counted["changed"]


def test_an_event_that_is_read_otherwise_later_has_changed(log, faults):
    log.saw(*line(1), "a reading")
    log.saw(*line(1, time="2026-01-02T00:00:00Z"), "a reading")
    assert faults.counted == {"changed": 1}


def test_events_out_of_order_are_found(log, faults):
    log.read(0, 3, [line(0), line(2), line(1)])
    assert faults.counted == {"order": 1}


@pytest.mark.parametrize("there", [range(3, 5), (3, 5)], ids=["its end is missing", "another is in between"])
def test_a_torn_batch_is_found(log, faults, there):
    for n, offset in zip((3, 4), there):
        log.saw(*line(offset, n=n), "a reading")
    log.whole(["t3", "t4", "t5"], 10)
    assert faults.counted == {"torn": 1}


def test_a_batch_that_is_not_there_at_all_is_whole(log, faults):
    log.whole(["t3", "t4", "t5"], 10)
    assert not faults


# Listeners

@pytest.fixture
def listener(log, faults):
    """A listener of everything with a window of 3; the log is known."""
    reading(log, 0, 10)
    return ListenerOracle(faults, "worker", ["**"], 3)


def session(listener, *offsets, ack=True):
    listener.began()
    for offset in offsets:
        listener.event(offset)
        if ack:
            listener.says(offset)


def settle(listener, log):
    listener.mark()
    listener.settle(log)


def test_everything_in_order_and_a_windowful_again_is_allowed(log, listener, faults):
    session(listener, 0, 1, 2, 3)
    listener.cursor(1)
    session(listener, 1, 2, 3, 4)
    settle(listener, log)
    assert not faults and listener.most_again == 3


def test_more_than_a_window_again_is_found(listener, faults):
    session(listener, 0, 1, 2, 3, 4)
    session(listener, 1, 2, 3, 4)
    assert faults.counted == {"repeats": 1}


def test_what_was_confirmed_must_not_come_again(listener, faults):
    session(listener, 0, 1)
    listener.cursor(2)
    session(listener, 1, 2)
    assert faults.counted == {"repeats": 1}


def test_a_cursor_that_falls_is_found(listener, faults):
    session(listener, 0, 1)
    listener.cursor(2)
    listener.cursor(1)
    assert faults.counted == {"cursor": 1}


def test_a_cursor_falls_by_the_own_seek(log, listener, faults):
    session(listener, 0, 1)
    listener.cursor(2)
    listener.sought(0)
    listener.cursor(0)
    session(listener, 0, 1, 2)
    settle(listener, log)
    assert not faults


def test_a_cursor_that_passes_what_was_not_acknowledged_is_found(log, listener, faults):
    session(listener, 0, 1)
    listener.cursor(4)
    settle(listener, log)
    assert faults.counted["cursor"]


@pytest.mark.parametrize("offsets", [(0, 2, 1), (1, 0)], ids=["behind", "first behind later"])
def test_a_delivery_out_of_order_is_found(listener, faults, offsets):
    session(listener, *offsets)
    assert faults.counted["order"]


def test_an_event_that_is_left_out_is_found(log, listener, faults):
    session(listener, 0, 2, 3)
    settle(listener, log)
    assert faults.counted == {"missed": 1}


def test_what_retention_took_is_not_demanded(log, listener, faults):
    session(listener, 0)
    listener.gap(1, 3)
    session(listener, 3, 4)
    log.begins(3)
    settle(listener, log)
    assert not faults


def test_a_gap_where_the_log_has_events_is_found(log, listener, faults):
    listener.gap(1, 3)
    settle(listener, log)
    assert faults.counted == {"gap": 1}


def test_what_does_not_match_must_not_come(log, faults):
    reading(log, 0, 10)
    other = ListenerOracle(faults, "other", ["user.*"], 3)
    session(other, 4)
    settle(other, log)
    assert faults.counted == {"order": 1}


def test_more_open_than_the_window_is_found(listener, faults):
    session(listener, 0, 1, 2, 3, ack=False)
    assert faults.counted == {"window": 1}


# Endpoints

@pytest.fixture
def endpoint(log, faults):
    """An endpoint for everything with two in flight; the log is known."""
    reading(log, 0, 10)
    return EndpointOracle(faults, "ems", ["**"], 2)


def call(endpoint, offset, attempt=1, accepted=True, key=None):
    endpoint.requested(offset, attempt)
    endpoint.answered(offset, key, accepted)


def test_what_was_in_flight_at_each_kill_may_come_again(log, endpoint, faults):
    for _ in range(3):
        call(endpoint, 0)
        call(endpoint, 1)
        endpoint.killed()
    endpoint.cursor(2)
    endpoint.settle(log)
    # Its first attempt was not written down as failed: the next ones bear the same number.
    assert not faults and endpoint.most_again == 2


def test_more_than_in_flight_again_is_found(endpoint, faults):
    for offset in range(3):
        call(endpoint, offset)
    endpoint.killed()
    for offset in range(3):
        call(endpoint, offset)
    assert faults.counted == {"endpoint repeats": 1}


def test_a_repeat_without_a_kill_is_found(endpoint, faults):
    call(endpoint, 0)
    call(endpoint, 0, attempt=2)
    assert faults.counted == {"endpoint repeats": 1}


def test_attempts_go_on_over_kills(endpoint, faults):
    call(endpoint, 0, 1, accepted=False)
    call(endpoint, 0, 2, accepted=False)
    endpoint.killed()
    call(endpoint, 0, 2, accepted=False)
    call(endpoint, 0, 3)
    assert not faults


@pytest.mark.parametrize("killed, attempt", [(True, 1), (False, 2), (True, 4)], ids=["falls", "stands", "jumps"])
def test_attempts_that_are_miscounted_are_found(endpoint, faults, killed, attempt):
    call(endpoint, 0, 1, accepted=False)
    call(endpoint, 0, 2, accepted=False)
    if killed:
        endpoint.killed()
    endpoint.requested(0, attempt)
    assert faults.counted == {"attempts": 1}


def test_two_attempts_at_once_are_found(endpoint, faults):
    endpoint.requested(0, 1)
    endpoint.requested(0, 2)
    assert faults.counted["concurrent"] == 1


def test_more_in_flight_than_asked_for_is_found(endpoint, faults):
    for offset in range(3):
        endpoint.requested(offset, 1)
    assert faults.counted == {"window": 1}


def test_a_lane_out_of_order_is_found_and_lanes_may_overtake_each_other(endpoint, faults):
    call(endpoint, 1, key="a")
    call(endpoint, 0, key="b")
    assert not faults
    call(endpoint, 3, key="a")
    call(endpoint, 2, key="a")
    assert faults.counted == {"order": 1}


def test_an_event_that_the_cursor_passed_unsent_is_found(log, endpoint, faults):
    call(endpoint, 0)
    call(endpoint, 2)
    endpoint.cursor(3)
    endpoint.settle(log)
    assert faults.counted == {"missed": 1}


def test_an_endpoints_cursor_that_falls_is_found(endpoint, faults):
    endpoint.cursor(3)
    endpoint.cursor(2)
    assert faults.counted == {"cursor": 1}


def test_the_brokers_own_events_are_asked_for_by_name_only():
    assert not any(matches([pattern], "$stentor.connector.failing") for pattern in ("**", "*.**", "*.connector.*"))
    assert all(matches([pattern], "$stentor.connector.failing") for pattern in ("$stentor.**", "$stentor.connector.*"))

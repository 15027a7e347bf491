"""Whoever waits long is told how long; whoever does not is told nothing."""

import pytest

from diffjax.host import progress
from diffjax.host.progress import Waiting, clock


class Clock:
    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr(progress.time, "monotonic", lambda: self.now)


@pytest.fixture
def time(monkeypatch):
    return Clock(monkeypatch)


def test_what_takes_less_than_ten_seconds_says_nothing(time):
    said = []
    waiting = Waiting("prdc", said.append)
    for done in range(1, 11):
        time.now += 0.99
        waiting.at(done, 10)
    assert not said


def test_what_takes_long_says_how_far_it_is_every_ten_seconds_and_when_it_is_done(time):
    said = []
    waiting = Waiting("samples", said.append)
    for done in range(0, 5_001, 100):
        waiting.at(done, 5_000)
        time.now += 1
    assert said == [
        "samples: 1,000/5,000, 0:40 left", "samples: 2,000/5,000, 0:30 left", "samples: 3,000/5,000, 0:20 left",
        "samples: 4,000/5,000, 0:10 left", "samples: 5,000/5,000, 0:00 left",
    ]  # fmt: skip


def test_the_end_is_said_if_anything_was(time):
    said = []
    waiting = Waiting("kid", said.append)
    time.now += 12
    waiting.at(50, 100)
    time.now += 5
    waiting.at(100, 100)
    assert said == ["kid: 50/100, 0:12 left", "kid: 100/100, 0:00 left"]


def test_nothing_done_yet_is_no_error(time):
    waiting = Waiting("kid", pytest.fail)
    time.now += 60
    waiting.at(0, 100)


def test_a_clock_is_read_as_people_do():
    assert clock(245) == "4:05" and clock(3_723) == "1:02:03"

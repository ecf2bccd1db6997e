"""Windows of the week: what clocks on the wall show, also when daylight saving moves them."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptrollout.api.calendar import DAYS, Calendar, parse_window, parse_zone

ZURICH = ZoneInfo("Europe/Zurich")
OFFICE = ("Mon-Fri 09:00-17:00",)


def at(text, zone=ZURICH):
    return datetime.fromisoformat(text).replace(tzinfo=zone).astimezone(UTC)


def calendar(*windows, zone="Europe/Zurich"):
    return Calendar.parse(zone, windows)


@pytest.mark.parametrize(
    ("text", "days", "start", "end"),
    [
        ("Mon-Fri 09:00-17:00", "Mon Tue Wed Thu Fri", 540, 1020),
        ("Sat,Sun 10:00-14:30", "Sat Sun", 600, 870),
        ("Fri-Mon,Wed 22:00-06:00", "Fri Sat Sun Mon Wed", 1320, 1800),
        ("Tue 00:00-24:00", "Tue", 0, 1440),
    ],
)
def test_a_window_is_days_and_times(text, days, start, end):
    found = parse_window(text)
    assert ({DAYS[day] for day in found.days}, found.start, found.end) == (set(days.split()), start, end)


@pytest.mark.parametrize(
    "text",
    ["", "09:00-17:00", "Mon 9:00-17:00", "Mon 09:00-25:00", "mon 09:00-17:00", "Mon 08:00-08:00", "Mon-Fri"],
)
def test_what_is_no_window_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match="write"):
        parse_window(text)


@pytest.mark.parametrize("name", ["Europe/Atlantis", "../etc/passwd", "", "Europe", "UTC+1"])
def test_what_is_no_zone_is_refused_with_an_example(name):
    with pytest.raises(ValueError, match="Europe/Zurich"):
        parse_zone(name)


@pytest.mark.parametrize(
    ("now", "opens"),
    [
        ("2026-11-23 08:59:59", "2026-11-23 09:00"),
        ("2026-11-23 09:00", None),
        ("2026-11-23 16:59:59", None),
        ("2026-11-23 17:00", "2026-11-24 09:00"),
        ("2026-11-27 18:00", "2026-11-30 09:00"),
        ("2026-03-27 18:00", "2026-03-30 09:00"),  # daylight saving begins in between
        ("2026-10-23 18:00", "2026-10-26 09:00"),  # and ends
    ],
)
def test_office_hours_are_those_of_the_wall(now, opens):
    assert calendar(*OFFICE).opens(at(now)) == (at(opens) if opens else None)


def test_the_same_wall_time_is_another_moment_when_daylight_saving_has_begun():
    offices = calendar(*OFFICE)
    assert offices.opens(at("2026-03-27 18:00")) == datetime(2026, 3, 30, 7, tzinfo=UTC)
    assert offices.opens(at("2026-10-23 18:00")) == datetime(2026, 10, 26, 8, tzinfo=UTC)
    assert offices.say(datetime(2026, 3, 30, 7, tzinfo=UTC)) == "Mon 2026-03-30 09:00 CEST"


def test_a_window_over_midnight_belongs_to_the_day_it_begins_on():
    nights = calendar("Mon-Thu 22:00-06:00")
    assert nights.opens(at("2026-11-23 23:00")) is None
    assert nights.opens(at("2026-11-27 05:59")) is None, "Thursday's night"
    assert nights.opens(at("2026-11-27 22:30")) == at("2026-11-30 22:00"), "Friday has none"
    assert nights.opens(at("2026-11-23 05:00")) == at("2026-11-23 22:00"), "nor has Sunday"


def test_a_beginning_that_daylight_saving_skips_is_the_jump():
    found = calendar("Sun 02:30-05:00").opens(at("2026-03-28 12:00"))
    assert found == datetime(2026, 3, 29, 1, tzinfo=UTC)


def test_a_window_that_lies_in_the_skipped_hour_has_no_length():
    skipped = calendar("Sun 02:10-02:50")
    assert skipped.opens(at("2026-03-29 01:30")) == at("2026-04-05 02:10")


def test_a_time_that_comes_twice_counts_the_first_time():
    twice = calendar("Sun 02:15-02:45")
    assert twice.opens(datetime(2026, 10, 25, 0, 20, tzinfo=UTC)) is None
    assert twice.opens(datetime(2026, 10, 25, 1, 20, tzinfo=UTC)) == at("2026-11-01 02:15")


def test_the_time_that_is_shut_is_what_lies_outside_all_windows():
    shut = calendar("Mon-Fri 09:00-17:00", "Mon-Fri 16:00-18:00").shut
    assert shut(at("2026-11-23 10:00"), at("2026-11-23 15:00")) == timedelta(0)
    assert shut(at("2026-11-23 10:00"), at("2026-11-23 20:00")) == timedelta(hours=2)
    assert shut(at("2026-11-23 17:00"), at("2026-11-24 10:00")) == timedelta(hours=15)
    assert shut(at("2026-11-27 18:00"), at("2026-11-30 09:00")) == timedelta(hours=63)
    assert shut(at("2026-11-23 10:00"), at("2026-11-23 09:00")) == timedelta(0)


SPANS = st.tuples(st.sampled_from(DAYS), st.integers(0, 23), st.integers(0, 23)).filter(
    lambda w: w[1] != w[2]
)


@given(
    windows=st.lists(SPANS, min_size=1, max_size=4),
    zone=st.sampled_from(
        ["UTC", "Europe/Zurich", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]
    ),
    minutes=st.integers(0, 2 * 366 * 24 * 60),
)
def test_the_next_opening_is_open_and_nothing_before_it_is(windows, zone, minutes):
    found = calendar(*(f"{day} {start:02}:00-{end:02}:00" for day, start, end in windows), zone=zone)
    now = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    opens = found.opens(now)
    if opens is None:
        assert found.shut(now, now + timedelta(seconds=1)) == timedelta(0)
        return
    assert found.opens(opens) is None
    assert found.opens(opens - timedelta(seconds=1)) == opens
    assert found.shut(now, opens) == opens - now

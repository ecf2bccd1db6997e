"""Windows of the week, in local time: when weights may rise. Pure.

A window is `<days> <from>-<to>`: `Mon-Fri 09:00-17:00`, `Sat,Sun 10:00-14:00`, `Mon-Thu 22:00-06:00` (over midnight;
the days are those it begins on), `Mon-Sun 00:00-24:00`. Times are what clocks on the wall show: where daylight saving
skips a window's first or last minute it begins or ends with the jump; a time that comes twice counts the first time.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAY = f"({'|'.join(DAYS)})"
_TIME = "([01][0-9]|2[0-3]):[0-5][0-9]"
WINDOW_PATTERN = rf"^{_DAY}(-{_DAY})?(,{_DAY}(-{_DAY})?)* {_TIME}-({_TIME}|24:00)$"
ZONE_PATTERN = r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$"

_WHOLE_DAY = 24 * 60
#: A week, and a day on either side: windows over midnight, and days that a clock's jump made empty.
_AHEAD = 9


@dataclass(frozen=True, slots=True)
class Window:
    """The days it begins on (0 is Monday), and minutes after midnight; an end on the next day is beyond 24 h."""

    days: frozenset[int]
    start: int
    end: int


def parse_window(text: str) -> Window:
    """A window; ValueError with the accepted form for anything else."""
    if not re.fullmatch(WINDOW_PATTERN, text):
        raise ValueError(
            f"{text!r} is no window; write for example 'Mon-Fri 09:00-17:00' or 'Sat,Sun 22:00-06:00'"
        )
    named, _, span = text.partition(" ")
    days: set[int] = set()
    for part in named.split(","):
        first, _, last = part.partition("-")
        begin, end = DAYS.index(first), DAYS.index(last or first)
        days |= {day % 7 for day in range(begin, end + 1 + (7 if end < begin else 0))}
    start, end = (int(each[:2]) * 60 + int(each[3:]) for each in span.split("-"))
    if start == end:
        raise ValueError(f"{text!r} is empty; write 00:00-24:00 for the whole day")
    return Window(frozenset(days), start, end if end > start else end + _WHOLE_DAY)


@lru_cache(maxsize=256)
def parse_zone(name: str) -> ZoneInfo:
    """A time zone of the IANA database by its name; ValueError for anything else."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"{name!r} is no time zone; write a name of the IANA database such as Europe/Zurich or UTC"
        ) from None


@dataclass(frozen=True, slots=True)
class Calendar:
    """Windows in a zone. All moments are UTC."""

    zone: ZoneInfo
    windows: tuple[Window, ...]

    @classmethod
    def parse(cls, zone: str, windows: Sequence[str]) -> "Calendar":
        """From their texts; ValueError for the first that is wrong."""
        return cls(parse_zone(zone), tuple(map(parse_window, windows)))

    def opens(self, now: datetime) -> datetime | None:
        """When the next window opens; None if one is open now."""
        spans = list(self._spans(now - timedelta(days=2), now + timedelta(days=_AHEAD)))
        if any(start <= now < end for start, end in spans):
            return None
        return min((start for start, _ in spans if start > now), default=now + timedelta(days=_AHEAD))

    def shut(self, since: datetime, until: datetime) -> timedelta:
        """For how long no window was open between two moments."""
        left, reached = timedelta(0), since
        for start, end in sorted(self._spans(since - timedelta(days=2), until)):
            if start > reached:
                left += max(min(start, until) - reached, timedelta(0))
            reached = max(reached, end)
        return left + max(until - max(reached, since), timedelta(0))

    def say(self, moment: datetime) -> str:
        """A moment in the calendar's zone, for people: `Mon 2026-11-30 09:00 CET`."""
        local = moment.astimezone(self.zone)
        return f"{DAYS[local.weekday()]} {local:%Y-%m-%d %H:%M} {local.tzname()}"

    def _spans(self, since: datetime, until: datetime) -> Iterator[tuple[datetime, datetime]]:
        day, last = since.astimezone(self.zone).date(), until.astimezone(self.zone).date()
        while day <= last:
            for window in self.windows:
                if day.weekday() in window.days:
                    start, end = self._moment(day, window.start), self._moment(day, window.end)
                    if start < end:
                        yield start, end
            day += timedelta(days=1)

    def _moment(self, day: date, minutes: int) -> datetime:
        """When the clocks on the wall first show this time, or jump over it."""
        day += timedelta(days=minutes // _WHOLE_DAY)
        wall = datetime.combine(day, time(minutes % _WHOLE_DAY // 60, minutes % 60), self.zone)
        moment = wall.astimezone(UTC)
        if moment.astimezone(self.zone).replace(tzinfo=None) == wall.replace(tzinfo=None):
            return moment
        # The wall skips this time: read with the offset of before the jump it is past it, and vice versa.
        before, after = wall.replace(fold=1).astimezone(UTC), moment
        offset = after.astimezone(self.zone).utcoffset()
        while after - before > timedelta(seconds=1):
            middle = before + (after - before) / 2
            if middle.astimezone(self.zone).utcoffset() == offset:
                after = middle
            else:
                before = middle
        return after.replace(microsecond=0)

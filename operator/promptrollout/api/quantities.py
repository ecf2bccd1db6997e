"""Durations, weights and decimals as users write them, and as the code counts them.

Durations are strings (`90s`, `1h30m`), weights are per cent (`5`, `"0.5%"`) and become integers in
1/10,000, numbers with a fraction are strings: the Kubernetes API conventions discourage floats.
"""

import re
from datetime import timedelta
from decimal import Decimal, InvalidOperation

#: All traffic, in the unit of weights.
WHOLE = 10_000

DURATION_PATTERN = r"^([0-9]+(ms|s|m|h|d))+$"
WEIGHT_PATTERN = r"^(100(\.0{1,2})?|[0-9]{1,2}(\.[0-9]{1,2})?)%$"
DECIMAL_PATTERN = r"^[0-9]{1,9}(\.[0-9]{1,9})?$"

_DURATION_PART = re.compile(r"([0-9]+)(ms|s|m|h|d)")
_SECONDS = {
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86400),
}
#: Bounds every sum of a moment and a duration, so that no arithmetic on dates can overflow.
_LONGEST = timedelta(days=3650)


def parse_duration(text: str) -> timedelta:
    """`1h30m` as a timedelta; ValueError with the accepted form for anything else."""
    if not re.fullmatch(DURATION_PATTERN, text):
        raise ValueError(f"{text!r} is not a duration; write for example 90s, 10m or 1h30m")
    seconds = sum(Decimal(n) * _SECONDS[unit] for n, unit in _DURATION_PART.findall(text))
    if seconds > _LONGEST.total_seconds():
        raise ValueError(f"{text!r} is longer than any rollout; write at most {_LONGEST.days}d")
    return timedelta(seconds=float(seconds))


def format_duration(span: timedelta) -> str:
    """A length of time for people: at most its two largest units (`3d4h`, `2h5m`, `40s`)."""
    left = round(max(span.total_seconds(), 0.0))
    if left == 0:
        return "0s"
    parts: list[str] = []
    for name, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{name}")
        elif parts:
            break
    return "".join(parts[:2])


def parse_weight(value: int | str) -> int:
    """A weight in 1/10,000: `5` and `"5%"` are 500, `"0.5%"` is 50; ValueError outside 0 ... 100 %."""
    if isinstance(value, bool):
        raise ValueError("a weight is a whole number of per cent or a string such as '0.5%'")  # noqa: TRY004 - pydantic reads ValueError
    if isinstance(value, int):
        if not 0 <= value <= 100:
            raise ValueError(f"{value} is not a weight; write a per cent from 0 to 100")
        return value * 100
    if not re.fullmatch(WEIGHT_PATTERN, value):
        raise ValueError(f"{value!r} is not a weight; write 5, '5%' or '0.25%' (two decimals at most)")
    return int(Decimal(value[:-1]) * 100)


def format_weight(weight: int) -> str:
    """A weight in 1/10,000 as text: 2500 is `25%`, 50 is `0.5%`."""
    return f"{(Decimal(weight) / 100).normalize():f}%"


def parse_decimal(text: str) -> float:
    """A non-negative decimal string as a float; ValueError for anything else."""
    try:
        if not re.fullmatch(DECIMAL_PATTERN, text):
            raise ValueError(f"{text!r} is not a decimal number; write for example '0.02'")
        return float(Decimal(text))
    except InvalidOperation:
        raise ValueError(f"{text!r} is not a decimal number; write for example '0.02'") from None

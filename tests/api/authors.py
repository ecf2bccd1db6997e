"""Specs as many authors might write them, drawn from the schema of the custom resource itself."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from hypothesis import strategies as st

from promptrollout.api.resource import PROMPT_ROLLOUT
from promptrollout.api.schema import structural_schema

#: Fields of which the API server lets through one only.
ONE_OF = (
    {"inline", "configMapRef", "registryRef"},
    {"messages", "text", "parts"},
    {"canary", "abTest", "shadow", "immediate"},
    {"job", "webhook", "approval"},
    {"preset", "events"},
    {"weight", "gate"},
    {"version", "alias"},
    {"templateRef", "template"},
)
#: Fields that few specs can do without, and such as go with certain others only.
ALWAYS = {"strategy", "text", "content", "duration", "matchLabels"}
SELDOM = {"until", "timeout", "minSamples", "score", "event", "templateFormat", "variables", "always"} | {
    "matchExpressions"
}
#: What a sensible author writes where the schema says little, and what a strange one does.
RIGHT: Mapping[str, tuple[object, ...]] = {
    "bad": ('a_total{rev="{{revision}}"}',),
    "confidence": ("0.95", "0.5", "0.9999"),
    "duration": ("10m", "1h30m", "2d"),
    "horizon": ("14d",),
    "icc": ("0.2", "1"),
    "interval": ("30s", "1s"),
    "key": ("app",),
    "margin": ("0.02", "0.5"),
    "meanRequestsPerUnit": ("8",),
    "preset": ("sdk/errors", "sdk/latency", "sdk/cost"),
    "progressDeadline": ("90d", "3650d"),
    "quorum": (100, "90%"),
    "ratio": ("1.2", "100"),
    "registry": ("prompts",),
    "role": ("Required", "Required", "Guard", "Observe"),
    "sample": (10, "100%", "0.01%"),
    "source": ("default",),
    "text": ("Hello", "Good morning"),
    "timeout": ("1h", "1d"),
    "timeZone": ("UTC", "Europe/Zurich", "Asia/Kathmandu"),
    "usdPerHour": ("1",),
    "values": ("a", ""),
    "warmUp": ("0s", "1m"),
    "weight": (50, "50%", "50.00%"),
    "windows": ("Mon-Fri 09:00-17:00", "Sat,Sun 22:00-06:00", "Fri-Mon 00:00-24:00"),
}
ODD: Mapping[str, tuple[object, ...]] = {
    "bad": (
        'a{r="{{revision}}"} or b',
        "{{revision}}",
        '{r="{{revision}}"}',
        'a{r=~"{{revision}}|x"}[5m]',
        "a{{{revision}}}",
    ),
    "confidence": ("1", "0", "0.99999999"),
    "duration": ("0s", "1ms", "3651d", "99999999999999999999d", "1d1h1m1s1ms", "0000000000m"),
    "margin": ("0", "0.0", "1", "999999999.999999999", "0.000000001"),
    "preset": ("sdk/score", "sdk/event", "sdk/shadow-score", "sdk/score-coverage", "sdk/none", "0/0"),
    "ratio": ("1", "0.5", "1000", "1.000000001"),
    "registry": ("elsewhere",),
    "source": ("other",),
    "text": (
        "Hello {{name}}",
        "{{#a}}{{b}}",
        "{x!r:>{y}}",
        "{% for a in b %}{{ a }}",
        "{{",
        "{",
        "",
        "{{=<% %>=}}",
        "\ud800",
    ),
    "timeZone": ("EST5EDT", "Nowhere/Land", "a", "right", "posix/UTC", "Factory", "GMT+0", "Europe"),
    "weight": (0, 1, "0%", "0.01%", "00.50%", "99.99%", 100, "100.00%"),
    "windows": ("Mon 09:00-09:00", "Mon,Mon 00:00-24:00", "Sun-Sun 23:59-00:00"),
}
_ALIKE = {
    "bad": ("total",),
    "duration": (
        "timeout",
        "horizon",
        "warmUp",
        "interval",
        "progressDeadline",
        "drainTimeout",
        "metricsTimeout",
    ),
    "margin": ("promoteMargin", "usdPerHour", "threshold", "icc", "meanRequestsPerUnit"),
    "ratio": ("promoteRatio",),
    "text": ("content",),
    "weight": ("sample", "quorum"),
}
ODD = ODD | {name: ODD[like] for like, names in _ALIKE.items() for name in names}
RIGHT = {name: RIGHT[like] for like, names in _ALIKE.items() for name in names} | RIGHT
_ODD_KEYS = ("\ud800", "A b", "", "a" * 300)
_SHARES = {2: (50, "50%"), 3: ("50%", "25%", 25)}
TEXT = st.text(max_size=20)
FREE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=5,
)


class Author:
    """Writes what the schema allows. Of a hundred choices `odd` are strange, the others sensible."""

    def __init__(self, draw, odd):
        self._draw, self._odd = draw, odd

    def value(self, schema, name=""):
        if schema.get("type") == "object":
            return self._map(schema)
        if schema.get("type") == "array":
            return self._list(schema, name)
        known = (ODD if self._strange() else RIGHT).get(name)
        if known and "enum" not in schema:
            return self._draw(st.sampled_from(known))
        return self._draw(_scalars(schema))

    def _strange(self):
        return 50 <= self._draw(st.integers(0, 99)) < 50 + self._odd

    def _list(self, schema, name):
        least, most = schema.get("minItems", 0), min(schema.get("maxItems", 3), 3)
        items = [self.value(schema["items"], name) for _ in range(self._draw(st.integers(least, most)))]
        if self._strange():
            return items
        if name == "arms":  # the first is the control, the others are told apart
            shares = _SHARES[len(items)]
            prompts = [{"prompt": {"inline": {"text": f"arm {number}"}}} for number in range(len(items))]
            items = [{**prompt, "weight": share} for prompt, share in zip(prompts, shares, strict=True)]
            items[0].pop("prompt")
        if "name" in schema["items"].get("properties", {}):
            items = [{**item, "name": f"n{number}"} for number, item in enumerate(items)]
        return items

    def _map(self, schema):
        if schema.get("x-kubernetes-preserve-unknown-fields"):
            return self._draw(st.dictionaries(TEXT, FREE, max_size=3))
        if "properties" not in schema:
            keys = st.sampled_from(_ODD_KEYS if self._strange() else ("a", "b-c"))
            chosen = self._draw(st.lists(keys, min_size=1, max_size=2, unique=True))
            return {key: self.value(schema["additionalProperties"], "values") for key in chosen}
        fields = schema["properties"]
        chosen = {field for field in fields if self._wanted(field, schema)}
        for group in ONE_OF:
            there = [field for field in fields if field in group]
            if len(there) > 1 and not self._strange():
                chosen = chosen - set(there) | {self._draw(st.sampled_from(there))}
        if "gate" in chosen and "weight" in fields and not self._strange():
            chosen = {"gate"}
        return {field: self.value(fields[field], field) for field in fields if field in chosen}

    def _wanted(self, field, schema):
        if field in schema.get("required", ()):
            return True
        if self._strange():
            return self._draw(st.booleans())
        return field in ALWAYS or (field not in SELDOM and self._draw(st.booleans()))


def _scalars(schema):
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema.get("type") == "boolean":
        return st.booleans()
    whole = st.integers(schema.get("minimum", 1), schema.get("maximum", 2**63 - 1))
    if schema.get("type") == "integer":
        return whole
    texts = _texts(schema.get("pattern", ""), schema.get("minLength", 0), schema.get("maxLength", 1_000))
    return whole | texts if schema.get("x-kubernetes-int-or-string") else texts


@cache
def _texts(pattern, least, most):
    exact = re.compile(pattern.removesuffix("$") + r"\Z", re.ASCII)
    return (st.from_regex(exact) if pattern else TEXT).filter(lambda text: least <= len(text) <= most)


@cache
def _schema(model):
    schema: Mapping[str, Any] = structural_schema(model)["properties"]
    return schema["spec"]


@st.composite
def specs(draw, resource=PROMPT_ROLLOUT):
    """What may stand in `spec` of this resource; of every fourth nothing is strange."""
    return Author(draw, draw(st.sampled_from([0, 1, 5, 30]))).value(_schema(resource.model))

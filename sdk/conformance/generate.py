"""Writes the vectors that every SDK and the operator's own rooms run: `python sdk/conformance/generate.py`.

The expected values come from the operator's rooms; `tests/delivery/test_conformance.py` checks them against values
computed another way, and that the files are current.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

from promptrollout.delivery import (
    ArmWeight,
    Payload,
    PinnedRevision,
    Shadow,
    arm_of,
    bucket_of,
    cluster_of,
    render,
)
from promptrollout.revision import (
    TemplateError,
    check_variables,
    render_template,
    seal,
    template_variables,
)

HERE = Path(__file__).parent

UNITS = (
    "",
    "1",
    "user-1",
    "user-2",
    "conversation/2026-11-24",
    "Zoë",
    "\N{SNOWMAN}",
    "🙂",
    "a\x1fb",
    "x" * 300,
)
SALTS = ("", "s", "9f8e7d6c5b4a3210", "é")

PROMPTS: dict[str, dict[str, object]] = {
    "text": {"text": "Hello"},
    "chat": {
        "messages": [{"role": "system", "content": "Help {{name}}."}],
        "model": {"name": "gpt-5-mini", "parameters": {"temperature": "0.2"}},
        "variables": ["name"],
    },
    "absent and empty are alike": {
        "messages": [{"role": "system", "content": "Help {{name}}.", "name": ""}],
        "model": {"name": "gpt-5-mini", "parameters": {"temperature": "0.20", "stop": None}},
        "variables": ["name", "name"],
        "tools": [],
        "responseFormat": None,
        "extra": {},
        "templateFormat": "mustache",
    },
    "parts": {"parts": {"planner": {"text": "plan"}, "answerer": {"text": "answer"}}},
    "unicode": {
        "text": "Grüße 🙂 \N{SNOWMAN} \u2028",
        "extra": {"é": "1", "z": "2", "🙂": "3", "\ufb33": "4"},
    },
    "escapes": {"text": '"\\/\b\f\n\r\t\x00\x1f\x7f'},
    "numbers": {
        "text": "n",
        "parameters": {
            "a": "1.0",
            "b": "1e21",
            "c": "0.000001",
            "d": "1e-7",
            "e": 333333333.33333329,
            "f": "-0.0",
            "g": 5,
        },
    },
    "values in strings": {
        "text": "v",
        "parameters": {
            "seed": "7",
            "stream": "false",
            "stop": '["END"]',
            "user": "u-1",
            "broken": "[x]",
            "hex": "0x1",
        },
    },
    "tools keep their order": {"text": "t", "tools": [{"b": 1, "a": [3, None]}, {"a": {}}]},
}

TEMPLATES: list[tuple[str, str, dict[str, object]]] = [
    ("mustache", "Hi {{name}}!", {"name": "Ann"}),
    ("mustache", "Hi {{ name }}{{{name}}}{{&name}}", {"name": "<b>&\"'"}),
    ("mustache", "Hi {{missing}}.", {}),
    ("mustache", "{{a.b.c}} {{a.x}} {{a.b}}", {"a": {"b": {"c": "deep"}}} | {"z": 1}),
    (
        "mustache",
        "{{#items}}- {{name}} of {{shop}}\n{{/items}}",
        {"items": [{"name": "a"}, {"name": "b"}], "shop": "S"},
    ),
    ("mustache", "List:\n{{#items}}\n- {{.}}\n{{/items}}\nEnd", {"items": ["x", "y"]}),
    ("mustache", "{{#yes}}on{{/yes}}{{^yes}}off{{/yes}}", {"yes": True}),
    ("mustache", "{{#yes}}on{{/yes}}{{^yes}}off{{/yes}}", {"yes": ""}),
    ("mustache", "{{#n}}on{{/n}}{{^n}}off{{/n}}", {"n": 0}),
    ("mustache", "{{^none}}nothing{{/none}}", {"none": []}),
    ("mustache", "a {{! a comment }} b\n  {{! alone }}  \nc", {}),
    (
        "mustache",
        "{{a}} {{b}} {{c}} {{d}} {{e}} {{f}} {{g}}",
        {
            "a": 1e-7,
            "b": 0.000001,
            "c": 1e21,
            "d": 123456789012345680000.0,
            "e": -0.0,
            "f": -1.5e-9,
            "g": 0.1 + 0.2,
        },
    ),
    (
        "mustache",
        "{{list}} {{object}} {{empty}}",
        {"list": [1, 'a\n\u00e9"', None, [True, 2.0]], "object": {"k": {"x": 0.00001}, "z": []}, "empty": {}},
    ),
    ("mustache", "{{constructor}}{{a.length}}{{#a}}{{toString}}{{/a}}", {"a": "text"}),
    ("mustache", "\t {{#a}} \t\r\n {{b}} {{#b}}\n{{/b}} {{/a}}\n{{! x }} y", {"a": True, "b": [1]}),
    ("mustache", "\r\n{{#a}}\r\nx\r\n{{/a}}\r\ny", {"a": True}),
    ("fstring", "{a:} of {b:}", {"a": 1}),
    ("fstring", "{a} {b}", {"a": [1, {"k": "v"}], "b": 1e-7}),
    ("fstring", "{constructor}|{missing}", {}),
    ("mustache", "{{i}} {{f}} {{w}} {{t}} {{n}}", {"i": 3, "f": 0.5, "w": 2.0, "t": True, "n": None}),
    ("mustache", 'JSON: {"a": {"b": 1}}', {}),
    ("mustache", "{{user}}", {"user": "{{system}} {{#x}}"}),
    ("fstring", "Hi {name}, {{literal}} {x}", {"name": "Ann"}),
    ("fstring", "{t} {n} {i} {w}", {"t": False, "n": None, "i": 1, "w": 2.0}),
    ("none", "{{name}} {name} {% x %}", {"name": "Ann"}),
    ("jinja2", "Hi {{ name | upper }}{% if vip %}!{% endif %}\n", {"name": "Ann", "vip": True}),
    (
        "jinja2",
        "{% for i in items %}{{ loop.index }}={{ i }};{% endfor %}{{ missing }}",
        {"items": ["a", "<b>"]},
    ),
]
BROKEN = [
    ("mustache", "{{#open}}"),
    ("mustache", "{{/close}}"),
    ("mustache", "{{#a}}{{#b}}{{/a}}{{/b}}"),
    ("mustache", "{{> partial}}"),
    ("mustache", "{{=<% %>=}}"),
    ("mustache", "{{ two words }}"),
    ("mustache", "{{never closed"),
    ("mustache", "{{#a}}" * 101 + "{{/a}}" * 101),
    ("fstring", "{a.b}"),
    ("fstring", "{a[0]}"),
    ("fstring", "{a!r}"),
    ("fstring", "{a:>10}"),
    ("fstring", "{}"),
    ("fstring", "{open"),
    ("fstring", "close}"),
    ("fstring", "{a{b}}"),
    ("jinja2", "{% if x %}"),
    ("ejs", "<%= x %>"),
]
#: A prompt of several parts, one of them, and what of the declared variables it looks up.
PARTS = {
    "variables": ["passages", "question", "style", "text"],
    "parts": {
        "search": {"text": "Search words for: {{question}}"},
        "answer": {
            "messages": [
                {"role": "system", "content": "Write {{#style}}in {{style.tone}}{{/style}}."},
                {"role": "user", "content": [{"type": "text", "text": "{{#passages}}{{text}}{{/passages}}"}]},
            ]
        },
        "title": {"text": "None {at} all"},
    },
}
WANTED = {"search": ["question"], "answer": ["passages", "style", "text"], "title": []}
SCORES = (0.0, 0.05, 0.13, 0.5, 0.63, 0.75, 0.999, 1.0)


def assignment() -> object:
    """Buckets, clusters, owners of buckets."""
    arms = (
        ArmWeight("candidate", "0" * 10, 500),
        ArmWeight("b", "1" * 10, 2000),
        ArmWeight("stable", "2" * 10, 7500),
    )
    edges = (0, 499, 500, 2499, 2500, 9999)
    return {
        "buckets": [{"salt": s, "unit": u, "bucket": bucket_of(s, u)} for s in SALTS for u in UNITS],
        "clusters": [{"unit": u, "cluster": cluster_of(u)} for u in UNITS],
        "arms": {
            "weights": [{"name": a.name, "weight": a.weight} for a in arms],
            "owners": [{"bucket": b, "arm": arm_of(arms, b).name} for b in edges],
        },
    }


def revisions() -> object:
    """Prompts with their canonical JSON and hash."""
    sealed = {name: seal(prompt) for name, prompt in PROMPTS.items()}
    return [
        {"name": name, "prompt": PROMPTS[name], "canonical": r.json, "hash": r.hash, "short": r.short}
        for name, r in sealed.items()
    ]


def templates() -> object:
    """Rendered texts, and texts that must be refused."""
    for template_format, text in BROKEN:
        try:
            template_variables(text, template_format)
        except TemplateError:
            continue
        raise SystemExit(f"not broken: {text!r}")
    return {
        "rendered": [
            {"format": f, "template": t, "values": v, "text": render_template(t, f, v)}
            for f, t, v in TEMPLATES
        ],
        "broken": [{"format": f, "template": t} for f, t in BROKEN],
        "parts": [
            {"format": f, "document": {**document, "templateFormat": f}, "wanted": WANTED}
            for f, document in parts_of()
        ],
    }


def parts_of() -> list[tuple[str, dict[str, object]]]:
    """The parts in each format, as the operator accepts them."""
    plain = {
        "search": "For: {question}",
        "answer": "In {style}: {passages} {text}",
        "title": "None {{at}} all",
    }
    jinja = {
        "search": "For: {{ question }}",
        "answer": "{% if style %}{{ style.tone }}{% endif %}{% for one in passages %}{{ one }}{% endfor %}{{ text }}",
        "title": "None at all",
    }
    found: list[tuple[str, dict[str, object]]] = [("mustache", PARTS)]
    for template_format, texts_by_part in (("fstring", plain), ("jinja2", jinja)):
        parts = {name: {"text": text} for name, text in texts_by_part.items()}
        found.append((template_format, {**PARTS, "parts": parts}))
    for template_format, document in found:
        if problems := check_variables({**document, "templateFormat": template_format}):
            raise SystemExit(f"the operator would refuse it: {problems}")
    return found


def scores() -> object:
    """The linear split of scores, and the bounds of the histograms."""
    rows = []
    for score in SCORES:
        position = (1 - score) * 20
        node = min(int(position), 20)
        rows.append(
            {"score": score, "nodes": {str(node): 1 - (position - node), str(node + 1): position - node}}
        )
    for row in rows:
        row["nodes"] = {k: v for k, v in row["nodes"].items() if v and int(k) <= 20}
    bounds = [float(f"{0.01 * 2 ** (k / 4):.4g}") for k in range(61)]
    return {"splits": rows, "durationBuckets": bounds}


OLD, NEW, GONE, NEXT = (seal({"text": f"prompt {name}"}) for name in ("old", "new", "gone", "next"))
DOCUMENTS = {r.short: r.document for r in (OLD, NEW, GONE, NEXT)}
BASE = Payload(
    rollout="shop/support-answer",
    sequence=7,
    exposure=3,
    unit="conversation",
    salt="abc",
    arms=(ArmWeight("candidate", NEW.short, 500), ArmWeight("stable", OLD.short, 9500)),
)


def pins() -> object:
    """What a pin leads to under a payload, and tokens."""
    drain = replace(
        BASE,
        exposure=4,
        arms=(ArmWeight("stable", OLD.short, 10_000),),
        pinned=(PinnedRevision(GONE.short, "2026-11-24T00:00:00Z"),),
    )
    zero = replace(BASE, arms=(ArmWeight("candidate", NEW.short, 0), ArmWeight("stable", OLD.short, 10_000)))
    full = replace(BASE, arms=(ArmWeight("candidate", NEW.short, 10_000), ArmWeight("stable", OLD.short, 0)))
    promoted = replace(BASE, exposure=5, arms=(ArmWeight("stable", NEW.short, 10_000),))
    new, old, gone = NEW.short, OLD.short, GONE.short
    cases = [
        ("a live arm keeps its conversation", BASE, f"1.{new}.3.candidate", (new, "candidate", 3)),
        ("the step is that of the assignment", BASE, f"1.{old}.1.stable", (old, "stable", 1)),
        ("events come along", BASE, f"1.{new}.2.candidate.errors.refusals", (new, "candidate", 2)),
        ("an event's name has any letters", BASE, f"1.{new}.2.candidate.overBudget", (new, "candidate", 2)),
        ("more events than a pin names", BASE, f"1.{new}.2.candidate{'.x' * 17}", None),
        ("a rolled back arm loses them", zero, f"1.{new}.3.candidate", None),
        ("stable keeps them at weight 0", full, f"1.{old}.1.stable", (old, "stable", 1)),
        ("a promoted revision keeps them as stable", promoted, f"1.{new}.3.candidate", (new, "stable", 3)),
        ("a draining revision keeps them", drain, f"1.{gone}.3.candidate", (gone, "candidate", 3)),
        ("a revision that is gone loses them", drain, f"1.{new}.3.candidate", None),
        ("an exposure far away is counted today", BASE, f"1.{new}.900.candidate", (new, "candidate", 3)),
        ("no pin", BASE, "hello", None),
        ("a newer format", BASE, f"2.{new}.3.candidate", None),
        ("no revision", BASE, "1.XYZ.3.candidate", None),
        ("no number", BASE, f"1.{new}.x.candidate", None),
        ("empty", BASE, "", None),
    ]
    rows = [
        {
            "name": n,
            "files": render(p, DOCUMENTS),
            "pin": pin,
            "now": "2026-11-23T23:00:00Z",
            "follows": follows(f),
        }
        for n, p, pin, f in cases
    ]
    late = {"name": "a drain ends", "files": render(drain, DOCUMENTS), "pin": f"1.{gone}.3.candidate"}
    rows.append({**late, "now": "2026-11-24T00:00:00Z", "follows": None})
    tokens = [
        {"token": f"1.{new}.3.candidate.11.shop/support-answer", "valid": True, "cluster": 11},
        {"token": "1.default.0.default.0.shop/a.b.c", "valid": True, "cluster": 0},
        {"token": f"1.{new}.3.candidate.16.shop/support-answer", "valid": False},
        {"token": f"1.{new}.3.candidate", "valid": False},
        {"token": "", "valid": False},
    ]
    return {"pins": rows, "tokens": tokens}


def follows(found: tuple[str, str, int] | None) -> object:
    """Revision, arm and step that a pin leads to; None: a new assignment by bucket."""
    return None if found is None else dict(zip(("revision", "arm", "step"), found, strict=True))


def rehashed(data: dict[str, str], **changes: object) -> dict[str, str]:
    """`data` with changed fields and a right hash."""
    rollout = json.loads(data["rollout.json"]) | changes
    rollout.pop("hash")
    text = json.dumps(rollout, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    rollout["hash"] = hashlib.sha256(text.encode()).hexdigest()
    return data | {"rollout.json": json.dumps(rollout, ensure_ascii=False)}


def swapped(data: dict[str, str], revision: str, text: str) -> dict[str, str]:
    """`data` with another file for `revision`, honestly announced."""
    digests = json.loads(data["rollout.json"])["documents"]
    digests[revision] = hashlib.sha256(text.encode()).hexdigest()
    return rehashed(data | {f"{revision}.json": text}, documents=digests)


def payloads() -> object:
    """Payloads to serve, and broken ones with their reason."""
    good = render(BASE, DOCUMENTS)
    rollout, old = good["rollout.json"], OLD.short
    one = [{"name": "stable", "revision": old, "weight": 10_000}]
    broken: list[tuple[str, dict[str, str], str]] = [
        ("no rollout.json", {}, "missing"),
        ("truncated", good | {"rollout.json": rollout[: len(rollout) // 2]}, "not_json"),
        ("empty", good | {"rollout.json": ""}, "not_json"),
        ("no object", good | {"rollout.json": "[]"}, "not_json"),
        ("wrong hash", good | {"rollout.json": rollout.replace('"salt":"abc"', '"salt":"abd"')}, "hash"),
        ("no hash", good | {"rollout.json": '{"schema":1}'}, "hash"),
        ("unknown schema", rehashed(good, schema=2), "schema"),
        ("weights too small", rehashed(good, arms=[one[0] | {"weight": 9999}]), "weights"),
        ("a negative weight", rehashed(good, arms=[one[0] | {"weight": 10_001},
         one[0] | {"name": "b", "weight": -1}]), "weights"),
        ("no arms", rehashed(good, arms=[]), "weights"),
        ("two arms of one name", rehashed(good, arms=[one[0] | {"weight": 5000}] * 2), "invalid"),
        ("arms that are no list", rehashed(good, arms=None), "invalid"),
        ("a weight that is a string", rehashed(good, arms=[one[0] | {"weight": "10000"}]), "invalid"),
        ("a sequence that is a string", rehashed(good, sequence="7"), "invalid"),
        ("a negative sequence", rehashed(good, sequence=-1), "invalid"),
        ("a sequence that is a fraction", rehashed(good, sequence=7.5), "invalid"),
        ("no salt", rehashed(good, salt=None), "invalid"),
        ("documents that are no object", rehashed(good, documents=[]), "invalid"),
        ("an arm that is no name", rehashed(good, arms=[one[0] | {"name": "Stable!"}]), "invalid"),
        ("a budget without bounds",
         rehashed(good, shadow={"revision": old, "sample": 1, "maxConcurrent": 1, "usdPerHour": "inf"}), "invalid"),
        ("a schema that only looks like one", rehashed(good, schema=True), "schema"),
        ("pins that are no list", rehashed(good, pinned=0), "invalid"),
        ("a pin's end without a time zone",
         rehashed(good, pinned=[{"revision": old, "until": "2026-11-24T00:00:00"}]), "invalid"),
        ("a schema that is a string", rehashed(good, schema="1"), "schema"),
        ("a path for a revision", rehashed(good, arms=[one[0] | {"revision": "../secret"}]), "invalid"),
        ("no file for a revision", {k: v for k, v in good.items() if k != f"{old}.json"}, "revision_missing"),
        ("a file of another version", good | {f"{old}.json": "{}"}, "revision_mismatch"),
        ("an unknown schema of a revision", swapped(good, old, '{"schema":2,"parts":{}}'), "schema"),
        ("a revision that is no JSON", swapped(good, old, "{"), "not_json"),
        ("a revision without parts", swapped(good, old, '{"schema":1,"parts":{}}'), "revision_invalid"),
        ("a template that is none", swapped(good, old, '{"schema":1,"parts":{"default":{"text":"{{#a}}"}}}'),
         "template"),
        ("a template of a format to come",
         swapped(good, old, '{"schema":1,"templateFormat":"next","parts":{"default":{"text":"a"}}}'), "template"),
    ]  # fmt: skip
    served = [
        ("two arms", good, 7),
        ("one arm", render(replace(BASE, arms=(ArmWeight("stable", OLD.short, 10_000),)), DOCUMENTS), 7),
        ("unknown fields of a newer operator", rehashed(good, later={"a": 1}), 7),
        ("unicode", render(replace(BASE, salt="é🙂"), DOCUMENTS), 7),
        (
            "with a shadow",
            render(
                replace(
                    BASE,
                    arms=(ArmWeight("stable", OLD.short, 10_000),),
                    shadow=Shadow(NEW.short, 2500, 4, "1.50"),
                ),
                DOCUMENTS,
            ),
            7,
        ),
        (
            "with a revision that drains",
            render(
                replace(
                    BASE,
                    arms=(ArmWeight("stable", OLD.short, 10_000),),
                    pinned=(PinnedRevision(GONE.short, "2026-11-24T00:00:00Z"),),
                ),
                DOCUMENTS,
            ),
            7,
        ),
        ("more files than it speaks of", good | {"flagd.json": "{", "0123456789.json": "?"}, 7),
    ]
    return {
        "served": [{"name": n, "files": f, "sequence": s} for n, f, s in served],
        "broken": [{"name": n, "files": f, "reason": r} for n, f, r in broken],
    }


def flagd() -> object:
    """The same decision as a flag; evaluated with `bucket` in the context it gives the arm that owns the bucket."""
    arms = (
        ArmWeight("candidate", NEW.short, 500),
        ArmWeight("b", NEXT.short, 2000),
        ArmWeight("stable", OLD.short, 7500),
    )
    payload = replace(BASE, arms=arms)
    return {
        "flag": BASE.rollout.rpartition("/")[2],
        "salt": BASE.salt,
        "arms": [{"name": a.name, "revision": a.revision, "weight": a.weight} for a in arms],
        "flagd": json.loads(render(payload, DOCUMENTS, flagd=True)["flagd.json"]),
    }


VECTORS = {
    "assignment.json": assignment,
    "revisions.json": revisions,
    "templates.json": templates,
    "scores.json": scores,
    "pins.json": pins,
    "payloads.json": payloads,
    "flagd.json": flagd,
}


def texts() -> dict[str, str]:
    """Each file's text."""
    return {name: json.dumps(make(), indent=1, ensure_ascii=True) + "\n" for name, make in VECTORS.items()}


if __name__ == "__main__":
    for name, text in texts().items():
        (HERE / name).write_text(text)

"""From a notification to what people read."""

from dataclasses import fields

import pytest

from promptrollout.notify import Notification
from promptrollout.notify.templates import CONTEXT, LONGEST_TEXT, compiled
from tests.notify.documented import PAGE


def test_the_default_says_what_happened_where_and_how_it_stands(told):
    letter = compiled(None, None).letter(told())
    assert letter.title == "shop/support: RolledBack"
    assert letter.text.splitlines() == [
        "revision 5e0c1f22aa is rolled back",
        "RollingBack, candidate 5e0c1f22aa, stable 0c86d2c1d1; worse than stable",
    ]


def test_the_default_is_tidy_where_there_is_little_to_say(told):
    bare = told(phase="Invalid", stable="", candidate="", verdict="", message="spec.a: is wrong")
    assert compiled(None, None).letter(bare).text == "spec.a: is wrong\nInvalid"


def test_a_template_has_every_field_and_the_documented_ones_are_all(told):
    assert set(CONTEXT) == {one.name for one in fields(Notification)}
    text = " ".join(f"{{{{ {name} }}}}" for name in CONTEXT)
    letter = compiled("{{ rollout | upper }}", text).letter(told())
    assert letter.title == "SUPPORT"
    assert "RolledBack Warning revision 5e0c1f22aa is rolled back" in letter.text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ message", "line 1: unexpected end of template"),
        ("{{ mesage }}", "'mesage' is undefined"),
        ("a\n{% if %}", "line 2: "),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ message.nothing.there }}", "has no attribute 'nothing'"),
        ("{% if reason == 'Refused' %}{{ nothing }}{% endif %}", "'nothing' is undefined"),
        ("{% if not weight and not stable %}{{ nothing }}{% endif %}", "'nothing' is undefined"),
        ("{% include 'x' %}", "no loader"),
    ],
)
def test_a_broken_template_is_found_at_start_and_the_default_takes_its_place(told, text, said):
    templates = compiled(None, text)
    assert said in templates.problem
    letter = templates.letter(told())
    assert letter.text.startswith("revision 5e0c1f22aa is rolled back\n")
    assert "the channel's own template is not used: template: " in letter.text


def test_a_template_that_fails_only_now_is_said_in_the_letter(told):
    templates = compiled(None, "{{ 1 // (message | length - 7) }}")
    assert templates.problem == ""
    letter = templates.letter(told(message="seven77"))
    assert letter.text.startswith("seven77\n")
    assert "ZeroDivisionError" in letter.text


def test_a_title_is_one_line_and_everything_has_an_end(told):
    letter = compiled("a\nb {{ message }}", "{{ message }}").letter(told(message="long " * 5000))
    assert letter.title.startswith("a b long")
    assert "\n" not in letter.title
    assert len(letter.text) == LONGEST_TEXT


def test_what_an_author_wrote_is_text_and_no_template(told):
    assert "{{ 7 * 7 }}" in compiled(None, None).letter(told(message="{{ 7 * 7 }}")).text


def test_the_page_lists_every_field_of_a_template():
    for name, meaning in CONTEXT.items():
        assert f"| `{name}` | {meaning} |" in PAGE

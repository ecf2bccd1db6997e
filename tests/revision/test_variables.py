"""Declared variables against used ones, in every format."""

import pytest

from promptrollout.revision import check_variables, diff_variables, preview, template_variables
from promptrollout.revision.templates import TemplateError, render_template


@pytest.mark.parametrize(
    ("template_format", "text", "required", "possible"),
    [
        ("mustache", "{{a}} {{{b}}} {{&c}} {{! d }} {{e.f}}", "abce", ""),
        ("mustache", "{{#items}}{{name}}{{.}}{{/items}}{{^empty}}{{x}}{{/empty}}", ["items", "empty", "x"], ["name"]),
        ("mustache", "{{a}}{{#s}}{{a}}{{/s}}", "as", ""),
        ("jinja2", "{% for i in items %}{{ i }}{{loop.index}}{% endfor %}{{ a.b }}{{ range(2) }}", ["items", "a"], ""),
        ("jinja2", "{% set x = 1 %}{{ x }}{% if y %}{{ z | upper }}{% endif %}", "yz", ""),
        ("fstring", "{a} {{literal}} {b}", "ab", ""),
        ("none", "{{a}} {b} {% c %}", "", ""),
    ],
)  # fmt: skip
def test_the_variables_of_a_text(template_format, text, required, possible):
    found = template_variables(text, template_format)
    assert (found.required, found.possible) == (set(required), set(possible))


@pytest.mark.parametrize(
    ("template_format", "text", "says"),
    [
        ("mustache", "a\n{{#x}} b", "never closed"),
        ("mustache", "a\nb {{/x}}", "line 2"),
        ("mustache", "{{> partial}}", "partials are not supported"),
        ("mustache", "{{=<% %>=}}", "new delimiters are not supported"),
        ("mustache", "a {{ b", "without"),
        ("mustache", "{{a b}}", "is no name"),
        ("jinja2", "a\n{% if x %}", "line 2"),
        ("jinja2", "{% include 'x' %}", "not supported"),
        ("fstring", "{a.b}", "only plain names"),
        ("fstring", "{a!r}", "only plain names"),
        ("fstring", "{a:.2f}", "only plain names"),
        ("fstring", "{}", "only plain names"),
        ("fstring", '{"json": 1}', "only plain names"),
        ("fstring", "{a", "a brace in the text"),
        ("ejs", "x", "unknown template format"),
    ],
)
def test_a_text_that_is_no_template_says_where_and_why(template_format, text, says):
    with pytest.raises(TemplateError, match=says):
        template_variables(text, template_format)


@pytest.mark.timeout(60)
def test_a_text_full_of_braces_is_looked_through_once_and_not_once_from_each():
    with pytest.raises(TemplateError, match=r"line 1: '\{\{' without"):
        template_variables("{{" * 195_000, "mustache")


@pytest.mark.parametrize(
    ("template_format", "text"), [("mustache", "{{a b%s}}"), ("mustache", "{{/%s}}"), ("fstring", "{%s.b}")]
)
def test_a_message_never_repeats_a_whole_prompt(template_format, text):
    with pytest.raises(TemplateError) as error:
        template_variables(text % ("x" * 100_000), template_format)
    assert len(str(error.value)) < 300


def test_declared_and_used_variables_must_be_equal_and_the_message_has_both_lists():
    prompt = {
        "messages": [{"role": "user", "content": "{{question}} {{shop}}"}],
        "variables": ["shop", "user"],
    }
    (problem,) = check_variables(prompt)
    assert problem.field_path == "variables"
    assert "[shop, user]" in problem.message
    assert "[question, shop]" in problem.message
    assert "declare [question]" in problem.message
    assert "remove [user]" in problem.message


def test_equal_lists_are_no_problem_whatever_their_order():
    assert check_variables({"text": "{{a}}{{b}}", "variables": ["b", "a"]}) == []


def test_a_name_inside_a_section_may_be_declared_or_left_to_the_item():
    text = "{{#items}}{{name}}{{/items}}"
    assert check_variables({"text": text, "variables": ["items"]}) == []
    assert check_variables({"text": text, "variables": ["items", "name"]}) == []


def test_a_broken_text_is_reported_with_its_path_and_the_lists_are_not_compared():
    prompt = {"parts": {"plan": {"messages": [{"role": "user", "content": "{{#x}}"}]}}, "variables": ["y"]}
    (problem,) = check_variables(prompt)
    assert problem.field_path == "parts.plan.messages[0].content"


def test_texts_of_multi_modal_messages_are_templates_too():
    content = [{"type": "text", "text": "{{a}}"}, {"type": "image_url", "image_url": {"url": "{{no}}"}}]
    prompt = {"messages": [{"role": "user", "content": content}], "variables": ["a"]}
    assert check_variables(prompt) == []
    rendered = preview(prompt, {"a": "A"})["parts"]["default"]["messages"][0]["content"]
    assert rendered == [{"type": "text", "text": "A"}, {"type": "image_url", "image_url": {"url": "{{no}}"}}]


def test_the_difference_of_two_revisions_variables():
    diff = diff_variables({"variables": ["a", "b"]}, {"variables": ["b", "c"]})
    assert (diff.added, diff.removed) == (("c",), ("a",))
    assert not diff_variables({"variables": ["a"]}, {"variables": ["a"]})


def test_a_template_cannot_reach_python():
    with pytest.raises(TemplateError):
        render_template("{{ ''.__class__.__mro__ }}", "jinja2", {})
    assert render_template("{{a}}", "mustache", {"a": "<b> & 'c'"}) == "<b> & 'c'"


def test_the_preview_is_what_a_pod_would_send():
    prompt = {"messages": [{"role": "system", "content": "Hi {{name}}"}], "variables": ["name"]}
    assert preview(prompt, {"name": "Ann"})["parts"] == {
        "default": {"messages": [{"role": "system", "content": "Hi Ann"}]}
    }


BOMBS = ["{{ 'a' * 10000000000 }}", "{{ 'a'|center(10000000000) }}", "{% if 9**9**9 %}{{ x }}{% endif %}"]


@pytest.mark.timeout(10)
@pytest.mark.parametrize("text", BOMBS)
def test_a_template_is_looked_into_without_computing_anything_of_it(text):
    assert template_variables(text + "{{ name }}", "jinja2").required - {"x"} == {"name"}


@pytest.mark.parametrize(
    "text", ["{{ " + "(" * 3000 + "a" + ")" * 3000 + " }}", "{% if a %}" * 2000 + "{% endif %}" * 2000]
)
def test_a_template_that_is_nested_too_deeply_is_refused_and_ends_nothing(text):
    with pytest.raises(TemplateError, match="nested too deeply"):
        template_variables(text, "jinja2")


def test_an_unknown_filter_is_said_in_one_line():
    with pytest.raises(TemplateError) as said:
        template_variables("{{ a|nosuch }}", "jinja2")
    assert str(said.value) == "line 1: No filter named 'nosuch'."


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("{% for x in xs %}{{ x.y }}{{ loop.index }}{% endfor %}", {"xs"}),
        ("{% set q = a %}{{ q }}", {"a"}),
        ("{% if a is defined %}{{ a }}{% endif %}", {"a"}),
        ("{% raw %}{{ no }}{% endraw %}{# {{ nor }} #}", set()),
        ("{% macro m(x) %}{{ x }}{{ y }}{% endmacro %}{{ m(z) }}", {"y", "z"}),
        ("{{ a if b else c }}{{ range(3) }}", {"a", "b", "c"}),
    ],
)
def test_jinja2_variables_are_those_that_come_from_outside(text, names):
    assert template_variables(text, "jinja2").required == names


@pytest.mark.parametrize(
    "text", ["{}", "{0}", "{a.b}", "{a[0]}", "{a!r}", "{a:>9}", "{a:{b}}", "{a=}", "{ a }", "{", "}"]
)
def test_an_fstring_takes_plain_names_only(text):
    with pytest.raises(TemplateError):
        template_variables(text, "fstring")

"""Custom selectors: what is accepted means what it says, what is refused is told where and why."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptrollout.sources.selector import SelectorError, check_selector, parse_selector

GOOD = {
    'app_refusals_total{rev="{{revision}}"}': 'app_refusals_total{rev=~"aaa|bbb"}',
    '  a:b_total { code=~"5..", rev = "{{revision}}" , } ': '  a:b_total { code=~"5..", rev =~"aaa|bbb" , } ',
    'errors{rev=\'{{revision}}\',path!="/x\\"}y"}': 'errors{rev=~"aaa|bbb",path!="/x\\"}y"}',
    "errors{path=~`a}\\d[5m]`,rev=`{{revision}}`}": 'errors{path=~`a}\\d[5m]`,rev=~"aaa|bbb"}',
    '{__name__="errors_total",rev="{{revision}}"}': '{__name__="errors_total",rev=~"aaa|bbb"}',
    '{"http.errors","prompt.rev"="{{revision}}"}': '{"http.errors","prompt.rev"=~"aaa|bbb"}',
    'errors{prompt="support-{{revision}}.v1"}': 'errors{prompt=~"support-aaa\\\\.v1|support-bbb\\\\.v1"}',
    'offset_total{rev="{{revision}}",by="x"}': 'offset_total{rev=~"aaa|bbb",by="x"}',
}

BAD = {
    "": "empty",
    "errors_total": "no label is compared with {{revision}}",
    'errors{rev="x"}': "no label is compared with {{revision}}",
    'rate(errors{rev="{{revision}}"}[5m])': "function",
    'sum(errors{rev="{{revision}}"})': "function",
    'sum by (rev) (errors{rev="{{revision}}"})': "operators",
    'errors{rev="{{revision}}"}[5m]': "no range",
    'errors{rev="{{revision}}"} offset 5m': "offset",
    'errors{rev="{{revision}}"} @ 1600000000': "@",
    'errors{rev="{{revision}}"} or vector(0)': "operators",
    'errors{rev="{{revision}}"} + 1': "operators",
    'errors{rev="{{revision}}"} == 1': "operators",
    '-errors{rev="{{revision}}"}': "operators",
    'errors{rev="{{revision}}"} # why': "comments",
    'errors{rev=~"{{revision}}"}': "needs the operator =",
    'errors{rev!="{{revision}}"}': "needs the operator =",
    'errors{rev="{{revision}}",old="{{revision}}"}': "2 times",
    'errors{rev="{{revision}}{{revision}}"}': "2 times",
    'errors{rev="{{revision}}': "has no end",
    'errors{rev="{{revision}}"': "never closed",
    'errors{rev="{{revision}}"}}': "unexpected",
    'errors{rev="{{revision}}"} errors': "unexpected",
    "errors{rev={{revision}}}": "must be a quoted string",
    'errors{rev "{{revision}}"}': "one of = != =~ !~",
    'errors{="{{revision}}"}': "label's name",
    'errors{rev="{{revision}}" code="5"}': "comma",
    'errors{__name__="x",rev="{{revision}}"}': "given twice",
    '{__name__="{{revision}}"}': "cannot be part of the metric's name",
    'errors{rev="\\q",r="{{revision}}"}': "unknown escape",
    'errors{rev="\\x41{{revision}}"}': "no escapes",
    'errors{r="{{revision}}",x="' + "y" * 1024 + '"}': "at most 1024",
    "{{revision}}": "label's name",
    'errors{rev="{{revision}}"};drop': "unexpected",
    'errors{rev="a\nb{{revision}}"}': "has no end",
}


@pytest.mark.parametrize("text", GOOD)
def test_a_vector_selector_asks_for_both_revisions_in_one_matcher(text: str) -> None:
    assert check_selector(text) is None
    assert parse_selector(text).render(["bbb", "aaa"]) == GOOD[text]


@pytest.mark.parametrize("text", BAD)
def test_anything_else_is_refused_with_the_reason(text: str) -> None:
    problem = check_selector(text)
    assert problem is not None
    assert BAD[text] in problem


def test_a_refusal_names_the_column() -> None:
    assert (check_selector('errors{rev="{{revision}}"}[5m]') or "").startswith("column 27: ")


def test_one_revision_is_an_equality() -> None:
    assert parse_selector('e{r="{{revision}}"}').render(["aaa"]) == 'e{r="aaa"}'


def test_the_label_and_its_value_tell_the_revision() -> None:
    selector = parse_selector('errors{prompt="support-{{revision}}"}')
    assert (selector.name, selector.label, selector.value("abc")) == ("errors", "prompt", "support-abc")


@given(st.text(alphabet="abe_:{}[]()\"'`\\=~!,. \n@#+0123{{revision}}", max_size=60))
def test_any_text_is_either_accepted_or_refused_in_words(text: str) -> None:
    problem = check_selector(text)
    if problem is None:
        assert text.count("{{revision}}") == 1
        assert "{{" not in parse_selector(text).render(["a", "b"])
    else:
        assert problem
        with pytest.raises(SelectorError):
            parse_selector(text)


def test_checking_a_selector_needs_no_network_library() -> None:
    program = (
        "import sys; from promptrollout.sources.selector import check_selector; "
        "print({'requests', 'urllib3', 'prometheus_api_client', 'asyncio'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout == "set()\n"

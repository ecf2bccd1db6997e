"""What the API server says, as what is to be done about it."""

import pytest

from promptrollout.cluster.errors import (
    AlreadyExists,
    Conflict,
    Expired,
    Forbidden,
    Invalid,
    NamespaceTerminating,
    NotFound,
    Unauthorized,
    Unavailable,
    error_for,
)


@pytest.mark.parametrize(
    ("code", "body", "kind"),
    [
        (400, {}, Invalid),
        (401, {}, Unauthorized),
        (403, {"message": 'pods is forbidden: User "x" cannot patch'}, Forbidden),
        (403, {"details": {"causes": [{"reason": "NamespaceTerminating"}]}}, NamespaceTerminating),
        (404, {}, NotFound),
        (409, {"reason": "Conflict"}, Conflict),
        (409, {"reason": "AlreadyExists"}, AlreadyExists),
        (413, {}, Invalid),
        (422, {"reason": "Invalid"}, Invalid),
        (429, {}, Unavailable),
        (500, {}, Unavailable),
        (503, {}, Unavailable),
    ],
)
def test_each_answer_has_its_type(code, body, kind):
    assert type(error_for("patch pods shop/web-0", code, body, None)) is kind


def test_a_namespace_on_its_way_out_is_no_missing_right():
    terminating = error_for(
        "create configmaps a/b", 403, {"details": {"causes": [{"reason": "NamespaceTerminating"}]}}, None
    )
    assert isinstance(terminating, NotFound)
    assert not isinstance(terminating, Forbidden)


def test_the_message_says_what_was_done_and_what_the_server_said():
    error = error_for("patch pods shop/web-0", 403, {"message": "cannot patch pods"}, None)
    assert str(error) == "patch pods shop/web-0: cannot patch pods"
    assert isinstance(error, Forbidden)
    assert error.missing == "cannot patch pods"


def test_an_answer_without_a_status_object_still_says_its_code():
    assert "HTTP 502" in str(error_for("list pods", 502, {}, None))


def test_an_expired_list_says_how_to_go_on():
    error = error_for("list promptrollouts", 410, {"metadata": {"continue": "token"}}, None)
    assert isinstance(error, Expired)
    assert error.resume == "token"


def test_the_wait_that_the_server_asks_for_is_kept():
    error = error_for("list pods", 429, {}, 3.0)
    assert isinstance(error, Unavailable)
    assert error.retry_after == 3.0

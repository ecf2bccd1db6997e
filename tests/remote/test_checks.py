"""What an administrator may write about a service."""

import pytest
from pydantic import BaseModel

from promptrollout.remote.checks import check_credentials, check_positive, check_url
from promptrollout.remote.files import load_model


def said_of(url, **how):
    with pytest.raises(ValueError, match=r".") as error:
        check_url(url, "url", **{"instead": "passwordFile", **how})
    return str(error.value)


@pytest.mark.parametrize(
    "url", ["http://x", "https://x.example:8443/a/b", "http://[::1]:9090/", "http://x/?a=b"]
)
def test_a_plain_url_is_taken(url):
    check_url(url, instead="passwordFile")


@pytest.mark.parametrize(
    "url", ["", "x", "ftp://x", "http://", "http:///a", "http://[::1", "http://x:port/", "http://x:0"]
)
def test_what_is_no_url_is_refused_with_the_fields_name(url):
    assert said_of(url) == "url: must be http:// or https:// with a host"


@pytest.mark.parametrize("url", ["http://me@x", "https://me:hunter2@x/", "https://:hunter2@x"])
def test_a_credential_in_a_url_is_refused_and_not_repeated(url):
    said = said_of(url)
    assert "use passwordFile" in said
    assert "hunter2" not in said


def test_a_query_is_refused_only_where_there_is_something_else_for_it():
    assert said_of("http://x?a=b", query="parameters") == "url: no query or fragment; use parameters"
    assert said_of("http://x#a") == "url: no fragment"


def credentials(token="", env="", username="", password="", client=("", "")):
    return (
        {"bearer_token_file": token, "bearer_token_env": env},
        username,
        {"password_file": password},
        client,
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (credentials(token="a", env="b"), "a file or a variable, not both"),
        (credentials(token="a", username="me", password="p"), "only one of them"),
        (credentials(username="me"), "username and password_file: both or neither"),
        (credentials(password="p"), "both or neither"),
        (credentials(client=("", "key")), "needs client_certificate_file"),
    ],
)
def test_half_a_credential_and_two_at_once_are_refused(given, said):
    with pytest.raises(ValueError, match=said):
        check_credentials(*given)


@pytest.mark.parametrize(
    "given",
    [credentials(), credentials(token="a"), credentials(username="me", password="p", client=("c", "k"))],
)
def test_one_whole_credential_or_none_is_taken(given):
    check_credentials(*given)


@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_what_is_not_more_than_nothing_is_named(value):
    with pytest.raises(ValueError, match="timeout: must be more than 0"):
        check_positive({"size": 1, "timeout": value})


class Model(BaseModel):
    size: int = 1


@pytest.mark.parametrize(
    ("text", "said"),
    [("size: hunter2", "size: "), ("a: [hunter2", "line 1 is not YAML"), ("- hunter2", "dictionary")],
)
def test_a_file_is_refused_by_its_name_and_field_and_never_quoted(tmp_path, text, said):
    file = tmp_path / "f.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"f\.yaml") as error:
        load_model(file, Model)
    assert said in str(error.value)
    assert "hunter2" not in str(error.value)


def test_an_absent_file_is_said(tmp_path):
    with pytest.raises(ValueError, match=r"f\.yaml cannot be read: No such file"):
        load_model(tmp_path / "f.yaml", Model)

"""From a YAML file of an administrator's to a model. Errors say the file and the field, and never quote its content."""

import re
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

_M = TypeVar("_M", bound=BaseModel)


def read_yaml(file: Path) -> object:
    """What stands in it. ValueError where that cannot be read; its text may hold a secret and is not quoted."""
    try:
        return yaml.safe_load(file.read_text())
    except yaml.MarkedYAMLError as error:  # its own text quotes the line
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ValueError(f"{file}: line {line} is not YAML: {error.problem}") from None
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else type(error).__name__
        raise ValueError(f"{file} cannot be read: {reason}") from error


def load_model(file: Path, model: type[_M]) -> _M:
    """The model in it; an empty file has its defaults. ValueError, with the path of the field that is wrong."""
    try:
        return model.model_validate(read_yaml(file) or {})
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        said = re.sub(r"^Value error, ", "", first["msg"])
        raise ValueError(f"{file}: {where + ': ' if where else ''}{said}") from None

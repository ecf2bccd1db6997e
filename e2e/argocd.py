"""Argo CD's way with health and action scripts, in a real Lua 5.1 as its gopher-lua is.

After util/lua/lua.go of argoproj/argo-cd: of Lua's libraries only base, package and table are open; `require("os")`
gives time and date; numbers are floats; what an action returns is compared with the live object and sent as a merge
patch, in which an empty table stands for what was empty before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lupa.lua51 import LuaRuntime  # type: ignore[import-untyped] # has no types

from e2e.objects import Json
from e2e.processes.supervisor import REPOSITORY

CUSTOMIZATION = REPOSITORY / "gitops" / "argocd" / "promptrollout.dev" / "PromptRollout"
_CLOSED = ("string", "math", "io", "debug", "os", "coroutine")
HEALTH = frozenset({"Healthy", "Progressing", "Degraded", "Suspended", "Missing", "Unknown"})


@dataclass(frozen=True)
class ArgoCd:
    """One customization: scripts in Argo CD's layout."""

    folder: Path = CUSTOMIZATION

    def health(self, found: Json) -> tuple[str, str]:
        """Status and message, as the user interface shows them."""
        said = self._run(self.folder / "health.lua", found)
        status = str(said.get("status"))
        return (status if status in HEALTH else "Unknown"), str(said.get("message", ""))

    def actions(self, found: Json) -> Mapping[str, bool]:
        """Every action, and whether it is enabled."""
        said = self._run(self.folder / "actions" / "discovery.lua", found)
        return {str(name): not action.get("disabled", False) for name, action in said.items()}

    def run(self, action: str, found: Json) -> Json:
        """The merge patch that the action sends."""
        wanted = self._run(self.folder / "actions" / action / "action.lua", found)
        return merge_patch(found, wanted)

    def _run(self, script: Path, found: Json) -> dict[str, Any]:
        lua = LuaRuntime(unpack_returned_tuples=True, register_eval=False, register_builtins=False)
        library = lua.globals()
        library.package.preload["os"] = lua.eval("(function(os) return function() return os end end)")(
            lua.table(time=library.os.time, date=library.os.date)
        )
        library.package.loaded["os"] = None
        for name in _CLOSED:
            library[name] = None
        library.obj = _to_lua(lua, found)
        answer = _from_lua(lua.execute(script.read_text()))
        if not isinstance(answer, dict):
            raise TypeError(f"{script}: Argo CD expects a table, not {answer!r}")
        return answer


def merge_patch(live: Any, wanted: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """What to send so that `live` becomes `wanted` (RFC 7396)."""
    patch: dict[str, Any] = {key: None for key in live if key not in wanted}
    for key, value in wanted.items():
        old = live.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            if inner := merge_patch(old, value):
                patch[key] = inner
        elif not _same(old, value):
            patch[key] = value
    return patch


def _same(old: Any, new: Any) -> bool:  # noqa: ANN401 - JSON
    """Lua cannot tell an empty list from an empty map, nor null from nothing."""
    if new == {} and not old:
        return True
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(_same(a, b) for a, b in zip(old, new, strict=True))
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return not merge_patch({k: v for k, v in old.items() if v is not None}, new)
    return bool(old == new)


def _to_lua(lua: Any, value: Any) -> Any:  # noqa: ANN401 - Lua's values
    if isinstance(value, Mapping):
        return lua.table_from({key: _to_lua(lua, item) for key, item in value.items() if item is not None})
    if isinstance(value, list):
        return lua.table_from([_to_lua(lua, item) for item in value])
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _from_lua(value: Any) -> Any:  # noqa: ANN401 - Lua's values
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not hasattr(value, "items"):
        return value
    pairs = {key: _from_lua(item) for key, item in value.items()}
    if pairs and all(isinstance(key, int) for key in pairs):
        return [pairs[key] for key in sorted(pairs)]
    return pairs

"""CustomResourceDefinitions from the models: `python -m promptrollout.api.crd --check | --write`.

`--write` writes crds/ and the chart's copy of it; `--check` says which files differ and exits 1 if any does.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import yaml

from promptrollout.api.base import GROUP
from promptrollout.api.resource import RESOURCES, PrinterColumn, Resource
from promptrollout.api.schema import descriptive, structural_schema
from promptrollout.api.versions import VERSIONS, Version, checked

#: Below the repository's root. Helm reads CRDs from its chart only, hence the second.
FOLDERS = ("crds", "charts/prompt-rollout/crds")
HEADER = (
    "# Generated from the models in operator/promptrollout/api. Do not edit; run\n"
    "#   python -m promptrollout.api.crd --write\n"
)
_KIND = (
    "Kind is a string value representing the REST resource this object represents. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds"
)
_API_VERSION = (
    "APIVersion defines the versioned schema of this representation of an object. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources"
)


def custom_resource_definition(
    resource: Resource, versions: tuple[Version, ...] = VERSIONS
) -> dict[str, object]:
    """The CRD of a resource, as JSON-able data in a stable order; all versions have the same schema."""
    shape = _shape(resource)
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": resource.name},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": resource.kind,
                "listKind": f"{resource.kind}List",
                "plural": resource.plural,
                "singular": resource.kind.lower(),
                "shortNames": list(resource.short_names),
                "categories": list(resource.categories),
            },
            "scope": resource.scope,
            "versions": [{**version.to_wire(), **shape} for version in checked(versions)],
            # Said only where there is something to convert: the API server's default is the same.
            **({"conversion": {"strategy": "None"}} if len(versions) > 1 else {}),
        },
    }


def _shape(resource: Resource) -> dict[str, object]:
    return {
        **({"subresources": {"status": {}}} if "status" in resource.model.model_fields else {}),
        "additionalPrinterColumns": [_column(column) for column in resource.columns],
        **_selectable(resource),
        "schema": {"openAPIV3Schema": _schema(resource)},
    }


def _selectable(resource: Resource) -> dict[str, object]:
    paths = [{"jsonPath": path} for path in resource.selectable]
    return {"selectableFields": paths} if paths else {}


def _column(column: PrinterColumn) -> dict[str, object]:
    wire: dict[str, object] = {"name": column.name, "type": column.type, "jsonPath": column.json_path}
    wire["description"] = column.description
    if column.priority:
        wire["priority"] = column.priority
    return wire


def _schema(resource: Resource) -> dict[str, object]:
    schema = structural_schema(resource.model)
    properties = cast("dict[str, dict[str, object]]", schema["properties"])
    properties["apiVersion"] = {"description": _API_VERSION, "type": "string"}
    properties["kind"] = {"description": _KIND, "type": "string"}
    # The API server describes metadata itself. Only name and generateName may be named, and a rule points at name.
    properties["metadata"] = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 253}}}
    if "status" in properties:
        properties["status"] = descriptive(properties["status"])
        if "observedGeneration" in cast("Mapping[str, object]", properties["status"].get("properties", {})):
            # As in Flux's: an object that no operator has looked at yet must not look as if it were done (kstatus).
            properties["status"]["default"] = {"observedGeneration": -1}
    schema["required"] = ["spec"]
    return schema


class _Dumper(yaml.SafeDumper):
    """Writes equal parts out in full each time."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - pyyaml's signature
        """Never an anchor."""
        return True


def render(resource: Resource) -> str:
    """The file's text; the same models give the same bytes."""
    body = yaml.dump(
        custom_resource_definition(resource), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110
    )
    return HEADER + body


def files(root: Path) -> dict[Path, str]:
    """Every generated file below the repository's root, and its text."""
    return {root / folder / f"{r.name}.yaml": render(r) for folder in FOLDERS for r in RESOURCES}


def stale(root: Path) -> list[Path]:
    """The generated files that are missing or differ, and files in those folders that nothing generates."""
    wanted = files(root)
    differing = [
        path for path, text in wanted.items() if not path.is_file() or path.read_text("utf-8") != text
    ]
    present = [path for folder in FOLDERS for path in sorted((root / folder).glob("*.yaml"))]
    return differing + [path for path in present if path not in wanted]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files, or check that they are current."""
    parser = argparse.ArgumentParser(prog="python -m promptrollout.api.crd", description=__doc__)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--check", action="store_true", help="exit 1 if a file is not what the models say")
    action.add_argument("--write", action="store_true", help="write the files")
    parser.add_argument(
        "--root", type=Path, default=Path(__file__).resolve().parents[3], help="the repository's root"
    )
    chosen = parser.parse_args(arguments)
    if chosen.write:
        for path, text in files(chosen.root).items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8", newline="\n")
    differing = stale(chosen.root)
    for path in differing:
        sys.stderr.write(f"{path}: not what the models say; run python -m promptrollout.api.crd --write\n")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())

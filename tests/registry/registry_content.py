"""Everything that a registry says, free of its own ids: two registries of one store can be compared."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from manymodels.registry import Registry

_OF_THE_RECORD = ("heartbeat", "cancel_requested")


def content(registry: Registry) -> dict[str, Any]:
    """Runs, versions, aliases, events and failures of all model sets; scorings are in no file of the store."""
    found: dict[str, Any] = {}
    for entry in registry.model_sets():
        keys = registry.models(entry.name, alias="latest", level=None, limit=None).to_pylist()
        runs = [record for record in registry.runs(entry.name, limit=None) if record.published]
        found[entry.name] = {
            "runs": [
                {name: value for name, value in asdict(record).items() if name not in _OF_THE_RECORD}
                for record in runs
            ],
            "models": {
                (line["level"], line["key_id"]): _history(registry, entry.name, line) for line in keys
            },
            "events": [asdict(event) for event in registry.events(entry.name, limit=None)],
            "failures": {record.id: _failures(registry, record.id) for record in runs},
        }
    return found


def _history(registry: Registry, name: str, line: dict[str, Any]) -> dict[str, Any]:
    history = asdict(registry.model_history(name, line["key_id"], level=line["level"]))
    for version in history["versions"]:
        version["seconds"] = round(version["seconds"], 5)  # segments keep them in single precision
    return history


def _failures(registry: Registry, run_id: str) -> list[dict[str, Any]]:
    found = [asdict(signature) for signature in registry.failures(run_id)]
    return sorted(({**line, "keys": sorted(line["keys"])} for line in found), key=repr)

"""The registry: an SQL index of a store's runs, models, versions and aliases."""

from __future__ import annotations

from manymodels.registry.rebuild import rebuild
from manymodels.registry.records import (
    LATEST,
    AliasDecision,
    AliasEvent,
    AliasMove,
    DamagedSegment,
    ModelHistory,
    ModelRow,
    ModelSetRecord,
    Promotion,
    PromotionRule,
    RebuildReport,
    RunRecord,
    RunState,
    ScoreRecord,
    Signature,
    VerifyReport,
)
from manymodels.registry.registry import Registry

__all__ = [
    "LATEST",
    "AliasDecision",
    "AliasEvent",
    "AliasMove",
    "DamagedSegment",
    "ModelHistory",
    "ModelRow",
    "ModelSetRecord",
    "Promotion",
    "PromotionRule",
    "RebuildReport",
    "Registry",
    "RunRecord",
    "RunState",
    "ScoreRecord",
    "Signature",
    "VerifyReport",
    "rebuild",
]

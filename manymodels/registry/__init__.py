"""The registry: an SQL index of a store's runs, models, versions and aliases."""

from __future__ import annotations

from manymodels.registry.rebuild import rebuild
from manymodels.registry.records import (
    LATEST,
    AliasDecision,
    AliasEvent,
    AliasMove,
    CompactReport,
    DamagedSegment,
    GcReport,
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
    UnusableModel,
    VerifyReport,
)
from manymodels.registry.registry import Registry
from manymodels.registry.store import adopt_store, migrate

__all__ = [
    "LATEST",
    "AliasDecision",
    "AliasEvent",
    "AliasMove",
    "CompactReport",
    "DamagedSegment",
    "GcReport",
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
    "UnusableModel",
    "VerifyReport",
    "adopt_store",
    "migrate",
    "rebuild",
]

"""What a reader of models trusts: said by the reader, never by a store.

The policy comes from an argument or flag, else the variable ``MANYMODELS_TRUST``, else ``trust:`` in the user's own settings
(``~/.config/manymodels/settings.yaml``, or under ``XDG_CONFIG_HOME``); ``hashes`` when none says anything.

- ``hashes``: what the registry knows the SHA-256 of is loaded, and nothing else.
- ``signed``: it must also carry a signature made with the key in ``MANYMODELS_SIGNING_KEY``. A driver with the key signs the
  segments and modules of its runs.
- ``columns-only``: models kept as columns are loaded; nothing is unpickled, and no code from a store is imported.
"""

from __future__ import annotations

import hmac
import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal, cast, get_args

from manymodels.exceptions import TrustError, UsageError

__all__ = ["POLICIES", "Policy", "Trust", "is_signed", "sign"]

Policy = Literal["hashes", "signed", "columns-only"]
POLICIES: tuple[str, ...] = get_args(Policy)

_VARIABLE = "MANYMODELS_TRUST"
_KEY = "MANYMODELS_SIGNING_KEY"
_SHORTEST_KEY = 16
_PURPOSE = b"manymodels artifact\0"  # a signature of anything else made with the same key is none of ours


@dataclass(frozen=True)
class Trust:
    """A reader's policy; it pickles to workers, the key does not.

    Attributes:
        policy: ``hashes``, ``signed`` or ``columns-only``.
    """

    policy: Policy = "hashes"

    @classmethod
    def of_reader(cls, policy: str | None = None) -> Trust:
        """The reader's policy.

        Args:
            policy: As given with the call; None asks the environment and the user's settings.

        Raises:
            UsageError: There is no such policy, or ``signed`` without a key.
        """
        place = "`trust`"
        if policy is None and os.environ.get(_VARIABLE):
            policy, place = os.environ[_VARIABLE], _VARIABLE
        if policy is None:
            policy, place = _of_user()
        if policy not in POLICIES:
            raise UsageError(f"{place} is one of {', '.join(POLICIES)}; found {policy!r}")
        if policy == "signed" and _key() is None:
            raise UsageError(
                f"trust `signed` needs the key in the environment variable {_KEY}, which is not set"
            )
        return cls(cast("Policy", policy))

    @property
    def runs_code(self) -> bool:
        """Whether code from a store may run: pickles, and a run's own modules."""
        return self.policy != "columns-only"

    def check_codec(self, codec: str) -> None:
        """Refuse a codec whose decoding runs code, where that is not trusted.

        Raises:
            TrustError: With what to do.
        """
        if not self.runs_code and codec != "columns":
            raise TrustError(
                "the model is kept as a pickle, and trust is `columns-only`: nothing is unpickled; "
                "trust `hashes` or `signed` loads it"
            )

    def check_signature(self, what: str, digest: str, signature: str) -> None:
        """Refuse what is not signed, where it must be.

        Args:
            what: Is refused: for the message.
            digest: SHA-256, hex.
            signature: As recorded, hex; empty when there is none.

        Raises:
            TrustError: With what to do.
        """
        if self.policy == "signed" and not is_signed(digest, signature):
            state = "is signed with another key, or changed" if signature else "is not signed"
            raise TrustError(
                f"{what} {state}, and trust is `signed`; train again with the key in {_KEY}, or trust `hashes`"
            )


def sign(digest: str) -> str:
    """The signature of a SHA-256, hex; empty without a key.

    Raises:
        UsageError: The key is too short to be one.
    """
    key = _key()
    return "" if key is None else hmac.digest(key, _PURPOSE + digest.encode(), sha256).hex()


def is_signed(digest: str, signature: str) -> bool:
    """Whether a signature is ours."""
    expected = sign(digest)
    return bool(expected) and hmac.compare_digest(expected, signature)


def _key() -> bytes | None:
    key = os.environ.get(_KEY, "").encode()
    if key and len(key) < _SHORTEST_KEY:
        raise UsageError(f"the key in {_KEY} must have at least {_SHORTEST_KEY} bytes, it has {len(key)}")
    return key or None


def _of_user() -> tuple[str, str]:
    """What the user's own settings say, and where."""
    base = os.environ.get("XDG_CONFIG_HOME")
    try:
        folder = Path(base) if base else Path.home() / ".config"
        place = folder / "manymodels" / "settings.yaml"
        text = place.read_text()
    except (FileNotFoundError, NotADirectoryError, RuntimeError):  # no file, or nobody's home
        return "hashes", ""
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the settings {place} could not be read: {error}") from None
    import yaml

    try:
        found = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise UsageError(f"{place} is no YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(found, dict) or found.keys() - {"trust"}:
        raise UsageError(f"{place} has one field, `trust`; see docs/store.md")
    return str(found.get("trust", "hashes")), f"`trust` in {place}"

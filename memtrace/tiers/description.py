"""Read the tiers of a replay from the options of the command line, a TOML file, or a preset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from memtrace.errors import InputError, UsageError
from memtrace.names import unknown
from memtrace.tiers.grammar import check_order, make_tier, parse_tier
from memtrace.tiers.model import Tier
from memtrace.tiers.presets import PRESETS


def described(given: Sequence[str], file: str | None, preset: str | None, policy: str | None = None) -> tuple[Tier, ...]:
    """Return the tiers, fastest first, from exactly one of the texts ``given``, the path ``file`` and the name ``preset``.

    ``policy`` is that of the tiers that name none. Raises UsageError for a wrong description, InputError for a wrong file.
    """
    ways = [way for way, there in (("--tier", given), ("--tiers", file), ("--preset", preset)) if there]
    if len(ways) > 1:
        raise UsageError(f"{' and '.join(ways)} both describe the tiers; give one of them")
    if file:
        tiers = from_file(Path(file), policy)
    elif preset and preset not in PRESETS:
        raise unknown("preset", preset, PRESETS)
    else:
        texts = PRESETS[preset].tiers if preset else given
        tiers = [
            parse_tier(text if policy is None or "policy=" in text else f"{text},{policy_part(text, policy)}") for text in texts
        ]
    check_order(tiers)
    return tuple(tiers)


def policy_part(text: str, policy: str) -> str:
    """Return the text that adds ``policy`` to a tier's ``text``, with a latency of 0 ns before it if that has none."""
    latency = "" if any("=" not in part for part in text.partition("=")[2].split(",")[1:2]) else "0ns,"
    return f"{latency}policy=[{policy}]"


def from_file(path: Path, policy: str | None) -> list[Tier]:
    """Return the tiers of the tables `[[tier]]` in a TOML file; ``policy`` is that of the tables that name none.

    Raises InputError, which names the file and the table.
    """
    import tomllib

    try:
        document = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: is no TOML: {error}") from None
    tables = document.pop("tier", None)
    if document:
        raise InputError(f"{path}: {next(iter(document))!r} is not known there; tiers are tables [[tier]]")
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise InputError(
            f'{path}: has no tables [[tier]]\ntry: [[tier]] and below it name = "hbm", size = "80GiB", bandwidth = "3.35TB/s"'
        )
    tiers = []
    for number, table in enumerate(tables, 1):
        try:
            tiers.append(make_tier(table if policy is None else {"policy": policy, **table}))
        except UsageError as error:
            raise InputError(f"{path}: tier {number}: {error}") from None
    return tiers

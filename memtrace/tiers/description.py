"""Where tiers come from: options of the command line, a TOML file, or a preset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from memtrace.errors import InputError, UsageError
from memtrace.names import unknown
from memtrace.tiers.grammar import check_order, make_tier, parse_tier
from memtrace.tiers.model import Tier
from memtrace.tiers.presets import PRESETS


def described(given: Sequence[str], file: str | None, preset: str | None, policy: str | None = None) -> tuple[Tier, ...]:
    """The tiers, fastest first, of exactly one of the three; ``policy`` is that of the tiers that name none."""
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
    """The policy as a part of a tier's text, behind a latency."""
    latency = "" if any("=" not in part for part in text.partition("=")[2].split(",")[1:2]) else "0ns,"
    return f"{latency}policy=[{policy}]"


def from_file(path: Path, policy: str | None) -> list[Tier]:
    """The tables `[[tier]]` of a TOML file; InputError names the file and the table."""
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

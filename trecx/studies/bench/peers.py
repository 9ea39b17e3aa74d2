"""Other implementations of models that are recognised by their SHA-256: figures as recorded in `peers.json`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("peers.json")
ALL_CONVOLUTIONS = "all convolutions"


@dataclass(frozen=True)
class Peer:
    """One implementation's cost of one inference; None where it was not recorded.

    `ram` is variables with the arena, without the stack; `flash` is the whole program with its test harness.
    """

    name: str
    instructions: int
    cycles: int | None
    ram: int
    stack: int | None
    flash: int


@dataclass(frozen=True)
class Known:
    """A model that others were counted on.

    `targets` has the peers of a target by its name; `per_mac` has, by target and layer class, the instructions per MAC
    (per element of an ADD) of each peer that was counted layer by layer.
    """

    title: str
    targets: Mapping[str, tuple[Peer, ...]]
    per_mac: Mapping[str, Mapping[str, Mapping[str, float]]]

    def of_class(self, target: str, layer_class: str, peer: str) -> tuple[float | None, bool]:
        """A peer's instructions per MAC in a layer class, and whether that is the mean of all convolutions."""
        classes = self.per_mac.get(target, {})
        own = classes.get(layer_class, {}).get(peer)
        whole = classes.get(ALL_CONVOLUTIONS, {}).get(peer) if "conv" in layer_class else None
        return (own, False) if own is not None else (whole, whole is not None)


def known(sha256: str) -> Known | None:
    """What is recorded about the model with this SHA-256."""
    return _records().get(sha256)


def counted_with() -> dict[str, str]:
    """Versions, flags and what the figures include."""
    return dict(_document()["counted_with"])


@cache
def _records() -> dict[str, Known]:
    return {
        model["sha256"]: Known(
            model["title"],
            {target: tuple(Peer(**peer) for peer in peers) for target, peers in model["targets"].items()},
            model["per_mac"],
        )
        for model in _document()["models"]
    }


@cache
def _document() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return document

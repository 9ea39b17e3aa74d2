"""Fixtures: a whole reproduction of the tiny task, made once, and copies of it that tests may change."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_task import DATA, TASK

import mlperf_tiny
from mlperf_tiny.recipe import Recipe
from trecx.console import Console
from trecx.learn import train as training
from trecx.studies.reproduce.plan import Options
from trecx.studies.reproduce.reproduce import run

SHORT = Recipe(backbone_epochs=1, epochs=2, batch=20)
TINY = replace(TASK, recipe=SHORT, tuning=SHORT, load=lambda folder, progress=None, training=True: DATA)
QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def known_task():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlperf_tiny, "TASKS", (*mlperf_tiny.TASKS, TINY))
        yield


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """A whole run: both variants, two seeds; not to be changed."""
    folder = tmp_path_factory.mktemp("reproduce")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlperf_tiny, "TASKS", (TINY,))
        run("tiny", options(folder), QUIET)
    return folder


@pytest.fixture
def copied(finished, tmp_path) -> Path:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture
def no_training(monkeypatch):
    def refuse(*_):
        raise AssertionError("trained again")

    for name in ("train", "train_backbone"):
        monkeypatch.setattr(training, name, refuse)


def options(folder: Path, **changes) -> Options:
    chosen = Options(data=folder, seeds=(1, 2), out=folder / "out", docs=folder / "docs")
    return replace(chosen, **changes)


def entry(folder: Path) -> dict:
    return json.loads((folder / "docs" / "results.json").read_text())["tasks"]["tiny"]


def edit(path: Path, *keys: str, to: object) -> None:
    """Change a JSON file at a key."""
    found = json.loads(path.read_text())
    inner = found
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = to
    path.write_text(json.dumps(found))

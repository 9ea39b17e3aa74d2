"""A run directory that somebody sends: nothing in it is run that was not built here."""

import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from networks import values

from trecx import machine
from trecx import run as runs
from trecx.cli import main
from trecx.compiler.target import HOST
from trecx.device.build import RECORD, load
from trecx.errors import TrecxError
from trecx.settings import Settings
from trecx.stamp import Stamp

PLANTED = """#!/bin/sh
touch {marker}
exec "$0.real" "$@"
"""


@pytest.fixture
def sent(tmp_path, monkeypatch):
    """A compiled run from another machine, whose program leaves a mark where it is run."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "theirs"))
    machine.identity.cache_clear()
    (tmp_path / "model.tflite").write_bytes(values((3,)))
    run = tmp_path / "run"
    done = CliRunner().invoke(main, ["compile", str(tmp_path / "model.tflite"), "--out", str(run), "--target", "host"])
    assert done.exit_code == 0, done.output
    program = run / "firmware" / "host" / "build" / "trace"
    shutil.move(program, f"{program}.real")
    program.write_text(PLANTED.format(marker=tmp_path / "marker"))
    program.chmod(0o755)
    yield run
    machine.identity.cache_clear()


def test_a_program_of_another_machine_is_built_again_before_it_is_run(sent, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "ours"))
    machine.identity.cache_clear()
    done = CliRunner().invoke(main, ["verify", str(sent)])
    assert done.exit_code == 0, done.output
    assert not (tmp_path / "marker").exists()


def test_a_program_that_was_changed_here_is_built_again_before_it_is_run(sent, tmp_path):
    assert CliRunner().invoke(main, ["verify", str(sent)]).exit_code == 0
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("verb", ["verify", "serve", "evaluate", "report"])
def test_programs_that_no_step_left_are_not_run(verb, sent, tmp_path):
    (sent / "firmware" / ".stamp").unlink()
    done = CliRunner().invoke(main, [verb, str(sent)])
    assert done.exit_code == 2 and f"compile comes before {verb}" in done.output
    assert not (tmp_path / "marker").exists()


def test_the_mark_would_be_left_if_it_were_run(sent, tmp_path, monkeypatch):
    monkeypatch.setattr(Stamp, "objections", lambda *_: [])
    assert CliRunner().invoke(main, ["verify", str(sent)]).exit_code == 0
    assert (tmp_path / "marker").exists()


def test_a_task_that_a_sent_run_names_is_not_run(tmp_path, monkeypatch):
    program, marker = tmp_path / "mine.py", tmp_path / "marker"
    program.write_text(f"open({str(marker)!r}, 'w').close()\n")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "theirs"))
    machine.identity.cache_clear()
    runs.create(tmp_path / "run", Settings("mine", f"{program}:MINE", train=True).as_json())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "ours"))
    machine.identity.cache_clear()
    for verb in ("train", "quantize", "calibrate", "compile", "verify", "evaluate", "report", "serve"):
        done = CliRunner().invoke(main, [verb, str(tmp_path / "run")])
        assert done.exit_code == 2 and "was not made on this machine" in done.output, done.output
    assert not marker.exists()
    edited = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps({**edited, "seal": None}))
    assert CliRunner().invoke(main, ["verify", str(tmp_path / "run")]).exit_code == 2 and not marker.exists()
    asked = CliRunner().invoke(main, ["build", "--task", f"{program}:MINE", "--out", str(tmp_path / "run")])
    assert "has no MINE" in asked.output and marker.exists()  # named by the person, it is run
    machine.identity.cache_clear()


@pytest.mark.parametrize("name", ["/bin/true", "../trace", "", ".."])
def test_a_record_that_names_a_program_elsewhere_is_no_build(name, sent):
    folder = sent / "firmware" / "host" / "build"
    record = json.loads((folder / RECORD).read_text())
    (folder / RECORD).write_text(json.dumps({**record, "elf": name}))
    (folder.parent / "trace").write_text("")
    with pytest.raises(TrecxError, match="is not the name of a file"):
        load(folder, HOST)


def test_the_secret_is_kept_and_is_nobody_elses_to_read(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    machine.identity.cache_clear()
    first = machine.identity()
    machine.identity.cache_clear()
    assert machine.identity() == first and len(first) == 64
    kept = Path(tmp_path / "trecx" / machine.NAME)
    assert sys.platform == "win32" or kept.stat().st_mode & 0o077 == 0
    machine.identity.cache_clear()


@pytest.fixture
def record(tmp_path):
    """The record of a program as `build` leaves it."""
    model = "input_bytes input_offset classes output_bytes exits limits arena_bytes state_bytes"
    sizes = "flash ram stack_reserved network_flash network_code network_tables network_ram arena"
    told = {
        **dict.fromkeys(("program", "elf"), "trace"),
        "target": "host",
        "model": {"name": "m", "task": "m", **dict.fromkeys(model.split(), 1)},
        "sizes": {**dict.fromkeys(sizes.split(), 1), "sections": [[".text", 1]]},
    }
    (tmp_path / RECORD).write_text(json.dumps(told))
    (tmp_path / "trace").touch()
    assert load(tmp_path, HOST).program == "trace"
    return tmp_path / RECORD


def wrong_types(record: dict) -> str:
    record |= {"elf": 5, "extra": 1}
    record["sizes"] |= {"flash": "a lot", "sections": [["text"]]}
    del record["model"]["exits"]
    record["model"]["arena_bytes"] = float("nan")
    return json.dumps(record)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (wrong_types, ["elf", "extra", "sizes.flash", "sizes.sections.0.1", "model.exits", "model.arena_bytes"]),
        (lambda record: json.dumps(record | {"program": "\udc80", "target": "a\0"}), ["DC80", "0000"]),
        (
            lambda record: json.dumps(record | {"program": "rm", "target": "m4", "elf": "x"}),
            ["'m4'", "'rm'", "'x'"],
        ),
        (lambda record: "[" * 100_000, ["recursion"]),
        (lambda record: "[" * 500 + "]" * 500, ["recursion"]),
        (lambda record: json.dumps(record)[:-9], ["line 1 column"]),
        (lambda record: "[]", ["object|dictionary"]),
    ],
)
def test_a_damaged_record_ends_in_one_error_with_all_that_is_wrong(damage, said, record):
    path = record
    path.write_text(damage(json.loads(path.read_text())))
    with pytest.raises(TrecxError) as refused:
        load(path.parent, HOST)
    assert len(refused.value.problems) == len(said), refused.value.problems
    assert all(any(re.search(one, problem) for problem in refused.value.problems) for one in said)
    assert all(problem.startswith(f"{path} names no program") for problem in refused.value.problems)


@pytest.mark.parametrize("plant", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), lambda path: None])
def test_a_record_that_is_no_file_is_refused_at_once(plant, record):
    record.unlink()
    plant(record)
    with pytest.raises(TrecxError, match=r"build\.json names no .*: (it is not a regular file|No such file)"):
        load(record.parent, HOST)

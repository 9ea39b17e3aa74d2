"""What a finished step says of itself: what it was made from, what it left, and where."""

import json
from dataclasses import dataclass, replace

import pytest

from trecx import machine, stamp
from trecx.stamp import STAMP, Origin, Stamp


@dataclass(frozen=True)
class Choice:
    kept: int
    added: float = 0.5


def made(folder, origin):
    folder.mkdir(exist_ok=True)
    (folder / "model").write_text("weights")
    (folder / "trace").write_text("#!/bin/sh")
    (folder / "trace").chmod(0o755)
    Stamp.of(origin, folder, {"samples": 3}).write(folder)
    found = stamp.read(folder)
    assert found is not None
    return found


ORIGIN = Origin({"seed": 1, "choice": Choice(1)}, "p")


def test_what_was_made_from_the_same_is_accepted(tmp_path):
    assert made(tmp_path / "a", ORIGIN).objections(ORIGIN, tmp_path / "a") == []


@pytest.mark.parametrize(
    ("wanted", "objection"),
    [
        (Origin({"seed": 2, "choice": Choice(1)}, "p"), "seed is 1, now 2"),
        (Origin({"seed": 1, "choice": Choice(1, 0.7)}, "p"), "choice.added is 0.5, now 0.7"),
        (replace(ORIGIN, program="q"), "the program is another"),
    ],
)
def test_what_was_made_from_something_else_is_not(wanted, objection, tmp_path):
    assert made(tmp_path / "a", ORIGIN).objections(wanted, tmp_path / "a") == [objection]


def test_lasting_work_of_another_program_is_accepted_and_gone_on_with(tmp_path):
    lasting, other = replace(ORIGIN, lasting=True), replace(ORIGIN, lasting=True, program="q")
    assert made(tmp_path / "a", lasting).objections(other, tmp_path / "a") == []
    assert lasting.digest == other.digest
    assert ORIGIN.digest != replace(ORIGIN, program="q").digest


def test_only_where_it_must_be_whole_a_changed_file_is_an_objection(tmp_path):
    found = made(tmp_path / "a", ORIGIN)
    (tmp_path / "a" / "model").write_text("edited")
    assert found.objections(ORIGIN, tmp_path / "a") == []
    changed = ["model is not the file that was written"]
    assert found.objections(replace(ORIGIN, whole=True), tmp_path / "a") == changed == stamp.damage(tmp_path / "a")
    (tmp_path / "a" / "model").unlink()
    assert stamp.damage(tmp_path / "a") == ["model is missing"]


def test_what_will_be_run_must_have_been_made_here_and_be_as_it_was(tmp_path, monkeypatch):
    ours = replace(ORIGIN, ours=True)
    found = made(tmp_path / "a", ours)
    (tmp_path / "a" / "model").write_text("edited")  # nobody runs this one
    assert found.objections(ours, tmp_path / "a") == []
    (tmp_path / "a" / "trace").write_text("#!/bin/sh\nrm")
    assert found.objections(ours, tmp_path / "a") == ["trace is not the file that was written"]
    sealed = replace(found, outputs=stamp.outputs(tmp_path / "a"))
    assert sealed.objections(ours, tmp_path / "a") == ["it was made elsewhere"]
    monkeypatch.setattr(machine, "identity", lambda: "another")
    assert "it was made elsewhere" in found.objections(ours, tmp_path / "a")


@pytest.mark.parametrize("text", ["", "a" * 64, "[]", "{}", '{"configuration": 1}', "[" * 100_000, "\ud800"])
def test_a_stamp_that_cannot_be_read_agrees_with_nothing(text, tmp_path):
    made(tmp_path / "a", ORIGIN)
    (tmp_path / "a" / STAMP).write_bytes(text.encode("utf-8", "surrogatepass"))
    found = stamp.read(tmp_path / "a")
    assert found is not None and found.objections(ORIGIN, tmp_path / "a")
    assert stamp.damage(tmp_path / "a") == [".stamp cannot be read"]


def test_a_stamp_does_not_tell_the_secret_of_the_machine(tmp_path):
    made(tmp_path / "a", ORIGIN)
    assert machine.identity() not in (tmp_path / "a" / STAMP).read_text()


def test_a_folder_without_a_stamp_is_not_finished(tmp_path):
    assert stamp.read(tmp_path) is None and stamp.damage(tmp_path) == []
    assert stamp.damage(tmp_path / "nothing") == []
    (tmp_path / "model").write_text("weights")
    assert stamp.damage(tmp_path) == [".stamp is missing"]


def test_content_sees_names_and_bytes_but_no_stamp(tmp_path):
    made(tmp_path / "a", ORIGIN)
    before = stamp.content(tmp_path / "a")
    (tmp_path / "a" / STAMP).write_text("{}")
    assert stamp.content(tmp_path / "a") == before
    (tmp_path / "a" / "model").rename(tmp_path / "a" / "renamed")
    assert stamp.content(tmp_path / "a") != before


def test_a_configuration_agrees_only_with_its_own():
    assert stamp.differences({"c": {"kept": 1, "added": 0.5}}, {"c": Choice(1)}) == []
    assert stamp.differences({"c": {"kept": 2, "added": 0.5}}, {"c": Choice(1)}) == ["c.kept is 2, now 1"]
    assert stamp.differences({"c": {"kept": 1, "gone": 3}}, {"c": Choice(1)}) == ["c.gone is no longer known"]
    assert stamp.differences({"a": [1, 2]}, {"a": (1, 3)}) == ["a is [1, 2], now [1, 3]"]
    assert stamp.differences({}, {"a": 1}) == ["a is null, now 1"]


def test_a_field_that_is_new_may_have_its_default_only():
    assert stamp.differences({"c": {"kept": 1}}, {"c": Choice(1)}) == []
    assert stamp.differences({"c": {"kept": 1}}, {"c": Choice(1, 0.7)}) == ["c.added is null, now 0.7"]


def test_a_stamp_is_json_that_people_can_read(tmp_path):
    made(tmp_path / "a", ORIGIN)
    document = json.loads((tmp_path / "a" / STAMP).read_text())
    assert document["configuration"] == {"seed": 1, "choice": {"kept": 1, "added": 0.5}}
    assert set(document["outputs"]) == {"model", "trace"} and document["about"] == {"samples": 3}

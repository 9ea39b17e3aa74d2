"""A run directory: steps are whole or absent, and unchanged steps are not run again."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from trecx import run as runs
from trecx.errors import TrecxError
from trecx.settings import Settings
from trecx.stamp import Origin


def of(text, **more):
    return Origin({"optimize": text}, **more)


def made_from(run, step):
    stamp = run.stamp(step)
    return stamp and stamp.configuration["optimize"]


def write(text):
    return lambda folder: (folder / "result.txt").write_text(text)


def test_a_finished_step_is_not_run_again_until_its_origin_changes(tmp_path):
    run = runs.create(tmp_path / "kws", {"task": "kws"})
    assert run.step("train", of("a"), write("one"))
    assert not run.step("train", of("a"), write("two"))
    assert (run.folder("train") / "result.txt").read_text() == "one"
    assert run.step("train", of("b"), write("two"))
    assert (run.folder("train") / "result.txt").read_text() == "two"


def test_a_failing_step_leaves_the_old_result_and_nothing_half_written(tmp_path):
    run = runs.create(tmp_path / "kws", {})
    run.step("compile", of("a"), write("old"))

    def fail(folder):
        (folder / "result.txt").write_text("half")
        raise TrecxError("no")

    with pytest.raises(TrecxError):
        run.step("compile", of("b"), fail)
    assert (run.folder("compile") / "result.txt").read_text() == "old"
    assert made_from(run, "compile") == "a"
    assert sorted(p.name for p in run.path.iterdir()) == [".lock", "compile", "run.json"]


@pytest.mark.parametrize("first", [True, False])
def test_a_swap_that_fails_half_way_puts_the_old_result_back(first, tmp_path, monkeypatch):
    run = runs.create(tmp_path / "kws", {})
    run.step("compile", of("a"), write("old"))
    rename = Path.rename

    def stopped(path, target):
        """Behind the first rename, or before the second."""
        if first and target.name.endswith(".old"):
            rename(path, target)
            raise KeyboardInterrupt
        if path.name.endswith(".partial"):
            raise OSError(28, "No space left on device")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", stopped)
    with pytest.raises((KeyboardInterrupt, OSError)):
        run.step("compile", of("b"), write("new"))
    assert (run.folder("compile") / "result.txt").read_text() == "old"
    assert made_from(run, "compile") == "a"


def test_a_resumable_step_gets_its_unfinished_folder_back(tmp_path):
    run = runs.create(tmp_path / "kws", {})

    def interrupted(folder):
        (folder / "checkpoint").write_text("epoch 3")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.step("train", of("a"), interrupted, resumable=True)
    found = []
    run.step("train", of("a"), lambda folder: found.append((folder / "checkpoint").read_text()), resumable=True)
    assert found == ["epoch 3"]


def fail(folder):
    raise TrecxError("no")


def test_a_command_refused_before_a_training_began_leaves_no_new_folder(tmp_path):
    run = runs.create(tmp_path / "kws", {})
    with pytest.raises(TrecxError), run.working():
        run.step("train", of("a"), fail, resumable=True)
    assert not run.path.exists()


def test_a_new_run_stays_with_what_it_has_finished_or_begun(tmp_path):
    def begin(folder):
        (folder / "checkpoint").write_text("epoch 3")
        raise KeyboardInterrupt

    run = runs.create(tmp_path / "begun", {})
    with pytest.raises(KeyboardInterrupt), run.working():
        run.step("train", of("a"), begin, resumable=True)
    assert [path.read_text() for path in run.path.glob(".train.*.partial/*")] == ["epoch 3"]
    run = runs.create(tmp_path / "finished", {})
    with pytest.raises(TrecxError), run.working():
        run.step("model", of("a"), write("one"))
        run.step("compile", of("a"), fail)
    assert made_from(run, "model") == "a" and (run.folder("model") / "result.txt").read_text() == "one"


def test_a_refused_command_takes_nothing_from_a_run_that_was_there(tmp_path):
    runs.create(tmp_path / "kws", {"seed": 1})
    for take_up in (runs.open_, lambda path: runs.create(path, {"seed": 2})):
        run = take_up(tmp_path / "kws")
        with pytest.raises(TrecxError), run.working():
            run.step("train", of("a"), fail, resumable=True)
        assert sorted(path.name for path in run.path.iterdir()) == [".lock", "run.json"]
        assert run.document["settings"] == {"seed": 1}


def test_an_unfinished_folder_of_other_settings_is_not_resumed(tmp_path):
    run = runs.create(tmp_path / "kws", {})

    def interrupted(folder):
        (folder / "checkpoint").write_text("epoch 3")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.step("train", of("a"), interrupted, resumable=True)
    found = []
    run.step("train", of("b"), lambda folder: found.extend(folder.iterdir()), resumable=True)
    assert found == []


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(TrecxError, match="holds other files"):
        runs.create(tmp_path, {})
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TrecxError, match="cannot be written"):
        runs.create(tmp_path / "file" / "kws", {})


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": "trecx-run/1"}', '{"format": "else", "settings": {}}'])
def test_a_damaged_run_json_is_refused(tmp_path, content):
    run = runs.create(tmp_path / "kws", {})
    (run.path / "run.json").write_text(content)
    with pytest.raises(TrecxError, match=r"run\.json"):
        run.document  # noqa: B018


KILLED = """
import os, shutil, sys
from pathlib import Path
from trecx import run as runs
from trecx.stamp import Origin

path, settings, text, moment = Path(sys.argv[1]), {"optimize": sys.argv[2]}, sys.argv[2], int(sys.argv[3])
passed = 0

def dies(function):
    def called(*arguments, **more):
        global passed
        passed += 1
        if passed == moment:
            os._exit(9)
        return function(*arguments, **more)
    return called

for owner, name in ((Path, "rename"), (Path, "replace"), (Path, "write_text"), (Path, "mkdir"), (shutil, "rmtree")):
    setattr(owner, name, dies(getattr(owner, name)))
run = runs.create(path, settings)
with run.working():
    run.step("compile", Origin({"optimize": text}), lambda folder: (folder / "net.c").write_text(text))
"""


@pytest.mark.parametrize("moment", range(1, 25))
def test_wherever_a_command_is_killed_no_content_has_the_stamp_of_another(moment, tmp_path):
    """`time` is there, `flash` is killed at the so many'th change of the file system, and `time` is asked for again."""
    path = tmp_path / "kws"
    run = runs.create(path, {"optimize": "time"})
    run.step("compile", of("time"), write_c("time"))
    done = subprocess.run([sys.executable, "-c", KILLED, path, "flash", str(moment)])
    assert done.returncode in (0, 9)
    kept = run.folder("compile") / "net.c"
    stamp = made_from(run, "compile")
    assert stamp is None or kept.read_text() == stamp
    run = runs.create(path, {"optimize": "time"})
    with run.working():
        run.step("compile", of("time"), write_c("time"))
    assert kept.read_text() == "time" and made_from(run, "compile") == "time"
    assert sorted(p.name for p in run.path.iterdir() if p.name != ".partial-run.json") == [
        ".lock",
        "compile",
        "run.json",
    ]


@pytest.mark.parametrize("moment", range(1, 12))
def test_wherever_a_first_command_is_killed_the_next_begins_anew(moment, tmp_path):
    path = tmp_path / "kws"
    assert subprocess.run([sys.executable, "-c", KILLED, path, "flash", str(moment)]).returncode in (0, 9)
    run = runs.create(path, {"optimize": "time"})
    with run.working():
        run.step("compile", of("time"), write_c("time"))
    assert made_from(run, "compile") == "time"


def test_the_moments_of_the_test_above_reach_to_the_end(tmp_path):
    ends = [
        subprocess.run([sys.executable, "-c", KILLED, tmp_path / str(k), "flash", str(k)]).returncode for k in (1, 25)
    ]
    assert ends == [9, 0]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_a_command_that_is_stopped_behind_the_swap_keeps_the_settings_of_what_is_there(error, tmp_path, monkeypatch):
    runs.create(tmp_path / "kws", {"optimize": "time"}).step("compile", of("time"), write_c("time"))
    run = runs.create(tmp_path / "kws", {"optimize": "flash"})
    with pytest.raises((KeyboardInterrupt, OSError)), run.working():
        run.step("compile", of("flash"), write_c("flash"))
        raise error
    assert run.document["settings"] == {"optimize": "flash"} and made_from(run, "compile") == "flash"


def write_c(text):
    return lambda folder: (folder / "net.c").write_text(text)


def test_two_programs_do_not_work_in_one_run(tmp_path):
    run = runs.create(tmp_path / "kws", {})
    with run.lock(), pytest.raises(TrecxError, match="Another trecx"), run.lock():
        raise AssertionError("both hold the lock")


def test_a_command_that_fails_leaves_the_settings_it_found(tmp_path):
    runs.create(tmp_path / "kws", {"seed": 1})
    run = runs.create(tmp_path / "kws", {"seed": 2})
    with pytest.raises(TrecxError), run.working():
        raise TrecxError("no")
    assert runs.open_(run.path).document["settings"] == {"seed": 1}
    run = runs.create(tmp_path / "kws", {"seed": 3})
    with pytest.raises(TrecxError), run.working():
        run.step("train", of("a"), write("done"))
        raise TrecxError("later")
    assert run.document["settings"] == {"seed": 3}


def test_a_second_command_does_not_change_the_settings_of_one_at_work(tmp_path):
    run = runs.create(tmp_path / "kws", {"seed": 1})
    with run.lock():
        with pytest.raises(TrecxError, match="Another trecx"):
            runs.create(tmp_path / "kws", {"seed": 2})
        assert run.document["settings"] == {"seed": 1}


def test_a_run_of_one_tap_is_taken_up():
    kept = {key: value for key, value in Settings("m", model="m.h5").as_json().items() if key != "taps"}
    assert Settings.from_json({**kept, "tap": "conv"}).taps == ("conv",)
    assert Settings.from_json({**kept, "tap": None}).taps == ()


def test_the_settings_are_kept_as_json(tmp_path):
    run = runs.create(tmp_path / "kws", {"seed": 3})
    assert json.loads((run.path / "run.json").read_text())["settings"] == {"seed": 3}

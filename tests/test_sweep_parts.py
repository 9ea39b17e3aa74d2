"""What a sweep searches, whose study it is, what becomes of a trial that was left, and what is refused."""

import json
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from trecx import request
from trecx.cli import main
from trecx.errors import ToolMissing, TrecxError
from trecx.files import held
from trecx.learn.exits import METHODS
from trecx.settings import Settings
from trecx.studies.sweep import picture, plan, results, store
from trecx.studies.sweep.candidate import Candidate, Judged

optuna = pytest.importorskip("optuna")

TASK = f"{Path(__file__).parent / 'branching_task.py'}:TASK"
TAPS = ("input", "one", "two", "three")
EVERY = (*(kind.name for kind in METHODS if kind.taps[1]), "sdn:joint")


def refused(*arguments: str) -> str:
    done = CliRunner().invoke(main, [*arguments, "--json"])
    assert done.exit_code == 2, done.output
    return " ".join(json.loads(done.stdout)["error"]["problems"])


class Trials:
    """Suggests everything that a space has, one thing after another."""

    def __init__(self, seed: int) -> None:
        self.trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed)).ask()

    def __getattr__(self, name):
        return getattr(self.trial, name)


@pytest.mark.parametrize("way", EVERY)
def test_whatever_a_space_suggests_is_a_run_that_is_accepted(way, tmp_path):
    space = plan.space(plan.Options(methods=(way,)), TAPS, TAPS)
    base = Settings("branching", TASK, train=True).changed({"data": tmp_path})
    seen = set()
    for seed in range(20):
        settings = base.changed(space.candidate(Trials(seed)))
        assert request.checked(Settings.from_json(json.loads(json.dumps(settings.as_json())))) == settings
        assert settings.heads_only == (way == "sdn")
        seen.add(settings.taps)
    counts = {len(taps) for taps in seen}
    assert counts == {"trecx": {1}, "branchynet": {2}}.get(way, {1, 2})


def test_candidates_that_train_the_same_share_their_run(tmp_path):
    base = Settings("branching", TASK, train=True, method="dyce", taps=("two",), criterion="margin")
    one, other, third = (
        Candidate(tmp_path, base.changed(more)) for more in ({}, {"criterion": "entropy"}, {"taps": ("one",)})
    )
    assert one.folder == other.folder != third.folder
    assert len({one.label, other.label, third.label}) == 3


def test_many_taps_are_thinned_evenly_and_named_ones_kept():
    many = tuple(f"tap{k}" for k in range(40))
    few = plan.taps((), many, many)
    assert len(few) == plan.MOST_TAPS and few[0] == "tap0" and few[-1] == "tap39"
    assert plan.taps(("tap7", "tap3"), many, many[:2]) == ("tap3", "tap7")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--methods", "dyce,nothing"], "no exit method 'nothing'"),
        (["--methods", "none"], "no exit method 'none'"),
        (["--methods", "dyce:joint"], "no way to train dyce"),
        (["--methods", "dyce,dyce"], "names one twice"),
        (["--methods", "branchynet", "--most-exits", "1"], "attaches to 2 taps at least"),
        (["--exits", "five,one"], "no tap 'five'"),
        (["--storage", "nothing://user:secret@host/x"], "cannot be used"),
        (["--storage", "sqlite://"], "workers are processes"),
        (["--data", "nowhere"], "not a folder"),
        (["--weights", "nowhere.h5"], "no weights"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_input_is_told_and_leaves_nothing(options, told, tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    text = refused("sweep", "--task", TASK, "--data", "data", *options)
    assert told in text and "secret" not in text
    assert [path.name for path in tmp_path.iterdir() if path.name != "build" or any(path.rglob("*.*"))] == ["data"]


@pytest.mark.parametrize("storage", ["sqlite:///nowhere/there.db", "nowhere/journal.log", ".", "mysql://host/x"])
def test_a_storage_that_cannot_be_opened_is_named(storage, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TrecxError, match="cannot be used") as error:
        store.open_(storage, "trecx-one")
    assert storage in error.value.problems[0] and list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_journal_is_named_and_left_as_it_is(tmp_path):
    (tmp_path / "notes.txt").write_text("mine\nand yours\n")
    with pytest.raises(TrecxError, match=r"notes\.txt cannot be used"):
        store.open_(str(tmp_path / "notes.txt"), "trecx-one")
    assert (tmp_path / "notes.txt").read_text() == "mine\nand yours\n"


def test_too_few_taps_for_a_method_are_said():
    with pytest.raises(TrecxError, match="branchynet: 1 taps are too few"):
        plan.space(plan.Options(methods=("branchynet",), taps=("one",)), TAPS, TAPS)


@pytest.mark.parametrize("option", ["--trials", "--workers", "--most-exits"])
def test_none_is_no_number_of_trials_workers_or_exits(option):
    done = CliRunner().invoke(main, ["sweep", "kws", option, "0"])
    assert done.exit_code == 2 and option in done.output


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "run.json").write_text("{}")
    told = refused("sweep", "--task", TASK, "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"))
    assert "holds other files and no sweep" in told


def test_without_optuna_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setattr(store, "find_spec", lambda name: None)
    with pytest.raises(ToolMissing, match="Optuna") as error:
        store.require()
    assert 'pip install "trecx[search]"' in error.value.hint


@pytest.fixture(params=["journal.log", "sqlite:///study.db"])
def study(request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / store.WORKERS).mkdir()
    return store.open_(store.absolute(request.param), "trecx-one")


def running(study, worker: str | None):
    trial = study.ask()
    trial.suggest_categorical("method", ["dyce", "sdn"])
    if worker is not None:
        trial.set_user_attr(store.WORKER, worker)
    return trial


def states(study) -> list[str]:
    return [one.state.name for one in study.get_trials()]


def test_a_trial_that_was_left_is_queued_again_once(study, tmp_path):
    left = running(study, "dead")
    (tmp_path / store.WORKERS / "dead").touch()
    for _ in range(2):
        store.collect(study, tmp_path)
    assert states(study) == ["FAIL", "WAITING"]
    again = study.ask()
    assert again.params == left.params
    assert store.WORKER not in again.user_attrs  # or it would be taken for left at once
    store.again(study, study.get_trials()[0])  # as another machine may that has missed the signs of life
    assert states(study) == ["FAIL", "RUNNING"]


def test_what_others_are_at_is_left_to_them(study, tmp_path):
    (tmp_path / store.WORKERS / "here").touch()
    for worker in ("here", "elsewhere", None):
        running(study, worker)
    with held(tmp_path / store.WORKERS / "here"):
        store.collect(study, tmp_path)
    assert states(study) == ["RUNNING"] * 3


def test_a_trial_whose_worker_never_said_who_it_is_is_given_up(study, tmp_path, monkeypatch):
    running(study, None)
    monkeypatch.setattr(store, "UNCLAIMED", timedelta(seconds=-1))
    store.collect(study, tmp_path)
    assert states(study) == ["FAIL"]


def test_a_candidate_that_ends_its_worker_is_not_tried_for_ever(study, tmp_path):
    (tmp_path / store.WORKERS / "dead").touch()
    for _ in range(store.RETRIES + 1):
        trial = study.ask()
        trial.set_user_attr(store.WORKER, "dead")
        store.collect(study, tmp_path)
    assert states(study) == ["FAIL"] * (store.RETRIES + 1)


def test_of_two_that_begin_the_last_trial_one_is_surplus(study):
    one, other = study.ask(), study.ask()
    assert not store.surplus(study, one.number, 1) and store.surplus(study, other.number, 1)
    study.tell(one, state=optuna.trial.TrialState.FAIL)
    assert not store.surplus(study, other.number, 1)


def test_a_study_is_about_one_thing(study):
    store.claim(study, store.ABOUT, {"--points": 1.0, "the task": "kws"})
    store.claim(study, store.ABOUT, {"--points": 1.0, "the task": "kws"})
    with pytest.raises(TrecxError) as error:
        store.claim(study, store.ABOUT, {"--points": 2.0, "the task": "ic"})
    assert len(error.value.problems) == 2 and "--points was 1.0, now 2.0" in error.value.problems[0]


def test_a_study_of_somebody_else_is_refused(study):
    study.ask()
    with pytest.raises(TrecxError, match="none of trecx"):
        store.claim(study, store.ABOUT, {})
    assert study.user_attrs == {}


def test_more_trials_may_be_wanted_later_and_never_less(study):
    assert [store.want(study, wish, 20) for wish in (None, 5, 30, 10)] == [20, 20, 30, 30]


def test_a_password_is_not_shown(tmp_path):
    assert store.shown("mysql://me:secret@host/studies") == "mysql://me:***@host/studies"


JUDGED = Judged(0.9, 2e6, "macs", 0.5, 0.2, 0.8, (0.7,), 400)
BASE = results.Found(results.FORMAT, "kws", "trecx-kws", "j", {}, 4, 1.0, 0.9, replace(JUDGED, cost=3e6), 0, ())
OWN = {"method": "dyce", "taps": ["one"], "criterion": "margin"}


def trial(number: int, accuracy: float, cost: float, bound: float = 0.8, label: str | None = None) -> results.Trial:
    judged = replace(JUDGED, accuracy=accuracy, cost=cost, bound=bound)
    return results.Trial(number, OWN, label or str(number), judged)


def test_the_pareto_set_has_no_candidate_twice_and_none_that_breaks_the_promise():
    rows = [(0.9, 2e6), (0.9, 2e6), (0.89, 1e6), (0.91, 2.5e6), (0.88, 2e6), (0.80, 5e5)]
    trials = [
        trial(k, *row, bound=3.0 if k == 5 else 0.8, label="same" if k < 2 else None) for k, row in enumerate(rows)
    ]
    found = results.assembled(BASE, [*trials, results.Trial(6, OWN, "six", None, "it has no tap")])
    assert found.pareto == (2, 0, 3) and found.best == 2 and found.candidates == 6
    plain = replace(JUDGED, accuracy=0.9, cost=1.5e6)
    assert results.assembled(replace(BASE, plain=plain), trials).pareto == (2, 3)
    assert results.assembled(replace(BASE, plain=replace(plain, cost=1e6)), trials[:2]).best is None
    told = "\n".join(results.sentences(found, Path("out"), before=False))
    assert "Trial 6 could not be: it has no tap" in told and "1 are not shown to lose at most 1 points" in told


def test_equal_findings_give_the_same_picture(tmp_path):
    found = results.assembled(BASE, [trial(0, 0.9, 2e6), trial(1, 0.91, 2.5e6)])
    (one,) = picture.draw(found, tmp_path)
    content = one.read_bytes()
    assert picture.draw(found, tmp_path) and one.read_bytes() == content
    assert picture.draw(BASE, tmp_path) == ()


@pytest.mark.parametrize(
    "told",
    [None, 3, {}, {**OWN, "method": "nothing"}, {**OWN, "taps": "one"}, {**OWN, "price": -1.0}],
)
def test_what_a_storage_says_is_not_believed(told, tmp_path):
    study = optuna.create_study(directions=store.DIRECTIONS)
    one = study.ask()
    one.set_user_attr(store.SETTINGS, told)
    one.set_user_attr(store.JUDGED, {"accuracy": 1.0})
    study.tell(one, (1.0, 1.0))
    found = results.trial(study.get_trials()[0], tmp_path, Settings("kws", "kws", train=True))
    assert found.judged is None and "damaged" in found.problem and found.settings == {}


def test_nothing_but_what_a_trial_chooses_becomes_a_setting(tmp_path):
    study = optuna.create_study(directions=store.DIRECTIONS)
    one = study.ask()
    one.set_user_attr(store.SETTINGS, {**OWN, "task": "/theirs/task.py:TASK", "weights": "/etc/passwd"})
    study.tell(one, (1.0, 1.0))
    assert results.trial(study.get_trials()[0], tmp_path, Settings("kws", "kws")).settings == {}
    with pytest.raises(TrecxError, match="does not choose task"):
        results.settled(Settings("kws", "kws"), {**OWN, "task": "/theirs/task.py:TASK"})


def test_a_worker_ends_with_the_command_that_started_it(tmp_path):
    (tmp_path / store.WORKERS).mkdir()
    code = (
        "import sys, threading, time; from trecx.studies.sweep import worker\n"
        "threading.Thread(target=worker._end_with_parent, daemon=True).start(); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    process.stdin.close()
    assert process.wait(30) == 1


def test_start_times_of_trials_are_those_of_this_clock(study):
    number = study.ask().number
    begun = study.get_trials()[number].datetime_start
    assert abs(datetime.now(begun.tzinfo) - begun) < store.UNCLAIMED

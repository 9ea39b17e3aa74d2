"""A setting is said once: its option, its help, and the steps that read it."""

from dataclasses import fields, replace
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from mlperf_tiny.keyword_spotting import KWS
from trecx import cli, pipeline
from trecx.compiler.target import TARGETS
from trecx.errors import TrecxError
from trecx.run import Run
from trecx.settings import OPTIONS, Settings, Studied
from trecx.steps import learned

PLAIN = Settings("kws", "kws")
# What only says what the user's own model is, whose file every step reads.
FACTS = {"complete", "shape"}


def test_every_step_that_reads_a_setting_has_a_rule():
    named = {step for one in OPTIONS.values() for step in one.steps}
    assert named <= set(pipeline.RULES)


def test_every_setting_is_read_or_says_what_the_run_is():
    read = {name for step in pipeline.RULES for name in PLAIN.read_by(step)}
    paths = {name for name, one in OPTIONS.items() if one.kind is Path}
    assert {f.name for f in fields(Settings)} == read | paths | FACTS | {"train"}


@pytest.mark.parametrize("verb", sorted({verb for one in OPTIONS.values() for verb in one.on}))
def test_verbs_offer_what_they_read(verb):
    offered = {param.name for param in cli.main.commands[verb].params if isinstance(param, click.Option)}
    assert {name for name, one in OPTIONS.items() if verb in one.on} <= offered


def test_build_offers_everything_by_its_flag():
    flags = {flag for param in cli.main.commands["build"].params for flag in param.opts}
    assert {one.flag for one in OPTIONS.values()} <= flags


CHANGED = {
    "name": "other",
    "method": "eenet",
    "taps": ("conv",),
    "pixels": "0..1",
    "width": 0.5,
    "exit": "best",
    "early_view": False,
    "price": 0.5,
    "gate_prior": 0.1,
    "mac_budget": 0.5,
    "loss": "v2",
    "learn_from": "labels",
    "heads_only": True,
    "heads": ("conv",),
    "criterion": "margin",
    "choices": 4,
    "cost": "macs",
    "scheme": "qat",
    "points": 2.0,
    "promise": "mean",
    "confidence": 0.5,
    "against": "final",
    "epochs": 3,
    "seed": 7,
    "targets": ("host",),
    "optimize": "ram",
    "samples": 5,
    "study": Studied("trecx-kws", 7, 20),
}


@pytest.mark.parametrize("name", sorted(CHANGED))
def test_a_changed_setting_makes_every_step_that_reads_it_out_of_date(name, tmp_path):
    trained = replace(PLAIN, train=True, data=str(tmp_path))
    changed = replace(trained, **{name: CHANGED[name]})
    run = Run(tmp_path)
    out_of_date = {
        step
        for step in pipeline.RULES
        if pipeline.origin(run, step, trained).digest != pipeline.origin(run, step, changed).digest
    }
    assert out_of_date == ({"calibrate"} if name == "study" else set(OPTIONS[name].steps))


def test_where_the_data_lie_is_no_part_of_what_a_step_is_made_from(tmp_path):
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    here, there = (replace(PLAIN, train=True, data=str(tmp_path / name)) for name in ("here", "there"))
    digests = {pipeline.origin(Run(tmp_path), "train", one).digest for one in (here, there)}
    assert len(digests) == 1


def test_an_option_of_one_method_is_refused_with_another(tmp_path):
    arguments = ["build", "kws", "--train", "--data", str(tmp_path), "--exits", "block1", "--price", "0.5"]
    refused = CliRunner().invoke(cli.main, arguments)
    assert (
        refused.exit_code == 2 and "--price does not apply to the method trecx; it belongs to eenet" in refused.output
    )


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("targets", 5),
        ("targets", [[1]]),
        ("taps", 3),
        ("points", "x"),
        ("confidence", None),
        ("data", 5),
        ("task", ["kws"]),
        ("shape", "x"),
        ("seed", "a"),
        ("samples", -1),
        ("optimize", "zzz"),
        ("scheme", 3),
        ("method", "nope"),
        ("price", float("nan")),
        ("width", 0.0),
        ("width", 1.5),
    ],
)
def test_what_no_option_would_say_is_refused_in_an_edited_run(setting, value):
    with pytest.raises(TrecxError, match=setting):
        Settings.from_json({**PLAIN.as_json(), setting: value})


def test_all_that_is_wrong_in_an_edited_run_is_said_at_once():
    with pytest.raises(TrecxError) as caught:
        Settings.from_json({**PLAIN.as_json(), "points": 101.0, "optimize": "zzz", "samples": 0})
    assert len(caught.value.problems) == 3


def test_a_run_from_before_there_was_a_width_has_all_of_it():
    document = PLAIN.as_json()
    del document["width"]
    assert Settings.from_json(document).width == 1


def test_the_price_of_computation_reaches_the_method():
    pytest.importorskip("tf_keras")
    chosen = replace(PLAIN, method="eenet", taps=("block1",), price=0.5)
    assert learned.exits_of(chosen, KWS).about() == {
        "early_view": None,
        "taps": ["block1"],
        "price": 0.5,
        "gate_prior": 0.5,
        "loss": "v1",
    }


def test_the_help_of_target_names_every_one():
    told = OPTIONS["targets"].help.partition(";")[0].replace(" or ", ", ").split(", ")
    assert [name.replace("-m", "cortex-m") if name.startswith("-m") else name for name in told] == [
        target.name for target in TARGETS
    ]

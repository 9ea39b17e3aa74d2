"""What is counted, how it is shown, and the record of counts that must not grow."""

import fcntl
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from networks import two_exits
from networks_official import OFFICIAL

from trecx.cli import main
from trecx.compiler.target import CORTEX_M4, TARGETS
from trecx.console import Console
from trecx.device import counts
from trecx.device.build import build
from trecx.device.run import run_qemu
from trecx.errors import TrecxError
from trecx.judge.record import forced
from trecx.steps import firmware
from trecx.steps.counting import one_input
from trecx.steps.firmware import compile_for
from trecx.studies.bench import bench, peers, picture, results, variants
from trecx.studies.bench.measure import by_class, pair_of

RECORD = Path(__file__).parent / "bench.json"
DOCS = Path(__file__).parent.parent / "docs" / "bench.md"
MODELS = ("shipped kws", *OFFICIAL)
TOLERANCE = 0.02
MOVED = (
    "{what}: {before:,} before, {after:,} now; if that is meant: TRECX_BENCH=write pytest tests/test_bench.py -k grown"
)


def installed(target) -> bool:
    return all(map(shutil.which, bench.tools(target)))


needs_m4 = pytest.mark.skipif(not installed(CORTEX_M4), reason="needs arm-none-eabi-gcc and qemu-system-arm")


def invoke(*arguments):
    return CliRunner().invoke(main, ["bench", *map(str, arguments)])


def own(folder: Path, seed: int = 0) -> Path:
    content, exits = two_exits(seed)
    (folder / "model.tflite").write_bytes(content)
    exits.write(folder / "exits.json")
    return folder / "model.tflite"


def built(pair, target, folder):
    return build(compile_for(pair, pair.optimised, target, folder / "c", "time"), target, folder / "program")


# ---- The record: instructions, arena and flash of the shipped pair and of networks as costly as the official ones ----


def counted(name: str, target, folder: Path) -> dict[str, int]:
    path = bench.SHIPPED[0] if name == MODELS[0] else folder / "model.tflite"
    if name in OFFICIAL:
        path.write_bytes(OFFICIAL[name]())
    pair = pair_of(path)
    program = built(pair, target, folder)
    early = len(pair.limits)
    found = {}
    for k, exit_ in enumerate(pair.graph.exits):
        answer = run_qemu(program, one_input(pair)[np.newaxis], forced(early, k))
        found[f"instructions to {exit_.name}"] = int(answer.instructions[0])
    return found | {"arena": program.sizes.arena, "network flash": program.sizes.network_flash}


def renew(target, version: str, name: str, found: dict[str, int]) -> None:
    with RECORD.open("a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        record = json.loads(file.read() or "{}")
        of_target = record.setdefault(target.name, {})
        of_target["compiler"] = version
        of_target[name] = found
        file.truncate(0)
        file.write(json.dumps(dict(sorted(record.items())), indent=2) + "\n")


@pytest.mark.parametrize("target", bench.COUNTED, ids=lambda target: target.name)
@pytest.mark.parametrize("name", MODELS)
def test_no_count_has_grown(name, target, tmp_path):
    if not installed(target):
        pytest.skip(f"needs {' and '.join(bench.tools(target))}")
    version = bench.versions([target])[target.compiler]
    found = counted(name, target, tmp_path)
    if os.environ.get("TRECX_BENCH") == "write":
        renew(target, version, name, found)
    record = json.loads(RECORD.read_text(encoding="utf-8"))[target.name]
    if record["compiler"] != version:
        pytest.skip(f"the record was made with {record['compiler']}, this is {version}")
    expected = record[name]
    assert found.keys() == expected.keys()
    moved = [
        MOVED.format(what=what, before=expected[what], after=after)
        for what, after in found.items()
        if abs(after - expected[what]) > TOLERANCE * expected[what]
    ]
    assert moved == []


# ---- Counting ----


@pytest.mark.parametrize("target", bench.COUNTED, ids=lambda target: target.name)
def test_plugin_and_timer_count_the_same(target, tmp_path):
    if not installed(target):
        pytest.skip(f"needs {' and '.join(bench.tools(target))}")
    pair = pair_of(own(tmp_path))
    program = built(pair, target, tmp_path)
    code = counts.disassembly(program)
    for limits in (forced(1, 0), forced(1, 1)):
        found = counts.executed(program, one_input(pair), limits)  # raises where they differ
        timed = run_qemu(program, one_input(pair)[np.newaxis], limits).instructions[0]
        assert abs(found.timer - int(timed)) <= 1
        assert found.times.keys() <= code.keys()
        assert all(0 <= found.left[address] <= times for address, times in found.times.items())


@needs_m4
def test_branches_taken_are_counted_exactly(tmp_path):
    pair = pair_of(own(tmp_path))
    program = built(pair, CORTEX_M4, tmp_path)
    found = counts.executed(program, one_input(pair), forced(1, 1))
    code = counts.disassembly(program)
    ordered = sorted(code)
    conditions = "eq|ne|cs|cc|mi|pl|vs|vc|hi|ls|ge|lt|gt|le"
    branches = re.compile(rf"b({conditions})?(\.[nw])?|bl|blx|bx|cbn?z|pop(\.w)?|ldmia\.w|ldr(\.w)?|tb[bh]")
    for address, times in found.left.items():
        if times:
            assert branches.fullmatch(code[address].mnemonic), code[address]
    # The program runs straight on from wherever it was not left: the next address was executed at least that often.
    for address, times in found.times.items():
        after = ordered[ordered.index(address) + 1]
        assert found.times.get(after, 0) >= times - found.left[address]


@needs_m4
def test_a_plugin_that_disagrees_with_the_timer_is_an_error(tmp_path, monkeypatch):
    pair = pair_of(own(tmp_path))
    program = built(pair, CORTEX_M4, tmp_path)
    true = counts._infer
    monkeypatch.setattr(counts, "_infer", lambda *arguments: true(*arguments) + 64)
    with pytest.raises(TrecxError, match="the plugin counts"):
        counts.executed(program, one_input(pair), forced(1, 1))


@needs_m4
def test_without_a_host_compiler_cycles_are_left_out_and_it_is_said_why(tmp_path, monkeypatch):
    monkeypatch.setattr(counts, "HOST_COMPILER", "no-such-compiler")
    result = bench.run([own(tmp_path)], bench.Options(("cortex-m4",), samples=2), Console(quiet=True))
    figures = result.document["models"][0]["targets"][0]
    assert [e["cycles"] for e in figures["exits"]] == [None, None]
    assert figures["why_no_cycles"] == "no-such-compiler is not installed."
    assert "No cycles for cortex-m4: no-such-compiler is not installed." in result.text


# ---- Results ----


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """A model with two exits on one target, with files."""
    if not installed(CORTEX_M4):
        pytest.skip("needs arm-none-eabi-gcc and qemu-system-arm")
    folder = tmp_path_factory.mktemp("bench")
    done = invoke(own(folder), "--target", "cortex-m4", "--samples", 3, "--out", folder / "out", "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout), folder


def test_the_sums_are_right(result):
    document, _ = result
    model = document["models"][0]
    figures = model["targets"][0]
    early, final = figures["exits"]
    assert [early["macs"], final["macs"]] == model["macs"]
    assert early["instructions"] < final["instructions"] < early["cycles"] + final["cycles"]
    assert final["per_mac"] == pytest.approx(final["instructions"] / final["macs"])
    of_layers = sum(c["instructions"] for c in figures["classes"])
    assert of_layers + figures["rest"] == pytest.approx(final["instructions"], rel=0.02)
    assert abs(figures["rest"]) < 0.05 * final["instructions"]
    assert sum(c["macs"] for c in figures["classes"]) == final["macs"]
    assert figures["network"]["flash"] >= figures["network"]["code"] + figures["network"]["tables"]
    assert figures["firmware"]["flash"] > figures["network"]["flash"]
    assert 0 < figures["stack"] <= 8192


def test_the_files_are_whole_and_say_the_same(result):
    document, folder = result
    assert json.loads((folder / "out" / "bench.json").read_text()) == document
    assert (folder / "out" / "bench.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert sorted(p.name for p in (folder / "out").iterdir()) == ["bench.json", "bench.png"]


def test_every_key_is_documented(result):
    document, _ = result
    keys: set[str] = set()

    def collect(value):
        if isinstance(value, dict):
            keys.update(value)
            value = list(value.values())
        for item in value if isinstance(value, list) else ():
            collect(item)

    collect({k: v for k, v in document.items() if k not in ("tools", "peers_counted_with")})
    told = DOCS.read_text(encoding="utf-8")
    assert [key for key in sorted(keys) if f"`{key}`" not in told] == []


def test_the_official_models_are_recognised():
    known = peers._records()
    assert len(known) == 3
    told = DOCS.read_text(encoding="utf-8")
    for sha256, model in known.items():
        assert sha256 in told
        for target in ("cortex-m0", "cortex-m3", "cortex-m4", "cortex-m55"):
            reference, interpreted, direct = model.targets[target]
            assert reference.instructions > interpreted.instructions > direct.instructions
    kws = next(model for model in known.values() if "keyword" in model.title)
    assert kws.targets["cortex-m4"][2].instructions == 7_695_688
    assert kws.of_class("cortex-m4", "depthwise", "CMSIS-NN") == (7.79, False)
    assert kws.of_class("cortex-m4", "first conv", "TFLM") == (12.5, True)
    assert kws.of_class("cortex-m4", "pool", "CMSIS-NN") == (None, False)


@needs_m4
def test_peers_stand_beside_a_model_that_is_recognised(tmp_path, monkeypatch):
    record = next(iter(peers._records().values()))
    monkeypatch.setattr(peers, "known", lambda sha256: record)
    measured = [bench._model(own(tmp_path), (CORTEX_M4,), bench.Options(samples=2), Console(quiet=True))]
    document, text = results.as_json(measured, "oracle 1", {}), results.text(measured)
    assert document["models"][0]["title"] == record.title
    names = [peer["name"] for peer in document["models"][0]["targets"][0]["peers"]]
    assert names == ["TFLM reference", "TFLM+CMSIS-NN", "CMSIS-NN direct"]
    assert all(name in text for name in (*names, "arm-none-eabi-gcc 12.2.1", "90b983c2b", "4ab83cc3"))
    assert "\u2026" not in text  # no column is cut
    first = picture.draw(measured, tmp_path).read_bytes()
    assert picture.draw(measured, tmp_path).read_bytes() == first


def test_layer_classes_of_the_official_shapes(tmp_path):
    macs = {"kws": 2_656_768, "ic": 12_501_632, "vww": 7_489_664}
    for name, make in OFFICIAL.items():
        (tmp_path / "model.tflite").write_bytes(make())
        pair = pair_of(tmp_path / "model.tflite")
        found = {c.name: c.layers for c in by_class(pair, {op.index: 1 for op in pair.graph.ops})}
        assert pair.macs == (macs[name],)
        assert found.pop("first conv") == found.pop("fully connected") == found.pop("softmax") == found.pop("pool") == 1
        assert found.pop("other") == 1  # the reshape
        assert (
            found
            == {
                "kws": {"conv 1x1": 4, "depthwise": 4},
                "ic": {"conv 1x1, strided": 2, "conv KxK": 6, "add": 3},
                "vww": {"conv 1x1": 13, "depthwise": 13},
            }[name]
        )


# ---- What goes wrong ----


def test_what_cannot_be_counted_is_said(tmp_path):
    for arguments, told in (
        (("--target", "host"), "Nothing counts instructions on the target 'host'."),
        ((tmp_path / "absent.tflite", "--target", "cortex-m4"), "cannot be read"),
        (("--samples", "0"), "0 is not in the range"),
        (("--out", bench.SHIPPED[0]), "cannot be made"),
    ):
        done = invoke(*arguments)
        assert done.exit_code == 2
        assert told in done.output
        assert "Traceback" not in done.output


@needs_m4
def test_a_wrong_answer_is_no_figure(tmp_path, monkeypatch):
    true = firmware.emit

    def planted(*arguments):
        """The first weight of the first table is another one."""
        files = true(*arguments)
        return files | {"net_data.h": re.sub(r"(?<=\{\n)\s*-?\d+", " 77", files["net_data.h"], count=1)}

    monkeypatch.setattr(firmware, "emit", planted)
    out = tmp_path / "out"
    done = invoke("--target", "cortex-m3", "--samples", 20, "--out", out)
    assert done.exit_code == 1
    assert "differ from the oracle" in done.output
    assert list(out.iterdir()) == []


@needs_m4
def test_a_target_that_is_too_small_is_left_out_unless_it_was_asked_for(tmp_path, monkeypatch):
    small = replace(CORTEX_M4, name="cortex-m3", flash_size=4096)
    monkeypatch.setattr(bench, "COUNTED", (small, CORTEX_M4))
    model = own(tmp_path)
    result = bench.run([model], bench.Options(samples=2), Console(quiet=True))
    assert [t["target"] for t in result.document["models"][0]["targets"]] == ["cortex-m4"]
    assert "does not fit cortex-m3" in result.document["models"][0]["left_out"][0]
    assert "does not fit cortex-m3" in result.text
    done = invoke(model, "--target", "cortex-m3", "--samples", 2)
    assert done.exit_code == 1
    assert "does not fit cortex-m3" in done.output


def test_without_any_tools_the_way_to_get_them_is_told(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    done = invoke()
    assert done.exit_code == 2
    assert "apt install" in done.output


# ---- Variants ----


@needs_m4
def test_the_choice_of_kernels_is_data(tmp_path):
    done = invoke(own(tmp_path), "--variants", "--target", "cortex-m4", "--json")
    assert done.exit_code == 0, done.output
    operators = json.loads(done.stdout)["models"][0]["operators"]
    assert {o["name"] for o in operators} >= {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}
    assert any(len(o["variants"]) > 1 for o in operators)
    for operator in operators:
        assert sum(v["chosen"] for v in operator["variants"]) == 1
        assert operator["variants"][-1]["kernel"].count("/") == 0  # the plain one comes last


@pytest.mark.skipif(os.name != "posix" or not Path("/proc").is_dir(), reason="needs /proc")
@pytest.mark.parametrize("extra", [(), ("--variants",)])
def test_a_folder_that_cannot_be_written_to_is_named_before_anything_is_counted(monkeypatch, extra):
    for name in ("_models", "_variants"):
        monkeypatch.setattr(bench, name, lambda *arguments: pytest.fail("counted"))
    done = invoke("--out", "/proc", "--target", "cortex-m4", *extra)
    assert done.exit_code == 2 and "/proc cannot be written to" in done.output


def test_variants_leave_the_files_of_a_benchmark_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "_variants", lambda *arguments: bench.Result("", {"format": variants.FORMAT}))
    for name in ("bench.json", "bench.png"):
        (tmp_path / name).write_text("kept")
    assert invoke("--variants", "--out", tmp_path, "--target", "cortex-m4").exit_code == 0
    assert json.loads((tmp_path / "variants.json").read_text()) == {"format": variants.FORMAT}
    assert {p.name: p.read_text() for p in tmp_path.iterdir() if p.name != "variants.json"} == {
        "bench.json": "kept",
        "bench.png": "kept",
    }


@needs_m4
def test_a_slow_choice_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(variants, "choose", lambda op, target, optimize: variants.candidates(op, target)[-1])
    done = invoke(own(tmp_path), "--variants", "--target", "cortex-m4")
    assert done.exit_code == 1
    assert re.search(r"Error: cortex-m4, operator \d+ CONV_2D .* is chosen with", done.output)
    assert "is chosen with" not in done.stdout  # the tables go there


def test_targets_that_count_are_all_but_the_host():
    assert [t.name for t in bench.COUNTED] == [t.name for t in TARGETS if t.name != "host"]
    assert picture.NAME == "bench.png"

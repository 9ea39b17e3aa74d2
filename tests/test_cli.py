"""The command line as a person or a script meets it: results, exit status, and what happens to wrong inputs."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from networks import two_exits

from trecx.cli import main

EMULATED = shutil.which("arm-none-eabi-gcc") and shutil.which("qemu-system-arm")


def trecx(*arguments, cwd=None):
    """A real process, as a person starts it."""
    command = [sys.executable, "-m", "trecx", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd)


def invoke(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def own_model(folder: Path, seed: int = 0) -> tuple[Path, Path]:
    content, exits = two_exits(seed)
    (folder / "mine.tflite").write_bytes(content)
    exits.write(folder / "exits.json")
    return folder / "mine.tflite", folder / "exits.json"


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """A run directory of a small model of one's own, compiled and verified for the host."""
    folder = tmp_path_factory.mktemp("own")
    model, exits = own_model(folder)
    run = folder / "run"
    result = invoke("compile", model, "--exits", exits, "--out", run, "--target", "host")
    assert result.exit_code == 0, result.output
    assert invoke("verify", run, "--samples", 40).exit_code == 0
    return run


@pytest.fixture(scope="module")
def kws(tmp_path_factory):
    """The shipped pair, built all the way."""
    run = tmp_path_factory.mktemp("kws") / "run"
    done = trecx("build", "kws", "--out", run, "--json")
    assert done.returncode == 0, done.stderr
    return run, json.loads(done.stdout)


def test_build_kws_proves_the_shipped_pair(kws):
    run, report = kws
    assert all(v["mismatches"] == 0 for v in report["verification"])
    compared = {(v["target"], v["inputs"]): v["samples"] for v in report["verification"]}
    assert compared["host", "synthetic samples"] == 1000
    if EMULATED:
        assert compared["cortex-m4", "synthetic samples"] >= 200
        target = next(t for t in report["targets"] if t["name"] == "cortex-m4")
        assert target["arena"] <= 16_000
        assert target["flash"] <= 60 * 1024
        early, final = target["instructions"]
        assert early < final
    assert report["second_opinion"]["unexplained"] == 0
    assert [e["macs"] for e in report["exits"]] == [1_501_536, 2_706_688]
    for name in ("model/kws.tflite", "firmware/host/kws.c", "firmware/cortex-m4/kws.h", "report/report.json"):
        assert (run / name).is_file()


def test_a_second_build_does_no_work(kws):
    run, _ = kws
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*") if p.is_file() and p.name not in (".lock", "run.json")}
    done = trecx("build", "kws", "--out", run)
    assert done.returncode == 0
    assert done.stderr.count("unchanged") == 5
    assert {p: p.stat().st_mtime_ns for p in before} == before


def test_no_tensorflow_is_imported_on_the_way(kws):
    run, _ = kws
    code = (
        "import sys\nfrom click.testing import CliRunner\nfrom trecx.cli import main\n"
        f"assert CliRunner().invoke(main, ['build', 'kws', '--out', {str(run)!r}]).exit_code == 0\n"
        "print([m for m in ('tensorflow', 'tf_keras', 'keras') if m in sys.modules])\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_a_model_of_ones_own_compiles_and_verifies(compiled):
    found = json.loads((compiled / "verify" / "verify.json").read_text())
    assert [v["mismatches"] for v in found] == [0]
    assert found[0]["samples"] == 40
    assert (compiled / "firmware" / "host" / "mine.c").is_file()


@pytest.mark.parametrize("target", ["host", *(["cortex-m4"] if EMULATED else [])])
def test_the_generated_folder_builds_the_same_program_by_its_own_makefile(target, kws, tmp_path):
    shutil.copytree(kws[0] / "firmware" / target, tmp_path / "fw")
    subprocess.run(["make", "--silent"], cwd=tmp_path / "fw", check=True)
    program = "serve.elf" if target == "cortex-m4" else "trace"
    ours, theirs = (tmp_path / "fw" / made / program for made in ("build", "made"))
    assert theirs.is_file() and (target == "host" or ours.read_bytes() == theirs.read_bytes())


def test_every_verb_says_what_it_left_as_json(compiled):
    for verb in ("compile", "verify", "evaluate", "report"):
        result = invoke(verb, compiled, "--json")
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["step"] == verb


def test_a_threshold_changed_by_hand_is_compiled_again(compiled, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(compiled, run)
    assert "unchanged" in trecx("compile", run).stderr
    path = run / "model" / "exits.json"
    path.write_text(path.read_text().replace('"early": 0.5', '"early": 0.75'))
    told = trecx("compile", run).stderr
    assert "unchanged" not in told and re.search(r'again: reads\.model is "[0-9a-f]{8}…", now "[0-9a-f]{8}…"', told)
    assert "87381u" in (run / "firmware" / "host" / "mine.c").read_text()  # 65536 / 0.75


def test_training_verbs_refuse_a_run_without_training(compiled):
    for verb in ("train", "quantize", "calibrate"):
        done = trecx(verb, compiled)
        assert done.returncode == 2
        assert "made without training" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["build", "ocr"], "no task 'ocr'"),
        (["build", "kws", "--target", "z80"], "no target 'z80'"),
        (["build", "kws", "--data", "nowhere"], "not a folder"),
        (["build", "kws", "--weights", "w.h5"], "--train"),
        (["build", "kws", "--train", "--weights", "w.h5"], "no weights"),
        (["verify", "nowhere"], "not a run directory"),
        (["compile", "nowhere.tflite"], "cannot be read"),
        (["compile", "nowhere"], "not a run directory"),
        (["build", "kws", "--points", "-1"], "--points"),
        (["build", "kws", "--points", "2"], "--train"),
        (["build", "kws", "--train", "--points", "nan"], "Points"),
        (["build", "kws", "--samples", "0"], "--samples"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_input_is_told_and_leaves_nothing(arguments, told, tmp_path):
    done = trecx(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_cannot_be_compiled_leaves_nothing(tmp_path):
    (tmp_path / "bad.tflite").write_bytes(b"\x1c\0\0\0TFL3" + b"\xff" * 100)
    done = trecx("compile", "bad.tflite", cwd=tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["bad.tflite"]


def test_a_refused_model_does_not_damage_an_existing_run(compiled, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(compiled, run)
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    (tmp_path / "bad.tflite").write_bytes(b"TFL3TFL3TFL3")
    assert trecx("compile", tmp_path / "bad.tflite", "--out", run).returncode == 2
    assert {p: p.read_bytes() for p in run.rglob("*") if p.is_file()} == before


def test_an_exits_json_beside_the_model_counts_and_any_file_name_will_do(tmp_path):
    content, exits = two_exits(0)
    (tmp_path / "model.tflite").write_bytes(content)
    exits.write(tmp_path / "exits.json")
    done = trecx("compile", "model.tflite", "--target", "host", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "build" / "net_model" / "firmware" / "host" / "net_model.c").is_file()


@pytest.mark.parametrize("name", ["a b", "../up", "model", "é", ""])
def test_a_name_that_cannot_name_c_is_refused_before_anything_is_made(name, tmp_path):
    model, exits = own_model(tmp_path)
    done = trecx("compile", model, "--exits", exits, "--name", name, "--out", tmp_path / "run")
    assert done.returncode == 2 and "cannot name C" in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_users_model_does_not_take_over_the_run_of_a_task(kws, tmp_path):
    model, exits = own_model(tmp_path)
    done = trecx("compile", model, "--exits", exits, "--out", kws[0])
    assert done.returncode == 2 and "run of a task" in done.stderr


def test_options_of_a_model_are_refused_for_a_run(compiled):
    done = trecx("compile", compiled, "--name", "other")
    assert done.returncode == 2 and "belong to a .tflite" in done.stderr


def test_a_report_never_shows_proof_of_other_firmware(compiled, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(compiled, run)
    path = run / "model" / "exits.json"
    path.write_text(path.read_text().replace('"early": 0.5', '"early": 0.75'))
    done = trecx("report", run, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads((run / "report" / "report.json").read_text())
    assert report["operating_point"][0]["limit"] == 87381
    assert "87381u" in (run / "firmware" / "host" / "mine.c").read_text()
    assert [v["mismatches"] for v in report["verification"]] == [0]


@pytest.mark.parametrize("content", ["", "[3]", "[" * 100_000, '[{"samples": "x"}]', "null\x00"])
def test_a_damaged_proof_is_named(compiled, tmp_path, content):
    run = tmp_path / "run"
    shutil.copytree(compiled, run)
    (run / "verify" / "verify.json").write_text(content)
    done = trecx("report", run)
    assert done.returncode == 2 and "verify.json is damaged" in done.stderr and "Traceback" not in done.stderr


def test_exits_of_another_model_are_refused(tmp_path):
    model, exits = own_model(tmp_path)
    model.write_bytes(two_exits(1)[0])
    done = trecx("compile", model, "--exits", exits, "--out", tmp_path / "run")
    assert done.returncode == 2
    assert "SHA-256 differs" in done.stderr
    assert not (tmp_path / "run").exists()


def test_an_error_is_json_too(tmp_path):
    done = trecx("compile", tmp_path / "none.tflite", "--json")
    assert done.returncode == 2
    assert "cannot be read" in json.loads(done.stdout)["error"]["problems"][0]


def test_a_full_disk_or_a_closed_pipe_is_no_traceback(compiled):
    command = [sys.executable, "-m", "trecx", "report", str(compiled), "--json"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr and "No space left" in done.stderr
    piped = subprocess.run(f"{' '.join(command)} | true", shell=True, capture_output=True, text=True)
    assert "Traceback" not in piped.stderr and "Error" not in piped.stderr


def test_a_folder_of_other_files_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    done = trecx("build", "kws", "--out", tmp_path)
    assert done.returncode == 2 and "holds other files" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_doctor_names_every_tool_and_package():
    found = {f["name"]: f for f in json.loads(invoke("doctor", "--json").stdout)}
    assert {"python", "cc", "arm-none-eabi-gcc", "qemu-system-arm", "tflite-micro", "tensorflow"} <= set(found)
    assert all(f["version"] or f["hint"] for f in found.values())
    assert "arm-none-eabi-gcc" in invoke("doctor").stdout


def test_doctor_says_how_to_install_in_words_that_can_be_pasted(monkeypatch):
    from trecx import doctor

    monkeypatch.setattr(doctor, "_version", lambda name: None)
    assert 'pip install "trecx[train]"\n' in invoke("doctor").stdout


def test_a_missing_arm_toolchain_is_said_and_the_host_is_proven(tmp_path):
    model, exits = own_model(tmp_path)
    only = tmp_path / "bin"
    only.mkdir()
    for tool in ("cc", "as", "ld"):
        (only / tool).symlink_to(shutil.which(tool))
    command = [sys.executable, "-m", "trecx", "compile", model, "--exits", exits, "--out", tmp_path / "run"]
    done = subprocess.run(command, env={"PATH": str(only)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "host: arena" in done.stderr and "cortex-m4: arena" not in done.stderr
    assert "apt install" in (tmp_path / "run" / "firmware" / "left_out.json").read_text()


def test_help_has_an_example_for_every_way_in():
    top = invoke("--help").output
    assert "trecx build kws" in top and "trecx doctor" in top
    assert "--weights" in invoke("build", "--help").output


def test_what_is_not_there_is_never_called_proven(compiled, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(compiled, run)
    shutil.rmtree(run / "firmware" / "host" / "build")
    for verb in ("verify", "report"):
        result = invoke(verb, run)
        assert result.exit_code == 2 and "no program that can be read" in result.output, result.output


def test_verifying_one_target_leaves_the_others_alone(kws, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(kws[0], run)
    before = {path: path.read_bytes() for path in (run / "firmware").rglob("*") if path.is_file()}
    assert invoke("verify", run, "--target", "host", "--samples", "20").exit_code == 0
    assert {v["target"] for v in json.loads((run / "verify" / "verify.json").read_text())} == {"host"}
    assert before == {path: path.read_bytes() for path in (run / "firmware").rglob("*") if path.is_file()}
    result = invoke("verify", run, "--target", "riscv")
    assert result.exit_code == 2 and "no target 'riscv'" in result.output


@pytest.mark.skipif(not EMULATED, reason="needs gcc-arm-none-eabi and qemu-system-arm")
def test_a_missing_emulator_is_said_and_the_host_is_proven(tmp_path):
    model, exits = own_model(tmp_path)
    only = tmp_path / "bin"
    only.mkdir()
    for tool in ("cc", "as", "ld", "arm-none-eabi-gcc"):
        (only / tool).symlink_to(shutil.which(tool))
    for verb in (["compile", model, "--exits", exits, "--out", tmp_path / "run"], ["verify", tmp_path / "run"]):
        command = [sys.executable, "-m", "trecx", *verb]
        done = subprocess.run(command, env={"PATH": str(only)}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert "cortex-m4" not in done.stderr and "on host" in done.stderr
    assert "qemu-system-arm" in (tmp_path / "run" / "verify" / "not_run.json").read_text()


def test_a_shipped_exit_is_named_and_others_are_refused_with_what_ships(tmp_path):
    refused = invoke("build", "kws", "--exit", "none", "--out", str(tmp_path / "run"))
    assert refused.exit_code == 2
    assert "no exit 'none'" in refused.output or "with the exit 'none'" in refused.output
    assert "paper" in refused.output
    assert not (tmp_path / "run" / "model").exists()


@pytest.mark.parametrize(
    "stem", ["x", "9 Lives", "backbone", "a_test", "b_data", "c_layers", "d_data_test", "int", "é" * 40]
)
def test_a_file_of_any_name_gets_one_for_c(stem):
    from trecx.naming import usable
    from trecx.request import own_name

    assert usable(own_name(stem))

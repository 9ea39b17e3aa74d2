"""Templates and firmware are found in a checkout and in an installed wheel."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from trecx import resources
from trecx.errors import TrecxError

ROOT = Path(__file__).parent.parent
SHOW = "from trecx.resources import folder; print(folder('templates')); print(folder('firmware'))"


def test_a_checkout_uses_its_own_folders():
    assert resources.folder("templates") == ROOT / "templates"
    assert resources.folder("firmware") == ROOT / "firmware"


def test_a_wheel_carries_its_own_copies(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        wheel.extractall(tmp_path / "site")
        names = set(wheel.namelist())
    run = [sys.executable, "-c", SHOW]
    found = subprocess.run(run, cwd=tmp_path / "site", capture_output=True, text=True, check=True).stdout.split()
    assert found == [str(tmp_path / "site" / "trecx" / "_resources" / name) for name in ("templates", "firmware")]
    firmware = {path.relative_to(ROOT) for path in (ROOT / "firmware").rglob("*") if path.is_file()}
    assert {f"trecx/_resources/{path.as_posix()}" for path in firmware} <= names
    assert {"mlperf_tiny/pretrained/kws/kws.tflite", "trecx/studies/reproduce/results.md.j2"} <= names


def test_a_missing_folder_is_said():
    with pytest.raises(TrecxError, match="missing from this installation"):
        resources.folder("nothing")

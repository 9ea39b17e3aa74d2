"""What a step depends on is what its function reaches, and nothing else."""

import pytest

from trecx import pipeline, resources
from trecx.program import FOLDERS, Program, digest

FILES = {
    "house/__init__.py": "",
    "house/door.py": '''"""Text."""
from house import rooms as all_rooms
from house.rooms import Kitchen, unused
from house.types import Guest
import house.cellar

LIMIT = 3

def enter(guest: Guest) -> int:
    """Come in."""
    return Kitchen().cook(LIMIT) + all_rooms.sweep() + house.cellar.wine()

def leave():
    return unused()
''',
    "house/rooms/__init__.py": """from house.rooms.kitchen import Kitchen

def sweep():
    from house.attic import broom
    return broom

def unused():
    return 0
""",
    "house/rooms/kitchen.py": """class Kitchen:
    def cook(self, n):
        return heat(n)

def heat(n):
    return n
""",
    "house/attic.py": "broom = 1\nbox = 2\nprint('open')\n",
    "house/cellar.py": "def wine():\n    return 7\n\ndef beer():\n    return 8\n",
    "house/types.py": "class Guest:\n    name: str\n",
}


def reached(folder, changed=None):
    """What `enter` reaches in the house, with some text of it replaced."""
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace(*changed[1:]) if changed and changed[0] == name else text)
    return Program(folder, ("house",)).reached(("house.door", "enter"))


def test_it_follows_names_over_modules_packages_and_imports_within_functions(tmp_path):
    named = {f"{module}.{name}" for module, name in reached(tmp_path) if name}
    assert named == {
        *("house.door.enter", "house.door.LIMIT", "house.rooms.kitchen.Kitchen", "house.rooms.kitchen.heat"),
        *("house.rooms.sweep", "house.attic.broom", "house.cellar.wine"),
    }


@pytest.mark.parametrize(
    "changed",
    [
        ("house/door.py", "LIMIT = 3", "LIMIT = 4"),
        ("house/rooms/kitchen.py", "return n", "return n + 1"),
        ("house/attic.py", "broom = 1", "broom = 2"),
        ("house/attic.py", "'open'", "'shut'"),
        ("house/cellar.py", "return 7", "return 6"),
    ],
)
def test_a_change_of_what_is_reached_is_seen(tmp_path, changed):
    assert reached(tmp_path) != reached(tmp_path, changed)


@pytest.mark.parametrize(
    "changed",
    [
        ("house/door.py", "Come in.", "Come in, please."),
        ("house/door.py", "LIMIT = 3", "# A limit.\nLIMIT = (3)"),
        ("house/door.py", "return unused()", "return 5"),
        ("house/attic.py", "box = 2", "box = 3"),
        ("house/cellar.py", "return 8", "return 9"),
        ("house/types.py", "name: str", "name: int"),
    ],
)
def test_a_change_of_anything_else_is_not(tmp_path, changed):
    assert reached(tmp_path) == reached(tmp_path, changed)


def wings(step):
    work = pipeline.RULES[step].does
    found = Program(resources.PACKAGE.parent).reached((work.__module__, work.__qualname__))
    return {module for module, _ in found}, FOLDERS in found


def test_every_exit_method_belongs_to_a_training_and_no_compiler_device_or_judge_does():
    modules, folders = wings("train")
    methods = ("trecx.learn.exits.trecx", "trecx.learn.exits.branchynet", "trecx.learn.exits.eenet")
    assert {*methods, "trecx.learn.loop", "mlperf_tiny.keyword_spotting"} <= modules and not folders
    assert not [m for m in modules if m.startswith(("trecx.device", "trecx.judge", "trecx.compiler.kernels"))]


def test_a_proof_depends_on_what_runs_the_programs():
    modules, _ = wings("verify")
    assert {"trecx.device.run", "trecx.device.qemu", "trecx.judge.reference", "trecx.decision.entropy"} <= modules
    assert not [m for m in modules if m.startswith("trecx.learn")]


def test_compiled_is_by_every_op_kernel_template_and_header():
    modules, folders = wings("compile")
    assert folders and {"trecx.compiler.ops.conv_2d", "trecx.compiler.kernels.mve.conv_2d"} <= modules
    assert not [m for m in modules if m.startswith("trecx.learn")]


def test_every_step_that_reads_data_depends_on_them():
    """Thresholds that were chosen on data which are no longer there must be chosen anew."""
    asked = ("trecx.steps.data", "data")
    starts = {name: (rule.does.__module__, rule.does.__qualname__) for name, rule in pipeline.RULES.items()}
    reading = {name for name, start in starts.items() if asked in Program(resources.PACKAGE.parent).reached(start)}
    # A report seems to, by the field `inputs` of a class, which is called like the function that reads them.
    assert {name for name, rule in pipeline.RULES.items() if rule.data} == reading - {"report"}


def test_every_step_has_a_digest_of_its_own():
    digests = {digest(rule.does) for rule in pipeline.RULES.values()}
    assert len(digests) == len(pipeline.RULES)

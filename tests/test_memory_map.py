"""The memory map: the plan as data, and its picture."""

import json
import struct
from dataclasses import asdict, replace
from xml.etree import ElementTree

import pytest
from PIL import Image
from test_plan import example

from trecx.compiler.memory_map import Block, MemoryMap, memory_map, problems
from trecx.compiler.plan import plan_memory
from trecx.documents import kept
from trecx.errors import ToolMissing, TrecxError
from trecx.judge import memory_map as picture

GRAPH = example((0,), scratch=8)
MAP = memory_map(GRAPH, plan_memory(GRAPH))


def test_the_map_has_every_step_and_every_block():
    ops = ["0 PLAIN", "1 PLAIN", "2 PLAIN"], ["3 PLAIN", "4 PLAIN"]
    assert MAP.steps == ("input", *ops[0], "exit e0", *ops[1], "exit e1")
    assert MAP.checks == (4, 7)
    assert (MAP.arena_size, MAP.lower_bound, MAP.optimize) == (440, 440, "time")
    found = {b.name: (b.kind, b.label, b.first, b.last, b.size) for b in MAP.blocks}
    assert found["t0"] == ("input", "64", 0, 1, 64)
    assert found["t1"] == ("tensor", "400", 1, 5, 400)
    assert found["t3"] == ("tensor", "12", 3, 4, 12)
    assert found["scratch of 3 PLAIN"] == ("scratch", "scratch", 5, 5, 8)
    assert len(found) == 11


def test_json_gives_the_map_back(tmp_path):
    (tmp_path / "plan.json").write_text(json.dumps(asdict(MAP)))
    assert kept(MemoryMap, tmp_path / "plan.json") == MAP


def test_what_is_shared_and_in_use_counts_each_byte_once():
    blocks = (
        Block("a", "a", "tensor", 0, 1, 4, 10),
        Block("b", "b", "tensor", 1, 2, 0, 8),
        Block("c", "c", "scratch", 1, 1, 14, 2),
    )
    drawn = MemoryMap(("input", "0 x", "1 y"), (), blocks, 16, 16, "time")
    assert list(picture.shared(drawn)) == [(1, 4, 8)]
    assert [picture.in_use(drawn, step) for step in range(3)] == [10, 16, 8]
    assert picture.peaks(drawn) == (1,)


def test_the_picture_shows_steps_checks_and_size_and_is_deterministic(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    first, second = (picture.draw(MAP, tmp_path / folder, "a network") for folder in ("a", "b"))
    assert [p.name for p in first] == ["memory.png", "memory.svg"]
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["memory.png", "memory.svg"]
    width, height = struct.unpack(">II", first[0].read_bytes()[16:24])
    assert width > 1000 and height > 600
    text = first[1].read_text()
    assert ElementTree.fromstring(text).tag.endswith("svg") and str(tmp_path) not in text
    for comment in (
        "a network",
        "3 plain",
        "exit e0",
        "arena of 440 bytes",
        "peak",
        "exit check",
        "output over its input",
    ):
        assert f"<!-- {comment}" in text


def test_a_moved_block_changes_the_picture(tmp_path):
    moved = replace(MAP, blocks=(*MAP.blocks[:-1], replace(MAP.blocks[-1], offset=100)))
    assert (
        picture.draw(MAP, tmp_path, "t", "a")[0].read_bytes() != picture.draw(moved, tmp_path, "t", "b")[0].read_bytes()
    )


def test_long_and_empty_names_can_be_drawn(tmp_path):
    steps = ("input", *(f"{k} {'X' * 300}$\\_{{$" for k in range(150)), "")
    blocks = (Block("$x$", "$\\frac{$", "tensor", 0, 151, 0, 64),)
    drawn = MemoryMap(steps, (151,), blocks, 64, 60, "ram")
    assert len(picture.draw(drawn, tmp_path, "$\\frac{$")) == 2


def test_a_missing_matplotlib_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(picture, "find_spec", lambda name: None)
    with pytest.raises(ToolMissing, match="needs matplotlib"):
        picture.draw(MAP, tmp_path, "t")


def test_a_long_title_fits(tmp_path):
    title = "kws_int8 on Cortex-M55 with vector extension, QEMU mps3-an547, and what not"
    png = picture.draw(MAP, tmp_path, title)[0]
    pixels = Image.open(png).convert("L")
    width = pixels.size[0]
    assert pixels.crop((width - 10, 0, width, 80)).getextrema() == (255, 255)
    assert pixels.crop((width - 160, 0, width, 80)).getextrema()[0] < 128


def test_every_step_with_the_peak_is_marked(tmp_path):
    steps = ("input", "0 a", "1 b", "2 c")
    blocks = (Block("a", "a", "tensor", 0, 0, 0, 8), Block("b", "b", "tensor", 1, 2, 0, 16))
    drawn = MemoryMap(steps, (), blocks, 16, 16, "time")
    assert picture.peaks(drawn) == (1, 2)
    assert "<!-- peak, 2 steps" in picture.draw(drawn, tmp_path, "t")[1].read_text()


BLOCK = MAP.blocks[1]
HUGE = 10**30


@pytest.mark.parametrize(
    "changes",
    [
        *({"arena_size": size} for size in (0, -1, 4, HUGE)),
        *({"lower_bound": bound} for bound in (-1, MAP.arena_size + 1)),
        *({"checks": (step,)} for step in (-1, len(MAP.steps), HUGE)),
        *({"steps": steps} for steps in ((), ("x",), ("x",) * 100_000)),
        {"blocks": (BLOCK,) * 100_000},
        {"blocks": (replace(BLOCK, first=0, last=7),) * 4_000},
        *(
            {"blocks": (replace(BLOCK, **wrong),)}
            for wrong in (
                *({"offset": n} for n in (-4, MAP.arena_size - BLOCK.size + 1, HUGE)),
                *({"size": n} for n in (0, -8, HUGE)),
                *({"first": n} for n in (-1, BLOCK.last + 1, HUGE)),
                *({"last": n} for n in (-1, len(MAP.steps), HUGE)),
                {"kind": "other"},
            )
        ),
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_damaged_plan_is_named(tmp_path, changes):
    with pytest.raises(TrecxError, match="memory plan of a network is damaged") as caught:
        picture.draw(replace(MAP, **changes), tmp_path, "a network")
    assert caught.value.hint == "Compile again." and len(str(caught.value)) < 5_000
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("optimize", ["time", "ram", "flash"])
def test_plans_have_no_problems(optimize):
    assert problems(memory_map(GRAPH, plan_memory(GRAPH, optimize=optimize))) == []

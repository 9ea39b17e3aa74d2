"""The task: its backbone's size, its splits, augmentation and cache."""

import os
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from speech import tone, write_corpus, write_runner, write_test_set, write_wav

import mlperf_tiny
from mlperf_tiny import IC, TASKS, VWW, augment, download, front_end, keyword_data, runner_files
from mlperf_tiny.keyword_data import PART_A, PART_B, in_fold, load
from mlperf_tiny.keyword_spotting import KWS
from mlperf_tiny.speech_commands import find_corpus, read_corpus, subfolders
from mlperf_tiny.task import DataError
from trecx.settings import Settings
from trecx.steps import data as data_step

DATA = os.environ.get("TRECX_DATA", "")


def official(tmp_path):
    write_corpus(tmp_path / "data" / "speech_commands_v0.02")
    write_test_set(tmp_path / "data" / "speech_commands_test_set_v0.02")
    return tmp_path / "data"


def with_parts(tmp_path):
    """Part A holds the features of the test set's clips 0..11, part B other ones."""
    folder = official(tmp_path)
    clips = np.stack([tone(1000 + 50 * label) for label in range(12)])
    features = front_end.quantize(front_end.mfcc(clips)).reshape(12, 490)
    speakers = [f"speaker{k}" for k in range(12)]
    write_runner(folder / "mlperf_tiny" / PART_A, features, range(12), speakers)
    write_runner(folder / "mlperf_tiny" / PART_B, features[:5] + 1, range(5), [f"other{k}" for k in range(5)])
    return folder


def test_backbone_has_the_references_parameters_and_macs():
    keras = pytest.importorskip("tf_keras")
    backbone = KWS.backbone(keras)
    model = keras.Model(backbone.input, backbone.head(backbone.features))
    assert model.count_params() == 24_908
    macs = 0
    for layer in model.layers:
        if layer.__class__.__name__ in ("Conv2D", "DepthwiseConv2D", "Dense"):
            kernel = int(np.prod(layer.get_weights()[0].shape))
            macs += kernel * int(np.prod(layer.output_shape[1:-1]))  # once per place of the output
    assert macs == 2_656_768
    assert list(backbone.taps) == ["conv1", "block1", "block2", "block3", "block4"]
    assert all(tuple(tap.shape[1:]) == (25, 5, 64) for tap in backbone.taps.values())
    assert model.output_shape == (None, 12)


def test_backbone_regularizes_convolution_kernels_only():
    keras = pytest.importorskip("tf_keras")
    backbone = KWS.backbone(keras)
    model = keras.Model(backbone.input, backbone.head(backbone.features))
    assert len(model.losses) == 9
    kernels = [
        layer.get_weights()[0] for layer in model.layers if layer.__class__.__name__ in ("Conv2D", "DepthwiseConv2D")
    ]
    expected = 1e-4 * sum(float((kernel**2).sum()) for kernel in kernels)
    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-4)


def test_importing_the_tasks_is_light():
    code = "import sys, mlperf_tiny; print(sorted(m for m in sys.modules if m in ('tensorflow', 'tf_keras', 'scipy')))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
    assert TASKS == (KWS, IC, VWW)


def test_classes_are_in_the_official_runners_order():
    assert ",".join(KWS.classes) == "Down,Go,Left,No,Off,On,Right,Stop,Up,Yes,Silence,Unknown"
    assert [keyword_data.label(word) for word in ("down", "yes", "_silence_", "_unknown_", "bed")] == [0, 9, 10, 11, 11]


def test_official_layout_gives_three_splits(tmp_path):
    data = load(official(tmp_path), copies=2, cache=tmp_path / "cache")
    assert np.unique(data.train.source, return_counts=True)[1].tolist() == [4, 12, 24]
    assert set(data.train.source) == {"background", "speech_commands_v0.02", "speech_commands_v0.02 augmented"}
    assert (data.train.y == 10).sum() == 4  # a tenth of 36
    assert data.validation.y.tolist() == [11, 3, 9]
    assert data.test.y.tolist() == [10, 11, *range(10)]
    assert data.test.description == "12 clips of the official test set"
    for split in (data.train, data.validation, data.test):
        assert split.x.dtype == np.float32
        assert split.y.dtype == np.int32
        assert split.x.shape == (len(split), *KWS.input_shape)
        assert len(split.source) == len(split)
        assert np.array_equal(split.x, front_end.dequantize(np.rint(split.x / front_end.SCALE) + front_end.ZERO_POINT))


def test_parts_of_the_test_set_follow_the_protocol(tmp_path):
    data = load(with_parts(tmp_path), copies=1, cache=tmp_path / "cache")
    assert data.test.description == "speaker-disjoint part of the official test set"
    assert len(data.test) == 5
    held_out = {k for k in range(12) if in_fold(f"speaker{k}")}  # speaker k says word k
    assert held_out == {2, 7, 10, 11}  # by digits 9 to 16; the first eight, which chose part A, would hold out 1
    assert set(data.validation.y[data.validation.source == PART_A]) == held_out
    assert set(data.train.y[data.train.source == PART_A]) == set(range(12)) - held_out


def test_audio_behind_part_a_is_augmented_and_held_out_clips_are_not(tmp_path):
    data = load(with_parts(tmp_path), copies=1, cache=tmp_path / "cache")
    of_a = data.train.source == PART_A
    copies = data.train.source == PART_A + " augmented"
    assert copies.sum() == keyword_data.PART_COPIES * of_a.sum()
    assert set(data.train.y[copies]) == set(data.train.y[of_a])
    plain = {x.tobytes() for x in data.train.x[of_a]}
    assert not plain & {x.tobytes() for x in data.train.x[copies]}


def test_audio_that_part_b_holds_too_is_never_trained_on(tmp_path):
    folder = with_parts(tmp_path)
    before = load(folder, copies=1, cache=tmp_path / "cache").train
    shared = int(before.y[before.source == PART_A][0])
    part_a, part_b = folder / "mlperf_tiny" / PART_A, folder / "mlperf_tiny" / PART_B
    same = (part_a / f"tst_{shared:06d}_{shared}.bin").read_bytes()
    (part_b / "tst_000000_0.bin").write_bytes(same)
    after = load(folder, copies=1, cache=tmp_path / "cache").train
    assert shared in before.y[before.source == PART_A + " augmented"]
    assert shared not in after.y[after.source == PART_A + " augmented"]


def test_parts_with_a_common_speaker_are_refused(tmp_path):
    folder = with_parts(tmp_path)
    speakers = folder / "mlperf_tiny" / PART_B / "speakers.csv"
    speakers.write_text(speakers.read_text().replace("other3", "speaker3"))
    with pytest.raises(DataError, match="speaker3"):
        load(folder, cache=tmp_path / "cache")


def test_parts_alone_are_enough(tmp_path):
    folder = with_parts(tmp_path) / "mlperf_tiny"
    alone = tmp_path / "alone"
    folder.rename(alone)
    data = load(alone, cache=tmp_path / "cache")
    assert len(data.train) + len(data.validation) == 12
    assert len(data.test) == 5


def test_a_corpus_folder_finds_the_test_set_beside_it(tmp_path):
    folder = official(tmp_path)
    whole = load(folder, cache=tmp_path / "cache")
    assert load(folder / "speech_commands_v0.02", cache=tmp_path / "cache").sources == whole.sources


def test_second_load_comes_from_the_cache_and_is_equal(tmp_path, monkeypatch):
    folder, cache = official(tmp_path), tmp_path / "cache"
    first = load(folder, cache=cache)
    monkeypatch.setattr(front_end, "mfcc", lambda clips: pytest.fail("features were made again"))
    steps = []
    second = load(folder, lambda done, total: steps.append((done, total)), cache=cache)
    assert np.array_equal(first.train.x, second.train.x)
    assert first.sources == second.sources
    assert steps[-1][0] == steps[-1][1]


def test_progress_ends_at_its_total_and_never_falls(tmp_path):
    steps = []
    load(with_parts(tmp_path), lambda done, total: steps.append((done, total)), cache=tmp_path / "cache")
    done = [step[0] for step in steps]
    assert done == sorted(done)
    assert steps[-1][0] == steps[-1][1]
    assert len({total for _, total in steps}) == 1


def test_a_changed_recording_is_read_again(tmp_path):
    folder, cache = official(tmp_path), tmp_path / "cache"
    first = load(folder, cache=cache)
    write_wav(folder / "speech_commands_v0.02" / "yes" / "00000003_nohash_0.wav", tone(77, 12_000))
    assert load(folder, cache=cache).sources["train"] != first.sources["train"]


def test_a_damaged_cache_is_made_again(tmp_path):
    folder, cache = official(tmp_path), tmp_path / "cache"
    first = load(folder, cache=cache)
    for file in cache.iterdir():
        file.write_bytes(file.read_bytes()[:100])
    assert load(folder, cache=cache).sources == first.sources


def test_a_cache_that_cannot_be_written_does_no_harm(tmp_path):
    (tmp_path / "cache").write_text("a file, not a folder")
    assert len(load(official(tmp_path), cache=tmp_path / "cache").test) == 12


def test_equal_seeds_give_equal_samples_and_others_do_not(tmp_path):
    folder = official(tmp_path)
    first = load(folder, cache=tmp_path / "1").sources
    assert load(folder, cache=tmp_path / "2").sources == first
    other = load(folder, cache=tmp_path / "2", seed=1).sources
    assert other["train"] != first["train"]
    assert other["test"] == first["test"]


def test_augmented_clips_differ_from_each_other_and_stay_in_range():
    noise = [np.random.default_rng(0).normal(0, 3000, 40_000).astype(np.int16)]
    clips = [augment.perturb(tone(1), noise, augment.generator(1, "yes/a.wav", copy)) for copy in range(20)]
    assert len({clip.tobytes() for clip in clips}) == 20
    assert all(clip.shape == (16_000,) and 0.2 < np.abs(clip).max() < 1.5 for clip in clips)


def test_held_out_silence_shares_nothing_with_training():
    recording = np.arange(-30_000, 30_000).astype(np.int16).repeat(4)  # its level tells the place
    last = recording[int(0.85 * len(recording)) :].min()
    held_out = augment.silence(40, [recording], 1, held_out=True)
    assert (held_out.max(axis=1) / last).max() > 0.9
    assert (held_out >= 0).all()
    loudest = augment.silence(200, [recording], 1, held_out=False).max()
    assert 0.5 * last < loudest < last


@pytest.mark.parametrize("kind", ["missing", "empty", "file"])
def test_a_folder_without_data_is_refused_with_a_hint(tmp_path, kind):
    folder = tmp_path / "nothing"
    if kind == "empty":
        folder.mkdir()
    elif kind == "file":
        folder.write_text("x")
    with pytest.raises(DataError) as error:
        load(folder, cache=tmp_path / "cache")
    assert "nothing" in error.value.problems[0]
    assert "speech_commands_v0.02" in error.value.hint or kind != "empty"


def test_unusable_recordings_of_all_splits_are_named_at_once(tmp_path):
    folder = official(tmp_path)
    corpus = folder / "speech_commands_v0.02"
    bad = [
        corpus / "_background_noise_" / "noise1.wav",
        corpus / "yes" / "00000000_nohash_0.wav",
        corpus / "yes" / "00000004_nohash_0.wav",
        folder / "speech_commands_test_set_v0.02" / "up" / "00002328_nohash_0.wav",
    ]
    for path in bad:
        assert path.exists()
        path.write_bytes(b"RIFF")
    cache = tmp_path / "cache"
    with pytest.raises(DataError) as error:
        load(folder, cache=cache)
    assert len(error.value.problems) == len(bad)
    assert all(str(path) in str(error.value) for path in bad)
    assert not list(cache.glob("*")) if cache.exists() else True


def test_problems_of_all_folders_come_at_once(tmp_path):
    folder = with_parts(tmp_path)
    (folder / "speech_commands_v0.02" / "validation_list.txt").unlink()
    (folder / "mlperf_tiny" / PART_A / "tst_000003_3.bin").write_bytes(b"short")
    with pytest.raises(DataError) as error:
        load(folder, cache=tmp_path / "cache")
    assert "validation_list.txt" in str(error.value)
    assert "5 bytes, expected 490" in str(error.value)


def runner_only(folder, *names):
    """Runner folders of 3, 4, ... inputs."""
    for k, name in enumerate(names, 3):
        write_runner(folder / name, np.full((k, 490), k), range(k))
    return folder


def assert_only_the_test_is_there(data):
    for split in (data.train, data.validation):
        assert len(split) == len(split.source) == 0
        assert split.x.shape == (0, *KWS.input_shape)
        assert (split.x.dtype, split.y.dtype) == (np.float32, np.int32)
    assert list(data.sources) == ["test"]


@pytest.mark.parametrize("make", [official, with_parts])
def test_judging_takes_the_same_test_and_makes_nothing_else(tmp_path, monkeypatch, make):
    folder = make(tmp_path)
    whole = load(folder, copies=0, cache=tmp_path / "1")
    made = []
    mfcc = front_end.mfcc
    monkeypatch.setattr(front_end, "mfcc", lambda clips: made.append(len(clips)) or mfcc(clips))
    steps = []
    data = load(folder, lambda done, total: steps.append((done, total)), cache=tmp_path / "2", training=False)
    assert_only_the_test_is_there(data)
    assert data.sources["test"] == whole.sources["test"]
    assert data.test.description == whole.test.description
    assert np.array_equal(data.test.x, whole.test.x)
    assert sum(made) == (12 if make is official else 0)
    assert not steps or steps[-1] == (12, 12)


def test_judging_needs_no_corpus(tmp_path):
    folder = tmp_path / "only"
    write_test_set(folder / "speech_commands_test_set_v0.02")
    data = load(folder, cache=tmp_path / "cache", training=False)
    assert_only_the_test_is_there(data)
    assert len(data.test) == 12
    with pytest.raises(DataError, match="no training clips"):
        load(folder, cache=tmp_path / "cache")


@pytest.mark.parametrize("below", ["", "mlperf_tiny"])
@pytest.mark.parametrize(
    ("names", "count", "description"),
    [
        (("kws01",), 3, "MLPerf Tiny's kws01 inputs"),
        (("mine",), 3, "mine"),
        (("mine", "kws01"), 4, "MLPerf Tiny's kws01 inputs"),
        (("kws01", PART_B), 4, "speaker-disjoint part of the official test set"),
    ],
)
def test_runner_files_are_enough_for_judging(tmp_path, below, names, count, description):
    runner_only(tmp_path / "data" / below, *names)
    data = load(tmp_path / "data", cache=tmp_path / "cache", training=False)
    assert_only_the_test_is_there(data)
    assert data.test.description == description
    assert data.test.y.tolist() == list(range(count))
    with pytest.raises(DataError):
        load(tmp_path / "data", cache=tmp_path / "cache")


def test_the_official_test_set_comes_before_kws01(tmp_path):
    folder = official(tmp_path)
    runner_only(folder / "mlperf_tiny", "kws01")
    data = load(folder, cache=tmp_path / "cache", training=False)
    assert data.test.description == "12 clips of the official test set"


def test_a_runner_folder_can_be_named_itself(tmp_path):
    folder = runner_only(tmp_path / "mlperf_tiny", "mine", "kws01", PART_B)
    data = load(folder / "mine", cache=tmp_path / "cache", training=False)
    assert_only_the_test_is_there(data)
    assert (data.test.description, len(data.test)) == ("mine", 3)
    assert load(folder / "kws01", training=False).test.description == "MLPerf Tiny's kws01 inputs"


def test_a_test_that_cannot_be_told_is_refused(tmp_path):
    folder = runner_only(tmp_path, "mine", "yours")
    with pytest.raises(DataError, match="mine, yours") as error:
        load(folder, training=False)
    assert "Name one" in error.value.hint
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="nothing to judge on"):
        load(tmp_path / "empty", training=False)


def settings(**changes):
    return replace(Settings("kws", "kws"), **changes)


def test_a_run_that_does_not_train_asks_for_the_test_only(tmp_path, monkeypatch):
    asked = []

    def read(folder, progress, training):
        asked.append(training)
        return folder

    monkeypatch.setattr(data_step, "_held", {})
    monkeypatch.setattr(mlperf_tiny, "TASKS", (replace(KWS, load=read),))
    step = SimpleNamespace(progress=lambda about: nullcontext(lambda done, total: None))
    for train in (False, False, True):
        assert data_step.data(settings(data=str(tmp_path), train=train), step) == tmp_path
    assert asked == [False, True]


def test_data_that_appears_in_a_usual_place_makes_a_training_run_again(tmp_path, monkeypatch):
    places = (tmp_path / "missing", tmp_path / "here", tmp_path / "here")
    monkeypatch.setattr(download, "usual_places", lambda: places)
    nothing = data_step.identity(settings(train=True))
    seen = {nothing}
    for name in ("here/a.wav", "here/deep/b.wav", "missing/a.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"sound")
        seen.add(data_step.identity(settings(train=True)))
        assert data_step.identity(settings()) == nothing
    assert len(seen) == 4


@pytest.mark.skipif(not DATA, reason="TRECX_DATA names no folder with the official data")
def test_real_splits_share_no_speaker(tmp_path):
    root = Path(DATA)
    if not (root / "mlperf_tiny" / PART_A).is_dir():
        pytest.skip("TRECX_DATA holds no parts of the test set")
    data = load(root, copies=0, cache=tmp_path / "cache")
    corpus = read_corpus(find_corpus(subfolders(root)))
    part_a, part_b = (runner_files.read(root / "mlperf_tiny" / name, 490, 12) for name in (PART_A, PART_B))
    held_out = {speaker for speaker in part_a.speakers if in_fold(speaker)}
    trained = {clip.speaker for clip in corpus.train} | set(part_a.speakers) - held_out
    validated = {clip.speaker for clip in corpus.validation} | held_out
    judged = set(part_b.speakers)
    assert not (trained & judged or validated & judged or trained & validated) - {""}
    rows = [sum(speaker in held_out for speaker in part_a.speakers), len(corpus.validation)]
    found = dict(zip(*np.unique(data.validation.source, return_counts=True), strict=True))
    assert [found[PART_A], found[corpus.root.name]] == rows
    assert len(data.test) == len(part_b) == 2_874
    assert 0.25 <= sum("sil" not in speaker for speaker in held_out) / 93 <= 0.3

"""Training on a few random samples: what follows the seed, what survives an interruption, what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tf_keras")

from interruptions import Stop, quietly, stopping_at, weights_of
from tiny_task import ATTACHMENT, CLASSES, DATA, METHOD, TASK

from mlperf_tiny import KWS
from mlperf_tiny.task import Split
from trecx.errors import TrecxError
from trecx.learn import weights
from trecx.learn.batches import batches, probabilities, shifted
from trecx.learn.exits.losses import weighted
from trecx.learn.exits.trecx import FILTER, VIEW, TRecX, copied_epochs
from trecx.learn.keras import keras, save
from trecx.learn.loop import Checkpoints, Stage, fit, learning_rate, logits_model
from trecx.learn.settings import TrainSettings, settings_for
from trecx.learn.train import attach, plain, train, train_backbone

SHORT = TrainSettings(
    backbone_epochs=2,
    epochs=3,
    steps_per_epoch=2,
    batch=8,
    distillation=0.5,
    time_shift=2,
    mixup=0.3,
    class_balance=0.5,
    source_weights=(("b", 2.0),),
    schedule="cosine",
    release=0.67,
)


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    train(TASK, DATA, METHOD, SHORT, folder, quietly)
    return folder


def test_a_run_leaves_models_history_and_scores_and_no_checkpoint(whole_run):
    found = sorted(path.name for path in whole_run.iterdir())
    assert found == ["backbone.keras", "float_scores.npz", "history.json", "model.keras"]
    history = json.loads((whole_run / "history.json").read_text())
    assert [len(history[stage]) for stage in ("backbone", "joint")] == [2, 3]
    assert "validation_early_b" in history["joint"][0]
    assert "test" not in (whole_run / "history.json").read_text()  # judged later, once
    with np.load(whole_run / "float_scores.npz") as scores:
        for name in ("early", "final", "backbone"):
            assert scores[f"test_{name}"].shape == (10, CLASSES)
            np.testing.assert_allclose(scores[f"validation_{name}"].sum(-1), 1, atol=1e-5)  # float32 rounding
        assert np.array_equal(scores["test_labels"], DATA.test.y)


# Steps 1 to 4 belong to the backbone, 5 to 10 to the joint stage; the copied filter is released after step 8.
@pytest.mark.parametrize("step", [3, 7, 9])
def test_an_interrupted_run_ends_bit_equal_to_an_uninterrupted_one(whole_run, tmp_path, step):
    with pytest.raises(Stop):
        train(TASK, DATA, METHOD, SHORT, tmp_path, stopping_at(step))
    assert not (tmp_path / "model.keras").exists()
    assert list(tmp_path.glob("checkpoint-*.npz"))
    seen = []
    train(TASK, DATA, METHOD, SHORT, tmp_path, lambda done, total: seen.append(done))
    assert step - 1 in seen or step - 2 in seen  # epochs already done are not done again
    assert 1 not in seen
    assert all(np.array_equal(a, b) for a, b in zip(weights_of(whole_run), weights_of(tmp_path), strict=True))
    with np.load(whole_run / "float_scores.npz") as a, np.load(tmp_path / "float_scores.npz") as b:
        assert all(np.array_equal(a[name], b[name]) for name in a.files)
    assert (whole_run / "history.json").read_bytes() == (tmp_path / "history.json").read_bytes()


def test_a_checkpoint_of_other_settings_is_not_continued(tmp_path):
    with pytest.raises(Stop):
        train(TASK, DATA, METHOD, SHORT, tmp_path, stopping_at(3))
    seen = []
    with pytest.raises(Stop):
        other = stopping_at(2)
        train(TASK, DATA, METHOD, replace(SHORT, seed=2), tmp_path, lambda d, t: (seen.append(d), other(d, t)))
    assert seen == [0, 1, 2]


def test_filters_are_copied_for_as_long_as_the_recipe_says():
    assert copied_epochs(TrainSettings()) == 30  # T-RecX: epochs 0 to 29 of 36, the last 6 are free
    assert copied_epochs(settings_for(KWS, None)) == 30
    distilled = settings_for(KWS, Path("weights"))
    assert (distilled.release, copied_epochs(distilled)) == (0.9, 22)


def test_the_view_carries_the_early_filter_until_its_release(tmp_path):
    def filters(release: float):
        folder = tmp_path / str(release)
        settings = replace(SHORT, weights=reference, release=release, epochs=2)
        train(TASK, DATA, METHOD, settings, folder, quietly)
        model = keras().models.load_model(folder / "model.keras", compile=False)
        return [model.get_layer(name).get_weights() for name in (FILTER, VIEW)]

    reference = tmp_path / "reference.h5"
    save(plain(TASK), reference)
    own, view = filters(1.0)
    assert all(np.array_equal(a, b) for a, b in zip(own, view, strict=True))
    own, view = filters(0.5)
    assert not np.array_equal(own[0], view[0])
    # One free epoch of two steps at 5e-4 or less cannot carry weights of order 0.1 far from where they were copied.
    assert np.linalg.norm(own[0] - view[0]) < 0.1 * np.linalg.norm(own[0])


def test_reference_weights_load_exactly_from_every_kind(tmp_path):
    model, x = plain(TASK), DATA.test.x
    expected = model.predict(x, verbose=0)
    for name in ("saved", "model.h5", "model.keras"):
        model.save(tmp_path / name)
        other = plain(TASK)
        weights.load_into(other, tmp_path / name)
        assert np.array_equal(other.predict(x, verbose=0), expected)


def test_wrong_reference_weights_are_refused_with_a_reason(tmp_path):
    layers = keras().layers
    image = keras().Input(TASK.input_shape)
    save(keras().Model(image, layers.Dense(3)(layers.Flatten()(image))), tmp_path / "other.h5")
    (tmp_path / "corrupt.h5").write_bytes(b"\x89HDF nonsense")
    (tmp_path / "empty").mkdir()
    (tmp_path / "weights.bin").write_bytes(b"")
    cases = {
        "other.h5": "layers with weights",
        "corrupt.h5": "cannot be read as a Keras model",
        "empty": "no saved_model.pb",
        "weights.bin": "neither",
        "absent.h5": "There is no",
    }
    for name, reason in cases.items():
        with pytest.raises(TrecxError, match=reason) as refusal:
            weights.load_into(plain(TASK), tmp_path / name)
        assert refusal.value.hint


def test_settings_out_of_range_are_all_reported_at_once():
    with pytest.raises(TrecxError) as refusal:
        TrainSettings(batch=0, release=1.5, learning_rate=float("nan"), schedule="none", source_weights=(("a", -1.0),))
    told = "\n".join(refusal.value.problems)
    assert [word in told for word in ("batch", "release", "learning_rate", "schedule", "'a'")] == [True] * 5


def test_the_recipe_follows_from_whether_there_are_reference_weights(tmp_path):
    assert settings_for(KWS, None, (("a", 2.0),), seed=7).seed == 7
    distilled = settings_for(KWS, tmp_path, (("a", 2.0),))
    assert distilled.distillation > 0.5
    assert distilled.source_weights == (("a", 2.0),)


def test_data_of_another_shape_and_weights_that_leave_nothing_are_refused(tmp_path):
    narrow = replace(DATA.train, x=DATA.train.x[:, :, :5])
    with pytest.raises(TrecxError, match="have shape"):
        train(TASK, replace(DATA, train=narrow), METHOD, SHORT, tmp_path, quietly)
    with pytest.raises(TrecxError, match="no training sample"):
        train(TASK, DATA, METHOD, replace(SHORT, source_weights=(("a", 0.0), ("b", 0.0))), tmp_path, quietly)
    assert not list(tmp_path.iterdir())


def test_classes_are_drawn_by_the_root_of_their_count():
    y = np.repeat([0, 1], [400, 100]).astype(np.int32)
    chance = probabilities(Split("t", "", np.zeros((500, 1)), y), TrainSettings(class_balance=0.5))
    # Here and below np.isclose and assert_allclose at their defaults: only the rounding of float64 is allowed for.
    assert np.isclose(chance[y == 0].sum() / chance[y == 1].sum(), 2.0)
    chance = probabilities(Split("t", "", np.zeros((500, 1)), y), TrainSettings(class_balance=1.0))
    assert np.isclose(chance[y == 0].sum(), 0.5)


def test_sources_are_drawn_by_their_weights():
    chance = probabilities(DATA.train, TrainSettings(source_weights=(("a", 3.0), ("nowhere", 9.0))))
    one, other = chance[DATA.train.source == "a"], chance[DATA.train.source == "b"]
    np.testing.assert_allclose(one, 3 * other[0])


def test_an_epoch_without_weights_sees_every_sample_once():
    settings = TrainSettings(batch=8)
    seen = [x for x, _ in batches(DATA.train, CLASSES, settings, (0, 0))]
    found = np.sort(np.concatenate(seen)[:, 0, 0, 0])
    assert np.array_equal(found, np.sort(DATA.train.x[:, 0, 0, 0]))
    again = [x for x, _ in batches(DATA.train, CLASSES, settings, (0, 1))]
    assert not np.array_equal(seen[0], again[0])


def test_mixing_keeps_the_larger_share_and_mixes_labels_alike():
    settings = TrainSettings(batch=40, mixup=0.4)
    ((x, target),) = batches(DATA.train, CLASSES, settings, (0, 0))
    ((plain, hard),) = batches(DATA.train, CLASSES, replace(settings, mixup=0.0), (0, 0))
    np.testing.assert_allclose(target.sum(-1), 1, atol=1e-6)  # float32 rounding of two shares
    assert np.array_equal(target.argmax(-1), hard.argmax(-1))
    # At least the 0.6 that mixup leaves; one of 40 uniform shares up to 0.4 is above 0.05 beyond doubt.
    assert 0.6 <= target.max(-1).min() < 0.95
    assert np.any(x != plain)


def test_time_shift_moves_frames_and_repeats_the_edge():
    x = np.arange(5, dtype=np.float32).reshape(1, 5, 1).repeat(3, 0)
    moved = shifted(x, np.array([2, 0, -1]))[..., 0]
    assert moved.tolist() == [[0, 0, 0, 1, 2], [0, 1, 2, 3, 4], [1, 2, 3, 4, 4]]


def test_learning_rates_follow_the_recipe():
    settings = TrainSettings()
    rates = [learning_rate(settings, epoch, 36, 0, 10) for epoch in (0, 11, 12, 23, 24, 35)]
    # The default tolerance: 0.2 ** k is not exact in binary.
    np.testing.assert_allclose(rates, [5e-4, 5e-4, 1e-4, 1e-4, 2e-5, 2e-5])
    cosine = replace(settings, schedule="cosine")
    assert np.isclose(learning_rate(cosine, 18, 36, 0, 10), 2.5e-4)
    decay = replace(settings, schedule="decay", learning_rate=1e-3)
    np.testing.assert_allclose(
        [learning_rate(decay, e, 500, 0, 10) for e in (0, 1, 100)], [1e-3, 9.9e-4, 3.66e-4], 1e-3
    )


def test_a_frozen_backbone_keeps_every_weight_and_only_the_exit_learns(whole_run, tmp_path):
    alone = replace(ATTACHMENT, view=None)
    settings = replace(SHORT, weights=whole_run / "backbone.keras", frozen=True)
    train(TASK, DATA, TRecX(alone), settings, tmp_path, quietly)
    before, after = (
        {w.name: w.numpy() for w in keras().models.load_model(path, compile=False).weights}
        for path in (whole_run / "backbone.keras", tmp_path / "model.keras")
    )
    assert all(np.array_equal(value, after[name]) for name, value in before.items())
    with np.load(tmp_path / "float_scores.npz") as scores:
        assert np.array_equal(scores["test_final"], scores["test_backbone"])
    told = json.loads((tmp_path / "history.json").read_text())["joint"]
    assert [name for name in told[0] if name.startswith("loss_")] == ["loss_early"]
    assert "validation_final" in told[0]
    fresh = attach(TASK, TRecX(alone), keras().models.load_model(whole_run / "backbone.keras", compile=False))
    assert not np.array_equal(fresh.get_layer(FILTER).get_weights()[0], after[f"{FILTER}/depthwise_kernel:0"])


def test_a_teacher_changes_the_training_of_backbone_and_exits(whole_run, tmp_path):
    teacher = whole_run / "backbone.keras"
    for name, given in (("alone", None), ("taught", teacher)):
        train_backbone(TASK, DATA, replace(SHORT, teacher=given, epochs=1), tmp_path / name, quietly)
        train(TASK, DATA, METHOD, replace(SHORT, weights=teacher, teacher=given, epochs=1), tmp_path / name, quietly)
    alone, taught = ({w.name: w.numpy() for w in backbone_of(tmp_path / name).weights} for name in ("alone", "taught"))
    assert all(np.array_equal(alone[name], taught[name]) for name in alone)  # `train` starts from the same weights
    histories = [json.loads((tmp_path / name / "history.json").read_text()) for name in ("alone", "taught")]
    assert histories[0]["settings"]["teacher"] is None
    assert histories[1]["settings"]["teacher"] == "backbone.keras"


def test_soft_targets_count_as_much_at_every_temperature(tmp_path):
    """Hinton, Vinyals and Dean (arXiv:1503.02531): gradients of soft targets shrink with the squared temperature."""
    heat, share = 3.0, 0.7
    settings = replace(SHORT, distillation=share, temperature=heat, mixup=0.0, time_shift=0)
    settings = replace(settings, batch=40, steps_per_epoch=None, class_balance=0.0, source_weights=())
    student, teacher = linear(1), linear(2)
    logits, scores = (logits_model(model, ("final",))(DATA.train.x).numpy() for model in (student, teacher))
    stage = Stage("backbone", 0, student, ("final",), weighted(("final",), (1.0,), settings), 1, teacher=teacher)
    assert len(list(batches(DATA.train, CLASSES, settings, (0, 0)))) == 1  # whose loss is told before the step
    checkpoints = Checkpoints(tmp_path / "checkpoint.npz", "")
    (record,) = fit(stage, DATA.train, settings, checkpoints, dict, quietly)

    def cross_entropy(wanted, found):
        shifted = found - found.max(-1, keepdims=True)
        return -(wanted * (shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))).sum(-1).mean()

    hot = np.exp((scores - scores.max(-1, keepdims=True)) / heat)
    soft = heat**2 * cross_entropy(hot / hot.sum(-1, keepdims=True), logits / heat)
    hard = cross_entropy(np.eye(CLASSES)[DATA.train.y], logits)
    # float32 against float64; without the factor the soft part would be a ninth.
    assert record["loss_final"] == pytest.approx((1 - share) * hard + share * soft, rel=1e-4)


def linear(seed: int):
    """A model of one layer on inputs scaled to about 1, with weights from a seed."""
    image = keras().Input(TASK.input_shape)
    x = keras().layers.Rescaling(0.05)(image)
    initial = keras().initializers.RandomNormal(0, 0.1, seed=seed)
    logits = keras().layers.Dense(CLASSES, kernel_initializer=initial)(keras().layers.Flatten()(x))
    return keras().Model(image, keras().layers.Softmax(name="final")(logits))


def backbone_of(folder):
    return keras().models.load_model(folder / "backbone.keras", compile=False)


def test_the_backbone_alone_is_the_one_that_a_whole_training_begins_with(whole_run, tmp_path):
    with pytest.raises(Stop):
        train_backbone(TASK, DATA, SHORT, tmp_path, stopping_at(3))
    assert not (tmp_path / "backbone.keras").exists()
    seen = []
    train_backbone(TASK, DATA, SHORT, tmp_path, lambda done, total: seen.append(done))
    assert seen[0] == 2  # the first epoch is not done again
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backbone.keras", "history.json"]
    for a, b in zip(backbone_of(whole_run).get_weights(), backbone_of(tmp_path).get_weights(), strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("suffix", [".h5", ".keras", ""])
def test_a_model_with_code_inside_is_refused_before_the_code_can_run(tmp_path, suffix):
    x = image = keras().Input((4,))
    marker = tmp_path / "ran"
    x = keras().layers.Lambda(lambda v, ran=str(marker): (__import__("pathlib").Path(ran).touch(), v)[1])(x)
    path = tmp_path / f"model{suffix}"
    keras().Model(image, keras().layers.Dense(2)(x)).save(path)
    marker.unlink()  # it ran when it was made
    with pytest.raises(TrecxError, match="Lambda layer: Python code inside the file"):
        weights.read(path)
    assert not marker.exists()

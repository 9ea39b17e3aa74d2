"""Losses that methods share: cross-entropy on labels and on a teacher's scores, and sums of it over exits."""

from collections.abc import Callable
from typing import Any

from trecx.learn.exits.method import Loss
from trecx.learn.keras import tensorflow
from trecx.learn.settings import TrainSettings


def cross_entropy(settings: TrainSettings) -> Callable[[Any, Any, Any], Any]:
    """The mean cross-entropy of (logits, labels, a teacher's scores or None), as the settings mix the two targets.

    Gradients of soft targets shrink with the squared temperature, which is made up for.
    """
    tf, heat, share = tensorflow(), settings.temperature, settings.distillation

    def mean(target: Any, logits: Any) -> Any:
        return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(target, logits))

    def loss(logits: Any, target: Any, teacher: Any) -> Any:
        if teacher is None or not share:
            return mean(target, logits)
        soft = tf.nn.softmax(tf.math.log(tf.maximum(teacher, 1e-30)) / heat)
        return (1 - share) * mean(target, logits) + share * (heat * heat * mean(soft, logits / heat))

    return loss


def weighted(exits: tuple[str, ...], weights: tuple[float, ...], settings: TrainSettings) -> Loss:
    """The sum of the exits' cross-entropies with these weights."""
    tf, one = tensorflow(), cross_entropy(settings)

    def of(outputs: dict[str, Any], target: Any, teacher: Any, _: Any) -> tuple[Any, list[Any]]:
        parts = [one(outputs[name], target, teacher) for name in exits]
        return tf.add_n([weight * part for weight, part in zip(weights, parts, strict=True)]), parts

    return Loss(exits, of)

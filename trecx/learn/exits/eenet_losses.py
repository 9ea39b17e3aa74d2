"""The losses of EENet's authors by their names: what exits with gates are trained by after their cross-entropies.

From their code. With CE_n the cross-entropy of exit n, c_n the cost of leaving there, g_n its gate, lambda the price:

- v1: the mixture from the first exit on (`mixture.py`).
- v2: the sum of the mixtures that begin at each exit, the last too, so that late exits learn from all samples.
- v3: the sum of w_n (CE_n + lambda c_n), w_n the batch's mean gates, normalised to the sum 1. The authors let a sample
  leave where its gate is above 1/N. Every sample pulls at a gate alike, so what tells samples apart comes of the gates'
  prior alone.
- v4: each sample is tagged with the exit of the least CE_n + lambda c_n; the loss is that of its exit, and for each
  gate the cross-entropy of "this is my exit", weighted by the rate of the opposite answer.

The last exit's gate is 1, and has nothing to learn. The authors keep tags for an epoch; here they are those of the
moment, which need no memory.
"""

from collections.abc import Callable, Sequence
from typing import Any

from trecx.learn.exits.method import Loss
from trecx.learn.exits.mixture import wanted
from trecx.learn.keras import tensorflow
from trecx.learn.settings import TrainSettings


def normalised(
    exits: Sequence[str], gate: Callable[[str], str], costs: Sequence[float], price: float, settings: TrainSettings
) -> Loss:
    """The loss v3, of logits and gates by output name."""
    tf = tensorflow()

    def of(outputs: dict[str, Any], target: Any, teacher: Any, _: Any) -> tuple[Any, list[Any]]:
        errors = tf.reduce_mean(_errors(outputs, exits, wanted(target, teacher, settings)), axis=0)
        shares = gate_shares([outputs[gate(name)] for name in exits[:-1]])
        error, cost = tf.reduce_sum(shares * errors), tf.reduce_sum(shares * tf.constant(costs, tf.float32))
        return error + price * cost, [error, cost]

    return Loss(("error", "cost"), of)


def gate_shares(logits: Sequence[Any]) -> Any:
    """What each exit counts `(exits,)` by the gates' logits `(b, 1)` of all but the last, whose gate is 1."""
    tf = tensorflow()
    means = tf.stack([*(tf.reduce_mean(tf.sigmoid(one)) for one in logits), tf.constant(1.0)])
    return means / tf.reduce_sum(means)


def tagged(
    exits: Sequence[str], gate: Callable[[str], str], costs: Sequence[float], price: float, settings: TrainSettings
) -> Loss:
    """The loss v4, of logits and gates by output name."""
    tf = tensorflow()

    def of(outputs: dict[str, Any], target: Any, teacher: Any, _: Any) -> tuple[Any, list[Any]]:
        errors = _errors(outputs, exits, wanted(target, teacher, settings))
        tags = tf.argmin(errors + price * tf.constant(costs, tf.float32), axis=-1)
        chosen = tf.one_hot(tags, len(exits))
        error = tf.reduce_mean(tf.reduce_sum(chosen * errors, axis=-1))
        cost = tf.reduce_mean(tf.linalg.matvec(chosen, tf.constant(costs, tf.float32)))
        gates = tf.add_n([opposed(outputs[gate(name)][:, 0], chosen[:, k]) for k, name in enumerate(exits[:-1])])
        return error + price * cost + gates, [error, cost, gates]

    return Loss(("error", "cost", "gates"), of)


def opposed(logits: Any, truth: Any) -> Any:
    """Mean binary cross-entropy of logits `(b,)` with truth `(b,)`, each weighted by the rate of the other answer."""
    tf = tensorflow()
    rate = tf.reduce_mean(truth)
    weights = truth * (1 - rate) + (1 - truth) * rate
    return tf.reduce_mean(weights * tf.nn.sigmoid_cross_entropy_with_logits(truth, logits))


def _errors(outputs: dict[str, Any], exits: Sequence[str], target: Any) -> Any:
    """The cross-entropy of every sample at every exit, `(b, exits)`."""
    tf = tensorflow()
    return tf.stack([tf.nn.softmax_cross_entropy_with_logits(target, outputs[name]) for name in exits], axis=-1)

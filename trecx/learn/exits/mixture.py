"""The mathematics of exits that learned gates choose between, as in stick-breaking; methods with gates share it.

With gates g_n in (0, 1) a sample leaves at exit n with probability g_n * prod over k < n of (1 - g_k), and at the last
one otherwise. What is expected of it, its scores Y or its cost C, is a recursion from the end:

    Y_N = y_N,   Y_n = g_n y_n + (1 - g_n) Y_(n+1)

Scores are mixed, never logits. The loss is -ln Y_1[t] + lambda mean C_1 (t the true class). For one early exit and
a = lambda (c_N - c_1) the best gate is 1 where y_N[t] - y_1[t] <= a y_1[t], 0 where it is >= a y_N[t], and between
them mixes to Y[t] = (y_N[t] - y_1[t]) / a. So from a = 1 on it is never 0, but at least 1 - 1 / a.

In place of a price there may be a budget B for the mean cost, at max(0, mean C_1 - B) / (c_N - B): nothing within it,
and above it more than any price that leaves gates room to shut. Source: M. Gambella, J. Pomponi, S. Scardapane and M.
Roveri, "NACHOS: Neural Architecture Search for Hardware Constrained Early Exit Neural Networks", arXiv:2401.13330; in
the authors' code this term has no gradient.
"""

from collections.abc import Callable, Sequence
from typing import Any

from trecx.learn.exits.method import Loss
from trecx.learn.keras import tensorflow
from trecx.learn.settings import TrainSettings

LEAST = 1e-7  # scores below it count as this in logarithms


def mixtures(gates: Sequence[Any], values: Sequence[Any]) -> list[Any]:
    """Y_1 to Y_N of the values of N exits and the gates of all but the last; gates broadcast against values."""
    found = [values[-1]]
    for gate, value in zip(reversed(gates), reversed(values[:-1]), strict=True):
        found.append(gate * value + (1 - gate) * found[-1])
    return found[::-1]


def price_limit(costs: Sequence[float]) -> float:
    """The smallest lambda at which the first gate is never shut; `costs` of leaving, by exit."""
    return 1 / (costs[-1] - costs[0])


def expected(
    exits: Sequence[str],
    gate: Callable[[str], str],
    costs: Sequence[float],
    price: float,
    settings: TrainSettings,
    begins: Sequence[float] = (1.0,),
    budget: float | None = None,
) -> Loss:
    """-ln Y_1[t] + `price` times mean C_1, of logits and gates by output name; `price` is lambda.

    With a `budget` what is spent above it counts in place of the price.

    `begins` are the weights of -ln Y_n[t] + `price` C_n from the first exit on, as if inference began at each.
    """
    tf, count = tensorflow(), len(begins)

    def of(outputs: dict[str, Any], target: Any, teacher: Any, _: Any) -> tuple[Any, list[Any]]:
        gates = [tf.sigmoid(outputs[gate(name)]) for name in exits[:-1]]
        scores = mixtures(gates, [tf.nn.softmax(outputs[name]) for name in exits])[:count]
        truth = wanted(target, teacher, settings)
        errors = [-tf.reduce_sum(truth * tf.math.log(tf.maximum(one, LEAST)), axis=-1) for one in scores]
        spent = mixtures(gates, [tf.constant(one, tf.float32) for one in costs])[:count]
        error, cost = (
            tf.add_n([weight * tf.reduce_mean(one) for weight, one in zip(begins, each, strict=True)])
            for each in (errors, spent)
        )
        charged = price * cost if budget is None else tf.maximum(cost - budget, 0.0) / (costs[-1] - budget)
        return error + charged, [error, cost]

    return Loss(("mixture", "cost"), of)


def wanted(target: Any, teacher: Any, settings: TrainSettings) -> Any:
    """What samples are to answer: a teacher's scores are mixed into the labels by the settings' share.

    At temperature 1, whatever the settings' is: a mixture has no logits.
    """
    share = settings.distillation
    return target if teacher is None else (1 - share) * target + share * teacher


def believing(
    mixture: Loss, early: Sequence[str], gate: Callable[[str], str], prior: float, settings: TrainSettings
) -> Loss:
    """A loss with the gates' prior added, the mean over exits of what gates lose by being wrong about their exit.

    Its weight falls from `prior` to 0 over the epochs. Without it gates tend to settle where they open for all or none
    before they have learned anything. Source: J. Pomponi, S. Scardapane and A. Uncini, "A Probabilistic
    Re-Interpretation of Confidence Scores in Multi-Exit Models", Entropy 24, 2022.
    """
    tf = tensorflow()

    def of(outputs: dict[str, Any], target: Any, teacher: Any, epoch: Any) -> tuple[Any, list[Any]]:
        total, parts = mixture.of(outputs, target, teacher, epoch)
        label = tf.argmax(target, axis=-1)
        right = [tf.cast(tf.argmax(outputs[name], axis=-1) == label, tf.float32) for name in early]
        found = [balanced(outputs[gate(name)][:, 0], one) for name, one in zip(early, right, strict=True)]
        belief = tf.add_n(found) / len(found)
        return total + prior * (1 - epoch / settings.epochs) * belief, [*parts, belief]

    return Loss((*mixture.parts, "prior"), of, mixture.variables)


def balanced(logits: Any, truth: Any) -> Any:
    """Binary cross-entropy of logits `(b,)` with truth `(b,)`, both answers counting the same whatever their rate."""
    tf = tensorflow()
    rate = tf.clip_by_value(tf.reduce_mean(truth), 1e-3, 1 - 1e-3)
    weights = truth * (0.5 / rate) + (1 - truth) * (0.5 / (1 - rate))
    return tf.reduce_mean(weights * tf.nn.sigmoid_cross_entropy_with_logits(truth, logits))

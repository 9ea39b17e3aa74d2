"""Which of many heads to build, on made-up answers."""

from dataclasses import replace

import pytest
from planted import plant
from synthetic_traces import DECISION, synthetic

from trecx.judge import choice
from trecx.judge.choice import Asked, Head
from trecx.judge.search import Costs

HEADS = (Head("a", "linear"), Head("a", "conv"), Head("b", "linear"))
ASKED = Asked(1.0, 0.9)
COSTS = Costs((200.0, 200.0, 500.0, 1000.0), (10.0, 50.0, 10.0))


def of(costs):
    """Those of a network with some of the exits."""

    def some(which):
        shared = [costs.shared[k] for k in (*which, len(costs.heads))]
        return Costs(tuple(shared), tuple(costs.heads[k] for k in which))

    return some


def judged(accuracies, costs=COSTS, samples=1500):
    return choice.judged(synthetic(samples, accuracies), (DECISION,) * 3, of(costs), HEADS, ASKED)


def test_a_candidates_mean_cost_is_what_its_samples_cost_one_by_one():
    trace = synthetic(1500, (0.6, 0.8, 0.9, 0.92))
    every = choice.judged(trace, (DECISION,) * 3, of(COSTS), HEADS, ASKED)
    assert len(every) == 3 + 2  # no pair at one tap
    decided, right = trace.decided((DECISION,) * 3), trace.right()
    for one in every:
        which = [HEADS.index(head) for head in one.heads]
        spent, lost = 0.0, 0
        for sample in range(len(trace)):
            passed, end = 0.0, 3
            for k, threshold in zip(which, one.thresholds, strict=True):
                passed += 0.0 if threshold is None else COSTS.heads[k]
                if threshold is not None and decided[sample, k] <= DECISION.limit(threshold):
                    end = k
                    break
            spent += COSTS.shared[end] + passed
            lost += int(right[sample, 3]) - int(right[sample, end])
        assert one.cost == pytest.approx(spent / len(trace)) and one.saving == pytest.approx(1 - one.cost / 1000)
        assert one.loss == pytest.approx(100 * lost / len(trace)) and one.bound <= ASKED.points
    assert [one.cost for one in every] == sorted(one.cost for one in every)


def test_a_planted_bug_is_found(monkeypatch):
    plant(choice._candidate, "part.right(), costs(which)", "part.right(), costs(which[::-1])", monkeypatch)
    with pytest.raises(AssertionError):
        test_a_candidates_mean_cost_is_what_its_samples_cost_one_by_one()


def test_the_cheapest_head_is_taken_and_a_pair_only_where_it_is_clearly_cheaper():
    every = judged((0.6, 0.85, 0.9, 0.92))
    alone = min((one for one in every if len(one.heads) == 1), key=lambda one: one.cost)
    pair = min((one for one in every if len(one.heads) == 2), key=lambda one: one.cost)
    clearly, hardly = (replace(pair, saving=alone.saving + more) for more in (choice.CLEARLY, choice.CLEARLY / 2))
    assert choice.best([clearly, alone]) == clearly and choice.best([hardly, alone]) == alone


def test_a_head_that_costs_more_than_it_saves_is_not_taken():
    dear = replace(COSTS, heads=(900.0, 900.0, 900.0))
    assert choice.best(judged((0.6, 0.85, 0.9, 0.92), dear)) is None
    assert choice.best(()) is None

"""What a condition is asked, and what it says to a bad question."""

import math
from dataclasses import replace

import pytest

from easgd_theory import ADMM, DOWNPOUR, EASGD, SGD, RoundRobin, Synchronous, stability_condition


def test_values_given_before_and_after_are_the_same():
    before = stability_condition(EASGD(eta=1.0), RoundRobin(p=3))
    assert before.holds(alpha=0.6) is stability_condition(EASGD, RoundRobin(p=3)).holds(eta=1.0, alpha=0.6) is True
    assert before.holds(alpha=0.7) is False
    assert before.holds(eta=0.1, alpha=0.7) is True
    assert before.holds(alpha=[[0.6], [0.7]], h=[1.0, 0.1, 3.0]).tolist() == [[True, True, False], [False, True, False]]


def test_p_may_be_given_where_the_schedule_has_none():
    condition = stability_condition(DOWNPOUR, RoundRobin())
    assert [condition.holds(eta=0.5, p=p) for p in (1, 3, 4, 8)] == [True, True, False, False]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: stability_condition(EASGD, RoundRobin(p=3)).holds(eta=1.0), ["EASGD", "alpha"]),
        (lambda: stability_condition(EASGD, RoundRobin(p=3)).holds(eta=1.0, alpha=1.0, rho=1.0), ["EASGD", "rho"]),
        (lambda: stability_condition(EASGD, RoundRobin(p=3)).holds(eta=1.0, alpha=math.nan), ["alpha", "finite"]),
        (lambda: stability_condition(EASGD, RoundRobin(p=3)).holds(eta=1.0, alpha="1"), ["alpha", "real number"]),
        (lambda: stability_condition(EASGD, RoundRobin(p=3)).holds(eta=1.0, alpha=1.0, h=math.inf), ["h", "finite"]),
        (lambda: stability_condition(DOWNPOUR, RoundRobin()).holds(eta=1.0), ["p", "RoundRobin"]),
        (lambda: stability_condition(DOWNPOUR, RoundRobin()).holds(eta=1.0, p=0), ["p", "at least 1"]),
        (lambda: stability_condition(DOWNPOUR, RoundRobin(p=3)).holds(eta=1.0, p=16), ["p", "3", "16"]),
        (lambda: stability_condition(EASGD, Synchronous()).holds(eta=1.0, alpha=1.0), ["p", "Synchronous"]),
        (lambda: stability_condition("EASGD", RoundRobin(p=3)), ["algorithm", "EASGD"]),
        (lambda: stability_condition(EASGD, 3), ["schedule", "3"]),
        (lambda: stability_condition(SGD, RoundRobin(p=3)), ["SGD", "p=3"]),
        (lambda: stability_condition(ADMM, Synchronous(p=3, tau=2)), ["ADMM", "tau=2"]),
        (lambda: stability_condition(EASGD(eta=[0.1, 0.2]), RoundRobin(p=3)).expression, ["eta", "array"]),
    ],
    ids=[
        "missing",
        "unknown",
        "nan",
        "text",
        "h",
        "no_p",
        "p_0",
        "two_p",
        "no_p_jury",
        "name",
        "schedule",
        "sgd",
        "tau",
        "array",
    ],
)
def test_a_bad_question_is_refused(call, words, refused):
    refused(call, *words)


def test_sequential_methods_need_no_p():
    condition = stability_condition(replace(SGD(), eta=1.0), Synchronous())
    assert condition.schedule.p == 1
    assert condition.holds() is True

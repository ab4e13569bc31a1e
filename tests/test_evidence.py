"""Intervals cover, tests keep their size: shown by simulation, not assumed."""

import time

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from identiface_audit.evidence import (
    adjust,
    bootstrap_counts,
    difference_interval,
    faces_needed,
    gap_interval,
    overall_evidence,
    percentile_interval,
    permutation_p,
    proportion_interval,
    ratio_interval,
    region_evidence,
)
from identiface_audit.fairness import balanced_accuracy, divide

RUNS = 2_000


def covers(intervals, truth):
    return ((intervals[..., 0] <= truth + 1e-12) & (truth - 1e-12 <= intervals[..., 1])).mean()


def test_equal_to_statsmodels():
    assert np.allclose(proportion_interval([3, 0, 9], [10, 7, 9])[0], proportion_confint(3, 10, method="wilson"))
    assert np.allclose(difference_interval(7, 30, 2, 12), confint_proportions_2indep(7, 30, 2, 12, method="newcomb"))
    assert np.allclose(gap_interval([7, 2], [30, 12]), np.maximum(difference_interval(7, 30, 2, 12), [0, -1]))
    p = [0.04, 0.001, 0.5, 0.02, 0.02]
    for mine, method in zip(adjust(p), ("holm", "fdr_bh"), strict=True):
        assert np.allclose(mine, multipletests(p, method=method)[1])


@pytest.mark.parametrize("n", [7, 19, 100, 1000])
def test_wilson_covers(n):
    "On average over true shares: for one share and few faces the coverage swings, as whole numbers do (Brown, Cai, DasGupta 2001)."
    rng = np.random.default_rng(n)
    p = rng.uniform(0, 1, RUNS * 5)
    assert 0.93 <= covers(proportion_interval(rng.binomial(n, p), n), p) <= 0.99


@pytest.mark.parametrize(("p1", "p2", "n1", "n2"), [(0.2, 0.2, 30, 50), (0.1, 0.4, 25, 25), (0.5, 0.55, 400, 300)])
def test_newcombe_covers(p1, p2, n1, n2):
    rng = np.random.default_rng(1)
    found = difference_interval(rng.binomial(n1, p1, RUNS * 5), n1, rng.binomial(n2, p2, RUNS * 5), n2)
    assert 0.93 <= covers(found, p1 - p2) <= 0.99


@pytest.mark.parametrize("shares", [[0.5] * 5, [0.1, 0.1, 0.1, 0.4], [0.7, 0.9]])
def test_gap_over_groups_covers(shares):
    "Conservative where many groups are equal (Bonferroni), never short."
    rng, n = np.random.default_rng(2), np.full(len(shares), 120)
    found = np.array([gap_interval(rng.binomial(n, shares), n) for _ in range(RUNS)])
    assert covers(found, np.ptp(shares)) >= 0.93
    if len(shares) == 2:
        assert covers(found, np.ptp(shares)) <= 0.99
    ratio = np.array([ratio_interval(rng.binomial(n, shares), n) for _ in range(RUNS)])
    assert covers(ratio, min(shares) / max(shares)) >= 0.93


def test_bootstrap_covers_balanced_accuracy():
    rng, truth = np.random.default_rng(3), 0.5 * (0.9 + 0.7)
    found = []
    for seed in range(500):
        counts = np.array([[rng.multinomial(80, (0.9, 0.1)), rng.multinomial(120, (0.3, 0.7))]])
        found.append(percentile_interval(balanced_accuracy(bootstrap_counts(counts, 500, seed)))[0])
    assert 0.92 <= covers(np.array(found), truth) <= 0.99


def test_bootstrap_keeps_group_sizes_and_is_seeded():
    counts = np.random.default_rng(0).integers(0, 9, (5, 2, 2))
    counts[2] = 0
    drawn = bootstrap_counts(counts, 100, 7)
    assert (drawn.sum((2, 3)) == counts.sum((1, 2))).all() and (drawn == bootstrap_counts(counts, 100, 7)).all()
    assert np.isnan(percentile_interval(divide(drawn[:, 2, 0, 0], drawn[:, 2].sum((1, 2))))).all()


def test_ten_thousand_replicates_in_a_second():
    counts = np.random.default_rng(0).multinomial(23_708, np.ones(200) / 200).reshape(50, 2, 2)
    start = time.perf_counter()
    percentile_interval(balanced_accuracy(bootstrap_counts(counts, 10_000)))
    assert time.perf_counter() - start < 5  # well under one where nothing else runs


def size(rejected):
    "Whether a share of rejections is 5 % or less, within Monte-Carlo error (three standard errors)."
    return np.mean(rejected) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / len(rejected))


def test_overall_score_rejects_five_percent_of_nulls():
    rng, p = np.random.default_rng(4), []
    for seed in range(400):
        p.append(overall_evidence(rng.random((40, 8)) < 0.3, np.arange(40) < 17, 199, seed)["p_value"])
    assert size(np.array(p) <= 0.05) and np.mean(np.array(p) <= 0.05) > 0.02
    assert 0.45 < np.mean(p) < 0.6


def test_permutation_on_counts_is_the_permutation_of_faces():
    counts = np.array([[12, 3, 5], [6, 9, 10]])

    def statistic(c):
        return np.abs(c[..., 0, 0] / c[..., 0, :].sum(-1) - c[..., 1, 0] / c[..., 1, :].sum(-1))

    p, chance = permutation_p(counts, statistic, 20_000)
    cells, group = np.repeat(np.tile(np.arange(3), 2), counts.ravel()), np.repeat([0, 1], counts.sum(1))
    rng = np.random.default_rng(0)
    rows = np.array([cells[rng.permutation(45)] == 0 for _ in range(4000)])
    slow = np.abs(rows[:, group == 0].mean(1) - rows[:, group == 1].mean(1))
    assert np.mean(chance) == pytest.approx(slow.mean(), rel=0.05)
    assert p == pytest.approx((slow >= statistic(counts) - 1e-12).mean(), abs=0.02)


def test_holm_keeps_the_family_of_eight_regions():
    rng, false = np.random.default_rng(5), []
    for _ in range(400):
        hits = np.stack([rng.binomial(60, 0.3, 8), rng.binomial(45, 0.3, 8)], axis=1)
        found = region_evidence(hits, np.array([60, 45]), [f"r{i}" for i in range(8)], ["F", "M"])
        false.append(min(r["p_holm"] for r in found.values()) < 0.05)
    assert size(false)


def test_planned_number_of_faces_finds_the_difference():
    n = faces_needed(0.3)
    rng = np.random.default_rng(6)
    found = [abs(z) > 1.96 for z in _z(rng.binomial(n, 0.65, 4000), rng.binomial(n, 0.35, 4000), n)]
    assert 0.76 < np.mean(found) < 0.86
    assert faces_needed(0.1) > faces_needed(0.2) and faces_needed(0.2, 8) > faces_needed(0.2)


def _z(a, b, n):
    p = (a + b) / (2 * n)
    return (a - b) / n / np.sqrt(2 * p * (1 - p) / n)


def test_nothing_to_divide_by_is_nan():
    empty = region_evidence(np.array([[0, 2]]), np.array([0, 5]), ["lips"], ["F", "M"], (np.array([[1, 2]]), np.array([4, 5])))["lips"]
    assert np.isnan(empty["p_value"]) and np.isnan(empty["F"]["probability"]) and empty["F"]["denominator"] == 0
    assert empty["correct"]["F"]["numerator"] == 1
    assert np.isnan(gap_interval([3], [5])).all() and np.isnan(gap_interval([0, 3], [0, 5])).all()
    assert np.isnan(permutation_p(np.array([[0, 0], [1, 2]]), lambda c: c[..., 0, 0], 9)[0])


def test_interval_of_the_overall_score_is_never_short():
    rng = np.random.default_rng(9)
    shares = np.stack([rng.uniform(0.1, 0.6, 6), rng.uniform(0.1, 0.6, 6)])
    first, truth, held = np.arange(120) < 50, np.abs(shares[0] - shares[1]).mean(), []
    for seed in range(200):
        found = overall_evidence(rng.random((120, 6)) < shares[np.where(first, 0, 1)], first, 19, seed)
        low, high = found["interval"]
        assert low <= found["value"] <= high and found["n"] == [50, 70]
        held.append(low <= truth <= high)
    assert np.mean(held) >= 0.93

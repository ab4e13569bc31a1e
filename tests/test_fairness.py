"""The field's own metrics: Fairlearn and scikit-learn are the oracles wherever every cell has faces."""

import fairlearn.metrics as fairlearn
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn

from identiface_audit.fairness import age_band, confusion_counts, fairness, fairness_metrics, groupings, rates, recall_gap

CLASSES = ["FEMALE", "MALE"]


def simulate(seed, n=800, k=4):
    rng = np.random.default_rng(seed)
    group = rng.choice(list("abcdefgh")[:k], n)
    true = rng.choice(CLASSES, n, p=(0.4, 0.6))
    wrong = rng.random(n) < rng.uniform(0.05, 0.5, k)[np.searchsorted(np.unique(group), group)]
    return true, np.where(wrong, np.where(true == "MALE", "FEMALE", "MALE"), true), group


@pytest.mark.parametrize("positive", CLASSES)
@pytest.mark.parametrize("seed", range(5))
def test_equal_to_fairlearn(seed, positive):
    true, predicted, group = simulate(seed)
    found = fairness_metrics(*confusion_counts(true, predicted, group, CLASSES), CLASSES, positive)["metrics"]
    y, p, by = true == positive, predicted == positive, {"sensitive_features": group}
    for name in ("demographic_parity", "equal_opportunity", "equalized_odds"):
        for kind in ("difference", "ratio"):
            expected = getattr(fairlearn, f"{name}_{kind}")(y, p, **by)
            assert found[f"{name}_{kind}"]["value"] == pytest.approx(expected), (name, kind)
    mean = fairlearn.equalized_odds_difference(y, p, agg="mean", **by)
    assert found["equalized_odds_difference_mean"]["value"] == pytest.approx(mean)
    for metric in found.values():
        low, high = metric["interval"]
        assert low - 1e-12 <= metric["value"] <= high + 1e-12 and metric["conditioning"] and metric["n"] > 0


@pytest.mark.parametrize("seed", range(3))
def test_groups_equal_to_scikit_learn(seed):
    true, predicted, group = simulate(seed)
    groups = fairness_metrics(*confusion_counts(true, predicted, group, CLASSES), CLASSES)["groups"]
    for name, found in groups.items():
        y, p = true[group == name] == "FEMALE", predicted[group == name] == "FEMALE"
        expected = {
            "accuracy": sklearn.accuracy_score(y, p),
            "balanced_accuracy": sklearn.balanced_accuracy_score(y, p),
            "f1": sklearn.f1_score(y, p),
            "selection_rate": p.mean(),
            "true_positive_rate": sklearn.recall_score(y, p),
            "false_positive_rate": fairlearn.false_positive_rate(y, p),
        }
        assert found["n"] == len(y) and found["misclassified"] == (y != p).sum()
        for metric, value in expected.items():
            assert found[metric]["value"] == pytest.approx(value), metric
            low, high = found[metric]["interval"]
            assert low <= value <= high


def test_group_that_is_the_label_is_refused_with_an_offer():
    true, predicted, _ = simulate(1)
    found = fairness_metrics(*confusion_counts(true, predicted, true, CLASSES), CLASSES)["metrics"]
    for name in ("equalized_odds_difference", "equalized_odds_ratio", "equal_opportunity_difference"):
        assert np.isnan(found[name]["value"]) and "true class" in found[name]["refused"] and found[name]["instead"] == "recall_gap"
    assert found["recall_gap"]["value"] == pytest.approx(recall_gap(true, predicted, CLASSES))
    assert "refused" not in found["demographic_parity_difference"]


def test_empty_cells_are_nan_with_their_count_and_do_not_spoil_the_others():
    true = np.array(["FEMALE"] * 6 + ["MALE"] * 2)
    group = np.array(["a"] * 3 + ["b"] * 3 + ["c"] * 2)  # nobody of c is a woman
    predicted = np.array(["FEMALE", "FEMALE", "MALE", "FEMALE", "MALE", "MALE", "MALE", "MALE"])
    found = fairness_metrics(*confusion_counts(true, predicted, group, CLASSES), CLASSES)
    rate = found["groups"]["c"]["true_positive_rate"]
    assert np.isnan(rate["value"]) and rate["n"] == 0
    gap = found["metrics"]["equal_opportunity_difference"]
    assert gap["value"] == pytest.approx(1 / 3) and gap["groups_without_faces"] == ["c"]
    odds = found["metrics"]["equalized_odds_difference"]  # only c has men: no second group to compare
    assert np.isnan(odds["value"]) and "c" in odds["groups_without_faces"]
    assert found["groups"]["a"]["small"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=12, max_size=12))
def test_every_rate_is_a_share_or_nan(cells):
    counts = np.array(cells).reshape(3, 2, 2)
    for count, n in rates(counts).values():
        assert ((count >= 0) & (count <= n)).all()
    found = fairness_metrics(list("abc"), counts, CLASSES)
    for metric in found["metrics"].values():
        assert np.isnan(metric["value"]) or 0 <= metric["value"] <= 1


def test_groupings_keep_faces_without_race_or_age():
    true, predicted, _ = simulate(2, 200)
    race = pd.Series(np.random.default_rng(0).choice(["Asian", "Black"], 200), dtype=object)
    race[:20] = None
    age = np.random.default_rng(0).integers(1, 90, 200).astype(float)
    age[:10] = np.nan
    for name, group in groupings(true, race, age).items():
        assert len(group) == 200, name
    whole = fairness(true, predicted, race, age, CLASSES)
    assert whole["by_race"]["groups"]["unknown"]["n"] == 20
    assert sum(g["n"] for g in whole["by_race_age_band"]["groups"].values()) == 200
    assert age_band(age[:10]).tolist() == ["unknown"] * 10


def test_unknown_class_is_named():
    with pytest.raises(ValueError, match="OTHER"):
        confusion_counts(["OTHER"], ["MALE"], ["a"], CLASSES)

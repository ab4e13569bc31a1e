"""What an audit claims: named where planted, silent where not, never louder than its p-values."""

import numpy as np
import pandas as pd
import pytest

from identiface_audit.evidence import faces_needed
from identiface_audit.findings import region_findings, region_tally
from identiface_audit.slices import error_slices
from identiface_audit.verdict import biased_regions, shown, strength

NAMES = ["left_eye", "lips", "nose"]
OTHER = {"FEMALE": "MALE", "MALE": "FEMALE"}


def faces(seed, misled, n=300):
    "n faces a gender; `misled` {gender: {region: share}} err because of a region, which then speaks strongly against the truth."
    rng, rows = np.random.default_rng(seed), []
    for gender in ("FEMALE", "MALE"):
        drop = rng.normal(2, 0.3, (n, 5))
        by = np.full(n, -1)
        for region, share in misled[gender].items():
            by[rng.random(n) < share] = NAMES.index(region)
        guilty = by >= 0
        drop[guilty, by[guilty]] = -6
        predicted = np.where(guilty, OTHER[gender], gender)
        without = np.where(guilty[:, None] & (by[:, None] == np.arange(5)), gender, predicted[:, None])
        rows.append({"true": np.full(n, gender), "predicted": predicted, "drop": drop, "lead": np.where(guilty, -4.0, 4.0), "without": without})
    out = {key: np.concatenate([r[key] for r in rows]) for key in rows[0]}
    return out, rng.random((2 * n, 3)) < 0.3


def findings(seed, misled, **changes):
    f, columns = faces(seed, misled)
    rest = {"attention": np.random.default_rng(seed).random((600, 5)), "lead": f["lead"], "lead_drop": f["drop"], "predicted_without": f["without"]}
    return region_findings(region_tally(f["true"], f["predicted"], np.ones(600, bool), columns, **(rest | changes)), NAMES, replicates=200)


def test_planted_region_is_first_and_the_only_one():
    found = findings(0, {"FEMALE": {"lips": 0.25, "nose": 0.05}, "MALE": {"lips": 0.04, "nose": 0.05}})
    assert found["verdict"]["biased_regions"] == ["lips"]
    assert found["regional_gap"]["lips"]["gap_share"]["interval"][0] > 0
    assert any(line.startswith("Lips: strong evidence") for line in found["verdict"]["sentences"])
    assert found["overall_bias"]["p_value"] > 0.001  # within mistakes there is nothing to see


def test_two_regions_that_mislead_one_group_each_are_both_named_where_the_recall_gap_is_nothing():
    found = findings(1, {"FEMALE": {"lips": 0.2}, "MALE": {"nose": 0.2}})
    assert sorted(found["verdict"]["biased_regions"]) == ["lips", "nose"]
    assert found["verdict"]["claims"]["recall_gap"]["evidence"] == "no evidence"


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_nulls_are_silent(share):
    alarms = [bool(findings(s, dict.fromkeys(("FEMALE", "MALE"), {"lips": share}))["verdict"]["biased_regions"]) for s in range(60)]
    assert np.mean(alarms) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 60)


def test_maps_alone_decide_only_where_nothing_was_hidden():
    f, columns = faces(2, {"FEMALE": {"lips": 0.3}, "MALE": {"lips": 0.3}})
    wrong = f["true"] != f["predicted"]
    columns[wrong & (f["true"] == "FEMALE"), 2] = True
    there = np.ones(600, bool)
    alone = region_findings(region_tally(f["true"], f["predicted"], there, columns), NAMES, replicates=200)
    assert alone["regional_gap"] == {} and alone["verdict"]["biased_regions"] == ["nose"]
    hidden = {"lead": f["lead"], "lead_drop": f["drop"], "predicted_without": f["without"]}
    both = region_findings(region_tally(f["true"], f["predicted"], there, columns, **hidden), NAMES, replicates=200)
    assert both["verdict"]["biased_regions"] == []
    assert any("nose" in line.lower() and "not yet a cause" in line for line in both["verdict"]["sentences"])
    assert alone["verdict"]["rests_on"] != both["verdict"]["rests_on"]


def test_too_few_mistakes_are_said_to_be_too_few():
    found = findings(3, {"FEMALE": {"lips": 0.01}, "MALE": {"lips": 0.01}})
    needed = faces_needed(0.2, 3)
    assert found["verdict"]["misclassified_faces_needed"]["0.2"] == needed
    assert any(f"{needed:,} misclassified faces" in line for line in found["verdict"]["sentences"])


def test_no_mistake_at_all_is_not_estimable_and_does_not_raise():
    found = findings(4, {"FEMALE": {}, "MALE": {}})
    assert found["verdict"]["biased_regions"] == [] and np.isnan(found["overall_bias"]["value"])
    assert found["verdict"]["claims"]["overall_bias"]["evidence"] == "not estimable"


def test_words_follow_the_thresholds():
    assert strength(0.0099) == "strong evidence" and strength(0.01) == strength(0.049) == "weak evidence" and strength(0.05) == "no evidence"
    assert strength(float("nan")) == strength(None) == "not estimable" and not shown(None) and not shown(float("nan"))
    rows = {r: {"p_value": p, "p_holm": p, "difference": {"value": d}} for r, p, d in (("a", 0.02, 0.1), ("b", 0.001, -0.2), ("c", 0.02, -0.3), ("d", 0.2, 1))}
    assert biased_regions(rows, {}) == ["b", "c", "a"]


def test_slices_find_what_was_planted_and_nothing_else():
    rng = np.random.default_rng(5)
    table = pd.DataFrame({"race": rng.choice(["Asian", "Black", None], 1200), "age": rng.integers(18, 80, 1200), "brightness": rng.random(1200)})
    table.loc[::9, "brightness"] = np.nan
    bad = ((table["race"] == "Black") & (table["brightness"] < 0.5)).to_numpy()
    found = error_slices(table, rng.random(1200) < np.where(bad, 0.4, 0.05))
    assert "race is Black" in found["worst"][0] and found["n_searched"] + found["n_counted"] == 1200
    assert sum(s["n"] for s in found["slices"]) == found["n_counted"]
    alarms = [bool(error_slices(table, rng.random(1200) < 0.1, seed=s)["worst"]) for s in range(60)]
    assert np.mean(alarms) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 60)


def test_slices_of_too_little_are_none():
    assert error_slices(pd.DataFrame({"age": [1, 2]}), np.array([True, False]))["slices"] == []
    assert error_slices(pd.DataFrame({"age": np.arange(500)}), np.zeros(500, bool))["slices"] == []

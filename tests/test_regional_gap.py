"""The regional gap: its pieces add up, its intervals cover, and its tests keep their size."""

import numpy as np
import pytest

from identiface_audit.attention import agreement, region_attention, top_pairs
from identiface_audit.evidence import bootstrap_counts, percentile_interval
from identiface_audit.regional_gap import Fill, contributions, gap_counts, gap_share, misleading_region, regional_gap

# right-right, right-wrong, wrong-right, wrong-wrong of women and men
SCENES = {
    "no gap at all": ([0.9, 0.02, 0.02, 0.06], [0.9, 0.02, 0.02, 0.06]),
    "the region carries all of it": ([0.7, 0.02, 0.22, 0.06], [0.9, 0.02, 0.02, 0.06]),
    "the region carries half": ([0.7, 0.02, 0.12, 0.16], [0.9, 0.02, 0.02, 0.06]),
    "the region carries nothing": ([0.7, 0.02, 0.02, 0.26], [0.9, 0.02, 0.02, 0.06]),
    "hidden, the gap turns round": ([0.66, 0.06, 0.26, 0.02], [0.63, 0.29, 0.03, 0.05]),
}


@pytest.mark.parametrize("scene", SCENES)
def test_gap_share_covers(scene):
    rng, (women, men) = np.random.default_rng(0), SCENES[scene]
    gaps = [abs(sum(women[i] for i in cells) - sum(men[i] for i in cells)) for cells in ((2, 3), (1, 3))]
    truth, covered = gaps[0] - gaps[1], []
    for seed in range(400):
        counts = np.stack([rng.multinomial(150, women), rng.multinomial(180, men)])
        low, high = gap_share(counts, 400, seed)["interval"]
        covered.append(low - 1e-12 <= truth <= high + 1e-12)
    assert 0.92 <= np.mean(covered) <= 0.99  # 93 to 99 % within Monte-Carlo error


@pytest.mark.parametrize("scene", ["no gap at all", "the region carries nothing"])
def test_gap_share_keeps_its_size(scene):
    rng, (women, men) = np.random.default_rng(1), SCENES[scene]
    p = [gap_share(np.stack([rng.multinomial(150, women), rng.multinomial(180, men)]), 199, s)["p_value"] for s in range(400)]
    assert np.mean(np.array(p) <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)


def faces(seed, n=400):
    rng = np.random.default_rng(seed)
    group, drop = rng.choice(["FEMALE", "MALE"], n), rng.normal(0, 1, (n, 5)).astype(np.float32)
    drop[:30, 2] = -9
    return rng, group, drop


def answers(group, wrong):
    return np.where(wrong, np.where(group == "MALE", "FEMALE", "MALE"), group), np.where(wrong, -4.0, 4.0)


def test_pieces_add_up_to_the_recall_gap():
    rng, group, drop = faces(3)
    wrong = rng.random(400) < 0.3
    wrong[:30] = True
    predicted, lead = answers(group, wrong)
    by = misleading_region(drop, lead, group, predicted)
    assert (by[:30] == 2).all() and (by[~wrong] == -1).all()
    found = regional_gap(gap_counts(group, wrong, rng.random((400, 5)) < 0.3, by), list("abcde"), replicates=200)
    total = sum(v["misled"]["difference"]["value"] for v in found.values())
    nobody = [(wrong & (by < 0))[group == g].mean() for g in ("FEMALE", "MALE")]
    recall = [1 - wrong[group == g].mean() for g in ("FEMALE", "MALE")]
    assert total + nobody[0] - nobody[1] == pytest.approx(recall[1] - recall[0])
    for v in found.values():
        assert v["gap"] == pytest.approx(abs(recall[0] - recall[1]))
        assert v["gap_share"]["value"] == pytest.approx(v["gap"] - v["gap_without"])
        for g in ("FEMALE", "MALE"):
            assert v["rescued"][g]["denominator"] + v["broken"][g]["denominator"] == (group == g).sum()


def test_rescued_and_broken_give_gap_without():
    rng, group, _ = faces(4)
    wrong, without = rng.random(400) < 0.3, rng.random((400, 1)) < 0.2
    found = regional_gap(gap_counts(group, wrong, without, np.full(400, -1)), ["a"], replicates=50)["a"]
    direct = [without[group == g].mean() for g in ("FEMALE", "MALE")]
    assert found["gap_without"] == pytest.approx(abs(direct[0] - direct[1]))
    saved = found["rescued"]["FEMALE"]
    assert saved["numerator"] == (wrong & ~without[:, 0])[group == "FEMALE"].sum()


def test_what_the_fill_says_is_taken_off():
    _, group, drop = faces(5)
    predicted, lead = answers(group, np.arange(400) < 30)
    pull = np.where(group == "FEMALE", 5.0, -5.0)[:, None]
    plain, pulled = (contributions(d, group, Fill.of(d, lead, group, predicted)) for d in (drop, drop + pull))
    assert np.allclose(plain, pulled, atol=1e-4)
    by, again = (misleading_region(d, lead, group, predicted) for d in (drop, drop + pull))
    assert (by == again).all() and (by[:30] == 2).all()
    drop[7] = np.nan
    assert misleading_region(drop, lead, group, predicted)[7] == -1 and np.isnan(contributions(drop, group, Fill.of(drop, lead, group, predicted))[7]).all()


def test_lukewarm_mistakes_are_nobodys():
    "A region must account for half of the wrong lead."
    _, group, drop = faces(6)
    predicted, lead = answers(group, np.arange(400) < 30)
    assert (misleading_region(drop, 9 * lead, group, predicted)[:30] == -1).all()


def test_empty_group_is_nan():
    found = regional_gap(gap_counts(np.array(["MALE"] * 5), np.ones(5, bool), np.zeros((5, 1), bool), np.zeros(5, int)), ["a"], replicates=20)["a"]
    assert np.isnan(found["gap_share"]["value"]) and np.isnan(found["misled"]["p_holm"]) and found["rescued"]["FEMALE"]["denominator"] == 0


def test_attention_of_an_even_map_is_one_everywhere():
    rng = np.random.default_rng(6)
    masks = rng.random((3, 4, 8, 8)) < 0.4
    assert np.allclose(region_attention(np.ones((3, 8, 8)), masks), 1)
    masks[0, 1] = False
    found = region_attention(rng.random((3, 8, 8)), masks)
    assert np.isnan(found[0, 1]) and np.isfinite(np.delete(found.ravel(), 1)).all()
    assert np.isnan(region_attention(np.zeros((3, 8, 8)), masks)).all()


def test_agreement_covers():
    rng, covered = np.random.default_rng(7), []
    for _ in range(400):
        a = rng.integers(0, 5, 200)
        b = np.where(rng.random(200) < 0.5, a, rng.integers(0, 5, 200))
        low, high = agreement(top_pairs(a, b, 5))["interval"]
        covered.append(low <= 0.6 <= high)
    assert 0.92 <= np.mean(covered) <= 0.99
    assert agreement(top_pairs(np.array([-1]), np.array([2]), 5))["n"] == 0


def test_bootstrap_is_paired():
    "A face keeps both answers: where they are always the same, the share is exactly 0 in each replicate."
    assert np.allclose(gap_share([[80, 0, 0, 20], [95, 0, 0, 5]], 200)["interval"], 0)
    assert np.ptp(percentile_interval(bootstrap_counts([[80, 0, 0, 20]], 200)[:, 0, 3])) > 0

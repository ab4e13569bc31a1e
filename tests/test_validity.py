"""Planted truth, small: real drawing, real training, real landmarks, the audit's own functions. A round of whole audits is the lesson of *Validity*."""

import numpy as np
import pytest

from identiface_audit.attention import top_region
from identiface_audit.audit import audit
from identiface_audit.classifiers import function_classifier, load_classifier
from identiface_audit.images import fit
from identiface_audit.planted import Suite, draw_pool, fresh_copy, small_network, train
from identiface_audit.report import write_report
from identiface_audit.saliency import class_activation_maps
from identiface_audit.sanity import edge_maps, sanity_check, shuffled, similarity
from identiface_audit.settings import load_settings
from identiface_audit.synthetic import DEMO_PLANT, DEMO_RELIABILITY, demo_model, draw_faces, write_faces
from identiface_audit.validity import interval_coverage, null_alarms

CLASSES = ["FEMALE", "MALE"]


@pytest.fixture(scope="module")
def demo():
    return load_classifier(demo_model(), CLASSES)


def test_suite_plants_what_it_says():
    female, rng = np.arange(4000) % 2 == 1, np.random.default_rng(0)
    looks = Suite("nose", distractors=True, group="FEMALE", rate=0.3).cues(female, rng)
    agree = looks[:, 2] == female
    assert agree[~female].mean() == pytest.approx(0.95, abs=0.02) and agree[female].mean() == pytest.approx(0.95 * 0.7, abs=0.05)
    assert abs(np.corrcoef(looks[:, 0], female)[0, 1]) < 0.05
    assert not Suite("nose", distractors=False).cues(female, rng)[:, [0, 1, 3]].any()


def test_users_architecture_is_lent_not_changed(demo, landmarker):
    before = [w.copy() for w in demo.model.get_weights()]
    copy = fresh_copy(demo)
    assert [w.shape for w in copy.get_weights()] == [w.shape for w in before]
    assert any(not np.array_equal(a, b) for a, b in zip(copy.get_weights(), before, strict=True))
    pool = draw_pool(200, 2, demo.input_shape, landmarker)
    trained = train(copy, pool, Suite("lips", False), CLASSES, seed=0, epochs=1)
    assert trained.input_shape == demo.input_shape and trained.logits(pool.female[:3]).shape == (3, 2)
    assert all(np.array_equal(a, b) for a, b in zip(demo.model.get_weights(), before, strict=True))


def test_colour_network_is_trained_too(landmarker):
    pool = draw_pool(64, 2, (32, 32, 3), landmarker)
    trained = train(small_network((32, 32, 3)), pool, Suite("lips", True), CLASSES, seed=0, epochs=1)
    assert np.isfinite(trained.logits(pool.male[:2])).all()


def outcome(seed, n=400):
    rng = np.random.default_rng(seed)
    true = rng.choice(CLASSES, n)
    by = np.where(rng.random(n) < np.where(true == "FEMALE", 0.3, 0.1), 3, -1)
    without = (by >= 0)[:, None] & (np.arange(10) != 3)
    return {"true": true, "wrong": by >= 0, "misled_by": by, "without": without, "columns": rng.random((n, 8)) < 0.3}


def test_groups_dealt_at_random_raise_no_alarm():
    alarms = null_alarms([outcome(s) for s in range(3)], 200)
    for rule in alarms.index:
        if "notebook" not in rule:
            assert alarms.loc[rule, "rate"] <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200), rule
    assert alarms.filter(like="notebook", axis=0)["rate"].item() > 0.2  # the plain score always sees something


def test_intervals_cover_in_the_simulation():
    for name, v in interval_coverage(outcome(9), 300).items():
        assert 0.91 <= v["covered"] <= 1.0, name


def test_shuffling_is_undone_even_when_it_is_stopped(demo):
    before = demo.model.get_weights()
    with pytest.raises(RuntimeError):
        for names in shuffled(demo.model, steps=2):
            assert any(not np.array_equal(a, b) for a, b in zip(demo.model.get_weights(), before, strict=True)), names
            raise RuntimeError
    assert all(np.array_equal(a, b) for a, b in zip(demo.model.get_weights(), before, strict=True))


def test_gate_fails_maps_that_name_nothing_and_passes_those_that_fit(demo):
    images = np.stack([fit(f, demo.input_shape) for f in draw_faces(60, seed=3)[0]])
    rng, targets = np.random.default_rng(0), np.zeros(60, int)
    masks = np.zeros((60, 4, 48, 48), bool)
    for r, (rows, columns) in enumerate([(slice(0, 24), slice(0, 24)), (slice(0, 24), slice(24, 48)), (slice(24, 48), slice(0, 24)), (slice(24, 48), slice(24, 48))]):
        masks[:, r, rows, columns] = True
    hidden = rng.integers(0, 4, 60)
    maps = class_activation_maps(demo, images, targets)
    fits, fails = (sanity_check(demo, images, targets, "gradcam++", maps, masks, top, hidden) for top in (hidden, rng.permutation(hidden)))
    assert fits["randomised"][-1]["similarity"] < 0.5 and fits["passed"] and "pass the sanity gate" in fits["sentence"]
    assert not fails["passed"] and "fail the sanity gate" in fails["sentence"]
    one_sided = sanity_check(demo, images, targets, "gradcam++", maps, masks, np.zeros(60, int), np.where(np.arange(60) < 50, 0, hidden))
    share = one_sided["agrees_with_hidden_regions"]  # a map that always names one region is often right, and as often by chance
    assert share["map"]["value"] > 0.8 and share["p_value"] < 0.05 and share["chance"]["p_value"] >= 0.05
    assert not one_sided["passed"] and "chance on" in one_sided["sentence"]
    assert sanity_check(demo, images[:0], targets[:0], "gradcam", maps[:0], masks[:0], hidden[:0], None)["passed"] is None
    nothing_hidden = sanity_check(demo, images, targets, "gradcam++", maps, masks, hidden, None)
    assert nothing_hidden["passed"] and "half of" in nothing_hidden["sentence"] and "fit the hidden" not in nothing_hidden["sentence"]
    no_weights = sanity_check(function_classifier(lambda x: x.mean((1, 2)) * [[1.0, -1.0]], demo.input_shape, CLASSES), images, targets, "gradcam++", maps, masks, hidden, hidden)
    assert no_weights["passed"] and "half of" in no_weights["sentence"] and "change with" not in no_weights["sentence"]


def test_edges_know_no_model():
    images = draw_faces(6, seed=4, size=48)[0]
    edges = edge_maps(images)
    assert edges.shape == (6, 48, 48) and edges.max() <= 1 and np.allclose(similarity(edges, edges), 1)
    assert (similarity(edges, np.ones_like(edges)) == 0).all()


@pytest.fixture(scope="module")
def faces(tmp_path_factory, landmarker):
    folder = tmp_path_factory.mktemp("faces")
    write_faces(folder, 240, seed=1, reliability=DEMO_RELIABILITY, plant=DEMO_PLANT)
    return folder


def test_audit_of_files_finds_the_lips_and_says_so_in_its_report(faces, tmp_path):
    done = audit(faces, demo_model(), tmp_path / "a", settings=load_settings())
    s = done.summary
    assert s["verdict"]["biased_regions"][0] == "lips" and s["sanity"]["n_faces"] == 240
    assert set(s["regional_gap"]) == set(s["regions"]) | {"background", "other_face"}
    drop = np.stack(done.store.table(["occlusion_drop"]).to_pandas()["occlusion_drop"])
    assert top_region(np.abs(drop).mean(0)[None, :8]) == list(s["regions"]).index("lips")
    page = write_report(done).read_text()
    for line in s["verdict"]["sentences"]:
        assert line[1:60].split("'")[0] in page
    for title in ("What hiding each region does", "Rates by race", "Where mistakes gather"):
        assert title in page


def test_without_hidden_regions_the_maps_are_alone(faces, tmp_path):
    done = audit(faces, demo_model(), tmp_path / "a", settings=load_settings(occlusion_fill="off"), limit=60)
    assert done.summary["regional_gap"] == {} and "no region was hidden" in done.summary["verdict"]["rests_on"]
    assert "occlusion_drop" not in done.store.read(0).column_names
    assert "What hiding" not in write_report(done).read_text()

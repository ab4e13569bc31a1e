"""The preset `notebook` gives the reference notebook's numbers: against an oracle on drawn faces, and against the golden file."""

import json

import numpy as np
import oracle
import pytest

from identiface_audit.audit import audit
from identiface_audit.fairness import notebook_scores
from identiface_audit.regions import REGION_SETS, assign_regions, region_columns
from identiface_audit.settings import load_settings

SIDES = ("min_x", "min_y", "max_x", "max_y")
RUNS = ["gradcam++/otsu", "gradcam++/li", "gradcam++/yen", "gradcam/otsu"]


def box_tuples(lists):
    return [[tuple(int(b[s]) for s in SIDES) for b in boxes] for boxes in lists]


def test_every_stage_equals_a_plain_reading_of_the_definitions(done, faces):
    "Decode, predict, map, threshold, boxes, nearest regions, scores: each from the stage before it, face by face."
    import keras

    from identiface_audit.synthetic import demo_model

    model, names = keras.models.load_model(demo_model(), compile=False), ("FEMALE", "MALE")
    regions = REGION_SETS["eight"]
    rows, heat, points = done.faces(), done.array("heatmap"), done.array("landmarks")
    pictures = [oracle.picture(faces / path, 48, 48) for path in rows["image_path"]]
    predicted = [names[int(np.argmax(model.predict(p[None], verbose=0)))] for p in pictures]
    assert predicted == rows["predicted_gender"].tolist()
    same = 0
    for i in range(12):  # a map a face by tf-keras-vis is slow
        target = names.index(rows["true_gender"][i])
        want = oracle.heatmap(model, pictures[i], target, "gradcam++", done.summary["model"]["map_layer"])
        assert np.abs(want - heat[i] / 255).max() < 4e-3  # half a step of 255, and float32
        same += oracle.activation_boxes(want, 90, "otsu") == box_tuples([rows["activation_boxes"][i]])[0]
    assert same >= 11
    found = box_tuples(rows["activation_boxes"])
    kept = []
    for i in range(len(rows)):
        if np.isnan(points[i]).any():
            assert not len(rows["landmark_boxes"][i]) and not len(rows["regions"][i])
            kept.append([None] * len(found[i]))
            continue
        around = oracle.region_boxes(points[i], regions, 48, 48)
        assert [around[r] for r in regions] == box_tuples([rows["landmark_boxes"][i]])[0]
        kept.append(oracle.kept_regions(found[i], around, 0.2))
        assert kept[i] == [b["label"] for b in rows["activation_boxes"][i]]
        assert set(kept[i]) - {None} == set(rows["regions"][i])
    want = oracle.scores(rows["true_gender"].tolist(), predicted, kept, list(regions))
    assert {k: done.summary["notebook"][k] for k in want} == want
    assert sum(done.summary["notebook"]["n_misclassified"].values()) >= 5


@pytest.mark.parametrize("method", ["otsu", "li", "yen", "triangle", "sauvola"])
def test_boxes_of_every_threshold_equal_scikit_image_face_by_face(done, method):
    from identiface_audit.activation import activation_boxes, binarize

    heat = done.array("heatmap") / np.float32(255)
    heat[3] = 0
    face, boxes = activation_boxes(binarize(heat, 90, method))
    for i in range(len(heat)):
        assert [tuple(map(int, b)) for b in boxes[face == i]] == oracle.activation_boxes(heat[i], 90, method)


@pytest.fixture(scope="module")
def golden(shared):
    return json.loads((shared / "reference" / "golden.json").read_text())


@pytest.fixture(scope="module")
def utkface(shared, tmp_path_factory):
    "The golden file's runs, one after the other; the landmarks are found once and cached."

    def run(name):
        method, threshold = name.split("/")
        settings = load_settings(preset="notebook", method=method, threshold=threshold)
        out = tmp_path_factory.mktemp("golden")
        return audit(shared / "data/utkface", shared / "models/gender_cnn48.h5", out, settings=settings, limit=200)

    return run


@pytest.mark.shared
@pytest.mark.parametrize("name", RUNS)
def test_golden_from_the_picture_on(golden, utkface, name):
    run, done = golden["runs"][name], utkface(name)
    rows = done.faces()
    assert rows["image_path"].tolist() == golden["images"]
    assert rows["predicted_gender"].tolist() == golden["predicted"]
    same = [a == b for a, b in zip(box_tuples(rows["activation_boxes"]), box_tuples(run["activation_boxes"]), strict=True)]
    assert np.mean(same) >= 0.99
    gaps = []
    for a, b in zip(box_tuples(rows["landmark_boxes"]), box_tuples(golden["landmark_boxes"]), strict=True):
        assert len(a) == len(b)
        gaps += np.abs(np.array(a) - np.array(b)).ravel().tolist()
    assert np.mean(np.array(gaps) <= 1) >= 0.99
    keys = ("equalized_odds_score", "feature_probabilities", "feature_bias_scores", "overall_bias_score")
    assert {k: done.summary["notebook"][k] for k in keys} == {k: run[k] for k in keys}


@pytest.mark.shared
@pytest.mark.parametrize("name", RUNS)
def test_golden_boxes_give_the_golden_scores(golden, name):
    run, names = golden["runs"][name], list(REGION_SETS["eight"])
    found = box_tuples(run["activation_boxes"])
    face = np.repeat(np.arange(200), [len(b) for b in found])
    boxes = np.array([b for boxes in found for b in boxes])
    around = np.full((200, len(names), 4), -1)
    for i, row in enumerate(box_tuples(golden["landmark_boxes"])):
        if row:
            around[i] = row
    kept = assign_regions(face, boxes, around)
    columns = region_columns(face, kept, 200, len(names))
    assert [[n for n, c in zip(names, row, strict=True) if c] for row in columns] == [
        [n for n in names if n in row] for row in run["regions"]
    ]
    got = notebook_scores(golden["true"], golden["predicted"], columns, names, "zero")
    for key in ("equalized_odds_score", "feature_probabilities", "feature_bias_scores", "overall_bias_score"):
        assert got[key] == run[key], key


@pytest.mark.shared
def test_the_golden_score_cam_is_the_notebooks_own_trap(golden, utkface):
    "Every Score-CAM map of the notebook failed and became a silent zero map; ours does not."
    run = golden["runs"]["scorecam/otsu"]
    assert set(run["heatmap_mean"]) == {0.0} and not any(run["activation_boxes"])
    rows = utkface("scorecam/otsu").faces(["map_empty", "activation_boxes"])
    assert not rows["map_empty"].any() and all(len(b) for b in rows["activation_boxes"])

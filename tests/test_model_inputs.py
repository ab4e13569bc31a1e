"""Scale and framing: what the model sees is what landmarks and maps are laid over, and what auto finds is right and written down."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from identiface_audit import engine
from identiface_audit.audit import audit
from identiface_audit.classifiers import function_classifier, load_classifier
from identiface_audit.cli import parser
from identiface_audit.errors import SettingsError
from identiface_audit.faces import find_faces
from identiface_audit.framing import FRAMINGS, frame_picture, frames, into_frames, parse_framing, scale_pixels
from identiface_audit.settings import SCALES, load_settings
from identiface_audit.synthetic import CUE_REGIONS, demo_model, write_faces

LANDMARKER = Path(__file__).resolve().parents[1].parent / "shared" / "models" / "face_landmarker.task"
needs_landmarker = pytest.mark.skipif(not LANDMARKER.is_file(), reason="needs the landmark model, which is not part of the project")
NAMES = ("FEMALE", "MALE")


def test_scales_are_what_keras_and_torchvision_compute():
    from keras.applications import imagenet_utils

    images = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), np.uint8)
    for scale, mode in {"-1..1": "tf", "imagenet": "torch", "caffe": "caffe"}.items():
        want = imagenet_utils.preprocess_input(images.astype(np.float32), mode=mode)
        assert np.allclose(scale_pixels(images, scale), want, atol=1e-4), scale
    for scale in SCALES:
        assert scale_pixels(images[..., :1], scale).shape == (2, 5, 7, 1)


@pytest.mark.parametrize("framing", ["pad", "pad:0.5", "centre:2", "landmarks:x", "face", ""])
def test_a_framing_that_is_none_is_refused(framing):
    with pytest.raises(SettingsError, match="framing"):
        parse_framing(framing)


def test_padding_repeats_the_edge_as_numpy_does():
    image = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    none = np.full((1, 478, 2), np.nan)
    box = frames("pad:1.8", np.array([[200, 200]]), none)[0]
    assert (frame_picture(image, box) == np.pad(image, ((80, 80), (80, 80), (0, 0)), "edge")).all()
    assert frame_picture(image, frames("plain", np.array([[200, 200]]), none)[0]) is image
    assert frames("landmarks:1.4", np.array([[200, 100]]), none).tolist() == [[0, 0, 1, 1]]  # no face: plain


def test_plain_framing_changes_no_bit_of_a_landmark():
    points = np.random.default_rng(0).random((3, 478, 2), np.float32)
    assert (into_frames(points, frames("plain", np.array([[200, 133]] * 3), points)) == points).all()


def test_the_command_line_takes_a_scale_that_begins_with_a_dash(capsys):
    from identiface_audit.cli import main

    code = main(["run", "--faces", "nowhere", "--model", str(demo_model()), "--out", "out-of-nothing", "--scale", "-1..1", "--framing", "pad"])
    assert code == 3 and "framing 'pad' is not" in capsys.readouterr().err
    assert parser().parse_args(["run", "--faces", "a", "--model", "b", "--out", "c", "--scale=-1..1"]).scale == "-1..1"


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faces")
    write_faces(folder, 24, seed=5, reliability=dict.fromkeys(CUE_REGIONS, 0.97))
    return folder


@needs_landmarker
def test_landmarks_follow_the_framing(faces, tmp_path, monkeypatch):
    monkeypatch.setenv("IDENTIFACE_CACHE", str(tmp_path / "cache"))
    rule = function_classifier(lambda x: x.mean((1, 2, 3))[:, None] - 0.5, (32, 32, 1), NAMES)
    found = {}
    for framing in FRAMINGS:
        settings = load_settings(framing=framing, landmarker=str(LANDMARKER), workers=1, method="none")
        found[framing] = audit(faces, rule, tmp_path / framing.replace(":", ""), settings=settings)
        assert found[framing].summary["model"]["framing"] == framing
    plain = found["plain"].array("landmarks")
    there = ~np.isnan(plain[:, 0, 0])
    assert there.sum() >= 20
    for framing, done in found.items():
        frame = np.stack(done.faces(["frame"])["frame"])
        back = done.array("landmarks") * (frame[:, None, 2:] - frame[:, None, :2]) + frame[:, None, :2]
        assert np.allclose(back[there], plain[there], atol=1e-4), framing
    inside = found["landmarks:1.4"].array("landmarks")[there]
    assert inside.min() > 0 and inside.max() < 1
    assert (found["pad:1.8"].faces()["score_MALE"] != found["plain"].faces()["score_MALE"]).any()


@needs_landmarker
def test_auto_finds_scale_and_framing_and_writes_down_why(faces, tmp_path, monkeypatch):
    "The demo model was trained in [0, 1] on whole pictures; a wrapper that undoes -1..1 wants -1..1."
    from identiface_audit.classifiers import load_classifier

    monkeypatch.setenv("IDENTIFACE_CACHE", str(tmp_path / "cache"))
    demo = load_classifier(demo_model(), NAMES)
    shifted = function_classifier(lambda x: demo.graph.raw((x / 2 + 0.5).astype(np.float32)), demo.input_shape, NAMES)
    settings = load_settings(framing="auto", scale="auto", landmarker=str(LANDMARKER), workers=1)
    lines = []
    done = audit(faces, shifted, tmp_path / "a", settings=settings, say=lines.append)
    model = done.summary["model"]
    tried = {(row["framing"], row["scale"]): row["balanced_accuracy"] for row in model["inputs_tried"]}
    assert len(tried) == len(SCALES) * len(FRAMINGS)
    best = max(abs(v - 0.5) for v in tried.values())
    assert abs(tried[model["framing"], model["scale"]] - 0.5) == best and tried["plain", "-1..1"] > tried["plain", "0..255"]
    assert any("is chosen: balanced accuracy" in line for line in lines)
    assert any("maps cannot be made" in line for line in lines)
    assert done.summary["settings"]["scale"] == "auto" and model["map_methods"] == []
    assert done.faces()["map_empty"].all() and all(c["map"] == 0 and c["read"] == 12 for c in done.summary["coverage"].values())
    assert any("no such maps" in line for line in done.summary["warnings"])


@needs_landmarker
def test_a_face_that_goes_away_between_two_framings_is_left_out_of_both(faces, tmp_path, monkeypatch):
    "Every framing is tried on the same faces; a woman lost in one only must not shift the genders in the others."
    folder = Path(shutil.copytree(faces, tmp_path / "faces"))
    settings = load_settings(framing="auto", landmarker=str(LANDMARKER), workers=1)
    table, demo = find_faces(folder, settings)[0], load_classifier(demo_model(), NAMES)
    plan = engine.read_plan

    def read_plan(*of):
        if of[-1].framing == FRAMINGS[1]:
            (folder / table["image_path"].iloc[0]).unlink(missing_ok=True)
        return plan(*of)

    monkeypatch.setattr(engine, "read_plan", read_plan)
    _, tried = engine.calibrate(demo, folder, table, settings, print)
    monkeypatch.undo()
    assert tried == engine.calibrate(demo, folder, table[1:], settings, print)[1]
    assert [row["n"] for row in tried] == [len(table) - 1] * len(FRAMINGS)


@needs_landmarker
def test_a_swapped_order_and_a_model_that_says_one_thing_are_told(faces, tmp_path, monkeypatch):
    monkeypatch.setenv("IDENTIFACE_CACHE", str(tmp_path / "cache"))
    common = dict(landmarker=str(LANDMARKER), workers=1, method="none")
    swapped = audit(faces, demo_model(), tmp_path / "a", settings=load_settings(classes="MALE,FEMALE", **common))
    assert any("looks swapped" in line for line in swapped.summary["warnings"])
    constant = function_classifier(lambda x: np.ones((len(x), 1)), (8, 8, 3), NAMES)
    same = audit(faces, constant, tmp_path / "b", settings=load_settings(**common))
    assert any("every face is taken for MALE" in line for line in same.summary["warnings"])

"""Hiding regions: on a model that is a known sum of pixels, every number is known."""

import numpy as np
import pytest

from identiface_audit.occlusion import ELSEWHERE, FACE_OVAL, fill_with, lead, occlude, region_masks
from identiface_audit.regions import REGION_SETS

REGIONS = REGION_SETS["eight"]


class SumOfPixels:
    "Logit of class 0: `weight` times the pixels of one mask; class 1: its negative."

    input_shape, class_names = (40, 40, 1), ("FEMALE", "MALE")

    def __init__(self, mask, weight=0.01):
        self.mask, self.weight, self.calls = mask, weight, 0

    def logits(self, images):
        self.calls += 1
        value = self.weight * (images[..., 0].astype(float) * self.mask).sum((1, 2))
        return np.stack([value, -value], axis=1).astype(np.float32)


def landmarks(n, seed=0):
    "Faces whose regions lie on a grid inside a round oval, a little moved from face to face."
    rng = np.random.default_rng(seed)
    points = np.full((n, 478, 2), 0.5)
    angle = np.linspace(0, 2 * np.pi, len(FACE_OVAL), endpoint=False)
    points[:, FACE_OVAL] = 0.5 + 0.48 * np.stack([np.sin(angle), -np.cos(angle)], axis=1)
    for k, index in enumerate(REGIONS.values()):
        centre = 0.3 + 0.2 * np.array([k % 3, k // 3])
        points[:, index] = centre + rng.uniform(-0.07, 0.07, (n, len(index), 2))
    return points.astype(np.float32)


def test_masks_are_convex_hulls():
    scipy = pytest.importorskip("scipy.spatial")
    points = landmarks(3)
    masks = region_masks(points, REGIONS, 60, 80, margin=0)
    y, x = np.mgrid[:60, :80] + 0.5
    pixels = np.stack([x.ravel() / 80, y.ravel() / 60], axis=1)
    for r, index in enumerate(REGIONS.values()):
        exact = (scipy.Delaunay(points[1, index]).find_simplex(pixels) >= 0).reshape(60, 80)
        mine = masks[1, r]
        assert not (exact & ~mine).any()  # nothing of the hull is left out
        assert mine.sum() <= exact.sum() * 1.1 + 4  # and hardly anything added


def test_every_pixel_has_a_home_and_faces_without_landmarks_have_none():
    points = landmarks(2)
    points[1] = np.nan
    masks = region_masks(points, REGIONS, 40, 40)
    assert masks.shape == (2, len(REGIONS) + len(ELSEWHERE), 40, 40)
    assert (masks[0].sum(0) >= 1).all() and not masks[1].any()
    assert not (masks[0, -2:].any(0) & masks[0, :-2].any(0)).any() and not (masks[0, -1] & masks[0, -2]).any()


@pytest.mark.parametrize("fill", ["mean", "blur"])
def test_drops_are_those_of_the_model_that_is_known(fill):
    rng, points = np.random.default_rng(1), landmarks(6)
    images = rng.integers(0, 255, (6, 40, 40, 1), dtype=np.uint8)
    points[4] = np.nan
    masks = region_masks(points, REGIONS, 40, 40)
    model = SumOfPixels(masks[0, 3])
    logits, true = model.logits(images), np.array([0, 1, 0, 1, 0, 1])
    found = occlude(model, images, masks, logits, true, true, fill)
    assert model.calls == 1 + masks.shape[1]  # one pass a region
    replacement = fill_with(images, masks, fill)
    for i in (0, 1, 2, 3, 5):
        for r in range(masks.shape[1]):
            new = np.where(masks[i, r], replacement[i, 1 if r == masks.shape[1] - 2 else 0, ..., 0], images[i, ..., 0])
            change = 0.01 * ((images[i, ..., 0].astype(float) - new) * masks[0, 3]).sum() * (1 if true[i] == 0 else -1)
            assert found["drop"][i, r] == pytest.approx(change, abs=1e-3)
            assert found["lead_drop"][i, r] == pytest.approx(2 * change, abs=2e-3)
    assert np.isnan(found["drop"][4]).all() and (found["predicted"][4] == -1).all()
    assert (found["predicted"][[0, 1, 2, 3, 5]] == 0).all()


def test_no_landmarks_at_all_needs_no_pass():
    model = SumOfPixels(np.ones((40, 40)))
    nowhere = region_masks(np.full((2, 478, 2), np.nan), REGIONS, 40, 40)
    found = occlude(model, np.zeros((2, 40, 40, 1), np.uint8), nowhere, np.zeros((2, 2)), np.zeros(2, int), np.zeros(2, int))
    assert model.calls == 0 and np.isnan(found["drop"]).all()


def test_colour_pictures_are_filled_channel_by_channel():
    points = landmarks(1)
    masks = region_masks(points, REGIONS, 40, 40)
    images = np.empty((1, 40, 40, 3), np.uint8)
    images[...] = (200, 100, 50)
    images[masks[:, -2]] = (0, 0, 9)
    inside, outside = fill_with(images, masks, "mean")[0, :, 0, 0]
    assert inside.tolist() == [200, 100, 50] and outside.tolist() == [0, 0, 9]
    with pytest.raises(ValueError, match="mean or blur"):
        fill_with(images, masks, "zero")


def test_lead_of_three_classes():
    assert lead(np.array([[1.0, 4.0, 3.0], [1.0, 4.0, 3.0]]), np.array([1, 0])).tolist() == [1.0, -3.0]

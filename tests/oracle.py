"""The definitions read once more, plainly: one face at a time, loops and dictionaries, other libraries where there are any.

Nothing of the package is used here except the lists of landmark indices, so that a mistake in the package cannot hide in its own oracle.
"""

import math

import numpy as np
from PIL import Image
from skimage import filters
from skimage.measure import label, regionprops


def picture(path, height, width):
    "Grey, [0, 1], as the notebook decodes it."
    with Image.open(path) as image:
        return np.array(image.convert("L").resize((width, height)), dtype=np.float32) / 255.0


def heatmap(model, image, target, method, layer):
    "One face's map by tf-keras-vis, with the last activation replaced by a linear one, as in the notebook."
    import keras
    from tf_keras_vis.gradcam import Gradcam
    from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus

    def linear(clone):
        clone.layers[-1].activation = keras.activations.linear

    kind = {"gradcam": Gradcam, "gradcam++": GradcamPlusPlus}[method]
    visualize = kind(model, model_modifier=linear, clone=True)
    return visualize(lambda output: output[0][target], image[..., None], penultimate_layer=layer)[0]


def activation_boxes(heat, percentile, method):
    heat = heat.copy()
    heat[heat < np.percentile(heat, percentile)] = 0
    if not heat.any():
        return []
    binary = heat > getattr(filters, f"threshold_{method}")(heat)
    boxes = []
    for region in regionprops(label(binary)):
        min_y, min_x, max_y, max_x = region.bbox
        boxes.append((min_x, min_y, max_x, max_y))
    return boxes


def region_boxes(points, regions, width, height):
    "{region: box} of one face's landmarks, shares of the picture."
    boxes = {}
    for name, indices in regions.items():
        xs = [int(round(float(points[i][0]) * width)) for i in indices]
        ys = [int(round(float(points[i][1]) * height)) for i in indices]
        boxes[name] = (min(xs), min(ys), max(xs), max(ys))
    return boxes


def kept_regions(boxes, around, share):
    "For each activation box the region it is kept for, or None."
    kept = []
    for box in boxes:
        centre = ((box[0] + box[2]) // 2, (box[1] + box[3]) // 2)
        best = min(around, key=lambda r: math.dist(centre, ((around[r][0] + around[r][2]) // 2, (around[r][1] + around[r][3]) // 2)))
        other = around[best]
        wide = max(0, min(box[2], other[2]) - max(box[0], other[0]))
        high = max(0, min(box[3], other[3]) - max(box[1], other[1]))
        area = (box[2] - box[0]) * (box[3] - box[1])
        kept.append(best if wide * high / area >= share else None)
    return kept


def scores(true, predicted, regions, names):
    "The notebook's scores from lists: true and predicted class and the set of kept regions of each face."
    groups = ("FEMALE", "MALE")
    recall, probabilities = {}, {name: {} for name in names}
    for g in groups:
        mine = [i for i in range(len(true)) if true[i] == g]
        recall[g] = sum(predicted[i] == g for i in mine) / len(mine) if mine else 0.0
        wrong = [i for i in mine if predicted[i] != g]
        for name in names:
            here = sum(name in regions[i] for i in wrong)
            probabilities[name][g] = round(here / len(wrong), 3) if wrong else 0.0
    bias = {name: round(abs(p["FEMALE"] - p["MALE"]), 3) for name, p in probabilities.items()}
    return {
        "equalized_odds_score": abs(recall["FEMALE"] - recall["MALE"]),
        "feature_probabilities": probabilities,
        "feature_bias_scores": bias,
        "overall_bias_score": round(float(np.mean(list(bias.values()))), 3),
    }

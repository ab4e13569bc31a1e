"""The reference notebook's way, plainly: one face at a time, one `predict`, one cloned model and one reading by MediaPipe each."""

import contextlib
import io

import numpy as np
from PIL import Image
from skimage.filters import threshold_otsu
from skimage.measure import label, regionprops


def picture(path, height, width):
    with Image.open(path) as image:
        return np.array(image.convert("L").resize((width, height)), dtype=np.float32) / 255.0


def predict(model, image):
    return int(np.argmax(model.predict(image[None, ..., None], verbose=0), axis=1)[0])


def heatmap(model, image, target):
    from keras.activations import linear
    from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus

    def modify(clone):
        clone.layers[-1].activation = linear

    visualize = GradcamPlusPlus(model, model_modifier=modify, clone=True)
    with contextlib.redirect_stdout(io.StringIO()):
        return visualize(lambda output: output[0][target], image[..., None], penultimate_layer=-1)[0]


def boxes(heat):
    heat = heat.copy()
    heat[heat < np.percentile(heat, 90)] = 0
    if not heat.any():
        return []
    found = [r.bbox for r in regionprops(label(heat > threshold_otsu(heat)))]
    return [(x0, y0, x1, y1) for y0, x0, y1, x1 in found]


def region_boxes(path, detector, regions, scale):
    import mediapipe

    found = detector.detect(mediapipe.Image.create_from_file(str(path))).face_landmarks
    if not found:
        return {}
    points = [(round(p.x * scale), round(p.y * scale)) for p in found[0]]
    out = {}
    for name, indices in regions.items():
        xs, ys = zip(*(points[i] for i in indices), strict=True)
        out[name] = min(xs), min(ys), max(xs), max(ys)
    return out


def kept(box, regions):
    "The region nearest to an activation box, where a fifth of the box lies in it."
    if not regions:
        return None

    def distance(name):
        centres = [((b[0] + b[2]) // 2, (b[1] + b[3]) // 2) for b in (box, regions[name])]
        return np.hypot(*np.subtract(*centres))

    name = min(regions, key=distance)
    other = regions[name]
    width, height = min(box[2], other[2]) - max(box[0], other[0]), min(box[3], other[3]) - max(box[1], other[1])
    inside = max(width, 0) * max(height, 0)
    return name if inside >= 0.2 * (box[2] - box[0]) * (box[3] - box[1]) else None


def audit_face(path, target, model, detector, regions):
    "(predicted class, names of the kept regions) of one face."
    image = picture(path, *model.input_shape[1:3])
    predicted = predict(model, image)
    around = region_boxes(path, detector, regions, model.input_shape[1])
    return predicted, {kept(box, around) for box in boxes(heatmap(model, image, target))} - {None}

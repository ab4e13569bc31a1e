"""Graph x head x input x map method on tiny random models, each map compared with a plain GradientTape reading of the papers."""

import numpy as np
import pytest

from identiface_audit.classifiers import KerasClassifier, behaviour_sha256, function_classifier, import_keras
from identiface_audit.errors import ModelError
from identiface_audit.framing import scale_pixels
from identiface_audit.saliency import class_activation_maps, upsample

keras = import_keras()
L = keras.layers
NAMES = ("FEMALE", "MALE")


def sequential(shape, end):
    return keras.Sequential([keras.Input(shape), L.Conv2D(6, 3, activation="relu", name="conv"), L.MaxPooling2D(), L.Flatten(), *end])


def functional(shape, end):
    x = keras.Input(shape)
    y = L.Conv2D(5, 3, padding="same", use_bias=False)(x)
    y = L.ReLU()(L.BatchNormalization()(y))
    y = L.Add()([y, L.SeparableConv2D(5, 3, padding="same", activation="relu", name="conv")(y)])
    y = L.Flatten()(L.AveragePooling2D(2)(y))
    for layer in end:
        y = layer(y)
    return keras.Model(x, y)


def nested(shape, end):
    inner = keras.Sequential([keras.Input(shape), L.Conv2D(4, 3, activation="relu"), L.Conv2D(6, 3, activation="relu", name="conv")], name="backbone")
    x = keras.Input(shape)
    y = L.GlobalAveragePooling2D()(inner(x))
    for layer in end:
        y = layer(y)
    return keras.Model(x, y)


class Subclassed(keras.Model):
    def __init__(self, end):
        super().__init__()
        self.conv, self.pool, self.end = L.Conv2D(6, 3, activation="relu", name="conv"), L.GlobalAveragePooling2D(), end

    def call(self, x):
        y = self.pool(self.conv(x))
        for layer in self.end:
            y = layer(y)
        return y


def subclassed(shape, end):
    model = Subclassed(end)
    model(np.zeros((1, *shape), np.float32))
    return model


def preprocessing(shape, end):
    x = keras.Input(shape)
    scale = L.Normalization(mean=[100.0] * shape[2], variance=[900.0] * shape[2])
    y = L.Conv2D(6, 3, activation="relu", name="conv")(scale(L.Rescaling(255.0)(x)))
    y = L.Flatten()(y)
    for layer in end:
        y = layer(y)
    return keras.Model(x, y)


HEADS = {
    "softmax": (lambda: [L.Dense(2, activation="softmax")], 2),
    "softmax layer": (lambda: [L.Dense(2), L.Softmax()], 2),
    "activation layer": (lambda: [L.Dense(2), L.Activation("softmax")], 2),
    "logits": (lambda: [L.Dense(2)], 2),
    "sigmoid unit": (lambda: [L.Dense(1, activation="sigmoid")], 2),
    "logit unit": (lambda: [L.Dense(1)], 2),
    "three": (lambda: [L.Dense(3, activation="softmax")], 3),
    "reshaped": (lambda: [L.Dense(2, activation="softmax"), L.Reshape((1, 1, 2))], 2),
}
GRAPHS = {"sequential": sequential, "functional": functional, "nested": nested, "subclassed": subclassed, "preprocessing": preprocessing}
INPUTS = {"grey": (12, 12, 1), "rgb oblong": (10, 14, 3)}


def reference_maps(model, conv, pictures, targets, n_classes, method):
    """Maps by the papers, one face at a time, with the model's own output turned back into logits.

    The activations are taken from, and differentiated at, the output of `conv` by running the model with that layer replaced.
    """
    import tensorflow as tf

    out = []
    for picture, target in zip(pictures, targets, strict=True):
        x, kept, kind = tf.constant(picture[None]), {}, type(conv)
        original = kind.call

        def call(self, inputs, *args, original=original, kept=kept, **kwargs):
            y = original(self, inputs, *args, **kwargs)
            if self is conv:
                kept["tape"].watch(y)
                kept["activations"] = y
            return y

        kind.call = call
        try:
            with tf.GradientTape() as tape:
                kept["tape"] = tape
                p = tf.reshape(model(x, training=False), (-1,))
                score = model_logit(tf, p, int(target), model)
            a = kept["activations"]
        finally:
            kind.call = original
        g = tape.gradient(score, a)[0].numpy().astype(np.float64)
        a = a[0].numpy().astype(np.float64)
        if method == "gradcam":
            w = g.mean((0, 1))
        elif method == "gradcam++":
            below = 2 * g**2 + g**3 * a.sum((0, 1))
            alpha = np.where((g != 0) & (below != 0), g**2 / np.where(below == 0, 1, below), 0)
            total = alpha.sum((0, 1))
            alpha = alpha / np.where(total == 0, 1, total)
            w = (alpha * np.maximum(np.exp(float(score)) * g, 0)).sum((0, 1))
        else:
            w = np.zeros(a.shape[2])
            for k in range(a.shape[2]):
                if a[..., k].any():
                    mask = upsample(a[None, ..., k], *picture.shape[:2])[0]
                    mask = (mask - mask.min()) / (mask.max() - mask.min() + 1e-7)
                    q = np.ravel(model(picture[None] * mask[None, ..., None], training=False))
                    w[k] = model_share(q, int(target), model)
        out.append(np.maximum((a * w).sum(-1), 0))
    return np.array(out)


def ends_linear(model):
    return "linear" in model.note


def model_logit(tf, p, target, model):
    if len(p) == 1:
        logit = p[0] if ends_linear(model) else tf.math.log(p[0]) - tf.math.log(1 - p[0])
        return logit if target == 1 else -logit
    return p[target] if ends_linear(model) else tf.math.log(p[target])


def model_share(q, target, model):
    if ends_linear(model):
        q = np.exp(q) / np.exp(q).sum() if len(q) > 1 else 1 / (1 + np.exp(-q))
    share = q if len(q) > 1 else np.array([1 - q[0], q[0]])
    return share[target]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("graph", GRAPHS)
def test_maps_equal_a_plain_reading_of_the_papers(graph, head):
    shape = INPUTS["rgb oblong" if (len(graph) + len(head)) % 2 else "grey"]
    keras.utils.set_random_seed(len(graph) * 31 + len(head))
    end, n = HEADS[head]
    layers = end()
    model = GRAPHS[graph](shape, layers)
    names = ("FEMALE", "MALE", "OTHER")[:n]
    before = model.get_weights()
    classifier = KerasClassifier(model, names, batch_size=4, input_shape=shape if graph == "subclassed" else None)
    assert classifier.map_layer.split("/")[-1] == "conv"
    images = np.random.default_rng(1).integers(0, 256, (3, *shape), np.uint8)
    targets = np.arange(3) % n
    pictures = scale_pixels(images, "0..1")
    answers = np.asarray(model(pictures, training=False)).reshape(3, -1)
    plain = head in ("logits", "logit unit")
    scores = classifier.scores(classifier.logits(images))
    if not plain:
        want = answers if answers.shape[1] > 1 else np.concatenate([1 - answers, answers], 1)
        assert np.allclose(scores, want, atol=1e-5)
    linear = strip(model, layers) if not plain else model  # the same weights, ending in logits
    linear.note = "linear"
    conv = next(layer for layer in linear._flatten_layers() if layer.name == "conv")
    for method in classifier.map_methods:
        own = class_activation_maps(classifier, images, targets, method)
        want = reference_maps(linear, conv, pictures, targets, n, method)
        top = max(want.max(), 1e-12)
        assert own.shape == want.shape and np.abs(own - want).max() <= (2e-3 if method == "gradcam++" else 2e-4) * top, method
    restore(layers)
    assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))
    again = np.asarray(model(pictures, training=False)).reshape(3, -1)
    assert (again == answers).all()  # the model is as it was


def strip(model, layers):
    "The model with its last activation made linear, in place."
    for layer in layers:
        layer.kept = getattr(layer, "activation", None)
        if isinstance(layer, L.Softmax):
            layer.call, layer.kept = (lambda inputs, mask=None: inputs), "call"
        elif layer.kept is not None:
            layer.activation = keras.activations.linear
    return model


def restore(layers):
    for layer in layers:
        if getattr(layer, "kept", None) == "call":
            del layer.call
        elif getattr(layer, "kept", None) is not None:
            layer.activation = layer.kept


def test_gradcam_weights_are_finite_differences_of_the_logit():
    "Grad-CAM on a convolution pooled straight into the classes: the gradient of a mean is known without calculus."
    keras.utils.set_random_seed(3)
    x = keras.Input((16, 16, 1))
    y = L.Conv2D(8, 3, strides=2, padding="same", activation="relu")(x)
    y = L.Conv2D(2, 3, padding="same", name="classes")(y)
    model = keras.Model(x, L.Activation("softmax")(L.GlobalAveragePooling2D()(y)))
    classifier = KerasClassifier(model, NAMES)
    assert classifier.map_layer == "classes"
    images = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 1), np.uint8)
    targets = np.array([0, 1, 0, 1])
    maps = class_activation_maps(classifier, images, targets, "gradcam")
    activations = np.asarray(classifier.graph.activations(classifier.prepare(images)))
    want = np.maximum(activations[np.arange(4), :, :, targets] / 64, 0)  # d(mean)/da = 1/64 for its own channel, 0 for the other
    assert np.allclose(maps, want, atol=1e-6)


@pytest.mark.parametrize("family, size", [("MobileNet", 32), ("VGG16", 32), ("ResNet50", 32)])
def test_public_backbones_as_a_layer(family, size):
    keras.utils.set_random_seed(0)
    base = getattr(keras.applications, family)(input_shape=(size, size, 3), weights=None, include_top=False)
    x = keras.Input((size, size, 3))
    # two stages from the end, where such a small picture still has rows and columns
    y = L.GlobalAveragePooling2D()(base(x, training=False))
    model = keras.Model(x, L.Dense(2, activation="softmax")(y))
    spatial = {"MobileNet": "conv_pw_11", "VGG16": "block5_conv3", "ResNet50": "conv4_block6_3_conv"}[family]
    classifier = KerasClassifier(model, NAMES, f"{base.name}/{spatial}", batch_size=2)
    assert classifier.map_layer == f"{base.name}/{spatial}"
    images = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), np.uint8)
    maps = {m: class_activation_maps(classifier, images, np.array([0, 1]), m) for m in ("gradcam", "gradcam++")}
    flat = keras.Model(base.inputs, [base.get_layer(spatial).output, base.output])  # the backbone alone, the rest by hand
    import tensorflow as tf

    kernel, bias = model.layers[-1].get_weights()
    for i, target in enumerate((0, 1)):
        with tf.GradientTape() as tape:
            a, features = flat([classifier.prepare(images[i : i + 1])], training=False)
            logit = (tf.reduce_mean(features, (1, 2)) @ kernel + bias)[0, target]
        g = tape.gradient(logit, a)
        want = np.maximum((a * tf.reduce_mean(g, (1, 2), keepdims=True)).numpy().sum(-1)[0], 0)
        assert np.abs(maps["gradcam"][i] - want).max() <= 1e-3 * max(want.max(), 1e-12)
    assert np.isfinite(maps["gradcam++"]).all()
    with pytest.raises(ModelError, match="no layer 'nowhere'.*" + spatial):
        KerasClassifier(model, NAMES, "nowhere")
    assert KerasClassifier(model, NAMES, spatial).map_layer == f"{base.name}/{spatial}"


def test_score_cam_of_one_sigmoid_unit_knows_its_class():
    keras.utils.set_random_seed(5)
    model = sequential((12, 12, 1), [L.Dense(1, activation="sigmoid")])
    model.layers[-1].set_weights([w * 4 for w in model.layers[-1].get_weights()])
    classifier = KerasClassifier(model, NAMES)
    images = np.random.default_rng(0).integers(0, 256, (4, 12, 12, 1), np.uint8)
    first, second = (class_activation_maps(classifier, images, np.full(4, t), "scorecam") for t in (0, 1))
    assert np.abs(first - second).max() > 0.05 * max(first.max(), second.max())
    swapped = KerasClassifier(model, NAMES[::-1])
    assert (swapped.logits(images) == classifier.logits(images)).all()  # the unit is the second name, whatever it is
    assert [swapped.class_names[i] for i in swapped.logits(images).argmax(1)] != [NAMES[i] for i in classifier.logits(images).argmax(1)]


def test_the_head_of_several_is_chosen_or_asked_for():
    x = keras.Input((8, 8, 1))
    y = L.Flatten()(L.Conv2D(3, 3)(x))
    age, left, right = L.Dense(1, name="age")(y), L.Dense(2, activation="softmax", name="gender")(y), L.Dense(2, name="smile")(y)
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), np.uint8)
    found = KerasClassifier(keras.Model(x, [age, left]), NAMES)
    assert np.allclose(found.scores(found.logits(images)), keras.Model(x, left)(images / 255.0), atol=1e-6)
    hat = L.Dense(2, name="hat")(y)
    three = keras.Model(x, {"a": age, "b": hat, "c": right})
    with pytest.raises(ModelError, match="--head NAME or INDEX: 0 .*1 .*2"):
        KerasClassifier(three, NAMES)
    by_index = KerasClassifier(three, NAMES, head="2")
    assert np.allclose(by_index.logits(images), keras.Model(x, right)(images / 255.0), atol=1e-6)
    with pytest.raises(ModelError, match="no output 'hair'"):
        KerasClassifier(three, NAMES, head="hair")


def test_no_spatial_layer_is_refused_with_the_list_and_can_be_audited_without_maps():
    model = keras.Sequential([keras.Input((4, 4, 1)), L.Flatten(name="flat"), L.Dense(8, name="hidden"), L.Dense(2, name="out")])
    with pytest.raises(ModelError, match="method = none.*flat, hidden, out"):
        KerasClassifier(model, NAMES)
    blind = KerasClassifier(model, NAMES, maps=False)
    assert blind.map_methods == () and blind.map_shape == (1, 1)
    with pytest.raises(ModelError, match="no maps"):
        class_activation_maps(blind, np.zeros((1, 4, 4, 1), np.uint8), np.array([0]), "gradcam")


@pytest.mark.parametrize("what, reason", [("nan", "not finite"), ("relu", "ends in relu"), ("two inputs", "2 inputs"), ("five channels", "an audit needs")])
def test_what_cannot_be_audited_is_refused(what, reason):
    shape = (8, 8, 5 if what == "five channels" else 1)
    x = keras.Input(shape)
    y = L.Dense(2, activation="relu" if what == "relu" else None)(L.Flatten()(L.Conv2D(2, 3)(x)))
    model = keras.Model([x, keras.Input((3,))] if what == "two inputs" else x, y)
    if what == "nan":
        model.set_weights([w * np.nan for w in model.get_weights()])
    with pytest.raises(ModelError, match=reason):
        KerasClassifier(model, NAMES)


def test_any_function_is_a_classifier_without_maps():
    both = function_classifier(lambda x: np.stack([1 - x.mean((1, 2, 3)), x.mean((1, 2, 3))], 1), (8, 8, 3), NAMES, gives="probabilities")
    one = function_classifier(lambda x: x.mean((1, 2, 3))[:, None], (8, 8, 3), NAMES, gives="probabilities")
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
    assert np.allclose(both.scores(both.logits(images)), one.scores(one.logits(images)), atol=1e-6) and both.map_methods == ()
    assert behaviour_sha256(both) == behaviour_sha256(both) != behaviour_sha256(one)
    with pytest.raises(ModelError, match=r"gives \(2, 3\)"):
        function_classifier(lambda x: np.zeros((len(x), 3)), (8, 8, 3), NAMES)
    broken = function_classifier(lambda x: np.full((len(x), 2), np.nan), (8, 8, 3), NAMES)
    with pytest.raises(ModelError, match="not finite numbers for 5 of 5"):
        broken.logits(images)

"""Hostile model files are refused in one line, nothing in them runs, and nothing takes the process down; good files of every age load."""

import json
import re
import subprocess
import sys
import time

import h5py
import hostile
import numpy as np
import psutil
import pytest
from processes import until

from identiface_audit.classifiers import import_keras, load_classifier
from identiface_audit.errors import ModelError
from identiface_audit.model_files import scan_here, scan_model
from identiface_audit.saliency import class_activation_maps
from identiface_audit.sandbox import run_limited

NAMES = ("FEMALE", "MALE")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("IDENTIFACE_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.mark.parametrize("name", hostile.CASES)
def test_hostile_files_are_refused_in_one_line_and_never_run(name, tmp_path):
    make, reason = hostile.CASES[name]
    marker = tmp_path / "marker"
    folder = tmp_path / "model"
    folder.mkdir()
    path = make(folder, marker)
    assert not marker.exists()
    start = time.perf_counter()
    with pytest.raises(ModelError, match=reason) as error:
        if path.is_dir() and (path / "saved_model.pb").exists():  # a scan of these in a child imports TensorFlow each time
            scan_here(str(path), "saved_model")
        else:
            scan_model(path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 700
    assert not marker.exists() and time.perf_counter() - start < 60


def test_a_file_that_wants_fourteen_gigabytes_is_stopped_by_the_sandbox(tmp_path):
    config = json.loads(hostile._good()["config.json"])
    dense = json.dumps(hostile._dense(config))
    at = next(i for i, layer in enumerate(config["config"]["layers"]) if layer["class_name"] == "Flatten")
    config = {"module": "keras", "class_name": "Sequential", "config": {"name": "s", "layers": config["config"]["layers"][: at + 1]}, "registered_name": None}
    for i in range(2):
        layer = json.loads(dense)
        layer["config"] |= {"name": f"wide_{i}", "units": 60_000}
        layer.pop("build_config", None)
        config["config"]["layers"].append(layer)
    path = hostile._keras(tmp_path, config)
    scan_model(path)
    with pytest.raises(ModelError, match="memory|Unable to allocate|OOM|alloc"):
        load_classifier(path, NAMES)


def test_the_sandbox_writes_no_large_file_and_sees_no_secret(monkeypatch, tmp_path):
    monkeypatch.setenv("SECRET_TOKEN", "x")
    assert run_limited("os:getenv", {"key": "SECRET_TOKEN"}) is None
    with pytest.raises(ModelError):
        run_limited("timeit:timeit", {"stmt": f"open({str(tmp_path / 'big')!r}, 'wb').write(bytes(10**7))", "number": 1})
    assert not (tmp_path / "big").exists() or (tmp_path / "big").stat().st_size <= 1_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="dies with its parent on Linux only")
def test_the_sandbox_dies_with_its_parent(tmp_path):
    mark = tmp_path / "child"
    work = f"import os, pathlib, time; pathlib.Path({str(mark)!r}).write_text(str(os.getpid())); time.sleep(100)"
    parent = subprocess.Popen([sys.executable, "-c", f"from identiface_audit.sandbox import run_limited as r; r('timeit:timeit', {{'stmt': {work!r}, 'number': 1}})"])
    until(lambda: mark.exists() and mark.read_text())
    child = psutil.Process(int(mark.read_text()))
    parent.kill()
    parent.wait()
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


# files of every age


def _tiny(keras):
    keras.utils.set_random_seed(7)
    L = keras.layers
    x = keras.Input((12, 12, 1), name="input_1")
    y = L.Conv2D(4, 3, padding="same", name="convolution2d_1")(x)
    y = L.BatchNormalization(name="batchnormalization_1")(y)
    y = L.Activation("relu", name="activation_1")(y)
    y = L.MaxPooling2D(name="maxpooling2d_1")(y)
    y = L.Dropout(0.3, name="dropout_1")(y)
    y = L.Flatten(name="flatten_1")(y)
    model = keras.Model(x, L.Dense(2, activation="softmax", name="dense_1")(y))
    norm = model.get_layer("batchnormalization_1")
    norm.set_weights([np.abs(np.random.default_rng(i).normal(1, 0.2, w.shape)) for i, w in enumerate(norm.get_weights())])
    return model


def _write_legacy(path, model, config, version):
    "An HDF5 file as Keras 1 and 2 laid it out."
    with h5py.File(path, "w") as file:
        file.attrs["model_config"], file.attrs["keras_version"] = json.dumps(config).encode(), version.encode()
        group = file.create_group("model_weights")
        layers = [layer for layer in model.layers if layer.name != "input_1"]
        group.attrs["layer_names"] = [layer.name.encode() for layer in layers]
        for layer in layers:
            here, names = group.create_group(layer.name), []
            for i, weight in enumerate(layer.get_weights()):
                names.append(f"{layer.name}_w{i}".encode())
                here.create_dataset(names[-1].decode(), data=weight)
            here.attrs["weight_names"] = names


KERAS_1 = [
    ("Convolution2D", {"name": "convolution2d_1", "batch_input_shape": [None, 12, 12, 1], "input_dtype": "float32", "nb_filter": 4,
                       "nb_row": 3, "nb_col": 3, "border_mode": "same", "subsample": [1, 1], "dim_ordering": "tf", "bias": True,
                       "init": "glorot_uniform", "activation": "linear", "trainable": True, "b_constraint": None, "W_constraint": None,
                       "W_regularizer": {"name": "WeightRegularizer", "l1": 0.0, "l2": 0.01}, "b_regularizer": None,
                       "activity_regularizer": None}),
    ("BatchNormalization", {"name": "batchnormalization_1", "mode": 0, "axis": -1, "momentum": 0.99, "epsilon": 0.001, "trainable": True,
                            "gamma_regularizer": None, "beta_regularizer": None}),
    ("Activation", {"name": "activation_1", "activation": "relu", "trainable": True}),
    ("MaxPooling2D", {"name": "maxpooling2d_1", "pool_size": [2, 2], "strides": [2, 2], "border_mode": "valid", "dim_ordering": "tf"}),
    ("Dropout", {"name": "dropout_1", "p": 0.3}),
    ("Flatten", {"name": "flatten_1", "trainable": True}),
    ("Dense", {"name": "dense_1", "output_dim": 2, "input_dim": None, "init": "glorot_uniform", "bias": True, "activation": "softmax",
               "W_regularizer": None, "b_regularizer": None, "W_constraint": None, "b_constraint": None}),
]  # fmt: skip
_GLOROT = {"class_name": "VarianceScaling", "config": {"scale": 1.0, "mode": "fan_avg", "distribution": "uniform", "seed": None}}
_DECAY = {"class_name": "L1L2", "config": {"l1": 0.0, "l2": 0.0005}}
KERAS_2 = [
    ("Conv2D", {"name": "convolution2d_1", "batch_input_shape": [None, 12, 12, 1], "dtype": "float32", "filters": 4, "kernel_size": [3, 3],
                "strides": [1, 1], "padding": "same", "data_format": "channels_last", "dilation_rate": [1, 1], "groups": 1,
                "activation": "linear", "use_bias": True, "kernel_initializer": _GLOROT, "kernel_regularizer": _DECAY,
                "bias_initializer": {"class_name": "Zeros", "config": {}}, "kernel_constraint": None}),
    ("BatchNormalization", {"name": "batchnormalization_1", "axis": [3], "momentum": 0.99, "epsilon": 0.001, "center": True, "scale": True,
                            "moving_mean_initializer": {"class_name": "Zeros", "config": {}}, "beta_regularizer": _DECAY}),
    ("Activation", {"name": "activation_1", "activation": "relu", "dtype": "float32"}),
    ("MaxPooling2D", {"name": "maxpooling2d_1", "pool_size": [2, 2], "strides": [2, 2], "padding": "valid", "data_format": "channels_last"}),
    ("Dropout", {"name": "dropout_1", "rate": 0.3, "noise_shape": None, "seed": None}),
    ("Flatten", {"name": "flatten_1", "data_format": "channels_last"}),
    ("Dense", {"name": "dense_1", "units": 2, "activation": "softmax", "use_bias": True, "kernel_initializer": _GLOROT}),
]  # fmt: skip


def _functional(layers):
    "The same layers as a functional model of Keras 2."
    first = layers[0][1]["batch_input_shape"]
    out = [{"class_name": "InputLayer", "name": "input_1", "inbound_nodes": [],
            "config": {"name": "input_1", "batch_input_shape": first, "dtype": "float32", "sparse": False, "ragged": False}}]  # fmt: skip
    for kind, config in layers:
        before = out[-1]["name"]
        config = {k: v for k, v in config.items() if k != "batch_input_shape"}
        out.append({"class_name": kind, "name": config["name"], "config": config, "inbound_nodes": [[[before, 0, 0, {}]]]})
    ends = {"input_layers": [["input_1", 0, 0]], "output_layers": [[out[-1]["name"], 0, 0]]}
    return {"class_name": "Model", "config": {"name": "model_1", "layers": out, **ends}}


@pytest.mark.parametrize("age", ["keras 1", "keras 2.0", "keras 2.4", "functional 1", "functional 2"])
def test_hdf5_files_of_every_age_give_the_same_answers(age, tmp_path):
    keras = import_keras()
    model = _tiny(keras)
    plain = [{"class_name": k, "config": c} for k, c in (KERAS_1 if age.endswith("1") else KERAS_2)]
    config = {"class_name": "Sequential", "config": {"name": "s", "layers": plain} if age == "keras 2.4" else plain}
    if age.startswith("functional"):
        config = _functional(KERAS_1 if age.endswith("1") else KERAS_2)
    _write_legacy(tmp_path / "old.hdf5", model, config, "1.2.2" if age.endswith("1") else "2.0.5")
    images = np.random.default_rng(0).integers(0, 256, (5, 12, 12, 1), np.uint8)
    classifier = trusted_free_load(tmp_path / "old.hdf5")
    assert np.allclose(classifier.scores(classifier.logits(images)), model(images / 255.0, training=False), atol=1e-6)


def trusted_free_load(path, **options):
    "Load as an audit does, but without the child process for a first try, which has tests of its own."
    import dataclasses

    from identiface_audit import classifiers

    found = scan_model(path)
    assert dataclasses.asdict(found)["trusted"] is False
    classifiers._try_once, kept = (lambda *_: None), classifiers._try_once
    try:
        return load_classifier(found, NAMES, **options)
    finally:
        classifiers._try_once = kept


def test_the_same_network_as_keras_saved_model_and_onnx(tmp_path):
    keras = import_keras()
    keras.utils.set_random_seed(1)
    L = keras.layers
    x = keras.Input((8, 8, 1))
    y = L.Conv2D(3, 3, use_bias=False, activation="relu", name="conv")(x)
    model = keras.Model(x, L.Dense(2, use_bias=False, activation="softmax")(L.GlobalAveragePooling2D()(y)))
    model.save(tmp_path / "m.keras")
    model.export(tmp_path / "saved", verbose=False)
    from onnx import numpy_helper

    kernel, dense = model.get_weights()
    weights = {"w": kernel.transpose(3, 2, 0, 1), "d": dense}
    data = hostile.onnx_model(initializers=[numpy_helper.from_array(np.ascontiguousarray(v), k) for k, v in weights.items()])
    (tmp_path / "m.onnx").write_bytes(data)
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), np.uint8)
    targets = np.array([0, 1, 0, 1, 0])
    a = load_classifier(tmp_path / "m.keras", NAMES)
    b, c = trusted_free_load(tmp_path / "saved"), trusted_free_load(tmp_path / "m.onnx")
    assert b.map_methods == a.map_methods == ("gradcam", "gradcam++", "scorecam") and c.map_methods == ("scorecam",)
    assert c.map_layer == "relu" and c.map_shape == b.map_shape == a.map_shape == (6, 6)
    for other in (b, c):
        assert np.allclose(other.logits(images), a.logits(images), atol=1e-5)
        for method in other.map_methods:
            want, got = (class_activation_maps(m, images, targets, method) for m in (a, other))
            assert np.abs(got - want).max() <= 1e-3 * max(want.max(), 1e-12), method
    with pytest.raises(ModelError, match="gradcam maps cannot be made.*scorecam"):
        class_activation_maps(c, images, targets, "gradcam")
    named = trusted_free_load(tmp_path / "m.onnx", map_layer="conv")
    assert named.map_layer == "conv"


def test_trust_is_the_one_way_around(tmp_path):
    marker = tmp_path / "marker"
    path = hostile.lambda_in_keras(tmp_path, marker)
    with pytest.raises(ModelError, match="Lambda layer is code"):
        load_classifier(path, NAMES)
    assert not marker.exists()
    classifier = load_classifier(scan_model(path, trust=True), NAMES)
    classifier.logits(np.zeros((1, 8, 8, 1), np.uint8))
    assert marker.exists()  # the user vouched for it, and its code ran


@pytest.mark.parametrize("seed", range(6))
def test_flipped_bytes_end_in_a_line_or_a_model(seed, tmp_path):
    from identiface_audit.synthetic import demo_model

    data = bytearray(demo_model().read_bytes())
    rng = np.random.default_rng(seed)
    for at in rng.integers(0, len(data), 40):
        data[at] = rng.integers(0, 256)
    (tmp_path / "m.keras").write_bytes(bytes(data))
    try:
        scan_model(tmp_path / "m.keras")
    except ModelError as error:
        assert re.match(r"^[^\n]+$", str(error))


@pytest.mark.shared
def test_the_public_models_load(shared_models):
    first = load_classifier(shared_models / "oarriaga_gender_mini_XCEPTION.21-0.95.hdf5", NAMES, scale="-1..1")
    assert first.input_shape == (64, 64, 1) and first.map_layer == "conv2d_7" and first.map_shape == (4, 4)
    second = load_classifier(shared_models / "gender-v1.onnx", NAMES, scale="dlib")
    assert second.input_shape == (32, 32, 3) and second.map_methods == ("scorecam",)


@pytest.fixture
def shared_models():
    from pathlib import Path

    folder = Path(__file__).resolve().parents[1].parent / "shared" / "models" / "public"
    if not folder.is_dir():
        pytest.skip("needs the public models of ../shared, which are not part of the project")
    return folder


def test_the_docs_say_how_many_hostile_files_were_tried():
    from pathlib import Path

    page = (Path(__file__).resolve().parents[1] / "nbs" / "tutorials" / "10_audit_your_own_model.ipynb").read_text()
    n = len(hostile.CASES)
    assert f"**{n} hostile files**" in page and f"{n} of {n} are refused" in page

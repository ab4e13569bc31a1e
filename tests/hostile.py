"""Model files that should not be loaded, made on the spot. Their payloads would do no more than touch a marker file."""

import json
import os
import pickle
import zipfile
from functools import cache
from pathlib import Path

import h5py
import numpy as np

CASES = {}


def case(reason):
    "Register a function (folder, marker) -> path of a hostile model; `reason` is a pattern of the one line that refuses it."

    def keep(function):
        CASES[function.__name__] = (function, reason)
        return function

    return keep


@cache
def _good():
    "{member: bytes} of a harmless .keras file."
    from identiface_audit.synthetic import demo_model

    with zipfile.ZipFile(demo_model()) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _config():
    return json.loads(_good()["config.json"])


def _pack(path, members, **options):
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def _keras(folder, config, **members):
    text = config if isinstance(config, (str, bytes)) else json.dumps(config)
    return _pack(folder / "model.keras", _good() | {"config.json": text} | members)


def _h5(folder, config, version="3.0.0"):
    path = folder / "model.h5"
    with h5py.File(path, "w") as file:
        if config is not None:
            file.attrs["model_config"] = config if isinstance(config, str) else json.dumps(config)
        file.attrs["keras_version"] = version
        file.create_dataset("model_weights/dense/kernel", data=np.zeros((4, 2), np.float32))
    return path


def _dense(config):
    "The last layer of the demo model's configuration."
    return next(layer for layer in reversed(config["config"]["layers"]) if layer["class_name"] == "Dense")


def _gadget(folder, class_name, module, inside=None, registered=None):
    config = _config()
    _dense(config).update(class_name=class_name, module=module, config=inside or {}, registered_name=registered)
    return _keras(folder, config)


def _real_lambda(path, marker):
    "A Lambda layer as Keras itself saves it, with byte code that touches the marker."
    import keras

    payload = eval(f"lambda x: (__import__('pathlib').Path({str(marker)!r}).touch(), x)[1]")
    layer = keras.layers.Lambda(payload, output_shape=(8, 8, 1))
    model = keras.Sequential([keras.Input((8, 8, 1)), layer, keras.layers.Conv2D(2, 3), keras.layers.GlobalAveragePooling2D()])
    model.save(path)
    marker.unlink(missing_ok=True)  # where building the model ran it
    return path


@case("Lambda layer is code")
def lambda_in_keras(folder, marker):
    return _real_lambda(folder / "model.keras", marker)


@case("Lambda layer is code")
def lambda_in_h5(folder, marker):
    return _real_lambda(folder / "model.h5", marker)


@case("Lambda layer is code")
def lambda_with_a_public_keras_function(folder, marker):
    inside = {"name": "l", "function": {"module": "keras.config", "class_name": "function", "config": "set_epsilon"}}
    return _gadget(folder, "Lambda", "keras.layers", inside)


@case("Lambda layer is code")
def lambda_in_a_nested_model(folder, marker):
    config = _config()
    inner = json.loads(json.dumps(config).replace('"Dropout"', '"Lambda"'))
    config["config"]["layers"].insert(2, inner)
    return _keras(folder, config)


@case("'__lambda__'")
def lambda_as_activation(folder, marker):
    config = _config()
    _dense(config)["config"]["activation"] = {"class_name": "__lambda__", "config": {"value": "4wEAAAA="}}
    return _keras(folder, config)


@case("'system'")
def os_system(folder, marker):
    return _gadget(folder, "system", "os", {"command": f"touch {marker}"})


@case("'eval'")
def builtin_eval(folder, marker):
    return _gadget(folder, "eval", "builtins", {"source": f"open({str(marker)!r}, 'w')"})


@case("module 'os'")
def known_class_of_another_module(folder, marker):
    return _gadget(folder, "Dense", "os", {"units": 2})


@case("module 'keras.utils.file_utils'")
def known_class_of_a_module_of_keras_that_has_no_layers(folder, marker):
    return _gadget(folder, "Dense", "keras.utils.file_utils", {"units": 2})


@case("module 'tensorflow.io.gfile'")
def known_class_of_tensorflow(folder, marker):
    return _gadget(folder, "Dense", "tensorflow.io.gfile", {"units": 2})


@case("'get_file'")
def get_file(folder, marker):
    return _gadget(folder, "get_file", "keras.utils", {"fname": str(marker), "origin": Path(__file__).as_uri()})


@case("'TorchModuleWrapper'")
def torch_module(folder, marker):
    return _gadget(folder, "TorchModuleWrapper", "keras.layers", {"module": "payload"})


@case("'TFSMLayer'")
def saved_model_layer(folder, marker):
    return _gadget(folder, "TFSMLayer", "keras.layers", {"filepath": str(folder)})


@case("'StringLookup'")
def vocabulary_from_a_path(folder, marker):
    return _gadget(folder, "StringLookup", "keras.layers", {"vocabulary": "/etc/hostname"})


@case("'TextVectorization'")
def text_vectorization(folder, marker):
    return _gadget(folder, "TextVectorization", "keras.layers", {"vocabulary": "/etc/hostname"})


@case("custom class .'evil>Dense'")
def registered_class(folder, marker):
    return _gadget(folder, "Dense", "keras.layers", {"units": 2}, registered="evil>Dense")


@case("not on the list")
def class_that_is_no_text(folder, marker):
    return _gadget(folder, ["Dense"], "keras.layers")


@case("carries a function")
def function_in_a_known_layer(folder, marker):
    return _gadget(folder, "Activation", "keras.layers", {"function": "os.system"})


@case("activation 'os.system'")
def activation_by_a_strange_name(folder, marker):
    config = _config()
    _dense(config)["config"]["activation"] = "os.system"
    return _keras(folder, config)


@case("'function'")
def activation_as_a_function_object(folder, marker):
    config = _config()
    function = {"module": "keras.config", "class_name": "function", "config": "set_epsilon", "registered_name": "function"}
    _dense(config)["config"]["activation"] = function
    return _keras(folder, config)


@case("not on the list")
def initializer_that_is_no_initializer(folder, marker):
    config = _config()
    _dense(config)["config"]["kernel_initializer"] = {"module": "subprocess", "class_name": "Popen", "config": {"args": ["touch", str(marker)]}}
    return _keras(folder, config)


@case("'__typespec__'")
def type_spec(folder, marker):
    config = _config()
    _dense(config)["config"]["dtype"] = {"class_name": "__typespec__", "spec_name": "system", "module": "os", "config": None}
    return _keras(folder, config)


@case("training configuration of its own")
def loss_of_a_nested_model(folder, marker):
    config = _config()
    inner = _config()
    inner["compile_config"] = {"loss": {"module": "os", "class_name": "system", "config": {}}}
    config["config"]["layers"].insert(2, inner)
    return _keras(folder, config)


@case("stands twice")
def key_twice(folder, marker):
    return _keras(folder, json.dumps(_config()).replace('"class_name": "Dense"', '"class_name": "Dense", "class_name": "Lambda"', 1))


@case("is not JSON")
def config_that_is_no_json(folder, marker):
    return _keras(folder, "__import__('os')")


@case("no JSON object")
def config_that_is_a_list(folder, marker):
    return _keras(folder, "[]")


@case("is not JSON|too large")
def config_as_deep_as_the_sea(folder, marker):
    return _keras(folder, "[" * 100_000 + "]" * 100_000)


@case("too large")
def config_sixty_levels_deep(folder, marker):
    return _keras(folder, '{"a": ' + "[" * 100 + "]" * 100 + "}")


@case("units = 1,000,000,000")
def a_billion_units(folder, marker):
    config = _config()
    _dense(config)["config"]["units"] = 10**9
    return _keras(folder, config)


@case("3,0.. layers")
def three_thousand_layers(folder, marker):
    config = _config()
    config["config"]["layers"] += [_dense(_config())] * 3000
    return _keras(folder, config)


@case("times its size")
def config_that_inflates(folder, marker):
    return _pack(folder / "model.keras", _good() | {"config.json": json.dumps(_config()) + " " * 20_000_000}, compression=zipfile.ZIP_DEFLATED)


@case("times its size")
def weights_that_inflate(folder, marker):
    return _pack(folder / "model.keras", _good() | {"model.weights.h5": bytes(100_000_000)}, compression=zipfile.ZIP_DEFLATED)


@case("its members are not")
def member_with_code(folder, marker):
    return _keras(folder, _config(), **{"assets/evil.py": f"open({str(marker)!r}, 'w')"})


@case("its members are not")
def member_that_climbs(folder, marker):
    return _keras(folder, _config(), **{"../../escaped": "x"})


@case("its members are not")
def member_with_a_whole_path(folder, marker):
    return _keras(folder, _config(), **{str(marker): "x"})


@case("its members are not")
def member_twice(folder, marker):
    path = _keras(folder, _config())
    import warnings

    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("config.json", "{}")
    return path


@case("its members are not")
def member_missing(folder, marker):
    return _pack(folder / "model.keras", {k: v for k, v in _good().items() if k != "metadata.json"})


@case("packed in an unusual way")
def packed_by_lzma(folder, marker):
    return _pack(folder / "model.keras", _good(), compression=zipfile.ZIP_LZMA)


@case("Keras 2.15.0, whose")
def keras_2_archive(folder, marker):
    return _keras(folder, _config(), **{"metadata.json": json.dumps({"keras_version": "2.15.0"})})


@case("damaged")
def half_an_archive(folder, marker):
    path = _keras(folder, _config())
    path.write_bytes(path.read_bytes()[:-2000])
    return path


@case("damaged")
def weights_that_are_no_hdf5(folder, marker):
    return _keras(folder, _config(), **{"model.weights.h5": pickle.dumps([1])})


@case("link out of its place")
def external_link(folder, marker):
    path = _h5(folder, _config())
    with h5py.File(path, "a") as file:
        file["model_weights/dense/bias"] = h5py.ExternalLink("/etc/hostname", "/")
    return path


@case("link out of its place")
def soft_link(folder, marker):
    path = _h5(folder, _config())
    with h5py.File(path, "a") as file:
        file["model_weights/dense/bias"] = h5py.SoftLink("/model_weights")
    return path


@case("data in another file")
def virtual_dataset(folder, marker):
    path = _h5(folder, _config())
    with h5py.File(path, "a") as file:
        layout = h5py.VirtualLayout((4,), "f4")
        layout[:] = h5py.VirtualSource("/etc/hostname", "x", (4,))
        file.create_virtual_dataset("model_weights/dense/bias", layout)
    return path


@case("data in another file")
def external_storage(folder, marker):
    path = _h5(folder, _config())
    with h5py.File(path, "a") as file:
        file.create_dataset("model_weights/dense/bias", (4,), "f4", external=[("/etc/hostname", 0, 16)])
    return path


@case("declares 4,000 MB of weights and holds 0.0")
def four_gigabytes_of_nothing(folder, marker):
    path = _h5(folder, _config())
    with h5py.File(path, "a") as file:
        file.create_dataset("model_weights/dense/bias", (10**9,), "f4", chunks=(10**6,))
    return path


@case("same group as another")
def groups_in_a_circle(folder, marker):
    path = _h5(folder, _config())
    with h5py.File(path, "a") as file:
        file["model_weights/dense/again"] = file["model_weights"]
    return path


@case("weights only")
def weights_only(folder, marker):
    return _h5(folder, None)


@case("channels first")
def channels_first(folder, marker):
    return _h5(folder, {"class_name": "Sequential", "config": [{"class_name": "Convolution2D", "config": {"dim_ordering": "th"}}]}, "1.2.2")


@case("Lambda layer is code")
def lambda_of_2017(folder, marker):
    layer = {"class_name": "Lambda", "config": {"function": ["4wEAAAA=", None, None], "function_type": "lambda"}}
    return _h5(folder, {"class_name": "Sequential", "config": [layer]}, "2.0.5")


@case("is not a regular file")
def named_pipe(folder, marker):
    os.mkfifo(folder / "model.h5")
    return folder / "model.h5"


@case("is empty")
def empty_file(folder, marker):
    (folder / "model.keras").touch()
    return folder / "model.keras"


class _Touch:
    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return Path.touch, (Path(self.marker),)


@case("is neither")
def pickle_with_a_model_s_name(folder, marker):
    (folder / "model.h5").write_bytes(pickle.dumps(_Touch(marker)))
    return folder / "model.h5"


@case("its members are not")
def torch_archive(folder, marker):
    return _pack(folder / "model.pt", {"archive/data.pkl": pickle.dumps(_Touch(marker)), "archive/version": "3"})


@case("folder without saved_model.pb")
def folder_of_something(folder, marker):
    (folder / "model.py").write_text(f"open({str(marker)!r}, 'w')")
    return folder


# SavedModel


def _saved(folder, function=None, assets=None):
    "A SavedModel whose serving function is `function` of pictures (n, 8, 8, 1)."
    import tensorflow as tf

    module = tf.Module()
    module.v = tf.Variable(tf.ones((64, 2)))
    module.kept = assets

    def plain(x):
        return tf.nn.softmax(tf.reshape(x, (-1, 64)) @ module.v)

    call = tf.function(function or plain, input_signature=[tf.TensorSpec((None, 8, 8, 1), tf.float32)])
    module.call = call
    tf.saved_model.save(module, str(folder / "saved"), signatures={"serving_default": call})
    return folder / "saved"


@case("'WriteFile'")
def graph_that_writes(folder, marker):
    import tensorflow as tf

    def write(x):
        with tf.control_dependencies([tf.io.write_file(str(marker), "x")]):
            return tf.reshape(x, (-1, 64))[:, :2]

    return _saved(folder, write)


@case("'ReadFile'")
def graph_that_reads(folder, marker):
    import tensorflow as tf

    return _saved(folder, lambda x: tf.reshape(x, (-1, 64))[:, :2] + tf.cast(tf.strings.length(tf.io.read_file("/etc/hostname")), tf.float32))


@case("'EagerPyFunc'|'PyFunc'")
def graph_that_calls_python(folder, marker):
    import tensorflow as tf

    return _saved(folder, lambda x: tf.py_function(lambda y: y, [tf.reshape(x, (-1, 64))[:, :2]], tf.float32))


@case("is 'SaveV2'|is 'ShardedFilename'")
def graph_that_saves(folder, marker):
    import tensorflow as tf

    def save(x):
        y = tf.reshape(x, (-1, 64))[:, :2]
        with tf.control_dependencies([tf.raw_ops.SaveV2(prefix=str(marker), tensor_names=["a"], shape_and_slices=[""], tensors=[y])]):
            return y + 0

    return _saved(folder, save)


@case("assets|not on the list|belong|asset|resource")
def graph_with_a_table_from_a_file(folder, marker):
    import tensorflow as tf

    (folder / "words.txt").write_text("a\nb\n")
    kind = tf.lookup.TextFileIndex
    table = tf.lookup.TextFileInitializer(str(folder / "words.txt"), tf.string, kind.WHOLE_LINE, tf.int64, kind.LINE_NUMBER)
    return _saved(folder, assets=tf.lookup.StaticHashTable(table, -1))


@case("link or a device")
def saved_model_with_a_symbolic_link(folder, marker):
    path = _saved(folder)
    (path / "variables" / "variables.data-00000-of-00002").symlink_to("/etc/hostname")
    return path


@case("does not belong")
def saved_model_with_code_beside(folder, marker):
    path = _saved(folder)
    (path / "setup.py").write_text(f"open({str(marker)!r}, 'w')")
    return path


@case("no SavedModel of TensorFlow 2")
def saved_model_without_objects(folder, marker):
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    path, model = _saved(folder), SavedModel()
    model.ParseFromString((path / "saved_model.pb").read_bytes())
    model.meta_graphs[0].ClearField("object_graph_def")
    (path / "saved_model.pb").write_bytes(model.SerializeToString())
    return path


@case("saves or restores files")
def saved_model_that_borrows_the_saver(folder, marker):
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    path, model = _saved(folder), SavedModel()
    model.ParseFromString((path / "saved_model.pb").read_bytes())
    library = model.meta_graphs[0].graph_def.library.function
    saver = next(f.signature.name for f in library if f.signature.name.startswith("__inference__traced_save"))
    node = next(f for f in library if not f.signature.name.startswith("__inference__traced")).node_def.add(name="x", op="PartitionedCall")
    node.attr["f"].func.name = saver
    (path / "saved_model.pb").write_bytes(model.SerializeToString())
    return path


@case("damaged")
def saved_model_of_noise(folder, marker):
    path = _saved(folder)
    (path / "saved_model.pb").write_bytes(b"\xff" * 1000)
    return path


# ONNX


def onnx_model(nodes=None, initializers=None, **options):
    "Bytes of a small ONNX model (n, 1, 8, 8) -> (n, 2)."
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    weights = {"w": rng.normal(size=(3, 1, 3, 3)), "d": rng.normal(size=(3, 2))}
    initializers = initializers or [numpy_helper.from_array(v.astype(np.float32), k) for k, v in weights.items()]
    nodes = nodes or [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["g"], name="pool"),
        helper.make_node("Flatten", ["g"], ["f"], name="flat"),
        helper.make_node("MatMul", ["f", "d"], ["l"], name="dense"),
        helper.make_node("Softmax", ["l"], ["p"], name="soft"),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [value("x", TensorProto.FLOAT, ["n", 1, 8, 8])], [value("p", TensorProto.FLOAT, ["n", 2])], initializers
    )
    opset = [helper.make_opsetid("", 17), helper.make_opsetid("evil", 1)] if options.pop("domain", False) else [helper.make_opsetid("", 17)]
    return onnx.ModelProto.SerializeToString(helper.make_model(graph, opset_imports=opset, ir_version=9, **options))


def _onnx(folder, data):
    (folder / "model.onnx").write_bytes(data)
    return folder / "model.onnx"


@case("'evil.Payload', which is not on the list")
def onnx_operator_of_its_own(folder, marker):
    from onnx import helper

    return _onnx(folder, onnx_model([helper.make_node("Payload", ["x"], ["p"], domain="evil", name="n")], domain=True))


@case("'StringNormalizer'")
def onnx_operator_that_is_not_arithmetic(folder, marker):
    from onnx import helper

    return _onnx(folder, onnx_model([helper.make_node("StringNormalizer", ["x"], ["p"], name="n")]))


@case("'Loop'")
def onnx_loop(folder, marker):
    from onnx import helper

    return _onnx(folder, onnx_model([helper.make_node("Loop", ["", "", "x"], ["p"], name="n", body=helper.make_graph([], "b", [], []))]))


@case("graph of its own")
def onnx_graph_in_an_attribute(folder, marker):
    from onnx import helper

    return _onnx(folder, onnx_model([helper.make_node("Relu", ["x"], ["p"], name="n", body=helper.make_graph([], "b", [], []))]))


def _tensor(**fields):
    import onnx

    tensor = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=fields.pop("dims"))
    for key, value in fields.items():
        setattr(tensor, key, value)
    return tensor


@case("in another file")
def onnx_weights_outside(folder, marker):
    import onnx

    tensor = _tensor(dims=[3, 1, 3, 3], data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../../../../etc/hostname")
    return _onnx(folder, onnx_model(initializers=[tensor]))


@case("declare 4,000,000,000,000 bytes and hold 4")
def onnx_terabytes_of_nothing(folder, marker):
    return _onnx(folder, onnx_model(initializers=[_tensor(dims=[10**6, 10**6], raw_data=b"1234")]))


@case("functions, training")
def onnx_function(folder, marker):
    from onnx import helper

    function = helper.make_function("evil", "F", ["x"], ["y"], [helper.make_node("Relu", ["x"], ["y"])], [helper.make_opsetid("", 17)])
    return _onnx(folder, onnx_model(functions=[function]))


@case("is neither")
def onnx_of_noise(folder, marker):
    return _onnx(folder, np.random.default_rng(0).bytes(5000))



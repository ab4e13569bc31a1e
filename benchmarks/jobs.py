"""What is measured, each job in a process of its own: `python -m benchmarks.jobs JOB JSON` prints JSON on its last line.

`rate` is faces a second by the clock; `cpu_ms` is processor time a face, of all processes: on a machine with other work it is the steadier.
"""

import contextlib
import json
import multiprocessing
import os
import resource
import sys
import time
from pathlib import Path

import numpy as np
import psutil

CLASSES = ("FEMALE", "MALE")


def _paths(faces, n):
    return sorted(Path(faces).iterdir())[:n]


def _target(path):
    return CLASSES.index("FEMALE" if path.name.split("_")[1] == "1" else "MALE")


def _cpu(others=True):
    "Processor seconds of this process and of its living children."
    me = psutil.Process()
    return sum(sum(p.cpu_times()[:2]) for p in [me, *(me.children() if others else [])])


def audit(faces, model, out, landmarker, limit=None, cores=None, processes=0, after=0, **settings):
    """The package's own audit. Faces a second from the first face that arrives (or from face number `after`) to the last shard that is written,
    without the sanity gate, which is once a run; `seconds` is all of it, and `cpu_ms` has the gate in it.

    On so many `cores`, where they are given; on so many Dask worker `processes`, where there are any.
    """
    if cores:
        os.sched_setaffinity(0, range(cores))
    from identiface_audit.audit import audit
    from identiface_audit.crew import connect
    from identiface_audit.settings import load_settings

    first, last = {}, {}

    def progress(stage, k, n):
        if stage == "faces":
            mark = {"at": time.perf_counter(), "k": k, "cpu": _cpu(), "own": _cpu(False)}
            if k > after and not first:
                first.update(mark)
            if k == n:
                last.update(mark)

    start = time.perf_counter()
    with connect(f"local:{processes}") if processes else contextlib.nullcontext() as client:
        done = audit(
            faces,
            model,
            out,
            limit=limit,
            client=client,
            settings=load_settings(preset="notebook", landmarker=landmarker, **settings),
            progress=progress,
        )
    end, own = time.perf_counter(), _cpu(False)
    seconds, n = done.summary["seconds"], done.summary["n_faces"]
    found = {"n": n, "seconds": end - start, "by_stage": seconds}
    if first and n > first["k"]:
        gate = 0 if after else seconds.get("sanity gate", 0)  # made with the first shard
        steady, more = end - seconds["summary"] - gate - first["at"], n - first["k"]
        cpu = last["cpu"] - first["cpu"] + own - last["own"] - seconds["summary"]
        found |= {"rate": more / steady, "cpu_ms": 1000 * cpu / more}
    return found


def notebook(faces, model, landmarker, n):
    "The plain per-face reading."
    from identiface_audit.classifiers import import_keras
    from identiface_audit.regions import region_set

    keras = import_keras()
    from mediapipe.tasks.python.core.base_options import BaseOptions
    from mediapipe.tasks.python.vision.face_landmarker import FaceLandmarker, FaceLandmarkerOptions

    from benchmarks.per_face import audit_face

    network, regions = keras.models.load_model(model, compile=False), region_set("eight")
    options = FaceLandmarkerOptions(base_options=BaseOptions(model_asset_path=landmarker), num_faces=1)
    with FaceLandmarker.create_from_options(options) as detector:
        audit_face(_paths(faces, 1)[0], 0, network, detector, regions)
        start, cpu = time.perf_counter(), time.process_time()
        for path in _paths(faces, n):
            audit_face(path, _target(path), network, detector, regions)
        return {"rate": n / (time.perf_counter() - start), "cpu_ms": 1000 * (time.process_time() - cpu) / n}


def _read_alone(paths, landmarker, gate, answers):
    "In one process, while its siblings do the same: faces a second of landmarks and of decoding, and processor time of both."
    sys.modules["tensorflow"] = None
    from identiface_audit.images import decode, fit
    from identiface_audit.landmarks import Landmarker

    data = [path.read_bytes() for path in paths]
    with Landmarker(landmarker) as detector:
        images = [decode(d) for d in data]
        detector.detect(images[0])
        gate.wait()
        start, cpu = time.perf_counter(), time.process_time()
        for image in images:
            detector.detect(image)
        middle, cpu = time.perf_counter(), time.process_time() - cpu
    gate.wait()
    begin, cpu = time.perf_counter(), time.process_time() - cpu
    for d in data:
        fit(decode(d), (48, 48, 1))
    n, cpu = len(paths), time.process_time() - cpu
    answers.put((n / (middle - start), n / (time.perf_counter() - begin), 1000 * cpu / n))


def floor(faces, model, landmarker, n):
    "The three parts that cannot be left out, each alone on all cores: faces a second."
    from identiface_audit.classifiers import load_classifier
    from identiface_audit.saliency import maps_and_logits
    from identiface_audit.workers import N_CORES

    spawn = multiprocessing.get_context("spawn")
    gate, answers = spawn.Barrier(N_CORES), spawn.Queue()
    paths = _paths(faces, n)
    readers = [spawn.Process(target=_read_alone, args=(paths, landmarker, gate, answers)) for _ in range(N_CORES)]
    for reader in readers:
        reader.start()
    landmarks, decoding, cpu_ms = (sum(found) for found in zip(*(answers.get() for _ in readers), strict=True))
    for reader in readers:
        reader.join()
    classifier = load_classifier(model, CLASSES)
    images = np.random.default_rng(0).integers(0, 256, (256, *classifier.input_shape), dtype=np.uint8)
    targets = np.zeros(256, int)
    maps_and_logits(classifier, images, targets)
    start, cpu = time.perf_counter(), time.process_time()
    for _ in range(4):
        maps_and_logits(classifier, images, targets)
    model_rate = 4 * 256 / (time.perf_counter() - start)
    cpu_ms = cpu_ms / N_CORES + (time.process_time() - cpu) * 1000 / (4 * 256)
    parts = {"landmarks": landmarks, "decoding": decoding, "forward_and_map": model_rate}
    return parts | {"cores": N_CORES, "rate": 1 / sum(1 / rate for rate in parts.values()), "cpu_ms": cpu_ms}


def maps(model, method, backend, n, batch=64):
    "Maps a second and peak memory of one method, by this package or by tf-keras-vis on whole batches."
    from identiface_audit.classifiers import load_classifier
    from identiface_audit.saliency import class_activation_maps

    classifier = load_classifier(model, CLASSES, batch_size=batch)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n, *classifier.input_shape), dtype=np.uint8)
    targets = rng.integers(0, 2, n)
    if backend == "own":

        def run(chosen):
            return class_activation_maps(classifier, images[chosen], targets[chosen], method)

    else:
        from keras import activations
        from tf_keras_vis.gradcam import Gradcam
        from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus
        from tf_keras_vis.scorecam import Scorecam

        kinds = {"gradcam": Gradcam, "gradcam++": GradcamPlusPlus, "scorecam": Scorecam}

        def linear(clone):
            clone.layers[-1].activation = activations.linear

        def visualizer():
            return kinds[method](classifier.model, model_modifier=linear, clone=True)

        ready = visualizer()

        def run(chosen):
            wanted = targets[chosen]
            visualize = visualizer() if batch == 1 else ready  # one face at a time as the notebook does it: a clone for each
            return visualize(
                lambda output: [output[i, t] for i, t in enumerate(wanted)],
                classifier.prepare(images[chosen]),
                penultimate_layer=classifier.map_layer,
            )

    run(slice(0, batch if backend == "own" else 2))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, cpu = time.perf_counter(), time.process_time()
    for i in range(0, n, batch):
        run(slice(i, i + batch))
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"rate": n / seconds, "cpu_ms": 1000 * cpu / n, "peak_mb": peak / 1024, "grown_mb": (peak - before) / 1024}


def scheduling(n, processes, size=256):
    "Shards that hold `size` rows and no work, through as many hands as real ones: milliseconds a shard, memory of client and scheduler together."
    import pandas as pd

    from identiface_audit.crew import Crew, Task, connect

    columns = {"image_path": [f"30_1_2_{i:017d}.jpg" for i in range(size)], "sha256": [f"{i:064x}" for i in range(size)], "age": [30] * size}
    shard = pd.DataFrame(columns | {"true_gender": ["FEMALE"] * size, "race": ["Asian"] * size, "duplicate_of": [None] * size})
    with connect(f"local:{processes}") as client:
        start, cpu, memory = time.perf_counter(), time.process_time(), {}
        for k, _ in enumerate(Crew(client).run(Task((i,), len, (shard,)) for i in range(n)), 1):
            if k in (n // 40, n // 4, n):
                memory[k] = round(psutil.Process().memory_info().rss / 2**20)
        seconds = time.perf_counter() - start
        return {"n": n, "ms": 1000 * seconds / n, "cpu_ms": 1000 * (time.process_time() - cpu) / n, "memory_mb": memory}


def table(n):
    "The table of `n` faces with which a client goes about, as `find_faces` gives it and cut into shards: MB a million faces."
    from identiface_audit import faces as module
    from identiface_audit.settings import load_settings

    names = [f"{i % 100:03d}/{20 + i % 60}_{i % 2}_{i % 5}_{i:017d}.jpg" for i in range(n)]
    module.list_files = lambda folder: (names, [])  # no files: the table is what is weighed
    hashes = lambda folder, paths, limit: ([f"{i:064x}" for i in range(k, min(k + 1024, len(paths)))] for k in range(0, len(paths), 1024))
    before, start = psutil.Process().memory_info().rss, time.perf_counter()
    found, _ = module.find_faces(".", load_settings(), hashes=hashes)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    shards = [found[i : i + 256].reset_index(drop=True) for i in range(0, n, 256)]
    after = psutil.Process().memory_info().rss
    kept = found.memory_usage(deep=True).sum() / 2**20
    return {"n": n, "shards": len(shards), "seconds": seconds, "table_mb": kept, "grown_mb": (after - before) / 2**20, "peak_mb": peak}


if __name__ == "__main__":
    job, arguments = sys.argv[1:]
    print(json.dumps(globals()[job](**json.loads(arguments))))

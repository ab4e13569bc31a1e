"""python -m benchmarks [speed] [growth] [scorecam] [cluster] [scheduling] [--faces DIR --model FILE] [--out FILE]

Every ratio is between figures of one run. Results go to benchmarks/results.json; a part that is not asked for keeps its old ones.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from identiface_audit.landmarks import find_landmarker
from identiface_audit.synthetic import DEMO_PLANT, DEMO_RELIABILITY, demo_model, write_faces

HERE = Path(__file__).parent
SIZES = (250, 1000, 4000, 16000, 20000)
DRAWN = 250  # different faces; the others are these with another byte behind the picture, and so another hash


def machine():
    "What the figures were measured on."
    info = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line] if info.exists() else []
    memory = psutil.virtual_memory().total / 2**30
    cpu = names[0] if names else platform.processor()
    return {"cpu": cpu, "cores": os.cpu_count(), "memory_gb": round(memory), "python": platform.python_version(), "load": os.getloadavg()[0]}


def run(job, cache, watch=False, **arguments):
    "One job in a process of its own; with `watch` its peak memory, its workers' and the sum of all, in MB."
    environment = os.environ | {"IDENTIFACE_CACHE": str(cache), "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(HERE.parent)}
    command = [sys.executable, "-m", "benchmarks.jobs", job, json.dumps(arguments, default=str)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL)
    peak = {"parent": 0, "worker": 0, "sum": 0}
    while watch and process.poll() is None:
        try:
            me = psutil.Process(process.pid)
            mine, others = me.memory_info().rss, [c.memory_info().rss for c in me.children()]
        except psutil.Error:
            continue
        now = {"parent": mine, "worker": max(others, default=0), "sum": mine + sum(others)}
        peak = {k: max(v, now[k] / 2**20) for k, v in peak.items()}
        time.sleep(0.1)
    answer = process.communicate()[0]
    if process.returncode:
        raise SystemExit(f"{job} failed: {answer}")
    found = json.loads(answer.splitlines()[-1])
    return found | ({"peak_mb": {k: round(v) for k, v in peak.items()}} if watch else {})


def drawn(folder, n):
    "A folder of `n` drawn faces."
    base = folder / "drawn"
    if not base.exists():
        write_faces(base, DRAWN, reliability=DEMO_RELIABILITY, plant=DEMO_PLANT)
    originals, out = sorted(base.iterdir()), folder / str(n)
    out.mkdir()
    for i in range(n):
        path = originals[i % DRAWN]
        stem = path.name.rpartition("_")[0]
        (out / f"{stem}_{i:017d}.jpg").write_bytes(path.read_bytes() + i.to_bytes(4, "big"))
    return out


def again(model, folder):
    "The same network with other weights: another model for the same faces."
    from identiface_audit.classifiers import import_keras

    network = import_keras().models.load_model(model, compile=False)
    network.set_weights([w * 1.01 for w in network.get_weights()])
    network.save(folder / "again.keras")
    return folder / "again.keras"


def speed(faces, model, landmarker, folder, rounds=3):
    "Notebook, floor and audit in turn, so that a busy moment hits all three."
    other, found = again(model, folder), []
    for k in range(rounds):
        cache = folder / f"cache {k}"
        shared = {"faces": faces, "landmarker": landmarker}
        row = {
            "notebook": run("notebook", cache, model=model, n=40, **shared),
            "floor": run("floor", cache, model=model, n=150, **shared),
            "audit": run("audit", cache, model=model, out=folder / f"a {k}", **shared),
            "another_model": run("audit", cache, model=other, out=folder / f"b {k}", **shared),
        }
        pairs = ("audit", "notebook"), ("audit", "floor"), ("another_model", "notebook")
        row["ratios"] = {f"{a} / {b}": row[a]["rate"] / row[b]["rate"] for a, b in pairs}
        row["ratios"] |= {f"{a} / {b}, processor time": row[b]["cpu_ms"] / row[a]["cpu_ms"] for a, b in pairs}
        found.append(row)
        print(json.dumps(row["ratios"]), flush=True)
    ours = run("maps", folder, model=model, method="gradcam++", backend="own", n=1024)["rate"]
    theirs = run("maps", folder, model=model, method="gradcam++", backend="tf-keras-vis", n=1024)["rate"]
    ratios = {name: statistics.median(row["ratios"][name] for row in found) for name in found[0]["ratios"]}
    return {"rounds": found, "maps_own": ours, "maps_tf_keras_vis_batched": theirs, "ratios": ratios | {"maps / tf-keras-vis batched": ours / theirs}}


def growth(model, landmarker, folder):
    """Cost and memory from 250 to 16,000 drawn faces, each with an empty cache; memory at 20,000, of which the cache knows
    16,000; then other thresholds on those."""
    found = []
    for n in SIZES:
        faces, cache = drawn(folder, n), folder / f"cache {min(n, 16000)}"
        shared = {"faces": faces, "model": model, "landmarker": landmarker, "out": folder / f"out {n}"}
        found.append(run("audit", cache, watch=True, **shared))
        print(json.dumps({k: found[-1][k] for k in ("n", "seconds", "rate", "cpu_ms", "peak_mb")}), flush=True)
    changes = ({"threshold": "li"}, {"threshold": "yen"}, {"min_overlap": 0.4}, {"distance": "cityblock"})
    placed = [change | {"seconds": run("audit", cache, **shared, **change)["seconds"]} for change in changes]
    print(json.dumps(placed), flush=True)
    return {"sizes": found, "placed_again": placed}


def scorecam(model, folder):
    rows = {
        f"{backend} {n}": run("maps", folder, model=model, method="scorecam", backend=backend, n=n, batch=batch)
        for backend, n, batch in (("own", 32, 32), ("own", 128, 64), ("tf-keras-vis", 8, 1), ("tf-keras-vis", 16, 8))
    }
    ratios = {name: rows["own 128"]["rate"] / row["rate"] for name, row in rows.items() if "vis" in name}
    cpu = {f"{name}, processor time": row["cpu_ms"] / rows["own 128"]["cpu_ms"] for name, row in rows.items() if "vis" in name}
    return rows | {"ratios": ratios | cpu}


def cluster(model, landmarker, folder, n=2304):
    """The plain engine and `local:N` on as many cores, each with an empty cache: cost of a face after the first third, when all workers are at work."""
    faces, found = drawn(folder, n), {}
    for name, cores, processes in (("plain", 1, 0), ("cluster", 1, 1), ("plain", 2, 0), ("cluster", 2, 2), ("cluster", 2, 4)):
        key = f"{name}, {cores} cores" + (f", {processes} processes" if processes else "")
        options = {"faces": faces, "model": model, "landmarker": landmarker, "cores": cores, "processes": processes, "shard_size": 128, "after": n // 3}
        found[key] = run("audit", folder / key, watch=True, out=folder / f"out {key}", **options)
        found[key]["kb_a_face"] = sum(part.stat().st_size for part in (folder / f"out {key}/faces").iterdir()) / 1000 / n
        print(key, json.dumps({k: round(found[key][k], 2) for k in ("rate", "cpu_ms", "seconds")}), found[key]["peak_mb"], flush=True)
    ratios = {}
    for cores, processes in ((1, 1), (2, 2), (2, 4)):
        there, here = found[f"cluster, {cores} cores, {processes} processes"], found[f"plain, {cores} cores"]
        ratios[f"{processes} processes / plain on {cores} cores, clock"] = here["rate"] / there["rate"]
        ratios[f"{processes} processes / plain on {cores} cores, processor time"] = there["cpu_ms"] / here["cpu_ms"]
    print(json.dumps(ratios), flush=True)
    return {"runs": found, "ratios": ratios}


def scheduling(folder, n=40_000):
    "As many empty shards as ten million faces make, on two processes; and the table of a million faces on the client."
    found = {"shards": run("scheduling", folder, n=n, processes=2), "table": run("table", folder, n=1_000_000)}
    print(json.dumps(found), flush=True)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help="speed, growth, scorecam, cluster, scheduling; all of them where none is named")
    parser.add_argument("--faces", type=Path, help="faces for the part speed (1,000 drawn ones)")
    parser.add_argument("--model", type=Path, default=demo_model(), help="48x48 model, outputs FEMALE, MALE (the demo's)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=HERE / "results.json")
    args = parser.parse_args()
    parts = args.parts or ["speed", "growth", "scorecam", "cluster", "scheduling"]
    landmarker, folder = str(find_landmarker(say=print)), Path(tempfile.mkdtemp())
    results = json.loads(args.out.read_text()) if args.out.exists() else {}
    try:
        for part in parts:
            print(part, flush=True)
            here = folder / part
            here.mkdir()
            if part == "speed":
                found = speed(args.faces or drawn(here, 1000), args.model, landmarker, here, args.rounds)
            elif part == "growth":
                found = growth(args.model, landmarker, here)
            elif part == "scorecam":
                found = scorecam(args.model, here)
            elif part == "cluster":
                found = cluster(args.model, landmarker, here)
            else:
                found = scheduling(here)
            results[part] = found | {"machine": machine()}
            args.out.write_text(json.dumps(results, indent=1) + "\n")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()

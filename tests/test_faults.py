"""Nothing lost: real audits that are killed, stopped, starved of disk, robbed of files and of workers.

IDENTIFACE_KILLS says how often the first test kills (20; the nightly run takes 100).
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import processes
import pyarrow.parquet as pq
import pytest
from processes import SHARD, assert_same, needs_proc, session, settings, start

from identiface_audit.audit import Audit, audit
from identiface_audit.errors import StoreError
from identiface_audit.store import LandmarkCache, Store
from identiface_audit.synthetic import demo_model

KILLS = int(os.environ.get("IDENTIFACE_KILLS", 20))


@pytest.fixture(scope="module")
def many(faces, tmp_path_factory):
    "240 faces: four copies of each drawn one, different in a byte that no decoder reads, so that every one is worked on."
    folder = tmp_path_factory.mktemp("many")
    for path in faces.iterdir():
        for copy in range(4):
            (folder / path.name.replace("_0", f"_{copy}", 1)).write_bytes(path.read_bytes() + bytes([copy]))
    return folder


@pytest.fixture(scope="module")
def whole_of_many(many, tmp_path_factory):
    return audit(many, demo_model(), tmp_path_factory.mktemp("whole") / "audit", settings=settings())


def finish(process, code=0):
    "What it said; all its processes are gone."
    said = processes.finish(process, code)
    assert gone(process), f"left behind: {session(process)}"
    return said


def gone(process, patience=10.0):
    "Whether every process of the audit ends by itself."
    limit = time.monotonic() + patience
    while session(process) and time.monotonic() < limit:
        time.sleep(0.02)
    return not session(process)


def workers(process):
    "Ids of the landmark workers of the audit `process`."
    found = []
    for pid in session(process):
        with contextlib.suppress(OSError):
            if b"multiprocessing.spawn" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def wait_for(process, condition):
    "Wait until `condition()`, or until the process has ended; whether it still runs."
    limit = time.monotonic() + 300
    while process.poll() is None and not condition():
        assert time.monotonic() < limit
        time.sleep(0.002)
    return process.poll() is None


def wait_for_shards(process, out, n):
    "Wait until `n` shards are on disk and workers at work; whether the audit still runs."
    return wait_for(process, lambda: len(Store(out).parts()) >= n and workers(process))


@needs_proc
def test_kill_at_any_moment(faces, whole, tmp_path):
    "SIGKILL at random moments, again and again, until the audit is finished; then anew."
    kills = finished = 0
    out, cache = tmp_path / "0", tmp_path / "cache"
    while kills < KILLS or not finished:
        rng = np.random.default_rng(kills + 1000 * finished)
        before = {p: p.stat().st_mtime_ns for p in Store(out).parts()}
        process = start(faces, out, cache)
        more = rng.integers(-1, 4) if kills < KILLS else 9  # after so many more shards, and a little; -1: while it starts
        if more < 0:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(rng.uniform(0, 6))
        else:
            wait_for_shards(process, out, len(before) + more)
            time.sleep(rng.uniform(0, 0.1))
        seen = Store(out).parts()
        alive = process.poll() is None
        process.kill()
        said = process.communicate()[1]
        assert gone(process), f"workers outlive a killed audit: {session(process)}"
        store = Store(out)
        if 0 < len(before) < len(store.parts()):
            assert f"{len(before)} of 6 shards ({len(before) * SHARD} of 60 faces) are done already" in said
        assert set(store.parts()) >= set(seen), "a finished shard was lost"
        for i, path in enumerate(store.parts()):
            assert path.stat().st_mtime_ns == before.get(path, path.stat().st_mtime_ns), "a finished shard was done again"
            assert store.read(i).equals(whole.store.read(i))
        if alive:
            kills += 1
        else:
            assert process.returncode == 0, said
            assert_same(Audit(out), whole)
            finished += 1
            shutil.rmtree(cache)
            out = tmp_path / str(finished)


@needs_proc
@pytest.mark.parametrize("moment", ["starting", "working"])
def test_ctrl_c(faces, whole, tmp_path, moment):
    "Ctrl-C reaches every process of the terminal's group: all end, in one line, and the same command goes on."
    out = tmp_path / "audit"
    process = start(faces, out, tmp_path / "cache")
    if moment == "starting":
        assert wait_for(process, lambda: (out / ".lock").exists())
        time.sleep(0.7)
    else:
        assert wait_for_shards(process, out, 2)
    os.killpg(process.pid, signal.SIGINT)
    said = finish(process, 130)
    assert "stopped; what is finished is kept. Give the same command again to go on" in said
    assert not (out / "audit.json").exists()
    finish(start(faces, out, tmp_path / "cache"))
    assert_same(Audit(out), whole)


def test_two_audits_on_one_cache(faces, whole, tmp_path):
    both = [start(faces, tmp_path / name, tmp_path / "cache") for name in "ab"]
    for process, name in zip(both, "ab", strict=True):
        assert "landmarks are not kept" not in finish(process)
        assert_same(Audit(tmp_path / name), whole)


def test_two_audits_in_one_folder(faces, whole, tmp_path):
    out = tmp_path / "audit"
    first = start(faces, out, tmp_path / "cache")
    assert wait_for(first, lambda: (out / ".lock").exists())
    time.sleep(0.1)
    said = finish(start(faces, out, tmp_path / "cache"), 3)
    assert said.splitlines() == [f"identiface-audit: {out}: another audit is writing here"]
    finish(first)
    assert_same(Audit(out), whole)


@needs_proc
@pytest.mark.parametrize(
    ("blow", "words"), [(signal.SIGKILL, "a landmark worker died (SIGKILL)"), (signal.SIGSTOP, "a landmark worker gave no answer in 2 s")]
)
def test_a_worker_dies_or_hangs(many, whole_of_many, tmp_path, blow, words):
    "It is replaced, its faces are read again, and no row differs."
    out = tmp_path / "audit"
    process = start(many, out, tmp_path / "cache", timeout=2)
    assert wait_for_shards(process, out, 2)
    victim = workers(process)[0]
    os.kill(victim, blow)
    said = finish(process)
    assert sum(words in line for line in said.splitlines()) == 1, said
    assert_same(Audit(out), whole_of_many)


def test_files_vanish_change_and_hang_under_way(faces, whole, tmp_path):
    "A file that is deleted, one that is changed, and a pipe that nobody writes to in the place of a third."
    folder = shutil.copytree(faces, tmp_path / "faces")
    paths = sorted(folder.iterdir())
    gone, changed, hangs = paths[3], paths[5], paths[31]
    said = []

    def meddle(stage, done, total):
        if stage == "faces" and done == 0:
            gone.unlink()
            changed.write_bytes(changed.read_bytes() + b"!")
            hangs.unlink()
            os.mkfifo(hangs)

    found = audit(folder, demo_model(), tmp_path / "audit", settings=settings(timeout=1), progress=meddle, say=said.append)
    assert found.summary["n_faces"] == 57
    assert dict(found.rejected.values.tolist()) == {
        gone.name: "file vanished",
        changed.name: "file changed while the audit ran",
        hangs.name: "the landmark worker gave no answer in 1 s over this face, twice",
    }
    assert f"rejected under way: {gone.name}: file vanished, and 1 more" in said
    shutil.copy(faces / gone.name, gone)
    shutil.copy(faces / changed.name, changed)
    hangs.unlink()
    shutil.copy(faces / hangs.name, hangs)
    (tmp_path / "audit/faces/part-00003.parquet").unlink()  # a face that hung is settled; to try it again, take its shard away
    said.clear()
    again = audit(folder, demo_model(), tmp_path / "audit", settings=settings(), say=said.append)
    assert said[:2] == [
        "4 of 6 shards (40 of 60 faces) are done already; going on from there",
        "1 shards lack a picture or were made with another model, setting or picture, and are done again",
    ]
    assert_same(again, whole)


def test_a_shard_without_a_picture(faces, tmp_path):
    "Ten damaged pictures in a row are rejected, each with its reason, and the other shards stand."
    folder = shutil.copytree(faces, tmp_path / "faces")
    damaged = sorted(folder.iterdir())[SHARD : 2 * SHARD]
    for path in damaged:
        path.write_bytes(path.read_bytes()[:1000] + path.name.encode())
    found = audit(folder, demo_model(), tmp_path / "audit", settings=settings())
    assert found.summary["n_faces"] == 50 and found.rejected["image_path"].tolist() == [p.name for p in damaged]
    again = audit(folder, demo_model(), tmp_path / "audit", settings=settings(threshold="li"))
    assert len(again.faces()) == len(again.array("heatmap")) == len(again.array("landmarks")) == 50


def test_nothing_is_mixed(faces, whole, tmp_path):
    "Another setting, model or picture is noticed; what comes out is what a new audit gives."
    folder, out, said = shutil.copytree(faces, tmp_path / "faces"), tmp_path / "audit", []
    shutil.copytree(whole.folder, out)

    def run(model=None, to=out, **changes):
        said.clear()
        return audit(folder, model or demo_model(), to, settings=settings(**changes), say=said.append)

    run()
    assert said == ["all 6 shards (60 faces) are done already"]
    for changes in ({"threshold": "li"}, {"min_overlap": 0.6}, {"percentile": 80, "distance": "cityblock"}):
        here = run(**changes)
        assert said[1] == "6 shards have other thresholds, and are placed again from their maps"
        assert_same(here, run(to=tmp_path / f"new {changes}", **changes))
    here = run(region_set="ten")  # other regions are hidden too
    assert "are done again" in said[0]
    assert_same(here, run(to=tmp_path / "ten", region_set="ten"))
    here = run(method="gradcam")
    assert "6 shards lack a picture or were made with another model, setting or picture, and are done again" in said
    assert_same(here, run(to=tmp_path / "gradcam", method="gradcam"))

    from identiface_audit.classifiers import import_keras

    other = import_keras().models.load_model(demo_model(), compile=False)
    other.set_weights([w * 1.01 for w in other.get_weights()])
    other.save(tmp_path / "other.keras")
    here = run(tmp_path / "other.keras")
    assert_same(here, run(tmp_path / "other.keras", tmp_path / "other"))
    assert not here.store.table(["cam"]).equals(whole.store.table(["cam"]))

    picture = sorted(folder.iterdir())[25]
    picture.write_bytes(picture.read_bytes() + b"!")
    run(tmp_path / "other.keras")
    assert said[0].startswith("5 of 6 shards (50 of 60 faces) are done already")


def test_a_damaged_shard_is_found(whole, faces, tmp_path):
    out = tmp_path / "audit"
    shutil.copytree(whole.folder, out)
    broken = out / "faces/part-00002.parquet"
    data = bytearray(broken.read_bytes())
    columns = pq.read_metadata(broken).row_group(0)
    cam = next(c for c in map(columns.column, range(columns.num_columns)) if c.path_in_schema.startswith("cam"))
    data[cam.data_page_offset + cam.total_compressed_size // 2] ^= 1
    broken.write_bytes(data)
    with pytest.raises(StoreError, match="part-00002.parquet: shard is damaged; delete it and give the same command again"):
        Audit(out).array("cam")
    broken.write_bytes(data[:1000])
    assert_same(audit(faces, demo_model(), out, settings=settings()), whole)


@contextlib.contextmanager
def small_disk(folder, kilobytes):
    folder.mkdir()
    options = f"size={kilobytes}k"
    if shutil.which("mount") is None or subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("a small disk needs the right to mount one")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def test_full_disk(faces, whole, tmp_path):
    "One line, finished shards that are good, and the same command goes on when there is room."
    disk = tmp_path / "disk"
    with small_disk(disk, 300):
        said = finish(start(faces, disk / "audit", tmp_path / "cache"), 3)
        last = said.splitlines()[-1]
        assert last.startswith(f"identiface-audit: {disk}") and "the disk is full; what is finished is safe" in last, said
        store = Store(disk / "audit")
        assert 1 <= len(store.parts()) < 6
        for i in range(len(store.parts())):
            assert store.read(i).equals(whole.store.read(i))
        subprocess.run(["mount", "-o", "remount,size=20m", disk], check=True)
        assert f"{len(store.parts())} of 6 shards" in finish(start(faces, disk / "audit", tmp_path / "cache"))
        assert_same(Audit(disk / "audit"), whole)


def test_full_cache(faces, whole, tmp_path):
    "Without room for landmarks the audit says so once and ends as it should."
    disk = tmp_path / "disk"
    with small_disk(disk, 100):
        said = finish(start(faces, tmp_path / "audit", disk / "cache"))
        assert sum("landmarks are not kept for later" in line for line in said.splitlines()) == 1, said
        assert_same(Audit(tmp_path / "audit"), whole)


def test_a_damaged_cache_is_passed_over(faces, whole, tmp_path, monkeypatch):
    monkeypatch.setenv("IDENTIFACE_CACHE", str(tmp_path))
    (tmp_path / "landmarks.sqlite").write_bytes(b"SQLite format 3\0" + bytes(500))
    said = []
    assert_same(audit(faces, demo_model(), tmp_path / "audit", settings=settings(), say=said.append), whole)
    assert sum("landmarks are not kept for later" in line for line in said) == 1


def test_cache_serves_the_next_model(whole):
    with LandmarkCache() as cache:
        known = cache.get(whole.faces(["sha256"])["sha256"].tolist())
    assert len(known) == 60

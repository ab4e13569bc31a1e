"""The same audit on Dask: real worker processes that are killed, starved, hung and cut off, and a real S3 protocol on loopback.

IDENTIFACE_SEEDS says over how many seeds workers are killed (2; the nightly run takes 10).
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading

import numpy as np
import pytest
from processes import SHARD, finish, needs_proc, session, settings, stamps, start, until, until_written
from processes import assert_same as assert_same_rows

from identiface_audit import crew
from identiface_audit.audit import Audit, audit
from identiface_audit.errors import AuditError, StoreError
from identiface_audit.store import Store
from identiface_audit.synthetic import demo_model

distributed = pytest.importorskip("distributed")
dask = pytest.importorskip("dask")

SEEDS = int(os.environ.get("IDENTIFACE_SEEDS", 2))


def assert_same(a, b):
    "Fingerprint for fingerprint, too, and no lock is left."
    assert_same_rows(a, b)
    metas = [[{k: m[k] for k in ("seen", "placed", "rejected")} for m in x.store.metas(len(x.store.parts()))] for x in (a, b)]
    assert metas[0] == metas[1]
    assert not a.store.here or not (a.folder / ".owner").exists()


@contextlib.contextmanager
def processes(n=2, **options):
    "A client of `n` worker processes with one thread each; three deaths are one too many."
    quiet = {"distributed.scheduler.allowed-failures": 2, "logging.distributed": "critical"}
    given = {"threads_per_worker": 1, "dashboard_address": ":0", "host": "127.0.0.1", "silence_logs": 60, **options}
    with dask.config.set(quiet), distributed.LocalCluster(n_workers=n, processes=True, **given) as cluster:
        with distributed.Client(cluster, set_as_default=False) as client:
            yield client


@pytest.fixture(scope="module")
def client():
    with processes() as client:
        yield client


def pids(client):
    "Process ids of the living workers."
    found = [nanny.process.pid for nanny in client.cluster.workers.values() if nanny.process is not None]
    return [pid for pid in found if pid]


def test_command_line(faces, whole, tmp_path):
    "Spawned as a user spawns it; then one machine finds all shards done, and a cluster finds one machine's."
    out, said = tmp_path / "audit", []
    assert not [line for line in finish(start(faces, out, cluster="local:2")).splitlines() if "identiface" in line]
    assert_same(Audit(out), whole)
    before = stamps(out)
    audit(faces, demo_model(), out, settings=settings(), say=said.append)
    assert said == ["all 6 shards (60 faces) are done already"] and stamps(out) == before


def test_resume_and_other_thresholds(faces, whole, client, tmp_path):
    "One machine's unfinished audit goes on here; other thresholds are placed again by the workers; progress and lines are the same."
    out, said, seen = tmp_path / "audit", [], []
    shutil.copytree(whole.folder, out)
    for i in (1, 4):
        (out / f"faces/part-0000{i}.parquet").unlink()
    before = stamps(out)
    options = {"client": client, "say": said.append}
    here = audit(faces, demo_model(), out, settings=settings(), progress=lambda *news: seen.append(news), **options)
    assert_same(here, whole)
    assert before.items() <= stamps(out).items(), "a finished shard was done again"
    assert said == ["4 of 6 shards (40 of 60 faces) are done already; going on from there"]
    assert seen[-1] == ("faces", 60, 60) and ("faces", 50, 60) in seen and ("reading files", 60, 60) in seen
    other = settings(threshold="li")
    assert_same(audit(faces, demo_model(), out, settings=other, **options), audit(faces, demo_model(), tmp_path / "li", settings=other))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_workers_are_killed(faces, whole, client, tmp_path, seed):
    "SIGKILL of workers at random moments, one of them after so many shards: no row differs, no finished shard is written again."
    rng, out, over, written, killed = np.random.default_rng(seed), tmp_path / "audit", threading.Event(), {}, []
    moment = rng.integers(0, 5) * SHARD

    def watch():
        while not over.wait(0.01):
            for name, stamp in stamps(out).items():
                written.setdefault(name, set()).add(stamp)

    def kill_one(*news):
        with contextlib.suppress(ProcessLookupError, ValueError):
            if not news or news[:2] == ("faces", moment):
                os.kill(rng.choice(pids(client)), signal.SIGKILL)
                killed.append(news)

    def kill():
        for _ in range(3):
            if over.wait(rng.uniform(0.5, 5)):
                return
            kill_one()

    threads = [threading.Thread(target=f) for f in (watch, kill)]
    for thread in threads:
        thread.start()
    try:
        found = audit(faces, demo_model(), out, settings=settings(), client=client, progress=kill_one)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert_same(found, whole)
    assert killed and all(len(stamps) == 1 for stamps in written.values()), "a shard was written twice"


def test_workers_that_nobody_restarts(faces, whole, tmp_path):
    "Nannies that gave up, as they do where a worker is killed while it starts: the cluster is asked for new workers, else the audit would wait for ever."
    with dask.config.set({"distributed.deploy.lost-worker-timeout": "1s"}), processes() as client:

        def meddle(stage, done, total):
            if (stage, done) == ("faces", 2 * SHARD):
                for nanny in list(client.cluster.workers.values()):
                    client.cluster.sync(nanny.close)
                assert not client.nthreads()

        assert_same(audit(faces, demo_model(), tmp_path / "audit", settings=settings(), client=client, progress=meddle), whole)
        assert len(client.nthreads()) == 2


def test_a_scheduler_without_workers(monkeypatch):
    "It says so, and goes on when there is one."
    monkeypatch.setattr(crew, "_NOTICE", 1)
    with processes(0) as client:
        said = []
        ours = crew.Crew(client, lambda line: (said.append(line), client.cluster.scale(1)))
        assert ours.once(abs, -3) == 3
        assert said == [f"the scheduler {client.scheduler.address} has had no worker for 1 s; the audit goes on as soon as it has one"]


def test_a_face_that_hangs(faces, whole, client, tmp_path):
    "A pipe that nobody writes to in the place of a face: its worker is replaced, three times alone; the audit ends without that face."
    folder, said = shutil.copytree(faces, tmp_path / "faces"), []
    path = sorted(folder.iterdir())[31]

    def meddle(stage, done, total):
        if stage == "faces" and done == 0:
            path.unlink()
            os.mkfifo(path)

    found = audit(folder, demo_model(), tmp_path / "audit", settings=settings(timeout=1), client=client, progress=meddle, say=said.append)
    reason = "the worker died or gave no answer in 1 s over this face, 3 times"
    assert found.rejected.values.tolist() == [[path.name, reason]]
    assert found.summary["n_faces"] == 59 and f"rejected under way: {path.name}: {reason}" in said
    assert "shard 3: 3 workers died over it; its 10 faces are tried one by one" in said
    kept = whole.store.table(["image_path", "sha256", "predicted_gender", "cam"]).to_pylist()
    assert found.store.table(["image_path", "sha256", "predicted_gender", "cam"]).to_pylist() == [r for r in kept if r["image_path"] != path.name]


def test_a_face_that_eats_all_memory(faces, whole, tmp_path):
    "A picture of 169 megapixels, small as a file: the nanny ends the worker that unpacks it. Other shards stand."
    from PIL import Image

    folder = shutil.copytree(faces, tmp_path / "faces")
    huge = folder / "0_0_0_0.png"  # in shard 0
    Image.new("L", (13000, 13000), 128).save(huge)
    with processes(memory_limit="1.5GB") as client:
        found = audit(folder, demo_model(), tmp_path / "audit", settings=settings(max_megapixels=200), client=client)
    assert [[p, r.partition(" over")[0]] for p, r in found.rejected.values] == [[huge.name, "the worker died or gave no answer in 60 s"]]
    assert found.store.table(["image_path", "cam"]).equals(whole.store.table(["image_path", "cam"]))


def dask_process(*words):
    return subprocess.Popen([sys.executable, "-m", "distributed.cli." + words[0], *words[1:]], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.fixture
def scheduler():
    "The address of a scheduler with one worker in processes of their own, and a function that starts such a pair (again)."
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address, running = f"tcp://127.0.0.1:{port}", []

    def begin():
        running.append(dask_process("dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"))
        running.append(dask_process("dask_worker", address, "--nthreads", "1", "--no-dashboard", "--local-directory", os.environ["IDENTIFACE_CACHE"]))
        return running[-2:]

    yield address, begin
    for process in running:
        process.terminate()
    for process in running:
        process.wait(30)


def test_the_scheduler_is_restarted(faces, whole, scheduler, tmp_path):
    "Tried anew where the audit's last shard was written before the scheduler was killed."
    address, begin = scheduler
    running, _ = begin()
    for attempt in range(5):
        out = tmp_path / f"audit{attempt}"
        process = start(faces, out, cluster=address)
        until_written(process, out, 2)
        before = stamps(out)
        running.kill()
        running.wait()
        running, _ = begin()
        said = finish(process)
        assert_same(Audit(out), whole)
        assert before.items() <= stamps(out).items()
        if said:
            break
    assert said.count("lost this audit's tasks") == 1, said


def test_the_client_is_gone(faces, whole, scheduler, tmp_path):
    "SIGKILL of the client; another goes on from what is finished, while the first one's workers still live."
    address, begin = scheduler
    begin()
    out = tmp_path / "audit"
    process = start(faces, out, cluster=address)
    until_written(process, out, 2)
    process.kill()
    process.wait()
    assert not (out / "audit.json").exists()
    before = stamps(out)
    said = finish(start(faces, out, cluster=address))
    assert "are done already; going on from there" in said
    assert_same(Audit(out), whole)
    assert before.items() <= stamps(out).items()


@needs_proc
def test_ctrl_c(faces, whole, tmp_path):
    out = tmp_path / "audit"
    process = start(faces, out, cluster="local:2")
    until_written(process, out, 1)
    os.killpg(process.pid, signal.SIGINT)
    said = finish(process, 130)
    assert "stopped; what is finished is kept. Give the same command again to go on" in said
    until(lambda: not session(process), 20)
    assert not (out / "audit.json").exists()
    audit(faces, demo_model(), out, settings=settings())
    assert_same(Audit(out), whole)


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    "An empty bucket on a server of this machine that speaks S3."
    server = pytest.importorskip("moto.server")
    s3fs = pytest.importorskip("s3fs")
    names = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
    service = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    service.start()
    host, port = service.get_host_and_port()
    names["AWS_ENDPOINT_URL_S3"] = f"http://{host}:{port}"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in names.items():
            patch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        s3fs.S3FileSystem().mkdir("faces-and-audits")
        yield "s3://faces-and-audits"
        s3fs.S3FileSystem.clear_instance_cache()
    service.stop()


def test_all_of_it_in_a_store(faces, whole, bucket, tmp_path, monkeypatch):
    "Faces, labels, model and audit on s3://; workers share nothing else. Killed and resumed, and refused while another writes."
    import fsspec

    from identiface_audit import locks

    monkeypatch.setattr(locks, "_RENEW", 0.2)
    monkeypatch.setattr(locks, "_DEAD", 2)
    fs = fsspec.filesystem("s3")
    root = bucket.removeprefix("s3://")
    for path in faces.iterdir():
        fs.put_file(str(path), f"{root}/faces/{path.name}")
    fs.pipe_file(f"{root}/faces/30_0_0_9.jpg", b"")
    fs.put_file(str(demo_model()), f"{root}/models/demo_gender.keras")
    said, out = [], f"{bucket}/audits/one"
    where = {"faces": f"{bucket}/faces", "model": f"{bucket}/models/demo_gender.keras", "out": out}
    with processes() as client:
        found = audit(**where, settings=settings(), client=client)
        assert found.rejected.values.tolist() == [["30_0_0_9.jpg", "file is empty"]]
        assert found.store.table().equals(whole.store.table()) and found.summary["notebook"] == whole.summary["notebook"]
        assert Audit(out).faces().equals(whole.faces()) and Audit(out).summary["faces_folder"] == where["faces"]
        assert Audit(out).take([59, 0], ["image_path"]).equals(whole.take([59, 0], ["image_path"]))
        assert sorted(p.rpartition("/")[2] for p in fs.ls(f"{root}/audits/one", refresh=True)) == ["audit.json", "faces", "index", "rejected.csv"]
        fs.rm_file(f"{root}/audits/one/faces/part-00002.parquet")
        fs.pipe_file(f"{root}/audits/one/.lock", b'{"owner": "x", "host": "gone", "process": 7}')  # a client died
        again = audit(**where, settings=settings(), client=client, say=said.append)
        assert again.store.table().equals(whole.store.table())
        assert "locked (process 7 on gone)" in said[0] and "5 of 6 shards" in said[1]
    with Store(out).lock():
        with pytest.raises(StoreError, match="another audit is writing here"):
            audit(**where, settings=settings())
    assert audit(**where, settings=settings()).store.table().equals(whole.store.table())  # one machine reads and writes there too


def test_a_model_in_a_store_is_looked_at(bucket, tmp_path):
    "A file that the scan refuses is refused from a store too, and another file in the place of the one that is meant."
    import fsspec

    from identiface_audit.model_files import scan_model

    fs = fsspec.filesystem("s3")
    fs.pipe_file(bucket.removeprefix("s3://") + "/models/bad.keras", demo_model().read_bytes()[:50_000])
    with pytest.raises(AuditError, match="bad.keras: damaged"):
        scan_model(f"{bucket}/models/bad.keras")
    fs.put_file(str(demo_model()), bucket.removeprefix("s3://") + "/models/good.keras")
    found = scan_model(f"{bucket}/models/good.keras")
    assert found.sha256 == scan_model(demo_model()).sha256 and found.path.name == "good.keras"
    with pytest.raises(AuditError, match="is another file than the one that is meant"):
        scan_model(f"{bucket}/models/good.keras", sha256="0" * 64)
    with pytest.raises(AuditError, match="no such model file"):
        scan_model(f"{bucket}/models/none.keras")


def test_in_memory(faces, whole):
    "Workers that are threads of this process share its memory, so the audit may stand in it."
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0") as cluster:
        with distributed.Client(cluster, set_as_default=False) as client:
            found = audit(faces, demo_model(), "memory://cluster/audit", settings=settings(), client=client)
    assert found.store.table().equals(whole.store.table())


@pytest.mark.parametrize(
    ("missing", "arguments", "words"),
    [
        ("distributed", ["--cluster", "local:2"], "a cluster needs Dask, which is not installed; pip install 'identiface-audit[cluster]'"),
        ("upath", ["--faces", "s3://bucket/faces"], "s3://bucket/faces: addresses need fsspec; pip install 'identiface-audit[cluster]'"),
        ("s3fs", ["--faces", "s3://bucket/faces"], "s3://bucket/faces: this kind of address cannot be used: Install s3fs to access S3"),
    ],
)
def test_without_the_extra(tmp_path, missing, arguments, words):
    code = f"import sys; sys.modules[{missing!r}] = None; from identiface_audit.cli import main; sys.exit(main(sys.argv[1:]))"
    given = ["--faces", tmp_path, "--model", demo_model(), "--out", tmp_path / "out", *arguments]
    ended = subprocess.run([sys.executable, "-c", code, "run", *map(str, given)], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (3, f"identiface-audit: {words}\n")


@pytest.mark.parametrize("address", ["local:none", "local:0", "nowhere", "strange://10.0.0.1:1", "tcp://127.0.0.1:9"])
def test_bad_addresses(address, faces, tmp_path, capsys, monkeypatch):
    from identiface_audit.cli import main

    monkeypatch.setattr(crew, "_ANSWER", 0.5)
    assert main(["run", "--faces", str(faces), "--model", str(demo_model()), "--out", str(tmp_path), "--cluster", address]) == 3
    said = capsys.readouterr().err
    assert said.startswith(f"identiface-audit: {address}: ") and said.count("\n") == 1, said


def test_a_script_on_standard_input_has_workers():
    code = """if True:
        from identiface_audit.crew import Crew, connect
        with connect("local:1") as client:
            print(Crew(client).once(abs, -3))"""
    ended = subprocess.run([sys.executable, "-"], input=code, capture_output=True, text=True, timeout=60)
    assert ended.stdout == "3\n", ended.stderr


def test_without_a_cluster_dask_stays_out(tmp_path):
    code = "import sys, identiface_audit.audit, identiface_audit.cli; sys.exit(any(m in sys.modules for m in ('distributed', 'dask', 'fsspec', 'upath')))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

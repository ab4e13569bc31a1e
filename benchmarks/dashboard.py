"""How a published dashboard bears visitors who come at once: python benchmarks/dashboard.py AUDITS [--visitors 20]

Each opens the page and an audit, and asks for twenty faces, over HTTP and websocket as a browser does; memory is each kernel's proportional share (PSS).
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from test_dashboard import Server, Visitor  # noqa: E402


def visit(server):
    start = time.monotonic()
    visitor = Visitor(server)
    if visitor.status != 200:
        return {"lost": visitor.status}
    page = time.monotonic() - start
    visitor.connect()
    visitor.open_audit()
    opened = time.monotonic() - start
    answer = visitor.custom(visitor.find("AnyModel", label="Faces"), {"type": "faces", "rows": list(range(20)), "side": 96, "parts": "all", "id": 1})
    pictures = sum(len(m["buffers"][0]) for m in answer if m["buffers"])
    return {"page": page, "audit": opened, "faces": time.monotonic() - start, "kB": pictures / 1000}


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("audits")
    arguments.add_argument("--visitors", type=int, default=20)
    args = arguments.parse_args()
    home = Path(tempfile.mkdtemp()) / "home"
    server = Server(Path(args.audits), home, "/", f"max_visitors = {args.visitors + 1}\n")
    try:
        time.sleep(5)
        alone = visit(server)
        time.sleep(5)
        with ThreadPoolExecutor(args.visitors) as crowd:
            came = list(crowd.map(lambda _: visit(server), range(args.visitors)))
        memory = [k.memory_full_info().pss / 2**20 for k in server.kernels()]
        there = [v for v in came if "lost" not in v]
        spread = {k: {"median s": round(statistics.median(v[k] for v in there), 1), "slowest s": round(max(v[k] for v in there), 1)} for k in ("page", "audit", "faces")}
        found = {"one visitor, warm pool": {k: round(v, 1) for k, v in alone.items()}, "visitors": len(came), "lost": len(came) - len(there), **spread}
        found |= {"kernels": len(memory), "MB by kernel": round(statistics.median(memory)), "MB in all": round(sum(memory)), "cores": os.cpu_count(), "load": os.getloadavg()[0]}
        print(json.dumps(found, indent=1))
    finally:
        server.stop()


if __name__ == "__main__":
    main()

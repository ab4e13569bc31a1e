"""What several tests need: drawn faces, the landmark model, one finished audit of them, and the way to ../shared."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


def pytest_collection_modifyitems(items):
    absent = pytest.mark.skip(reason="needs the real faces and models of ../shared, which is not part of the project")
    for item in items:
        if item.get_closest_marker("shared") and not SHARED.is_dir():
            item.add_marker(absent)


@pytest.fixture(scope="session")
def shared() -> Path:
    return SHARED


@pytest.fixture(scope="session")
def landmarker() -> str:
    "The landmark model in the user's cache, fetched there by the program's own means."
    from identiface_audit.landmarks import find_landmarker

    return str(find_landmarker())


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory, landmarker):
    "Landmarks are cached in a folder of this test run, so that no test finds what an earlier run left."
    os.environ["IDENTIFACE_LANDMARKER"] = landmarker
    os.environ["IDENTIFACE_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def faces(tmp_path_factory) -> Path:
    "A folder of 60 drawn faces; the lips of some women are turned round."
    from identiface_audit.synthetic import DEMO_PLANT, DEMO_RELIABILITY, write_faces

    folder = tmp_path_factory.mktemp("drawn") / "faces"
    write_faces(folder, 60, seed=88, reliability=DEMO_RELIABILITY, plant=DEMO_PLANT)
    return folder


@pytest.fixture(scope="session")
def done():
    "A finished audit of the same faces as `faces` by the demo model under the preset `notebook`; tests read it and never write to it."
    from identiface_audit.examples import example_audit

    return example_audit()


@pytest.fixture(scope="session")
def whole(faces, tmp_path_factory):
    "The audit of `faces` that nothing interrupted, on one machine; killed, resumed and clustered ones equal it."
    from processes import settings

    from identiface_audit.audit import audit
    from identiface_audit.synthetic import demo_model

    return audit(faces, demo_model(), tmp_path_factory.mktemp("whole") / "audit", settings=settings())

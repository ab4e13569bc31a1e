"""Print the lower bound of every dependency as a pip constraint: the versions that the project promises to work with."""

import re
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).resolve().parents[1] / "pyproject.toml").read_text())["project"]
extras = project["optional-dependencies"].values()
for line in [*project["dependencies"], *(d for extra in extras for d in extra)]:
    found = re.match(r"([\w-]+)>=([\w.]+)", line)
    if found:
        print(f"{found[1]}=={found[2]}")

"""Fetch the dashboard's libraries anew: `make vendor`, with npm, and only where a version below was changed.

What it writes is committed, with each licence, so that nothing but Python is needed to build and run. npm takes the
packages from wherever it is set up to; vendor.json keeps the version and the digest of each file.
"""

import hashlib
import json
import subprocess
import tarfile
import tempfile
from pathlib import Path

TARGET = Path(__file__).parents[1] / "read_api/dashboard/static/vendor"
PACKAGES = {"preact": "11.2.0", "htm": "3.1.1", "uplot": "1.6.32"}
# package, file in it, file here, then what is replaced in it: browsers resolve no bare names without an import map,
# which a strict Content-Security-Policy does not allow inline; and uPlot's only small build is no module
FILES = [
    ("preact", "dist/preact.mjs", "preact.js", {"//# sourceMappingURL=preact.mjs.map": ""}),
    ("preact", "hooks/dist/hooks.mjs", "hooks.js",
     {'from"preact"': 'from"./preact.js"', "//# sourceMappingURL=hooks.mjs.map": ""}),
    ("preact", "LICENSE", "preact.LICENSE", {}),
    ("htm", "dist/htm.mjs", "htm.js", {}),
    ("htm", "LICENSE", "htm.LICENSE", {}),
    ("uplot", "dist/uPlot.iife.min.js", "uplot.js", {}),
    ("uplot", "dist/uPlot.min.css", "uplot.css", {}),
    ("uplot", "LICENSE", "uplot.LICENSE", {}),
]  # fmt: skip
AS_A_MODULE = {"uplot.js": "export default uPlot;\n"}


def main() -> None:
    """Replace all files of TARGET."""
    TARGET.mkdir(parents=True, exist_ok=True)
    digests = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, version in PACKAGES.items():
            subprocess.run(["npm", "pack", "--silent", f"{name}@{version}"], cwd=folder, check=True)
        for package, source, name, replaced in FILES:
            with tarfile.open(Path(folder) / f"{package}-{PACKAGES[package]}.tgz") as packed:
                member = packed.extractfile(f"package/{source}")
                assert member is not None
                text = member.read().decode()
            for old, new in replaced.items():
                assert old in text, f"{source} of {package} has changed: {old} is not in it"
                text = text.replace(old, new)
            text = text.rstrip() + "\n" + AS_A_MODULE.get(name, "")
            (TARGET / name).write_text(text)
            digests[name] = {
                "from": f"{package}@{PACKAGES[package]}",
                "sha256": hashlib.sha256(text.encode()).hexdigest(),
            }
    (TARGET / "vendor.json").write_text(json.dumps(digests, indent=2) + "\n")


if __name__ == "__main__":
    main()

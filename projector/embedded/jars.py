"""The jars of Kafka and Elasticsearch: pinned, downloaded once through jgo, checked at each start.

`jars.lock.json` holds, for each library (one folder of the cache), the coordinates of every jar with its SHA-256.
`python -m projector.embedded.jars lock` makes it anew from ROOTS; `… fetch` fills the cache.
"""

import hashlib
import json
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from projector.embedded.errors import EmbeddedError, require
from projector.embedded.files import locked

# Each root is resolved by itself: together, the parent of log4j would bring an older kafka-clients.
ROOTS = {
    # log4j's binding in the version of log4j that this Kafka brings
    "kafka": ["org.apache.kafka:kafka_2.13:4.1.0", "org.apache.logging.log4j:log4j-slf4j-impl:2.24.3"],
    "elasticsearch": ["org.elasticsearch:elasticsearch:9.5.3"],
    "elasticsearch-http": ["org.elasticsearch.plugin:transport-netty4:9.5.3"],
}
# The HTTP module depends on jars that the server has already: twice is "jar hell", and the node refuses to start.
LEFT_OUT = {"elasticsearch-http": "org.elasticsearch"}
LOCK_FILE = Path(__file__).with_name("jars.lock.json")
ATTEMPTS = 3
DOWNLOADS_AT_ONCE = 4


@dataclass(frozen=True)
class Jar:
    """One pinned jar: `group:artifact:version` and the SHA-256 of the file, in hex."""

    coordinate: str
    sha256: str

    @property
    def filename(self) -> str:
        """As Maven names it: `artifact-version.jar`."""
        _, artifact, version = self.coordinate.split(":")
        return f"{artifact}-{version}.jar"

    def is_intact(self, path: Path) -> bool:
        """Whether the file is there and is this very jar."""
        try:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256
        except FileNotFoundError:
            return False


def default_cache() -> Path:
    """Where all stacks keep their jars: `PREJOIN_CACHE`, else `.prejoin/lib` in the working directory."""
    return Path(os.environ.get("PREJOIN_CACHE") or ".prejoin/lib").absolute()


def pinned(library: str) -> list[Jar]:
    """List the jars of one library, as the lock file has them."""
    return [Jar(coordinate, sha256) for coordinate, sha256 in json.loads(LOCK_FILE.read_text())[library].items()]


class JarCache:
    """A folder of jars that any number of stacks share, also while they start at the same time."""

    def __init__(self, folder: Path, on_progress: Callable[[str], None], cancelled: threading.Event) -> None:
        """`on_progress` gets a line a downloaded file; once `cancelled` is set, downloads end within moments."""
        self._folder = folder
        self._on_progress = on_progress
        self._cancelled = cancelled

    def library(self, name: str) -> Path:
        """Return the folder with exactly this library's jars; what is missing or damaged is downloaded first.

        Raises EmbeddedError where a jar cannot be had.
        """
        jars = pinned(name)
        # The version in the name: two releases of prejoin with one cache do not sweep out each other's jars.
        folder = self._folder / f"{name}-{jars[0].coordinate.rpartition(':')[2]}"
        with locked(self._folder / f"{folder.name}.lock"):
            folder.mkdir(exist_ok=True)
            self._sweep(folder, {jar.filename for jar in jars})
            missing = [jar for jar in jars if not jar.is_intact(folder / jar.filename)]
            if missing:
                self._fetch_all(name, missing, folder)
        return folder

    def _sweep(self, folder: Path, wanted: set[str]) -> None:
        """Remove the downloads of a killed process, and any jar that would only get onto the class path."""
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name not in wanted:
                path.unlink()

    def _fetch_all(self, name: str, jars: list[Jar], folder: Path) -> None:
        require("jgo")
        with ThreadPoolExecutor(DOWNLOADS_AT_ONCE, thread_name_prefix="jars") as pool:
            downloads = {pool.submit(self._fetch, jar, folder): jar for jar in jars}
            try:
                for count, done in enumerate(as_completed(downloads), 1):
                    done.result()
                    self._on_progress(f"{name}: file {count} of {len(jars)}: {downloads[done].filename}")
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _fetch(self, jar: Jar, folder: Path) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with tempfile.TemporaryDirectory(dir=folder) as part:
                    found = self._resolve(jar, Path(part), look_in_maven_cache=attempt == 1)
                    if jar.is_intact(found):
                        copy = Path(part) / "verified"
                        shutil.copyfile(found, copy)
                        copy.replace(folder / jar.filename)
                        return
                problem = "its checksum is not the pinned one"
            # jgo raises RuntimeError for "not in the repository"; what requests raises is an OSError
            except (OSError, RuntimeError) as error:
                problem = type(error).__name__
        raise EmbeddedError(
            f"cannot download {jar.filename} ({problem}): the first start needs the network; "
            f"later ones do with {self._folder}"
        )

    def _resolve(self, jar: Jar, part: Path, *, look_in_maven_cache: bool) -> Path:
        """Take the jar from the user's own Maven cache if it has one, else download it into `part`."""
        from jgo.config import GlobalSettings
        from jgo.constants import MAVEN_CENTRAL_URL
        from jgo.maven import MavenContext, PythonResolver

        if self._cancelled.is_set():
            raise EmbeddedError("the download was interrupted")
        settings = GlobalSettings.load()
        context = MavenContext(
            resolver=PythonResolver(progress_callback=self._watch),
            repo_cache=part,
            local_repos=[settings.repo_cache] if look_in_maven_cache else [],
            remote_repos={**settings.repositories, "central": MAVEN_CENTRAL_URL},
            timeout=30,
        )
        group, artifact, version = jar.coordinate.split(":")
        return Path(context.project(group, artifact).at_version(version).artifact().resolve())

    @contextmanager
    def _watch(self, _filename: str, _size: int) -> Iterator[Callable[[int], None]]:
        def received(_count: int) -> None:
            if self._cancelled.is_set():
                raise EmbeddedError("the download was interrupted")

        yield received


def make_lock() -> dict[str, dict[str, str]]:
    """Resolve ROOTS with all that they need, and hash each jar: the contents of the lock file."""
    import jgo

    def hashes(library: str, roots: list[str]) -> Iterator[tuple[str, str]]:
        for artifact in (artifact for root in roots for artifact in jgo.resolve(root)):
            if artifact.groupId != LEFT_OUT.get(library):
                digest = hashlib.sha256(Path(artifact.resolve()).read_bytes()).hexdigest()
                yield f"{artifact.groupId}:{artifact.artifactId}:{artifact.version}", digest

    return {library: dict(hashes(library, roots)) for library, roots in ROOTS.items()}


def _main(arguments: list[str]) -> Any:
    if arguments == ["lock"]:
        return LOCK_FILE.write_text(json.dumps(make_lock(), indent=1) + "\n")
    if arguments == ["fetch"]:
        cache = JarCache(default_cache(), lambda line: print(line, file=sys.stderr), threading.Event())
        return [cache.library(name) for name in ROOTS]
    return sys.exit("use: python -m projector.embedded.jars lock | fetch")


if __name__ == "__main__":
    _main(sys.argv[1:])

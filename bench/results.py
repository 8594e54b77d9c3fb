"""One measure's figures: a JSON object a line, and a table for README.md."""

import json
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

START, END = "<!-- results -->", "<!-- end of results -->"
_COMPARE = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt, "=": operator.eq}


@dataclass(frozen=True)
class Result:
    """`ours` and `peer` are in `unit`; `aim` names one of ours, ratio or a detail: `ratio >= 20`."""

    measure: str
    ours: float
    peer: float | None
    unit: str
    aim: str | None = None
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        """Ours divided by the peer's: of rates more is better, of times less."""
        return self.ours / self.peer if self.peer else None

    @property
    def met(self) -> bool | None:
        """Whether the aim is met; None where there is none."""
        if self.aim is None:
            return None
        name, comparison, wanted = self.aim.split()
        value = self.details[name] if name in self.details else getattr(self, name)
        return value is not None and bool(_COMPARE[comparison](value, float(wanted)))

    def line(self) -> str:
        """The JSON object."""
        known = {"measure": self.measure, "ours": rounded(self.ours), "peer": rounded(self.peer)}
        known |= {"ratio": rounded(self.ratio), "unit": self.unit, "aim": self.aim, "met": self.met}
        return json.dumps(known | {name: rounded(value) for name, value in self.details.items()})


def rounded(value: Any) -> Any:
    """Three digits that count, and all before the point."""
    if not isinstance(value, float):
        return value
    return round(value) if abs(value) >= 100 else float(f"{value:.3g}")


def table(results: Sequence[Result], about: str) -> str:
    """What stands between the markers of README.md."""
    rows = ["| measure | ours | beside it | ratio | unit | aim | met |", "| --- | --: | --: | --: | --- | --- | --- |"]
    for r in results:
        met = {None: "", True: "yes", False: "no"}[r.met]
        figures = [_shown(r.ours), _shown(r.peer), _shown(r.ratio)]
        rows.append(f"| {r.measure} | {' | '.join(figures)} | {r.unit} | {r.aim or ''} | {met} |")
    return "\n".join([about, "", *rows])


def _shown(value: float | None) -> str:
    return "" if value is None else f"{rounded(value):,}"


def write_into(page: Path, text: str) -> None:
    """Replace what is between the markers; there must be both."""
    before, _, rest = page.read_text().partition(START)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{START}\n\n{text}\n\n{END}{after}")

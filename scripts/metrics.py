"""Writes the tables of docs/metrics.md and the dashboard from the table of metrics (`make metrics`)."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
_BEGIN, _END = "<!-- tables: made by `make metrics` -->\n", "<!-- end of tables -->"


def texts() -> dict[str, str]:
    """What belongs into the files, by their names."""
    sys.path.insert(0, str(ROOT))
    from portlb_app.metrics.dashboard import dashboard

    known = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    before, _, rest = known.partition(_BEGIN)
    _, _, behind = rest.partition(_END)
    return {
        "docs/metrics.md": f"{before}{_BEGIN}{''.join(tables())}\n{_END}{behind}",
        "packaging/grafana.json": json.dumps(dashboard(), indent=1) + "\n",
    }


def tables() -> Iterator[str]:
    """The tables of docs/metrics.md."""
    from portlb_app.metrics.table import CONTROLLER, LIBRARY, POOLS, SERVERS, SWITCHES

    head = "| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n"
    for title, metrics in (
        ("The controller", CONTROLLER), ("Switches and links", SWITCHES), ("Servers", SERVERS), ("Pools", POOLS)
    ):  # fmt: skip
        yield f"\n## {title}\n\n{head}"
        for each in metrics:
            yield f"| `{each.name}` | {each.kind} | {', '.join(each.labels)} | {each.meaning} |\n"
    yield f"\n## The process\n\nFrom the client library.\n\n{head}"
    for name, (kind, meaning) in LIBRARY.items():
        yield f"| `{name}` | {kind} | | {meaning} |\n"


if __name__ == "__main__":
    for name, text in texts().items():
        (ROOT / name).write_text(text, encoding="utf-8")

"""What a run of pytest reported in a file."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any


def counts(report: Path) -> dict[str, Any]:
    """Tests that passed, failed and were skipped, and the seconds they took, from what ``--junitxml`` wrote.

    Raises:
        RuntimeError: nothing was reported.
    """
    if not report.exists():
        raise RuntimeError(f"{report.name}: pytest ended without a report")
    suites = list(ElementTree.parse(report).getroot().iter("testsuite"))
    count = {key: sum(int(suite.attrib[key]) for suite in suites) for key in ("tests", "failures", "errors", "skipped")}
    failed = count["failures"] + count["errors"]
    return {
        "passed": count["tests"] - failed - count["skipped"],
        "failed": failed,
        "skipped": count["skipped"],
        "seconds": round(sum(float(suite.attrib["time"]) for suite in suites)),
    }


def noted(report: Path, name: str) -> int:
    """The sum of a property that tests recorded with pytest's ``record_property``."""
    found = ElementTree.parse(report).getroot().iter("property")
    return sum(int(each.attrib["value"]) for each in found if each.attrib["name"] == name)

"""Records in the documents: a role for one number, directives for one record and for all of an area.

- ``{measured}`galerkin-3 > relative L2 error` `` is one number in a sentence, with a link to its record; `measured.py`
  explains what stands in it.
- The directive ``record`` shows a record: its bar, its table, and the command that repeats it. Its options: ``columns``
  of the table, separated by commas; ``where`` its rows satisfy ``column=value``, separated by semicolons; and
  ``baselines``, the columns of the baselines, which are not shown without it; those of the same columns are rows of
  the same table.
- The directive ``records`` shows every claim of an area, and whether its bar was reached.
"""

import sys
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective, SphinxRole

sys.path.insert(0, str(Path(__file__).parent))
import measured

TITLES = {
    "library": "the-library",
    "galerkin": "partial-differential-equations",
    "microstructure": "microstructure",
    "turbulence": "turbulence",
    "navigation": "navigation",
    "language": "language",
    "distillation": "distillation",
    "reversal": "reversal",
    "front_door": "front-door",
}


def anchor(name: str) -> str:
    """The heading of a record in RESULTS.md, as its anchor."""
    area, _, item = name.rpartition("-")
    return f"{TITLES[area]}-{item.lower()}"


class Measured(SphinxRole):
    """One number of a record."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """A link to the record, or an error that says what was not found."""
        try:
            shown = measured.value(self.text)
        except ValueError as wrong:
            return [], [self.inliner.reporter.error(f"measured: {wrong}", line=self.lineno)]
        return [_link(self.env, shown, self.text.split(" > ")[0].strip())], []


class Record(SphinxDirective):
    """One record: the claim, what was measured, and by which command."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {
        "columns": directives.unchanged,
        "where": directives.unchanged,
        "baselines": directives.unchanged,
    }

    def run(self) -> list[nodes.Node]:
        """The nodes, or an error that says what was not found."""
        name = self.arguments[0]
        try:
            content = measured.record(name)
            conditions = measured.listed(self.options.get("where", ""), ";")
            tables = [measured.table(content["measured"], measured.listed(self.options.get("columns", "")), conditions)]
            if "baselines" in self.options:
                tables.append(measured.table(content["baselines"], measured.listed(self.options["baselines"])))
        except ValueError as wrong:
            raise self.error(f"record {name}: {wrong}") from None
        if len(tables) == 2 and tables[0][:1] == tables[1][:1]:  # the same columns: one table
            tables = [[*tables[0], *tables[1][1:]]]
        reached = "Reached" if content["holds"] else "Not reached"
        head = nodes.paragraph()
        head += nodes.strong(text=f"{reached}: ")
        head += nodes.Text(f"{_plain(content['target'])}. ")
        head += _link(self.env, f"Record {name}", name)
        foot = nodes.paragraph(classes=["record-command"])
        foot += nodes.literal(text=content["command"])
        shown: list[nodes.Node] = [_table(rows) for rows in tables if rows]
        if len(shown) == 2:
            shown.insert(1, nodes.paragraph(text="Compared with:"))
        return [head, *shown, foot]


class Records(SphinxDirective):
    """Every claim of an area."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """A table with a line for each record."""
        try:
            found = measured.area(self.arguments[0])
        except ValueError as wrong:
            raise self.error(str(wrong)) from None
        rows: list[list[str | nodes.Node]] = [["record", "claim", "bar reached"]]
        for name, content in found:
            rows.append([_link(self.env, name, name), _plain(content["claim"]), "yes" if content["holds"] else "no"])
        return [_table(rows, widths=[16, 74, 10])]


def _plain(sentence: str) -> str:
    return sentence.replace("`", "")


def _link(env: Any, shown: str, name: str) -> nodes.Node:
    env.note_dependency(measured.RESULTS)  # the page is read again when a record is added or replaced
    link = addnodes.pending_xref(
        refdomain="doc", reftarget="results", reftargetid=anchor(name), refdoc=env.docname, reftype="myst"
    )
    link["refexplicit"] = True
    link += nodes.inline(shown, shown, classes=["measured"])
    return link


def _table(rows: list[list[Any]], widths: list[int] | None = None) -> nodes.Node:
    group = nodes.tgroup(cols=len(rows[0]))
    group += [nodes.colspec(colwidth=width) for width in widths or [1] * len(rows[0])]
    parts = nodes.thead(), nodes.tbody()
    for number, row in enumerate(rows):
        line = nodes.row()
        for cell in row:
            entry = nodes.entry()
            entry += nodes.paragraph("", "", cell) if isinstance(cell, nodes.Node) else nodes.paragraph(text=str(cell))
            line += entry
        parts[number > 0].append(line)
    group += list(parts)
    table = nodes.table(classes=["record"])
    table += group
    wrapper = nodes.container(classes=["wide"])
    wrapper += table
    return wrapper


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the role and the directives."""
    app.add_role("measured", Measured())
    app.add_directive("record", Record)
    app.add_directive("records", Records)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

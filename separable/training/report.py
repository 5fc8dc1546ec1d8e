"""A report: one self-contained HTML page of text, tables, pictures and the code that made them."""

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 52rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.7rem; line-height: 1.2; } h2 { margin-top: 2.5rem; border-top: 1px solid #8884; padding-top: 1rem; }
img { max-width: 100%; height: auto; background: white; border-radius: 4px; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .92rem; margin: 1rem 0; }
th, td { padding: .3rem .7rem; text-align: left; border-bottom: 1px solid #8884; vertical-align: top; }
td { white-space: nowrap; } td:first-child, td.long { white-space: normal; } td.long { min-width: 9rem; }
th { font-weight: 600; } tr.best td { font-weight: 600; }
pre { background: #8881; padding: .8rem; overflow-x: auto; border-radius: 4px; font-size: .85rem; }
blockquote { margin: 1rem 0; padding-left: .8rem; border-left: 3px solid #8884; white-space: pre-wrap; }
p, h1, h2, blockquote { overflow-wrap: anywhere; }
.note { color: #777; font-size: .9rem; }
"""


class Report:
    """Sections in order; nothing is fetched when the page is opened.

    Args:
        title: The page's heading.
        summary: The first paragraph.

    Example:
        >>> from separable.training import Report
        >>> page = Report("Demo", "What was done.")
        >>> page.section("A table")
        >>> page.table([{"model": "separable", "error": 0.12}])
        >>> "separable" in page.html()
        True
    """

    def __init__(self, title: str, summary: str) -> None:
        self.title = title
        self._parts = [f"<h1>{html.escape(title)}</h1>", f"<p>{html.escape(summary)}</p>"]

    def section(self, heading: str) -> None:
        """Start a section."""
        self._parts.append(f"<h2>{html.escape(heading)}</h2>")

    def text(self, text: str, note: bool = False) -> None:
        """A paragraph; ``note`` sets it smaller."""
        self._parts.append(f"<p{' class=note' if note else ''}>{html.escape(text)}</p>")

    def code(self, code: str) -> None:
        """A block of code."""
        self._parts.append(f"<pre><code>{html.escape(code.strip())}</code></pre>")

    def quote(self, text: str) -> None:
        """A text as somebody, or a model, wrote it: with its lines, which wrap where the page is narrow."""
        self._parts.append(f"<blockquote>{html.escape(text)}</blockquote>")

    def table(self, rows: Sequence[Mapping[str, Any]], best: int | None = None) -> None:
        """Rows under their keys, "-" where one has no value; that with index ``best`` is emphasised.

        Of no rows the page says so.
        """
        if not rows:
            self.text("No rows.", note=True)
            return
        keys = dict.fromkeys(key for row in rows for key in row)
        head = "".join(f"<th>{html.escape(str(key))}</th>" for key in keys)
        body = "".join(
            f"<tr{' class=best' if i == best else ''}>"
            + "".join(_cell(_number(row.get(key, "-"))) for key in keys)
            + "</tr>"
            for i, row in enumerate(rows)
        )
        self._parts.append(f"<div class=wide><table><tr>{head}</tr>{body}</table></div>")

    def picture(self, file: Path, description: str) -> None:
        """A PNG or GIF file, embedded, with a description for those who cannot see it."""
        data = base64.b64encode(file.read_bytes()).decode()
        kind = file.suffix.removeprefix(".")
        self._parts.append(f'<p><img alt="{html.escape(description)}" src="data:image/{kind};base64,{data}"></p>')

    def html(self) -> str:
        """The page."""
        return (
            "<!doctype html><html lang=en><head><meta charset=utf-8>"
            '<meta name=viewport content="width=device-width, initial-scale=1">'
            f"<title>{html.escape(self.title)}</title><style>{_STYLE}</style></head><body>"
            + "\n".join(self._parts)
            + "</body></html>\n"
        )


def _cell(text: str) -> str:
    """Text of a table; what is longer than a name is wrapped."""
    return f"<td{' class=long' if len(text) > 20 else ''}>{html.escape(text)}</td>"


def _number(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)

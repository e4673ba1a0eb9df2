"""A hook of mkdocs: the experiments are pages of the site, so that links to their files lead there.

For who reads the pages in the repository, `../experiments/digits.py` is the file itself.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

EXPERIMENTS = Path(__file__).resolve().parent.parent / "experiments"


def on_files(files: Any, config: Any) -> Any:
    """Adds a page for every file, with its source."""
    from mkdocs.structure.files import File

    for file in sorted(EXPERIMENTS.glob("*.py")):
        source = file.read_text(encoding="utf-8")
        text = f"---\nsearch:\n  exclude: true\n---\n\n# {file.name}\n\n````python\n{source}````\n"
        files.append(File.generated(config, f"experiments/{file.stem}.md", content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Leads links to files to their pages, which lie inside the folder of pages."""
    return re.sub(r"\]\(\.\./((?:\.\./)*experiments/\w+)\.py\)", r"](\1.md)", markdown)

"""Pages of the site that are made from other files: settings, changes, log, and the library in JavaScript."""

import json
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

from lilliput import recipes
from lilliput.cli.settings import settings_of
from lilliput.distillation import DistillConfig
from lilliput.finetuning.config import FinetuningConfig

ROOT = Path(__file__).parent.parent
COPIED = {
    "log.md": "experiments/LOG.md",
    "reference/javascript.md": "web/README.md",
    "changelog.md": "CHANGELOG.md",
}
"""Files of the repository, by the page that shows them."""


def on_files(files: Any, config: Any) -> Any:
    """Adds the pages that are made here."""
    for page, source in COPIED.items():
        content = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=_without_links(content)))
    files.append(File.generated(config, "reference/settings.md", content=_settings()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lets links to files of the repository lead to the pages that show them."""
    up = "../" * page.file.src_uri.count("/")
    for name, source in COPIED.items():
        markdown = re.sub(rf"\]\((\.\./)+{re.escape(source)}\)", f"]({up}{name})", markdown)
    return markdown


def _without_links(content: str) -> str:
    """Returns a text whose relative links, to files that are no pages, are their words alone."""
    return re.sub(r"\[([^\]]+)\]\((?!https?:|#)[^)]+\)", r"\1", content)


def _settings() -> str:
    """Returns every setting of recipes, distillation and fine-tuning, as `lilliput settings` lists them."""
    found = {
        "A recipe: lilliput": recipes.lilliput(),
        "A recipe: sentence": recipes.sentence(),
        "finetune": FinetuningConfig(),
        "distill": DistillConfig(),
    }
    parts = [
        "# Settings\n\n`--set KEY=VALUE` changes any of these; `lilliput settings NAME` lists them. Recipes "
        "differ in values and in the names of their stages.\n"
    ]
    for title, config in found.items():
        parts.append(f"## {title}\n\n| key | value | what | meaning |\n| --- | --- | --- | --- |")
        for one in settings_of(config):
            cells = (f"`{one.key}`", f"`{json.dumps(one.value)}`", one.kind, one.meaning)
            parts.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        parts.append("")
    return "\n".join(parts)

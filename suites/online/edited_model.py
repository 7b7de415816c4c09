"""A checkpoint with another chat template."""

from __future__ import annotations

from pathlib import Path


def with_template(model: Path, folder: Path, template: str) -> Path:
    """Fill an empty folder with the files of the model and this template."""
    for file in model.iterdir():
        if file.name != "chat_template.jinja":
            (folder / file.name).symlink_to(file.resolve())
    (folder / "chat_template.jinja").write_text(template, "utf-8")
    return folder

"""Texts fit to be published: records name no person, host or place in a file system."""

from __future__ import annotations

import re
import socket

from stagegate_baselines.escaping import printable

# Folders of an absolute path, up to its last name; a slash inside a word or a URL is none.
_FOLDERS = re.compile(r"(?<![\w.:/~])~?/(?:[^\s/'\"<>|,;:()\[\]]+/)+")


def anonymous(text: str) -> str:
    """The printable text, absolute paths cut down to their last name, without the host's name."""
    host = socket.gethostname()
    without_folders = _FOLDERS.sub("", printable(text))
    return re.sub(rf"\b{re.escape(host)}\b", "host", without_folders) if host else without_folders

"""Record what Hugging Face transformers makes of conversations with tool calls.

    python -m suites.engine.record_chat_history

Rewrites recorded_chat_history.json. Needs transformers (extra "parity").
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from suites.engine.chat_history import CONVERSATIONS, TEMPLATES, TOKENS, for_transformers
from suites.engine.conftest import TINY

RECORDED = Path(__file__).parent / "recorded_chat_history.json"


def prompts() -> dict[str, dict[str, str | None]]:
    """By template and conversation; None where the template refuses the conversation."""
    import jinja2
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(TINY)
    made: dict[str, dict[str, str | None]] = {}
    for name, template in TEMPLATES.items():
        made[name] = {}
        for title, conversation in CONVERSATIONS.items():
            try:
                made[name][title] = tokenizer.apply_chat_template(
                    for_transformers(conversation, template),
                    chat_template=template.source,
                    tokenize=False,
                    **TOKENS,
                )
            except jinja2.TemplateError:
                made[name][title] = None
    return made


if __name__ == "__main__":
    RECORDED.write_text(json.dumps(prompts(), ensure_ascii=False, indent=1) + "\n", "utf-8")

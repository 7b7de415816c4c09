"""Text as exceptions, plugins, models and file names may hold it."""

from __future__ import annotations

from hypothesis import strategies as st

NASTY = (
    "\x1b[31mred\x1b[0m", "a\x00b", "\ud83d", "\ufffe\uffff", "\u202ereversed", "]]><![CDATA[",
    "</script><script>alert(1)</script>", "a|b\\|c", "one\ntwo\r\nthree\x85four\u2028five",
    "=cmd|' /C calc'!A0", "+1", "-1", "@x", "\t=x", "`code` *b* _i_ [l](u) ![i](u) <b>&amp;",
    "C:\\", '"quoted", \'twice\'', "说你好 é 👩\u200d💻", "{{ 7*7 }}", "--- | ---", "  padded ", "",
)  # fmt: skip

_CHARACTERS = st.characters(exclude_categories=())  # halves of characters among them
ANY_TEXT = st.one_of(
    st.sampled_from(NASTY),
    st.lists(st.sampled_from(NASTY) | _CHARACTERS, max_size=6).map("".join),
    st.text(_CHARACTERS, max_size=30),
)

"""Training text of tiny-qwen2: *Alice's Adventures in Wonderland* as prose and as ChatML."""

from __future__ import annotations

import hashlib
import random
import re
import tarfile
from itertools import pairwise
from pathlib import Path

SDIST_SHA256 = "81de08ac11bcb85841e440c13611c00b67d3bf82698314928d0b676362546724"
SDIST_MEMBER = "Brotli-1.1.0/tests/testdata/alice29.txt"

CHATS_PER_PASSAGE = 2

SYSTEM_PROMPTS = (
    "You are a helpful assistant.",
    "You are a helpful assistant.",
    "You are a storyteller.",
    "Answer with a passage from the book.",
    "You are a kind librarian who reads aloud to children.",
    "Be brief.",
)
CHARACTERS = (
    "Alice",
    "the White Rabbit",
    "the Mouse",
    "the Caterpillar",
    "the Duchess",
    "the Cheshire Cat",
    "the Hatter",
    "the March Hare",
    "the Dormouse",
    "the Queen",
    "the King",
    "the Gryphon",
    "the Mock Turtle",
    "the Knave",
)
ABOUT = ("Tell me about {}.", "Read me a passage about {}.", "What does {} do in the story?")
CONTINUE = ("Continue the story: {}", "What happens next? {}", "{}")
OPENING = (
    "Tell me a story.",
    "Hello!",
    "Write a short story.",
    "Once upon a time",
    "Please begin.",
)
GO_ON = ("Go on.", "What happens next?", "And then?", "Please continue.")
FACTS = (
    ("Who wrote this book?", "Lewis Carroll wrote Alice's Adventures in Wonderland."),
    (
        "Who are you?",
        "I am a very small language model, and I tell the story of Alice in Wonderland.",
    ),
    (
        "What is the name of the cat?",
        "Alice has a cat called Dinah, and the Duchess has the Cheshire Cat.",
    ),
    (
        "Where does Alice fall?",
        "Alice falls down a very deep well, at the end of a large rabbit-hole.",
    ),
    ("Who stole the tarts?", "They say that the Knave of Hearts stole the tarts."),
    ("What does the Queen shout?", 'The Queen shouts, "Off with his head!"'),
    ("Thank you!", "You are welcome. Shall I go on with the story?"),
)


def read_book(sdist: Path) -> list[list[str]]:
    """Chapters of the book as lists of one-line paragraphs, quotation marks made straight.

    Raises:
        SystemExit: `sdist` is not the pinned source distribution.
    """
    digest = hashlib.sha256(sdist.read_bytes()).hexdigest()
    if digest != SDIST_SHA256:
        raise SystemExit(
            f"{sdist} has sha256 {digest}, expected {SDIST_SHA256}; "
            "pass the source distribution Brotli-1.1.0.tar.gz as --text"
        )
    with tarfile.open(sdist) as archive:
        member = archive.extractfile(SDIST_MEMBER)
        assert member is not None, "the digest fixes the content, and the member is a regular file"
        text = member.read().decode("ascii").replace("\r\n", "\n").replace("\x1a", "")
    chapters = re.split(r"\n +CHAPTER [IVX]+\n", text.replace("THE END", ""))[1:]
    return [list(filter(None, map(clean_paragraph, chapter.split("\n\n")))) for chapter in chapters]


def clean_paragraph(block: str) -> str:
    """One paragraph on one line; empty if `block` is blank or an ornament of asterisks."""
    if "*" in block:
        return ""
    joined = re.sub(r"(?<=\w-)\n\s*", "", block)  # a word broken at its hyphen
    joined = " ".join(joined.split()).replace('"', "'")
    quoted = re.sub(r"`(.*?)'(?![A-Za-z])", r'"\1"', joined)
    return quoted.replace("`", '"').replace("''", "'\"")


def split_passages(chapter: list[str], shortest: int = 200, longest: int = 600) -> list[str]:
    """Runs of whole sentences in order, each `shortest` to about `longest` characters."""
    passages = [""]
    for paragraph in chapter[1:]:  # the first one is the title
        sentences = re.split(r'(?<=[.!?])(?<!\bMr\.) (?=["A-Z])', paragraph)
        for sentence in sentences if len(paragraph) > longest else [paragraph]:
            if len(passages[-1]) >= shortest or len(passages[-1]) + len(sentence) > longest:
                passages.append("")
            passages[-1] = f"{passages[-1]} {sentence}".strip()
    return passages


def render_chat(system: str, turns: list[tuple[str, str]]) -> str:
    """The conversation in ChatML, as `CHAT_TEMPLATE` renders it."""
    messages = [("system", system)]
    for question, answer in turns:
        messages += [("user", question), ("assistant", answer)]
    return "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in messages)


def write_chats(chapters: list[list[str]], rng: random.Random) -> list[str]:
    """ChatML conversations of one to three turns that ask for successive passages."""
    chats = []
    for chapter in map(split_passages, chapters):
        for index, (before, passage) in enumerate(pairwise(chapter)):
            present = [name for name in CHARACTERS if name.removeprefix("the ") in passage]
            for _ in range(CHATS_PER_PASSAGE):
                if present and rng.random() < 0.5:
                    first = rng.choice(ABOUT).format(rng.choice(present))
                else:
                    first = rng.choice(CONTINUE).format(before)
                following = chapter[index + 2 : index + 2 + rng.choice((0, 0, 0, 1, 2))]
                turns = [(first, passage)] + [(rng.choice(GO_ON), later) for later in following]
                chats.append(render_chat(rng.choice(SYSTEM_PROMPTS), turns))
    start = split_passages(chapters[0])[0]
    short = [*FACTS, *((question, start) for question in OPENING)]
    chats += [
        render_chat(system, [pair]) for system in dict.fromkeys(SYSTEM_PROMPTS) for pair in short
    ]
    return sorted(chats, key=lambda _: rng.random())

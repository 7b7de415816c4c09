"""Incremental parser of server-sent events from arbitrary pieces of bytes."""

from __future__ import annotations


class EventSplitter:
    """Lines end with LF or CRLF, an event with an empty line; comments and other fields are left
    out (WHATWG HTML, 9.2.6 Interpreting an event stream)."""

    def __init__(self) -> None:
        self._rest = b""

    def push(self, received: bytes) -> list[bytes]:
        """The data of every event that ended in these bytes."""
        buffer = self._rest + received
        held = b""
        if b"\r" in buffer:
            if buffer.endswith(b"\r"):  # its LF may follow
                buffer, held = buffer[:-1], b"\r"
            buffer = buffer.replace(b"\r\n", b"\n")
        *events, rest = buffer.split(b"\n\n")
        self._rest = rest + held
        return [data for event in events if (data := _data_of(event)) is not None]


def _data_of(event: bytes) -> bytes | None:
    if event.startswith(b"data: ") and b"\n" not in event:  # what servers send
        return event[6:]
    lines = [line[5:].removeprefix(b" ") for line in event.split(b"\n") if line[:5] == b"data:"]
    return b"\n".join(lines) if lines else None

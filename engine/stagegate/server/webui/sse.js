/**
 * Reads server-sent events (WHATWG HTML, section 9.2) from a byte stream.
 *
 * Yields the data of each event; events without data, comments and other fields are passed over.
 * Bytes may be cut anywhere, also inside a character or between CR and LF. An event that the
 * stream ends in the middle of is dropped, as the standard says.
 *
 * @param {ReadableStream<Uint8Array>} stream
 * @returns {AsyncGenerator<string>}
 */
export async function* readEvents(stream) {
  const decoder = new TextDecoder();
  const reader = stream.getReader();
  let data = [];
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (rest + decoder.decode(value, { stream: true })).split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop();
      for (const line of lines) {
        if (line === "") {
          if (data.length) yield data.join("\n");
          data = [];
        } else if (line === "data" || line.startsWith("data:")) {
          data.push(line.slice(5).replace(/^ /, ""));
        }
      }
    }
  } finally {
    reader.cancel().catch(() => {}); // whoever stops reading closes the connection
  }
}

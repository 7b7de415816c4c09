/** The request fields of the sampling panel: their ranges, their checking and what they send. */

const LARGEST = Number.MAX_SAFE_INTEGER;

/** An empty field is not sent: the server's default holds. */
export const FIELDS = [
  { name: "temperature", label: "Temperature", low: 0, high: 2, hint: "0 is greedy" },
  { name: "top_p", label: "Top p", low: 0, high: 1, above: true, hint: "1 is off" },
  { name: "top_k", label: "Top k", low: 0, high: 2 ** 31 - 1, integer: true, hint: "0 is off" },
  { name: "min_p", label: "Min p", low: 0, high: 1, hint: "0 is off" },
  { name: "max_tokens", label: "Max tokens", low: 1, high: 2 ** 31 - 1, integer: true },
  { name: "seed", label: "Seed", low: -LARGEST, high: LARGEST, integer: true },
  {
    name: "repetition_penalty",
    label: "Repetition penalty",
    low: 0,
    high: 100,
    above: true,
    hint: "1 is off",
  },
  { name: "presence_penalty", label: "Presence penalty", low: -2, high: 2, hint: "0 is off" },
  { name: "frequency_penalty", label: "Frequency penalty", low: -2, high: 2, hint: "0 is off" },
];
const MAX_STOPS = 16;

/**
 * @param {Object<string, string>} texts what stands in the fields, by name
 * @returns {{fields: object, errors: Object<string, string>}} request fields, and what to mend
 */
export function readSampling(texts) {
  const fields = {};
  const errors = {};
  for (const field of FIELDS) {
    const text = (texts[field.name] ?? "").trim();
    if (text === "") continue;
    const value = Number(text.replace(",", "."));
    if (isWithin(field, value)) fields[field.name] = value;
    else errors[field.name] = wanted(field);
  }
  const stop = (texts.stop ?? "").split("\n").filter((line) => line !== "").map(unescape);
  if (stop.length > MAX_STOPS) errors.stop = `At most ${MAX_STOPS} lines`;
  else if (stop.length) fields.stop = stop;
  return { fields, errors };
}

function isWithin({ low, high, above, integer }, value) {
  if (!Number.isFinite(value) || (integer && !Number.isInteger(value))) return false;
  return value >= low && value <= high && !(above && value === low);
}

function wanted({ low, high, above, integer }) {
  const kind = integer ? "A whole number" : "A number";
  if (high >= 2 ** 31 - 1) return low < 0 ? kind : `${kind} of at least ${low}`;
  return above ? `${kind} above ${low}, at most ${high}` : `${kind} from ${low} to ${high}`;
}

/** A stop string is a line, so a line break in one is written \n. */
function unescape(line) {
  const signs = { n: "\n", t: "\t", "\\": "\\" };
  return line.replace(/\\([nt\\])/g, (_, sign) => signs[sign]);
}

// From the bytes of a request to plain JSON data that PostgreSQL can store, or a refusal that names the place.
import { invalid, type Json, type JsonObject, Refusal } from "./refusal.ts";

/** A value inside params may lie 64 deep; the body, the list of a batch, its task and params lie around it. */
const DEEPEST = 64 + 4;

/** The body as an object; an empty body is `{}`. Refuses: over `limit` bytes (413), no JSON object (400), 422. */
export async function readBody(request: Request, limit: number, hint: string): Promise<JsonObject> {
  const text = await readText(request, limit, hint);
  if (!text.trim()) return {};
  // Before anything walks it: a parser and every later reader would pay for the nesting.
  if (depthOf(text) > DEEPEST) throw invalid("body", `is nested deeper than ${DEEPEST} levels.`, "Flatten it.");
  const body = parsed(text);
  if (body === null || typeof body !== "object" || Array.isArray(body)) {
    throw malformed('The body is not a JSON object. Send one such as {"task_id": "…"}.');
  }
  for (const [key, value] of Object.entries(body)) check(value, place("", key));
  return body;
}

async function readText(request: Request, limit: number, hint: string): Promise<string> {
  const tooLarge = () =>
    new Refusal(413, "too_large", `The body has more than ${limit} bytes.`, { hint, details: { limit } });
  if (Number(request.headers.get("content-length") ?? 0) > limit) throw tooLarge();
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let size = 0;
  let text = ""; // decoded chunk by chunk, so that no second copy of the bytes is held
  try {
    for await (const chunk of request.body ?? []) {
      size += chunk.byteLength;
      if (size > limit) throw tooLarge();
      text += decoder.decode(chunk, { stream: true });
    }
    return text + decoder.decode();
  } catch (error) {
    if (error instanceof TypeError) throw malformed("The body is not UTF-8, or ended too early.");
    throw error;
  }
}

function parsed(text: string): Json {
  try {
    return parseExactly(text);
  } catch {
    throw malformed("The body is not JSON.");
  }
}

/** The runtime's JSON, of which TypeScript does not know that it tells and takes the digits of a number. */
interface ExactJson {
  parse(text: string, reviver: (key: string, value: Json, context: { source: string }) => Json): Json;
  rawJSON(digits: string): Json;
}

/** As JSON.parse, but a whole number that JavaScript would round keeps its digits on the way through us. */
export function parseExactly(text: string): Json {
  const exact = JSON as unknown as ExactJson;
  return exact.parse(text, (_, value, { source }) => {
    const isRounded = Number.isInteger(value) && !Number.isSafeInteger(value);
    return isRounded && /^-?\d+$/.test(source) ? exact.rawJSON(source) : value;
  });
}

function malformed(message: string): Refusal {
  return new Refusal(400, "malformed", message, { hint: "Send a JSON object in UTF-8." });
}

function depthOf(text: string): number {
  let depth = 0;
  let deepest = 0;
  for (let at = 0; at < text.length; at++) {
    const char = text[at];
    if (char === '"') at = endOfString(text, at);
    else if (char === "{" || char === "[") deepest = Math.max(deepest, ++depth);
    else if (char === "}" || char === "]") depth--;
  }
  return deepest;
}

function endOfString(text: string, start: number): number {
  let end = text.indexOf('"', start + 1);
  while (end !== -1) {
    let slashes = 0;
    while (text[end - 1 - slashes] === "\\") slashes++;
    if (slashes % 2 === 0) return end;
    end = text.indexOf('"', end + 1);
  }
  return text.length;
}

function check(value: Json | undefined, path: string): void {
  if (typeof value === "string") return checkText(value, path, "has");
  if (typeof value === "number" && !Number.isFinite(value)) {
    throw invalid(path, "is too large for a number.", "Use null or a finite number.");
  }
  if (value === null || typeof value !== "object") return;
  if (Array.isArray(value)) return value.forEach((item, at) => check(item, `${path}[${at}]`));
  for (const [key, item] of Object.entries(value)) check(item, place(path, key));
}

function place(path: string, key: string): string {
  checkText(key, path || "body", "has a key with");
  return path ? `${path}.${key}` : key;
}

/** PostgreSQL stores neither in text or jsonb, and UTF-8 cannot spell the second. */
function checkText(text: string, path: string, has: string): void {
  if (text.includes("\0")) throw invalid(path, `${has} a NUL character.`, "Remove it.");
  if (!text.isWellFormed()) throw invalid(path, `${has} half a surrogate pair.`, "Remove it.");
}

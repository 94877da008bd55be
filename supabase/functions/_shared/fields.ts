// Which fields a body may have: one line each in the function that reads them.
import { invalid, type Json, type JsonObject } from "./refusal.ts";

interface Kinds {
  text: string;
  uuid: string;
  integer: number;
  number: number;
  flag: boolean;
  texts: string[];
  object: JsonObject;
  json: Json;
}
type Kind = keyof Kinds;

/** A kind, with a question mark if the field may be missing or null. */
export type Fields = Record<string, Kind | `${Kind}?`>;
export type Body<F extends Fields> = {
  [K in keyof F]: F[K] extends Kind ? Kinds[F[K]] : F[K] extends `${infer T extends Kind}?` ? Kinds[T] | undefined
  : never;
};

const INT32 = 2 ** 31;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const isText = (value: Json) => typeof value === "string";
const isInteger = (value: Json) => Number.isInteger(value) && Math.abs(value as number) < INT32;

const IS: Record<Kind, [what: string, test: (value: Json) => boolean]> = {
  text: ["a string", isText],
  uuid: ["a UUID", isUuid],
  integer: ["a whole number of 32 bits", isInteger],
  number: ["a number", (value) => typeof value === "number"],
  flag: ["true or false", (value) => typeof value === "boolean"],
  texts: ["a list of strings", (value) => Array.isArray(value) && value.every(isText)],
  object: ["a JSON object", (value) => value !== null && typeof value === "object" && !Array.isArray(value)],
  json: ["a value", () => true],
};

export function isUuid(value: unknown): value is string {
  return typeof value === "string" && UUID.test(value);
}

/** The body, each field of its kind. `owned` are fields that exist, but that only the server may write. */
export function checked<F extends Fields>(body: JsonObject, fields: F, owned: readonly string[] = []): Body<F> {
  checkNames(body, Object.keys(fields), owned);
  const entries = Object.entries(fields).map(([name, kind]) => [name, field(name, kind, body[name])]);
  return Object.fromEntries(entries) as Body<F>;
}

function field(name: string, kind: Kind | `${Kind}?`, value: Json | undefined): Json | undefined {
  const optional = kind.endsWith("?");
  const [what, test] = IS[kind.replace("?", "") as Kind];
  if (value === undefined || value === null) {
    if (optional) return undefined;
    throw invalid(name, "is missing.", `Send ${what}.`);
  }
  if (!test(value)) throw invalid(name, `is not ${what}.`, `Send ${what}${optional ? " or leave it out" : ""}.`);
  return value;
}

/** Refuses what is not in `known`, by the name that is nearest to it. `prefix` is the path of the object. */
export function checkNames(object: JsonObject, known: string[], owned: readonly string[] = [], prefix = ""): void {
  for (const name of Object.keys(object)) {
    if (known.includes(name)) continue;
    const path = prefix + name.slice(0, 80);
    if (owned.includes(name)) throw invalid(path, "is the server's to set.", "Leave it out.");
    throw invalid(
      path,
      `is no field of this request. Did you mean ${nearest(name, known)}?`,
      `Known: ${known.join(", ")}.`,
    );
  }
}

function nearest(name: string, known: string[]): string {
  const distances = known.map((other) => [distance(name.slice(0, 80), other), other] as const);
  return distances.reduce((best, next) => next[0] < best[0] ? next : best)[1];
}

/** Levenshtein: how many letters to add, drop or change. */
function distance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, at) => at);
  for (const [at, char] of [...from].entries()) {
    const next = [at + 1];
    for (let j = 1; j <= to.length; j++) {
      const changed = row[j - 1]! + (to[j - 1] === char ? 0 : 1);
      next.push(Math.min(changed, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[to.length]!;
}

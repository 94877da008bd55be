/** What goes over the wire. `undefined` is a field that is not there. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json | undefined };
export type JsonObject = { [key: string]: Json | undefined };

interface Particulars {
  /** What to do about it. */
  hint?: string;
  /** Data for a program, such as `{"field": "params"}`. */
  details?: JsonObject;
  headers?: Record<string, string>;
}

/** The request is refused, and nothing was changed. All of it is told to the caller. */
export class Refusal extends Error {
  constructor(readonly status: number, readonly code: string, message: string, readonly more: Particulars = {}) {
    super(message);
  }
}

/** A field cannot be accepted: 422, the code under which the database refuses such a thing too. */
export function invalid(path: string, problem: string, hint?: string): Refusal {
  const field = path.replace(/^tasks\[\d+\]\./, "").split(/[.[]/)[0] ?? path;
  return new Refusal(422, "invalid_task", `${path} ${problem}`, { hint, details: { field, path } });
}

/** Database, Auth or Storage did not answer; whether anything was changed is not known. The cause is only logged. */
export class Unavailable extends Error {
  constructor(who: string, cause: unknown) {
    super(`${who} did not answer`, { cause });
  }
}

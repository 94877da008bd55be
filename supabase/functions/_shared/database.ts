import type { Caller } from "./caller.ts";
import { parseExactly } from "./json.ts";
import { type JsonObject, Refusal, Unavailable } from "./refusal.ts";
import { settings } from "./settings.ts";

/** The private SQLSTATEs of the queue: what an answer to each is. */
const REFUSALS: Record<string, [status: number, code: string]> = {
  LT001: [422, "invalid_task"],
  LT002: [404, "unknown_task"],
  LT003: [422, "unknown_dependency"],
  LT004: [422, "dependency_cycle"],
  LT005: [409, "task_conflict"],
  LT006: [409, "stale_claim"],
  LT007: [409, "task_ended"],
  LT008: [409, "not_retryable"],
  LT009: [403, "forbidden"],
};
/** Connection lost, deadlock, no room, shutting down, lock not had: the same call may succeed. */
const PASSING = /^(08|40|53|57)...$|^55P03$|^PGRST00\d$/;
/** A value that the parameter's type cannot hold. */
const UNFIT = /^22...$/;
const PATIENCE_MS = 30_000;

/** How PostgREST, or the gateway before it, says no. */
interface Failure {
  code?: string;
  message?: string;
  details?: string | null;
  hint?: string | null;
}

/** What the service sends to any part of the project. */
export function serviceHeaders(): Record<string, string> {
  const [key] = settings().secretKeys;
  return { apikey: key, authorization: `Bearer ${key}` };
}

/**
 * Call a SQL function as the service. Throws `Refusal` for what it refuses, `Unavailable`, or an error of ours.
 *
 * Not through supabase-js, which reads JSON as JavaScript does and would round large numbers in params.
 */
export async function rpc<T>(verb: string, parameters: JsonObject): Promise<T> {
  const { status, text } = await post(`${settings().url}/rest/v1/rpc/${verb}`, JSON.stringify(parameters));
  if (status === 204) return null as T; // a function that returns void
  if (status < 300) return parseExactly(text) as T;
  throw failure(status, text);
}

async function post(url: string, body: string): Promise<{ status: number; text: string }> {
  const headers = { ...serviceHeaders(), "content-type": "application/json" };
  try {
    const answer = await fetch(url, { method: "POST", headers, body, signal: AbortSignal.timeout(PATIENCE_MS) });
    return { status: answer.status, text: await answer.text() };
  } catch (error) {
    throw new Unavailable("Database", error);
  }
}

function failure(status: number, text: string): Error {
  const error = said(text);
  const code = error?.code ?? "";
  const [http, name] = REFUSALS[code] ?? [];
  if (error?.message && http && name) {
    const more = { hint: error.hint ?? undefined, details: data(error.details) };
    return new Refusal(http, name, error.message, more);
  }
  if (UNFIT.test(code)) return new Refusal(422, "invalid_task", "A value is not of the kind that its field takes.");
  if (PASSING.test(code) || (!code && status > 500)) return new Unavailable("Database", error ?? status);
  return new Error("A SQL function failed", { cause: error ?? status });
}

function said(text: string): Failure | undefined {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // a proxy's page
  }
}

function data(details: string | null | undefined): JsonObject | undefined {
  try {
    return details ? JSON.parse(details) : undefined;
  } catch {
    return undefined; // written by hand, for a person
  }
}

/** The queue as one caller may see it: every verb is told whose tasks it may touch. */
export class Queue {
  constructor(private readonly caller: Caller) {}

  ask<T>(verb: string, parameters: JsonObject): Promise<T> {
    return rpc<T>(verb, { ...parameters, p_user_id: this.caller.userId });
  }

  /** A verb of a holder: fenced by the claim token, or by who calls if he has none. */
  hold<T>(verb: string, parameters: JsonObject): Promise<T> {
    const fenced = typeof parameters.p_claim_token === "string";
    return this.ask<T>(verb, fenced ? parameters : { ...parameters, p_holder: this.caller.holder });
  }
}

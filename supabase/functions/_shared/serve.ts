// The way of every request: method, credentials, rate, body, the function's answer, and an answer to whatever failed.
import { type Caller, identify, type Scope } from "./caller.ts";
import { Queue } from "./database.ts";
import { type Body, checked, type Fields } from "./fields.ts";
import { readBody } from "./json.ts";
import { Buckets } from "./rate.ts";
import { type JsonObject, Refusal, Unavailable } from "./refusal.ts";
import { settings } from "./settings.ts";

export interface Call<F extends Fields> {
  body: Body<F>;
  caller: Caller;
  queue: Queue;
}

export interface Endpoint<F extends Fields> {
  /** The right that a token needs; a function without one checks for itself with `demand`. */
  scope?: Scope;
  fields: F;
  /** Fields that exist, but that only the server writes. */
  owned?: readonly string[];
  limit?: number;
  /** What to do about a body over the limit. */
  tooLarge?: string;
  /** Answered as JSON with 200; undefined is 204 without a body. */
  answer(call: Call<F>): Promise<unknown>;
}

const MEGABYTE = 1024 * 1024;
const CORS = {
  "access-control-allow-origin": "*",
  "access-control-expose-headers": "x-request-id, retry-after",
};
const PREFLIGHT = {
  "access-control-allow-methods": "POST, OPTIONS",
  "access-control-allow-headers": "authorization, apikey, content-type, x-client-info, x-region, x-request-id",
  "access-control-max-age": "86400",
};

/** What a function's `index.ts` exports: the runtime calls `fetch`, and so do the tests. */
export function serve<F extends Fields>(endpoint: Endpoint<F>): { fetch(request: Request): Promise<Response> } {
  return {
    async fetch(request) {
      const id = requestId(request.headers);
      let response: Response;
      try {
        response = await respond(endpoint, request);
      } catch (error) {
        response = refused(error, id, new URL(request.url).pathname);
        await request.body?.cancel().catch(() => {}); // unread, if it was refused by its headers
      }
      for (const [name, value] of Object.entries(CORS)) response.headers.set(name, value);
      response.headers.set("x-request-id", id);
      return response;
    },
  };
}

/** Refuses a caller without the right (403). */
export function demand(caller: Caller, scope: Scope): void {
  if (caller.scopes.includes(scope)) return;
  const hint = `Make a token with the scope '${scope}'.`;
  throw new Refusal(403, "forbidden", `This token may not '${scope}'.`, { hint });
}

async function respond<F extends Fields>(endpoint: Endpoint<F>, request: Request): Promise<Response> {
  if (request.method === "OPTIONS") return new Response(null, { status: 204, headers: PREFLIGHT });
  if (request.method !== "POST") {
    const headers = { allow: "POST, OPTIONS" };
    throw new Refusal(405, "method_not_allowed", `${request.method} is not answered here.`, {
      hint: "Use POST.",
      headers,
    });
  }
  const caller = await authenticate(request.headers);
  if (endpoint.scope) demand(caller, endpoint.scope);
  const body = await readBody(request, endpoint.limit ?? MEGABYTE, endpoint.tooLarge ?? "Send less at a time.");
  const call = { body: checked(body, endpoint.fields, endpoint.owned), caller, queue: new Queue(caller) };
  const answer = await endpoint.answer(call);
  return answer === undefined ? new Response(null, { status: 204 }) : Response.json(answer);
}

let buckets: { requests: Buckets; failures: Buckets } | undefined;

async function authenticate(headers: Headers): Promise<Caller> {
  const { requests, failures } = buckets ??= {
    requests: new Buckets(settings().requests),
    failures: new Buckets(settings().failures),
  };
  const address = addressOf(headers);
  let caller: Caller;
  try {
    // Neighbours behind the same address are not shut out: what verifies without a question always passes.
    caller = await identify(headers, () => enough(address ? failures.wait(address) : 0));
  } catch (error) {
    if (address && error instanceof Refusal && error.status !== 429) enough(failures.take(address));
    throw error;
  }
  // The service is the operator, who can reach the database without us.
  if (!caller.isService) enough(requests.take(caller.holder));
  return caller;
}

function enough(seconds: number): void {
  if (seconds === 0) return;
  const headers = { "retry-after": String(seconds) };
  throw new Refusal(429, "too_many_requests", "Too many requests.", { hint: `Wait ${seconds} s.`, headers });
}

/** The client's address as the gateway in front of us says; without a gateway there is nobody to count. */
function addressOf(headers: Headers): string | undefined {
  return headers.get("cf-connecting-ip") ?? headers.get("x-forwarded-for")?.split(",")[0]?.trim();
}

function requestId(headers: Headers): string {
  const given = headers.get("x-request-id") ?? "";
  return /^[A-Za-z0-9._:-]{1,128}$/.test(given) ? given : crypto.randomUUID();
}

function refused(error: unknown, id: string, path: string): Response {
  if (error instanceof Refusal) {
    const { hint, details, headers } = error.more;
    const body: JsonObject = { code: error.code, message: error.message, hint, details, request_id: id };
    return Response.json(body, { status: error.status, headers });
  }
  log(error, id, path);
  if (error instanceof Unavailable) {
    const body = {
      code: "queue_unavailable",
      message: "A part of the service did not answer. Try again.",
      request_id: id,
    };
    return Response.json(body, { status: 503, headers: { "retry-after": "1" } });
  }
  const message = "Something failed here. The log has the reason under the request id.";
  return Response.json({ code: "internal", message, request_id: id }, { status: 500 });
}

function log(error: unknown, request_id: string, path: string): void {
  const { message, stack, cause } = error instanceof Error ? error : new Error(String(error));
  // Known failures carry what the other side said; of anything else we want to see where it happened.
  const reason = cause instanceof Error ? cause.message : cause ?? stack;
  // deno-lint-ignore no-console -- the runtime's log is where the operator looks for a request id
  console.error(JSON.stringify({ event: "request_failed", request_id, path, message, reason }));
}

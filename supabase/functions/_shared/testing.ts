// deno-lint-ignore-file no-console -- what a request writes to the log is caught and looked at
// A project for the tests: real keys and real HTTP, and a Supabase that answers what a test tells it to.
import { exportJWK, generateKeyPair, type JWTPayload, SignJWT } from "npm:jose@6.2.18";
import { parseExactly } from "./json.ts";
import type { Json, JsonObject } from "./refusal.ts";

export const USER = "11111111-1111-4111-8111-111111111111";
export const TASK = "22222222-2222-4222-8222-222222222222";
export const SECRET_KEY = "sb_secret_of-the-tests-0123456789";
export const OTHER_SECRET_KEY = "sb_secret_of-the-workers-0123456789";
export const PUBLISHABLE_KEY = "sb_publishable_of-the-tests-0123456789";
export const JWT_SECRET = "a shared secret of forty letters, or more";
export const TOKEN = `lt_${"a".repeat(43)}`;

const signing = await generateKeyPair("ES256");

/** What a SQL function answers, or its refusal as PostgREST hands it on. */
type Verb = (parameters: JsonObject) => Json;

export class Raised extends Error {
  constructor(readonly code: string, message = "No.", readonly details: string | null = null, readonly status = 400) {
    super(message);
  }
}

class Project {
  readonly calls: [verb: string, parameters: JsonObject][] = [];
  readonly verbs = new Map<string, Verb>();
  readonly objects = new Map<string, Uint8Array>();
  /** Questions to Auth and requests to Storage, as "METHOD /path". */
  readonly requests: string[] = [];
  /** Who Auth says the bearer is; a number is the status of its refusal. */
  user: JsonObject | number = 403;
  /** Auth is out of order. */
  isDown = false;
  #server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => this.#respond(request));

  get url(): string {
    return `http://127.0.0.1:${this.#server.addr.port}`;
  }

  /** Forget everything, and answer to `verbs` only. */
  answers(verbs: Record<string, Verb>): this {
    this.calls.length = this.requests.length = 0;
    this.objects.clear();
    this.verbs.clear();
    for (const [name, verb] of Object.entries(verbs)) this.verbs.set(name, verb);
    return this;
  }

  /** The parameters of the last call of `verb`. */
  parameters(verb: string): JsonObject | undefined {
    return this.calls.findLast(([name]) => name === verb)?.[1];
  }

  async #respond(request: Request): Promise<Response> {
    const { pathname } = new URL(request.url);
    if (pathname.startsWith("/auth/") && this.isDown) return new Response("out of order", { status: 503 });
    if (pathname === "/auth/v1/.well-known/jwks.json") {
      return Response.json({
        keys: [{ ...await exportJWK(signing.publicKey), kid: "tests", alg: "ES256", use: "sig" }],
      });
    }
    if (pathname.startsWith("/rest/v1/rpc/")) {
      return this.#call(pathname.slice(13), parseExactly(await request.text()) as JsonObject);
    }
    this.requests.push(`${request.method} ${pathname}`);
    if (pathname === "/auth/v1/user") {
      return typeof this.user === "number" ? Response.json({}, { status: this.user }) : Response.json(this.user);
    }
    return await this.#store(request, decodeURIComponent(pathname.replace("/storage/v1/object/", "")));
  }

  #call(verb: string, parameters: JsonObject): Response {
    this.calls.push([verb, parameters]);
    const known = this.verbs.get(verb);
    if (!known) {
      return Response.json({ code: "PGRST202", message: `no ${verb}`, details: null, hint: null }, { status: 404 });
    }
    try {
      return Response.json(known(parameters));
    } catch (error) {
      if (!(error instanceof Raised)) throw error;
      const { code, message, details, status } = error;
      return Response.json({ code, message, details, hint: "Do otherwise." }, { status });
    }
  }

  async #store(request: Request, path: string): Promise<Response> {
    const not = (statusCode: string, error: string) =>
      Response.json({ statusCode, error, message: error }, { status: 400 });
    if (path.startsWith("info/")) {
      const found = this.objects.get(path.slice(5));
      return found ? Response.json({ id: "1", name: path, size: found.byteLength }) : not("404", "not_found");
    }
    if (path.startsWith("upload/sign/")) return Response.json({ url: `/object/${path}?token=signed` });
    if (request.method === "DELETE") {
      for (const name of (await request.json()).prefixes) this.objects.delete(`${path}/${name}`);
      return Response.json([]);
    }
    if (this.objects.has(path) && request.headers.get("x-upsert") !== "true") return not("409", "Duplicate");
    this.objects.set(path, await request.bytes());
    return Response.json({ Key: path, Id: "1" });
  }
}

export const project = new Project();
Deno.env.set("SUPABASE_URL", project.url);
Deno.env.set("SUPABASE_SECRET_KEYS", JSON.stringify({ default: SECRET_KEY, workers: OTHER_SECRET_KEY }));
Deno.env.set("JWT_SECRET", JWT_SECRET);
Deno.env.set("LONGTAKE_RATE_PER_SECOND", "1000");

/** A user's session, signed by the project; `claims` replace the usual ones, undefined removes one. */
export function session(claims: JWTPayload = {}): Promise<string> {
  const now = Math.floor(Date.now() / 1000);
  const usual = { sub: USER, role: "authenticated", aud: "authenticated", exp: now + 60 };
  return new SignJWT({ ...usual, ...claims }).setProtectedHeader({ alg: "ES256", kid: "tests" }).sign(
    signing.privateKey,
  );
}

export function signedWith(secret: string, claims: JWTPayload): Promise<string> {
  const exp = Math.floor(Date.now() / 1000) + 60;
  return new SignJWT({ exp, ...claims }).setProtectedHeader({ alg: "HS256" }).sign(new TextEncoder().encode(secret));
}

interface Fetches {
  fetch(request: Request): Promise<Response>;
}

/** POST `body` (JSON unless it is a string) as the bearer; the secret key if none is given. */
export async function post(endpoint: { default: Fetches } | Fetches, body: unknown, bearer = SECRET_KEY, headers = {}) {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  const all = { authorization: `Bearer ${bearer}`, ...headers };
  const request = new Request("http://localhost/function", { method: "POST", body: text, headers: all });
  const response = await ("default" in endpoint ? endpoint.default : endpoint).fetch(request);
  const answered = await response.text();
  return { status: response.status, headers: response.headers, body: answered ? JSON.parse(answered) : undefined };
}

/** What `act` answers, and what it writes to the log. */
export async function logging<T>(act: () => Promise<T>): Promise<{ answer: T; log: string }> {
  const lines: string[] = [];
  const { error } = console;
  console.error = (line) => lines.push(line);
  try {
    return { answer: await act(), log: lines.join("\n") };
  } finally {
    console.error = error;
  }
}

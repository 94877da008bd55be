// Who is calling. Nothing that a token says about itself is believed before the token has been verified.
import { createRemoteJWKSet, decodeProtectedHeader, errors, type JWTPayload, jwtVerify } from "npm:jose@6.2.18";
import { hex, isOneOf, sha256 } from "./digest.ts";
import { isUuid } from "./fields.ts";
import { rpc } from "./database.ts";
import { Refusal, Unavailable } from "./refusal.ts";
import { settings } from "./settings.ts";

export type Scope = "enqueue" | "work";

export interface Caller {
  isService: boolean;
  /** Whose tasks this caller sees; null: everybody's (the service, and the operator's own workers). */
  userId: string | null;
  /** Names a holder that sends no claim token. */
  holder: string;
  scopes: readonly Scope[];
}

const BOTH: readonly Scope[] = ["enqueue", "work"];
const JWT = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*$/;
const ASYMMETRIC = ["ES256", "RS256"];

/**
 * The caller of a request, by the bearer token or else the apikey header.
 * Refuses: 401 without credentials or with some that do not verify, 403 with a token that nobody owns.
 * `mayAsk` is called before a question to Auth or the database is spent on credentials that may be bad.
 */
export async function identify(headers: Headers, mayAsk: () => void): Promise<Caller> {
  const token = credentials(headers);
  if (await isOneOf(token, settings().secretKeys)) return service();
  if (token.startsWith("sb_")) throw unauthorized("This is no secret key of this project.");
  if (JWT.test(token)) return fromClaims(await verify(token, mayAsk));
  // Anything else is a personal access token: ours look like lt_…, older ones like nothing in particular.
  mayAsk();
  return await ownerOf(token);
}

function credentials(headers: Headers): string {
  const authorization = headers.get("authorization");
  const bearer = authorization?.match(/^Bearer +(\S+) *$/i)?.[1];
  if (authorization !== null && !bearer) throw unauthorized("The Authorization header is not 'Bearer <token>'.");
  const token = bearer ?? headers.get("apikey");
  if (!token) throw unauthorized("There is no Authorization header.");
  return token;
}

async function ownerOf(token: string): Promise<Caller> {
  interface Owner {
    token_id: string;
    user_id: string | null;
    scopes: Scope[];
  }
  const owner = await rpc<Owner | null>("resolve_token", { p_hash: hex(await sha256(token)) });
  if (!owner) {
    const hint = "It may have expired or been revoked. Make another one.";
    throw new Refusal(403, "unknown_token", "Nobody owns this token.", { hint });
  }
  return { isService: false, userId: owner.user_id, holder: `token:${owner.token_id}`, scopes: owner.scopes };
}

function fromClaims(claims: JWTPayload): Caller {
  // A session has a subject. One that says service_role was given that role by a hook, and stays a user's.
  if (claims.role === "service_role" && claims.sub === undefined) return service();
  const audience = [claims.aud].flat();
  if (claims.role !== "authenticated" || !audience.includes("authenticated") || !isUuid(claims.sub)) {
    throw unauthorized("This token is no user's session.", "Sign in and send the access token.");
  }
  return { isService: false, userId: claims.sub, holder: `user:${claims.sub}`, scopes: BOTH };
}

function service(): Caller {
  return { isService: true, userId: null, holder: "service", scopes: BOTH };
}

/** The claims of a JWT whose signature is this project's and which has not expired. */
async function verify(token: string, mayAsk: () => void): Promise<JWTPayload> {
  try {
    const { alg } = decodeProtectedHeader(token);
    const rules = { algorithms: [alg ?? ""], requiredClaims: ["exp"] };
    if (ASYMMETRIC.includes(alg ?? "")) return (await jwtVerify(token, keySet(), rules)).payload;
    const { jwtSecret } = settings();
    if (alg !== "HS256") throw unauthorized("This token is signed in a way that this project does not use.");
    if (jwtSecret) return (await jwtVerify(token, new TextEncoder().encode(jwtSecret), rules)).payload;
  } catch (error) {
    throw refusalOf(error);
  }
  mayAsk();
  return await askAuth(token);
}

let keys: ReturnType<typeof createRemoteJWKSet> | undefined;

/** Cached for ten minutes; an unknown key id asks again, at most every half minute. */
function keySet(): ReturnType<typeof createRemoteJWKSet> {
  return keys ??= createRemoteJWKSet(new URL(`${settings().url}/auth/v1/.well-known/jwks.json`));
}

function refusalOf(error: unknown): unknown {
  if (error instanceof Refusal) return error;
  if (error instanceof errors.JWTExpired) return unauthorized("This token has expired.", "Sign in again.");
  // Signature, key id and claims have classes of their own; the base class means the key set could not be had.
  const isOutage = error instanceof errors.JWKSTimeout || (error as { code?: string }).code === "ERR_JOSE_GENERIC";
  if (error instanceof errors.JOSEError && !isOutage) return unauthorized("This token does not verify.");
  if (isOutage || error instanceof TypeError && /fetch|request/.test(error.message)) {
    return new Unavailable("Auth", error);
  }
  return unauthorized("This token does not verify.");
}

/** A legacy session whose secret we were not given: Auth can tell. */
async function askAuth(token: string): Promise<JWTPayload> {
  const { url, secretKeys } = settings();
  const headers = { apikey: secretKeys[0], authorization: `Bearer ${token}` };
  let answer: Response;
  try {
    answer = await fetch(`${url}/auth/v1/user`, { headers, signal: AbortSignal.timeout(10_000) });
    if (answer.ok) {
      const user = await answer.json();
      return { sub: user.id, role: user.role, aud: user.aud };
    }
    await answer.body?.cancel();
  } catch (error) {
    throw new Unavailable("Auth", error);
  }
  if (answer.status >= 500) throw new Unavailable("Auth", answer.status);
  throw unauthorized("This token does not verify.");
}

function unauthorized(
  message: string,
  hint = "Send 'Authorization: Bearer' with a secret key, session or token.",
): Refusal {
  return new Refusal(401, "unauthorized", message, { hint, headers: { "www-authenticate": "Bearer" } });
}

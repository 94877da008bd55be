import { deepStrictEqual, equal } from "node:assert/strict";
import { generateKeyPair, SignJWT } from "npm:jose@6.2.18";
import { serve } from "./serve.ts";
import {
  JWT_SECRET,
  OTHER_SECRET_KEY,
  post,
  project,
  PUBLISHABLE_KEY,
  SECRET_KEY,
  session,
  signedWith,
  TOKEN,
  USER,
} from "./testing.ts";

const whoami = serve({ fields: {}, answer: ({ caller }) => Promise.resolve(caller) });
const BOTH = ["enqueue", "work"];
const past = Math.floor(Date.now() / 1000) - 60;

function unsigned(claims: object): string {
  const part = (value: object) =>
    btoa(JSON.stringify(value)).replaceAll("=", "").replaceAll("+", "-").replaceAll("/", "_");
  return `${part({ alg: "none", typ: "JWT" })}.${part(claims)}.`;
}

async function signedByAStranger(claims: Record<string, unknown>): Promise<string> {
  const { privateKey } = await generateKeyPair("ES256");
  const header = { alg: "ES256", kid: "tests" };
  return await new SignJWT({ aud: "authenticated", sub: USER, ...claims }).setProtectedHeader(header)
    .setExpirationTime("1h").sign(privateKey);
}

Deno.test("the secret key is the service, as bearer and as apikey", async () => {
  const service = { isService: true, userId: null, holder: "service", scopes: BOTH };
  deepStrictEqual((await post(whoami, {})).body, service);
  const request = new Request("http://localhost/", { method: "POST", headers: { apikey: SECRET_KEY } });
  deepStrictEqual(await (await whoami.fetch(request)).json(), service);
});

Deno.test("each of several secret keys is the service", async () => {
  for (const key of [SECRET_KEY, OTHER_SECRET_KEY]) equal((await post(whoami, {}, key)).body.isService, true);
});

Deno.test("a service_role token that the project signed is the service", async () => {
  equal((await post(whoami, {}, await signedWith(JWT_SECRET, { role: "service_role" }))).body.isService, true);
});

Deno.test("a session is its user, whichever key the project signs with", async () => {
  const user = { isService: false, userId: USER, holder: `user:${USER}`, scopes: BOTH };
  deepStrictEqual((await post(whoami, {}, await session())).body, user);
  const legacy = await signedWith(JWT_SECRET, { sub: USER, role: "authenticated", aud: "authenticated" });
  deepStrictEqual((await post(whoami, {}, legacy)).body, user);
});

Deno.test("a token is looked up by its SHA-256, and brings owner and scopes", async () => {
  project.answers({ resolve_token: () => ({ token_id: "7", user_id: USER, scopes: ["work"] }) });
  const { body } = await post(whoami, {}, TOKEN);
  deepStrictEqual(body, { isService: false, userId: USER, holder: "token:7", scopes: ["work"] });
  equal(
    project.parameters("resolve_token")?.p_hash,
    "cad34cb2587f9103511be450b54c888266185f36bc8716f394ae7fcc3a0aa4a7",
  );
});

Deno.test("a token of any other shape is looked up too", async () => {
  project.answers({ resolve_token: () => ({ token_id: "8", user_id: null, scopes: ["work"] }) });
  equal((await post(whoami, {}, "made-by-an-older-system")).body.holder, "token:8");
});

Deno.test("a token that nobody owns is refused with 403", async () => {
  project.answers({ resolve_token: () => null });
  const { status, body } = await post(whoami, {}, TOKEN);
  equal(status, 403);
  equal(body.code, "unknown_token");
});

Deno.test("the apikey of the service does not lift the session beside it", async () => {
  equal((await post(whoami, {}, await session(), { apikey: SECRET_KEY })).body.isService, false);
});

const refused: Record<string, () => string | Promise<string>> = {
  "an expired session": () => session({ exp: past }),
  "a session that never expires": () => session({ exp: undefined }),
  "a session for another audience": () => session({ aud: "elsewhere" }),
  "a session without a subject": () => session({ sub: undefined }),
  "a session whose subject is no uuid": () => session({ sub: "root" }),
  "an anon token": () => signedWith(JWT_SECRET, { role: "anon" }),
  "a session with the role service_role": () => session({ role: "service_role" }),
  "a session with the role supabase_admin": () => session({ role: "supabase_admin" }),
  "alg none": () => unsigned({ role: "service_role", exp: past + 3600 }),
  "alg none with a user": () => unsigned({ role: "authenticated", aud: "authenticated", sub: USER, exp: past + 3600 }),
  "a key of a stranger": () => signedByAStranger({ role: "authenticated" }),
  "service_role by the key of a stranger": () => signedByAStranger({ role: "service_role", sub: undefined }),
  "service_role by another shared secret": () => signedWith("x".repeat(40), { role: "service_role" }),
  "the publishable key": () => PUBLISHABLE_KEY,
  "half the secret key": () => SECRET_KEY.slice(0, -1),
  "three dots of nonsense": () => "a.b.c",
};
for (const [what, token] of Object.entries(refused)) {
  Deno.test(`${what} is refused with 401, and the database is not asked`, async () => {
    project.answers({});
    // Each from an address of its own: failures of one address are limited.
    const { status, headers, body } = await post(whoami, {}, await token(), { "x-forwarded-for": what });
    equal(status, 401);
    equal(body.code, "unauthorized");
    equal(headers.get("www-authenticate"), "Bearer");
    equal(project.calls.length, 0);
  });
}

for (const header of ["", "Bearer", "Bearer ", "Basic abc", `Token ${SECRET_KEY}`, SECRET_KEY, "Bearer a b"]) {
  Deno.test(`the Authorization header '${header}' is refused with 401`, async () => {
    const request = new Request("http://localhost/", { method: "POST", headers: { authorization: header } });
    const response = await whoami.fetch(request);
    equal(response.status, 401);
    await response.body?.cancel();
  });
}

Deno.test("without any header the answer is 401", async () => {
  const response = await whoami.fetch(new Request("http://localhost/", { method: "POST" }));
  equal(response.status, 401);
  await response.body?.cancel();
});

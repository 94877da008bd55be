import { deepStrictEqual, equal, match, ok } from "node:assert/strict";
import { rpc } from "./database.ts";
import { serve } from "./serve.ts";
import { logging, post, project, Raised, SECRET_KEY, session, TOKEN } from "./testing.ts";

const echo = serve({
  scope: "work",
  fields: { name: "text?", count: "integer?", anything: "json?" },
  owned: ["status"],
  answer: ({ body }) => Promise.resolve(body),
});
const call = serve({ fields: {}, answer: () => rpc("verb", {}) });

Deno.test("another method than POST is refused with 405 and told which", async () => {
  for (const method of ["GET", "PUT", "PATCH", "DELETE"]) {
    const response = await echo.fetch(new Request("http://localhost/", { method }));
    equal(response.status, 405);
    equal(response.headers.get("allow"), "POST, OPTIONS");
    await response.body?.cancel();
  }
});

Deno.test("a browser may ask first, without credentials", async () => {
  const response = await echo.fetch(new Request("http://localhost/", { method: "OPTIONS" }));
  equal(response.status, 204);
  match(response.headers.get("access-control-allow-headers") ?? "", /authorization/);
});

Deno.test("every answer carries a request id: the caller's own if it is sane", async () => {
  equal((await post(echo, {}, SECRET_KEY, { "x-request-id": "mine-1" })).headers.get("x-request-id"), "mine-1");
  match((await post(echo, {}, SECRET_KEY, { "x-request-id": "a b" })).headers.get("x-request-id")!, /^[0-9a-f-]{36}$/);
  const { headers, body } = await post(echo, { count: "many" });
  equal(body.request_id, headers.get("x-request-id"));
});

Deno.test("an empty body is an empty object, and null is as good as absent", async () => {
  deepStrictEqual((await post(echo, "")).body, {});
  deepStrictEqual((await post(echo, { name: null })).body, {});
});

for (const body of ["{", "nonsense", "[]", "1", "null", '"text"', '{"a": NaN}', '{"name": "\u0000"}']) {
  Deno.test(`the body ${JSON.stringify(body)} is refused with 400`, async () => {
    const answer = await post(echo, body);
    equal(answer.status, 400);
    equal(answer.body.code, "malformed");
  });
}

Deno.test("a body that is not UTF-8 is refused with 400", async () => {
  const headers = { authorization: `Bearer ${SECRET_KEY}` };
  const request = new Request("http://localhost/", {
    method: "POST",
    headers,
    body: new Uint8Array([0x7b, 0xff, 0x7d]),
  });
  const response = await echo.fetch(request);
  equal(response.status, 400);
  await response.body?.cancel();
});

const invalid: [body: unknown, path: string, message: RegExp][] = [
  [{ anything: { a: ["b", "c\0d"] } }, "anything.a[1]", /NUL/],
  [{ anything: { "a\0": 1 } }, "anything", /NUL/],
  ['{"anything": "\\ud800"}', "anything", /surrogate/],
  ['{"anything": 1e400}', "anything", /too large/],
  [`{"anything": ${"[".repeat(80)}${"]".repeat(80)}}`, "body", /deeper than 68/],
  ["[".repeat(400_000), "body", /deeper/],
  [{ nmae: "x" }, "nmae", /Did you mean name\?/],
  [{ status: "Complete" }, "status", /the server's to set/],
  [{ count: "1" }, "count", /not a whole number/],
  [{ count: 1.5 }, "count", /not a whole number/],
  [{ count: 2 ** 31 }, "count", /not a whole number/],
  [{ name: ["x"] }, "name", /not a string/],
];
for (const [body, path, message] of invalid) {
  Deno.test(`${path}: ${message.source} is refused with 422 naming the field`, async () => {
    const answer = await post(echo, body);
    equal(answer.status, 422);
    equal(answer.body.code, "invalid_task");
    equal(answer.body.details.path, path);
    match(answer.body.message, message);
  });
}

Deno.test("a large whole number keeps its digits, in and out", async () => {
  const seed = '{"anything":{"seed":9007199254740993,"small":-1.5}}';
  project.answers({ verb: (parameters) => parameters });
  const through = serve({ fields: { anything: "json" }, answer: ({ body }) => rpc("verb", body) });
  const headers = { authorization: `Bearer ${SECRET_KEY}` };
  const response = await through.fetch(new Request("http://localhost/", { method: "POST", headers, body: seed }));
  equal(await response.text(), seed);
});

Deno.test("brackets and escaped quotes inside a string are no nesting", async () => {
  const name = '\\"[{'.repeat(100);
  equal((await post(echo, { name })).body.name, name);
});

Deno.test("a body over a megabyte is refused with 413, with and without a content-length", async () => {
  const body = JSON.stringify({ name: "x".repeat(1024 * 1024) });
  equal((await post(echo, body)).status, 413);
  equal((await post(echo, "{}", SECRET_KEY, { "content-length": "2000000" })).status, 413);
});

Deno.test("a token without the scope is refused with 403", async () => {
  project.answers({ resolve_token: () => ({ token_id: "1", user_id: null, scopes: ["enqueue"] }) });
  const { status, body } = await post(echo, {}, TOKEN);
  equal(status, 403);
  match(body.message, /may not 'work'/);
});

const states: [sqlstate: string, status: number, code: string][] = [
  ["LT001", 422, "invalid_task"],
  ["LT002", 404, "unknown_task"],
  ["LT003", 422, "unknown_dependency"],
  ["LT004", 422, "dependency_cycle"],
  ["LT005", 409, "task_conflict"],
  ["LT006", 409, "stale_claim"],
  ["LT007", 409, "task_ended"],
  ["LT008", 409, "not_retryable"],
  ["LT009", 403, "forbidden"],
  ["22P02", 422, "invalid_task"],
  ["40P01", 503, "queue_unavailable"],
  ["PGRST000", 503, "queue_unavailable"],
  ["XX000", 500, "internal"],
  ["42501", 500, "internal"],
];
for (const [sqlstate, status, code] of states) {
  Deno.test(`SQLSTATE ${sqlstate} is answered with ${status} ${code}`, async () => {
    project.answers({
      verb: () => {
        throw new Raised(sqlstate, "inside public.tasks", '{"field": "params"}');
      },
    });
    const { answer, log } = await logging(() => post(call, {}));
    equal(answer.status, status);
    equal(answer.body.code, code);
    equal(log.includes(answer.body.request_id), status >= 500);
    const tells = JSON.stringify(answer.body).includes("public.tasks");
    equal(tells, sqlstate.startsWith("LT")); // our own refusals are written for callers, other errors are not
    if (tells) deepStrictEqual(answer.body.details, { field: "params" });
  });
}

Deno.test("a caller over his rate is refused with 429 and told when to come back; others and the service go on", async () => {
  const user = await session({ sub: "33333333-3333-4333-8333-333333333333" });
  const answers = await Promise.all(Array.from({ length: 300 }, () => post(echo, {}, user)));
  const late = answers.filter(({ status }) => status === 429);
  ok(late.length > 0);
  ok(Number(late[0]!.headers.get("retry-after")) >= 1);
  equal((await post(echo, {}, await session())).status, 200);
  equal((await post(echo, {})).status, 200);
});

Deno.test("an address that keeps failing gets 429 before the database is asked, and its good neighbours pass", async () => {
  project.answers({ resolve_token: () => null });
  const here = { "x-forwarded-for": "203.0.113.9" };
  const statuses = [];
  for (let i = 0; i < 40; i++) statuses.push((await post(echo, {}, TOKEN, here)).status);
  equal(statuses[0], 403);
  equal(statuses.at(-1), 429);
  ok(project.calls.length < 35);
  equal((await post(echo, {}, await session(), here)).status, 200);
});

// A project whose shared secret we were not given, and an Auth that is out of order.
import { equal } from "node:assert/strict";
import { serve } from "./serve.ts";
import { JWT_SECRET, logging, post, project, session, signedWith, USER } from "./testing.ts";

Deno.env.delete("JWT_SECRET");
const whoami = serve({ fields: {}, answer: ({ caller }) => Promise.resolve(caller) });
const legacy = await signedWith(JWT_SECRET, { sub: USER, role: "authenticated", aud: "authenticated" });

Deno.test("a legacy session is whom Auth says it is", async () => {
  project.answers({}).user = { id: USER, role: "authenticated", aud: "authenticated" };
  equal((await post(whoami, {}, legacy)).body.userId, USER);
  equal(project.requests.join(), "GET /auth/v1/user");
});

Deno.test("a legacy token that Auth refuses is refused with 401, whatever it says of itself", async () => {
  project.answers({}).user = 403;
  equal((await post(whoami, {}, legacy)).status, 401);
  equal((await post(whoami, {}, await signedWith("x".repeat(40), { role: "service_role" }))).status, 401);
});

Deno.test("while Auth is out of order nobody is taken for a forger", async () => {
  project.answers({}).isDown = true;
  for (const token of [legacy, await session()]) {
    const { answer } = await logging(() => post(whoami, {}, token));
    equal(answer.status, 503);
    equal(answer.headers.get("retry-after"), "1");
  }
  project.isDown = false;
  equal((await post(whoami, {}, await session())).status, 200);
});

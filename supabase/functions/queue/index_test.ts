import { deepStrictEqual, equal } from "node:assert/strict";
import { post, project, session, TASK, TOKEN, USER } from "../_shared/testing.ts";
import * as queue from "./index.ts";
import { VERBS } from "./verbs.ts";

const RUN = "44444444-4444-4444-8444-444444444444";
const cases: [body: object, fn: string, parameters: object][] = [
  [{ verb: "start", task_id: TASK, attempt: 1, worker_id: "w", lease: 60 }, "start_task", {
    p_task_id: TASK,
    p_attempt: 1,
    p_worker_id: "w",
    p_lease: 60,
    p_holder: "service",
    p_user_id: null,
  }],
  [{ verb: "dispatched", task_id: TASK, claim_token: "t", flow_run_id: RUN }, "dispatched_task", {
    p_task_id: TASK,
    p_claim_token: "t",
    p_flow_run_id: RUN,
    p_user_id: null,
  }],
  [{ verb: "retry", task_id: TASK, attempts: 2 }, "retry_task", { p_task_id: TASK, p_attempts: 2, p_user_id: null }],
  [{ verb: "list", status: ["Queued"], limit: 5 }, "list_tasks", { p_status: ["Queued"], p_limit: 5, p_user_id: null }],
  [{ verb: "note_worker", worker_id: "w", metadata: { hits: 3 } }, "note_worker", {
    p_worker_id: "w",
    p_metadata: { hits: 3 },
    p_user_id: null,
  }],
  [{ verb: "workers", limit: 5 }, "list_workers", { p_limit: 5, p_user_id: null }],
  [{ verb: "pulse" }, "queue_pulse", {}],
  [{ verb: "rescue", lost: [[TASK, 1]], limit: 10 }, "rescue_tasks", { p_lost: [[TASK, 1]], p_limit: 10 }],
  [{ verb: "prune", older_than_seconds: 60 }, "prune_tasks", { p_older_than_seconds: 60 }],
];
for (const [body, fn, parameters] of cases) {
  Deno.test(`${JSON.stringify(body).slice(0, 40)} calls ${fn} and hands its answer on`, async () => {
    project.answers({ [fn]: () => [fn] });
    deepStrictEqual((await post(queue, body)).body, [fn]);
    deepStrictEqual(project.calls, [[fn, parameters]]);
  });
}

Deno.test("whatever a user asks for, he gets his own", async () => {
  const user = await session();
  for (const [verb, { right, isForAll, function: fn, fields }] of Object.entries(VERBS)) {
    if (right === "service" || isForAll) continue;
    project.answers({ [fn]: () => null });
    const values: Record<string, unknown> = { text: TASK, uuid: RUN, integer: 1, object: {} };
    const needed = Object.entries(fields).filter(([, kind]) => kind in values).map((
      [name, kind],
    ) => [name, values[kind]]);
    equal((await post(queue, { verb, ...Object.fromEntries(needed) }, user)).status, 200);
    equal(project.parameters(fn)?.p_user_id, USER);
  }
});

Deno.test("rescue and prune are the service's: neither a user nor a worker of the operator may", async () => {
  project.answers({ resolve_token: () => ({ token_id: "1", user_id: null, scopes: ["enqueue", "work"] }) });
  for (const bearer of [await session(), TOKEN]) {
    for (const body of [{ verb: "rescue" }, { verb: "prune", older_than_seconds: 0 }]) {
      equal((await post(queue, body, bearer)).status, 403);
    }
  }
});

Deno.test("a token without the scope of a verb is refused with 403", async () => {
  project.answers({ resolve_token: () => ({ token_id: "1", user_id: USER, scopes: ["work"] }) });
  equal((await post(queue, { verb: "cancel", task_id: TASK }, TOKEN)).status, 403);
});

const wrong: [body: object, path: string][] = [
  [{}, "verb"],
  [{ verb: "toString" }, "verb"],
  [{ verb: "drop" }, "verb"],
  [{ verb: "get" }, "task_id"],
  [{ verb: "get", task_id: TASK, attempt: 1 }, "attempt"],
  [{ verb: "get", task_id: TASK, p_user_id: USER }, "p_user_id"],
  [{ verb: "dispatched", task_id: TASK, claim_token: "t", flow_run_id: "x" }, "flow_run_id"],
  [{ verb: "note_worker", worker_id: "w", metadata: [] }, "metadata"],
];
for (const [body, path] of wrong) {
  Deno.test(`${JSON.stringify(body)} is refused, naming ${path}`, async () => {
    const { status, body: answer } = await post(queue, body);
    equal(status, 422);
    equal(answer.details.path, path);
  });
}

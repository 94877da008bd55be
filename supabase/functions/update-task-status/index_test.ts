import { deepStrictEqual, equal } from "node:assert/strict";
import { post, project, Raised, TASK, TOKEN } from "../_shared/testing.ts";
import * as updateTaskStatus from "./index.ts";

const OUTCOME = { task: { id: TASK }, ready: [], ended: [] };
const BY_NAME = { p_task_id: TASK, p_holder: "service", p_user_id: null };
const BY_TOKEN = { p_task_id: TASK, p_claim_token: "t", p_user_id: null };

type Case = [what: string, body: object, verb: string, parameters: object];
const cases: Case[] = [
  [
    "a progress message keeps the hour of an old client",
    { status: "In Progress", output_location: "step 3", tick: 3 },
    "renew_task",
    {
      ...BY_NAME,
      p_lease: 3600,
      p_tick: 3,
      p_message: "step 3",
    },
  ],
  ["failure text comes in output_location", { status: "Failed", output_location: "no room" }, "fail_task", {
    ...BY_NAME,
    p_error: "no room",
    p_retry: false,
  }],
  ["a failure may be retried", { status: "Failed", error: "e", retry: true, delay: 5, claim_token: "t" }, "fail_task", {
    ...BY_TOKEN,
    p_error: "e",
    p_retry: true,
    p_delay: 5,
  }],
  ["a failure without words", { status: "Failed" }, "fail_task", {
    ...BY_NAME,
    p_error: "The worker gave no reason.",
    p_retry: false,
  }],
  ["complete", { status: "Complete", output_location: "u" }, "complete_task", { ...BY_NAME, p_output_location: "u" }],
  ["cancel", { status: "Cancelled" }, "cancel_task", { p_task_id: TASK, p_user_id: null }],
  ["an old client releases by who it is", { status: "Queued" }, "release_task", BY_NAME],
  ["release", { status: "Queued", claim_token: "t" }, "release_task", BY_TOKEN],
];
for (const [what, body, verb, parameters] of cases) {
  Deno.test(`${what}: one call of ${verb}`, async () => {
    project.answers({ [verb]: () => verb === "renew_task" ? { lease_expires_at: "soon", cancelled: false } : OUTCOME });
    const answer = await post(updateTaskStatus, { task_id: TASK, ...body });
    equal(answer.status, 200);
    equal(answer.body.success, true);
    equal(answer.body.task_id, TASK);
    deepStrictEqual(project.calls, [[verb, parameters]]);
  });
}

Deno.test("progress on a cancelled task is refused with 409", async () => {
  project.answers({ renew_task: () => ({ lease_expires_at: null, cancelled: true }) });
  const { status, body } = await post(updateTaskStatus, { task_id: TASK, status: "In Progress" });
  equal(status, 409);
  equal(body.code, "task_ended");
});

Deno.test("a task that has ended refuses", async () => {
  project.answers({
    fail_task: () => {
      throw new Raised("LT007");
    },
  });
  equal((await post(updateTaskStatus, { task_id: TASK, status: "Failed" })).status, 409);
});

for (
  const body of [{ status: "complete" }, { status: "toString" }, {}, {
    status: "Failed",
    retry: 1,
  }]
) {
  Deno.test(`${JSON.stringify(body)} is refused with 422`, async () => {
    equal((await post(updateTaskStatus, { task_id: TASK, ...body })).status, 422);
  });
}

Deno.test("a worker's token may not cancel, and a reader's may not complete", async () => {
  for (const [scope, status] of [["work", "Cancelled"], ["enqueue", "Complete"]] as const) {
    project.answers({ resolve_token: () => ({ token_id: "1", user_id: null, scopes: [scope] }) });
    equal((await post(updateTaskStatus, { task_id: TASK, status }, TOKEN)).status, 403);
  }
});

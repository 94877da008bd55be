import { deepStrictEqual, equal, match } from "node:assert/strict";
import { post, project, session, TASK, USER } from "../_shared/testing.ts";
import * as underscored from "../claim_next_task/index.ts";
import * as claimNextTask from "./index.ts";

const task = { id: TASK, params: { a: 1 }, task_type: "single_image", project_id: "p", status: "In Progress" };
const claim = { task, attempt: 1, claim_token: "t", lease_expires_at: "2030-01-01T00:00:00Z" };

Deno.test("an old client claims and starts in one step, for an hour, under a name that follows from its key", async () => {
  project.answers({ claim_tasks: () => [claim] });
  const { body } = await post(claimNextTask, "", await session());
  deepStrictEqual(body, { task_id: TASK, params: { a: 1 }, task_type: "single_image", project_id: "p", ...claim });
  const { p_worker_id, ...parameters } = project.parameters("claim_tasks")!;
  match(String(p_worker_id), /^edge_[0-9a-f]{16}$/);
  const holder = { p_user_id: USER, p_holder: `user:${USER}` };
  deepStrictEqual(parameters, { p_lease: 3600, p_start: true, ...holder });
});

Deno.test("with nothing to do the answer is 204 without a body", async () => {
  project.answers({ claim_tasks: () => [] });
  const { status, body } = await post(claimNextTask, {});
  equal(status, 204);
  equal(body, undefined);
});

Deno.test("a client that names a lease dispatches: it starts later, and may take several", async () => {
  project.answers({ claim_tasks: () => [claim, claim] });
  const { body } = await post(claimNextTask, { lease: 30, limit: 2, worker_id: "w", request_id: "r", task_types: [] });
  equal(body.claims.length, 2);
  deepStrictEqual(project.parameters("claim_tasks"), {
    p_worker_id: "w",
    p_request_id: "r",
    p_limit: 2,
    p_task_types: [],
    p_lease: 30,
    p_start: false,
    p_holder: "service",
    p_user_id: null,
  });
});

Deno.test("a run type names the task types of a pool", async () => {
  project.answers({ claim_tasks: () => [] });
  await post(claimNextTask, { run_type: "cpu" });
  deepStrictEqual(project.parameters("claim_tasks")?.p_task_types, ["travel_stitch", "extract_frame"]);
  equal((await post(claimNextTask, { run_type: "constructor" })).status, 422);
});

Deno.test("the request id of a claim is the body's, never the header's", async () => {
  project.answers({ claim_tasks: () => [] });
  await post(claimNextTask, {}, undefined, { "x-request-id": "of-the-transport" });
  equal(project.parameters("claim_tasks")?.p_request_id, undefined);
});

Deno.test("the name with underscores is the same function", () => equal(underscored.default, claimNextTask.default));
